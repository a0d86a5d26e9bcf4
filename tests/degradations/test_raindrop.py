"""Raindrops: what a mask covers, what a drop shows, and where drops leave the image alone."""

import pytest
import torch

from restoralib.degradations import Raindrops, raindrop
from restoralib.degradations._fields import axes

SHARP = {"softness": 0.0, "rim": 0.0, "glint": 0.0}


def test_without_a_mask_nothing_changes_and_with_a_whole_one_all_is_refracted():
    image = torch.rand(2, 3, 6, 8)
    rows, columns = axes(image)
    flipped = raindrop(image, torch.ones(6, 8), 5 - rows, 7 - columns)
    torch.testing.assert_close(flipped, image.flip(-2, -1), atol=1e-5, rtol=0)
    assert torch.equal(raindrop(image, torch.zeros(6, 8), 5 - rows, 7 - columns), image)
    dim = raindrop(image, torch.ones(6, 8), rows, columns, light=torch.full((6, 8), 0.5))
    torch.testing.assert_close(dim, 0.5 * image, atol=1e-5, rtol=0)


def test_a_drop_shows_the_scene_turned_about_its_centre():
    image = torch.linspace(0.2, 0.8, 120).expand(1, 1, 120, 120)
    drops = Raindrops(count=1, radius=(0.1, 0.1), view=2.0, seed=5, **SHARP)
    mask, _, columns, _ = drops.maps(120, 120, image)
    inside = mask == 1
    assert 150 < int(inside.sum()) < 1200  # pi r^2 is 452
    spoilt = drops(image)[0, 0]
    row = int(inside.sum(1).argmax())
    across = spoilt[row][inside[row]]
    assert (across.diff() < 0).all(), "brighter to the right outside, so darker to the right within"
    assert (columns[row][inside[row]].diff() < 0).all()


def test_between_the_drops_the_image_is_untouched():
    image = torch.rand(1, 3, 60, 80)
    drops = Raindrops(count=12, radius=(0.02, 0.08), seed=1, **SHARP)
    mask = drops.maps(60, 80, image)[0]
    spoilt = drops(image)
    assert 0.02 < (mask > 0).float().mean() < 0.6
    torch.testing.assert_close(spoilt[..., mask == 0], image[..., mask == 0])
    assert (spoilt - image).abs()[..., mask == 1].mean() > 0.05


def test_soft_drops_have_softer_outlines():
    image = torch.rand(1, 1, 80, 80)
    flat = torch.zeros_like(image)
    flat[..., 40:] = 1
    sharp, soft = (
        Raindrops(count=20, radius=(0.04, 0.08), softness=softness, rim=0.0, glint=0.0, seed=1)(flat) for softness in (0.0, 0.5)
    )
    assert soft.diff(dim=-2).abs().max() < 0.8 * sharp.diff(dim=-2).abs().max()


def test_rims_darken_and_glints_brighten():
    flat = torch.full((1, 3, 80, 80), 0.5)
    common = {"count": 20, "radius": (0.04, 0.08), "softness": 0.0, "seed": 1}
    assert Raindrops(rim=0.6, glint=0.0, **common)(flat).min() < 0.4
    assert Raindrops(rim=0.0, glint=0.5, **common)(flat).max() > 0.6
    plain = Raindrops(rim=0.0, glint=0.0, **common)(flat)
    torch.testing.assert_close(plain, flat)


def test_drops_are_as_large_as_the_image_is():
    small, large = (Raindrops(count=15, radius=(0.03, 0.08), seed=2).maps(side, side, torch.zeros(1))[0] for side in (60, 240))
    assert abs(float(small.mean() - large.mean())) < 0.15 * float(large.mean())


def test_a_map_that_does_not_fit_is_refused():
    rows, columns = axes(torch.zeros(5, 5))
    with pytest.raises(ValueError, match="layer should have"):
        raindrop(torch.rand(1, 3, 5, 5), torch.zeros(5, 6), rows, columns)


def test_draws_keep_to_the_ranges():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        draw = Raindrops.draw(generator)
        assert 15 <= draw.count <= 120 and 0.02 <= draw.radius[1] <= 0.06 and draw.radius[0] < draw.radius[1]
