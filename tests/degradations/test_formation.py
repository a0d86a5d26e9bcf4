"""What holds for every model of how a spoilt photograph forms; what is a model's own is in its own file."""

import json
from functools import partial

import pytest
import torch

from restoralib.degradations import (
    CameraShake,
    Flare,
    Fog,
    FrameAverage,
    Haze,
    Moire,
    Rain,
    Raindrops,
    Reflection,
    rebuild,
    record,
)

DRAWS = {
    "haze": Haze.draw,
    "haze_reside": partial(Haze.draw, airlight=(0.7, 1.0), exponent=(1.0, 1.0)),
    "fog": Fog.draw,
    "rain_light": partial(Rain.draw, kind="light"),
    "rain_heavy": partial(Rain.draw, kind="heavy"),
    "rain_realrestorer": partial(Rain.draw, kind="realrestorer"),
    "moire": Moire.draw,
    "reflection_focused": partial(Reflection.draw, style="focused"),
    "reflection_defocused": partial(Reflection.draw, style="defocused"),
    "reflection_ghosting": partial(Reflection.draw, style="ghosting"),
    "flare": Flare.draw,
    "raindrops": Raindrops.draw,
    "frames": FrameAverage.draw,
    "shake": CameraShake.draw,
}
NOTHING = {
    "haze": Haze(beta=0),
    "fog": Fog(alpha=0),
    "rain": Rain(density=0),
    "rain_screen": Rain(density=0, mode="screen"),
    "moire": Moire(strength=0),
    "reflection": Reflection(transmission=1, weight=0),
    "flare": Flare(power=0),
    "raindrops": Raindrops(count=0),
    "frames": FrameAverage(frames=1, step=(0.0, 0.0), gamma=1),
    "shake": CameraShake(size=1),
}


def drawn(name, seed=0):
    return DRAWS[name](torch.Generator().manual_seed(seed))


def photo(*shape, dtype=torch.float32):
    """Smooth hills with an edge, in [0, 1]."""
    b, c, h, w = shape
    y, x = torch.linspace(0, 3, h)[:, None], torch.linspace(0, 4, w)
    hills = torch.stack([0.5 + 0.4 * torch.sin(x * (k + 1) + y) for k in range(b * c)]).view(shape)
    return (hills * (0.6 + 0.4 * (x > 2))).to(dtype)


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 1, 1, 5), (2, 3, 7, 2), (2, 1, 24, 31)], ids=str)
def test_any_size_batched_grey_or_rgb_stays_in_range(name, shape):
    image = photo(*shape)
    before = image.clone()
    spoilt = drawn(name)(image)
    assert spoilt.shape == image.shape and spoilt.dtype == image.dtype
    assert spoilt.isfinite().all() and spoilt.min() >= 0 and spoilt.max() <= 1
    assert torch.equal(image, before), "the argument was changed"
    assert torch.equal(spoilt, drawn(name)(image)), "equal calls gave different results"


@pytest.mark.parametrize("name", DRAWS)
def test_it_does_something(name):
    image = photo(1, 3, 48, 64)
    assert (drawn(name)(image) - image).abs().mean() > 2e-3


@pytest.mark.parametrize("name", DRAWS)
def test_a_record_rebuilds_the_very_pair(name):
    image = photo(1, 3, 24, 37)
    for seed in range(2):
        degradation = drawn(name, seed)
        again = rebuild(json.loads(json.dumps(record(degradation))))
        assert again == degradation
        assert torch.equal(again(image), degradation(image))


@pytest.mark.parametrize("name", DRAWS)
def test_draws_follow_their_generator_alone(name):
    torch.manual_seed(0)
    first = drawn(name, 5)
    torch.manual_seed(1)
    assert drawn(name, 5) == first
    assert len({drawn(name, seed) for seed in range(8)}) == 8


@pytest.mark.parametrize("name", NOTHING)
def test_no_strength_leaves_the_image_as_it_is(name):
    image = photo(2, 3, 21, 34)
    assert (NOTHING[name](image) - image).abs().max() < 2e-7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", DRAWS)
def test_other_types_stay_and_agree(name, dtype):
    image = photo(1, 3, 20, 30)
    spoilt = drawn(name)(image.to(dtype))
    assert spoilt.dtype == dtype
    expected = drawn(name)(image.to(dtype).float())
    # A drop's outline may fall the other way by a rounding error of a coordinate.
    assert (spoilt.float() - expected).abs().mean() < (1e-4 if dtype == torch.float64 else 3e-3)


@pytest.mark.parametrize("name", DRAWS)
def test_gradients_are_finite_also_at_black(name):
    image = (photo(1, 3, 18, 22) - 0.3).clamp(0, 1).requires_grad_()
    drawn(name)(image).sum().backward()
    assert image.grad.isfinite().all() and image.grad.abs().sum() > 0


@pytest.mark.parametrize("name", DRAWS)
def test_what_is_no_image_is_refused(name):
    with pytest.raises(ValueError, match="one or three channels"):
        drawn(name)(torch.rand(1, 2, 8, 8))
    with pytest.raises(TypeError, match="divide 8-bit images by 255"):
        drawn(name)(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.gpu
@pytest.mark.parametrize("name", DRAWS)
def test_a_gpu_gives_the_same_picture(name):
    image = photo(2, 3, 40, 52)
    on_gpu = drawn(name)(image.cuda())
    assert on_gpu.is_cuda
    assert (on_gpu.cpu() - drawn(name)(image)).abs().mean() < 1e-4
