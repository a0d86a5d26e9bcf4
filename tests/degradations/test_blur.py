"""Blurs and losses of resolution as records."""

import json
import math

import pytest
import torch

from restoralib.degradations import (
    BlurDecimate,
    DefocusBlur,
    Downsample,
    GaussianBlur,
    MotionBlur,
    SincBlur,
    rebuild,
    record,
)
from restoralib.ops import resize

KINDS = [GaussianBlur, SincBlur, DefocusBlur, MotionBlur, Downsample, BlurDecimate]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 4), (1, 3, 33, 40)])
def test_drawn_ones_run_on_any_size_and_come_again_from_their_record(kind, shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    for seed in range(5):
        degradation = kind.draw(torch.Generator().manual_seed(seed))
        assert degradation == kind.draw(torch.Generator().manual_seed(seed))
        again = rebuild(json.loads(json.dumps(record(degradation))))
        assert again == degradation
        degraded = degradation(image)
        assert torch.equal(degraded, again(image))
        assert degraded.shape[:2] == shape[:2] and degraded.dtype == image.dtype
        assert degraded.min() >= -1e-6 and degraded.max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_image_stays_flat(kind):
    image = torch.full((1, 3, 24, 24), 0.37)
    degraded = kind.draw(torch.Generator().manual_seed(0))(image)
    torch.testing.assert_close(degraded, torch.full_like(degraded, 0.37))


def test_draws_have_the_published_ranges():
    generator = torch.Generator().manual_seed(0)
    blurs = [GaussianBlur.draw(generator) for _ in range(300)]
    assert {blur.size for blur in blurs} == set(range(7, 23, 2))
    assert all(0.2 <= blur.sigma <= 3 for blur in blurs)
    for ringing in (SincBlur.draw(generator) for _ in range(300)):
        assert (math.pi / 3 if ringing.size < 13 else math.pi / 5) <= ringing.cutoff <= math.pi


def test_roughness_comes_from_the_seed():
    rough = [GaussianBlur(roughness=0.25, seed=seed).kernel() for seed in (1, 1, 2)]
    assert torch.equal(rough[0], rough[1]) and not torch.equal(rough[0], rough[2])
    assert not torch.equal(rough[0], GaussianBlur().kernel())


def test_reduction_is_matlabs_and_may_come_back():
    image = torch.rand(1, 3, 30, 22)
    assert torch.equal(Downsample(4)(image), resize(image, 0.25).clamp(0, 1))
    assert Downsample(4)(image).shape[-2:] == (8, 6)
    assert Downsample(3.3, back="bicubic")(image).shape == image.shape
    with pytest.raises(ValueError, match="at least 1"):
        Downsample(0.5)(image)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_decimation_samples_the_centres_of_blocks(scale):
    ramp = (torch.arange(60, dtype=torch.float64) / 60).expand(1, 1, 60, 60)
    low = BlurDecimate(scale, sigma=1.0)(ramp)
    box = torch.nn.functional.avg_pool2d(ramp, scale)
    inside = slice(15 // scale, -15 // scale)
    torch.testing.assert_close(low[..., inside], box[..., inside], atol=1e-4, rtol=0)
