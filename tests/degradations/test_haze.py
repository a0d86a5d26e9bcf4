"""Haze: the scattering law, the stand-in for a depth, and the ranges of the draws."""

import math
from itertools import pairwise

import pytest
import torch

from restoralib.degradations import Fog, Haze, Rain, depth_proxy, haze, transmission


def test_transmission_lies_above_nothing_and_is_whole_without_depth():
    depth = torch.linspace(0, 4, 50)
    t = transmission(depth, 1.3)
    assert t[0] == 1 and (t > 0).all() and (t.diff() < 0).all()
    torch.testing.assert_close(t[-1], torch.tensor(math.exp(-5.2)))


def test_equal_depth_mixes_image_and_airlight():
    image = torch.rand(2, 3, 5, 6)
    t = math.exp(-0.7 * 2)
    hazy = haze(image, torch.full((5, 6), 2.0), beta=0.7, airlight=(0.9, 0.8, 0.7))
    expected = image * t + torch.tensor([0.9, 0.8, 0.7])[:, None, None] * (1 - t)
    torch.testing.assert_close(hazy, expected)


def test_more_haze_is_nearer_the_airlight():
    image, depth = torch.rand(1, 3, 20, 20), 0.1 + torch.rand(20, 20)
    distances = [(haze(image, depth, beta, 0.85) - 0.85).abs() for beta in (0, 0.5, 1, 2, 4)]
    for thin, thick in pairwise(distances):
        assert (thick <= thin).all() and thick.mean() < 0.9 * thin.mean()
    assert torch.equal(haze(image, depth, 0.0), image)


def test_each_image_may_have_its_own_depth():
    image, depth = torch.rand(2, 3, 4, 4), torch.rand(2, 1, 4, 4)
    together = haze(image, depth)
    for index in range(2):
        torch.testing.assert_close(together[index : index + 1], haze(image[index : index + 1], depth[index]))


def test_a_coloured_airlight_is_averaged_for_grey():
    image = torch.zeros(1, 1, 2, 2)
    hazy = haze(image, torch.full((2, 2), 100.0), 1.0, (0.9, 0.8, 0.7))
    torch.testing.assert_close(hazy, torch.full_like(image, 0.8))


@pytest.mark.parametrize("shape", [(4, 5), (3, 1, 5, 5), (1, 2, 5, 5)])
def test_a_depth_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match="layer should have the image's height and width"):
        haze(torch.rand(2, 3, 5, 5), torch.rand(shape))


@pytest.mark.parametrize("beta", [-0.5, math.nan, math.inf])
def test_air_that_adds_light_is_refused(beta):
    image = torch.rand(1, 3, 8, 8)
    for call in (lambda: haze(image, torch.ones(8, 8), beta), lambda: Haze(beta=beta)(image), lambda: Rain(veil=beta)(image)):
        with pytest.raises(ValueError, match="beta should be zero or more"):
            call()


def test_an_airlight_of_two_numbers_is_refused():
    with pytest.raises(ValueError, match="one for each of R, G, B"):
        haze(torch.rand(1, 3, 2, 2), torch.ones(2, 2), airlight=(0.5, 0.6))


def test_the_proxy_spans_near_to_far_and_is_far_above():
    depth = depth_proxy(torch.rand(2, 3, 60, 80) * 0.1 + 0.4, seed=3)
    assert depth.shape == (2, 1, 60, 80)
    for one in depth:
        assert abs(float(one.min())) < 1e-6 and abs(float(one.max()) - 1) < 1e-6
        assert one[:, :15].mean() > one[:, 45:].mean() + 0.2


def test_the_proxy_follows_the_images_edges_and_holds_pale_things_for_far():
    image = torch.zeros(1, 3, 64, 96)
    image[:, 0] = 0.4  # dark and saturated on the left
    image[..., 48:] = 0.9  # bright and pale on the right
    depth = depth_proxy(image, slope=0, relief=0)[0, 0]
    assert depth[:, 70:].mean() > depth[:, :26].mean() + 0.5
    steps = depth.diff(dim=1).abs().mean(0)
    assert int(steps.argmax()) == 47 and steps[47] > 0.5 * steps.sum()


def test_the_seed_moves_horizon_and_relief():
    image = torch.rand(1, 3, 30, 30)
    assert not torch.allclose(depth_proxy(image, 0), depth_proxy(image, 1), atol=0.01)
    assert torch.equal(depth_proxy(image, 1), depth_proxy(image, 1))


def test_the_transmission_has_a_floor():
    image = torch.zeros(1, 3, 32, 32)
    assert Haze(beta=1e4, airlight=1.0, floor=0.05)(image).max() <= 0.95 + 1e-6


def test_draws_keep_to_realrestorers_ranges():
    generator = torch.Generator().manual_seed(0)
    draws = [Haze.draw(generator) for _ in range(300)]
    for draw in draws:
        assert 0.6 <= draw.beta <= 1.8 and 1 <= draw.exponent <= 2
        level = 0.78 + 0.17 * (draw.beta - 0.3) / 2.7
        assert all(abs(value - level) < 0.05 for value in draw.airlight)
    assert max(d.beta for d in draws) > 1.75 and min(d.beta for d in draws) < 0.65


def test_draws_keep_to_resides_ranges():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        draw = Haze.draw(generator, airlight=(0.7, 1.0))
        assert len(draw.airlight) == 1 and 0.7 <= draw.airlight[0] <= 1


def test_fog_only_brightens_and_more_of_it_more():
    image = torch.rand(1, 3, 40, 50)
    thin, thick = Fog(alpha=0.2, seed=4)(image), Fog(alpha=0.6, seed=4)(image)
    assert (thin >= image).all() and (thick >= thin).all() and thick.mean() > thin.mean() + 0.05
