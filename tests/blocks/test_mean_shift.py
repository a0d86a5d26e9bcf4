"""The mean of a data set."""

import pytest
import torch

from restoralib.blocks import MeanShift
from restoralib.blocks.mean_shift import DIV2K_MEAN, told_range


@pytest.mark.parametrize("rgb_range", [255, 1])
def test_it_takes_the_mean_and_gives_it_back(rgb_range):
    image = rgb_range * torch.rand(2, 3, 4, 5, dtype=torch.float64)
    take, give = MeanShift(rgb_range, -1).double(), MeanShift(rgb_range, 1).double()
    mean = rgb_range * torch.tensor(DIV2K_MEAN)[:, None, None]
    torch.testing.assert_close(take(image), image - mean, atol=1e-7 * rgb_range, rtol=0)
    torch.testing.assert_close(give(take(image)), image)


def test_it_is_saved_but_never_trained():
    shift = MeanShift(255)
    assert list(shift.state_dict()) == ["weight", "bias"] and not list(shift.parameters())
    assert shift.state_dict()["weight"].shape == (3, 3, 1, 1)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("rgb_range", [255, 1, 0.5, 1023, 65535])
def test_its_bias_tells_the_range(rgb_range, sign):
    assert told_range(MeanShift(rgb_range, sign).bias) == rgb_range
    assert told_range(MeanShift(rgb_range, sign, (0.4690, 0.4490, 0.4036)).bias) == rgb_range


@pytest.mark.parametrize(
    "bias",
    [
        torch.zeros(3),
        torch.ones(3),
        torch.full((3,), torch.nan),
        torch.full((3,), torch.inf),
        torch.zeros(4),
        torch.empty(3, device="meta"),
    ],
)
def test_other_biases_tell_nothing(bias):
    assert told_range(bias) is None
