"""Reflections: the sum, what panes do to a scene, and the reflection made of the image itself."""

import pytest
import torch

from restoralib.degradations import Reflection, defocused, ghosted, reflection


def test_the_sum_is_weighted_and_clipped():
    image, layer = torch.rand(2, 3, 5, 6), torch.rand(1, 3, 5, 6)
    torch.testing.assert_close(reflection(image, layer, 0.8, 0.5), (0.8 * image + 0.5 * layer).clamp(0, 1))
    assert torch.equal(reflection(image, layer, 1.0, 0.0), image)


def test_a_pane_doubles_a_point_and_keeps_its_light():
    point = torch.zeros(1, 1, 12, 12)
    point[..., 4, 5] = 1
    double = ghosted(point, 2, 3, 0.5)
    torch.testing.assert_close(double[0, 0, 4, 5], torch.tensor(2 / 3))
    torch.testing.assert_close(double[0, 0, 6, 8], torch.tensor(1 / 3))
    torch.testing.assert_close(double.sum(), torch.tensor(1.0))
    assert torch.equal(ghosted(point, 2, 3, 0.0), point)


def test_ghosts_may_move_either_way_and_farther_than_the_image():
    image = torch.rand(1, 3, 6, 6)
    assert torch.equal(ghosted(image, -1, 0, 1.0)[..., 0, :], (image[..., 0, :] + image[..., 1, :]) / 2)
    assert ghosted(image, 50, -50, 1.0).isfinite().all()


def test_out_of_focus_is_smoother_and_as_bright():
    image = torch.rand(1, 3, 40, 40)
    soft = defocused(image, 3.0)
    assert soft.std() < 0.3 * image.std() and abs(soft.mean() - image.mean()) < 0.02
    assert torch.equal(defocused(image, 0.0), image)


def test_defocused_reflections_are_smoother_than_focused_ones():
    image = torch.rand(1, 3, 48, 48)

    def roughness(style):
        return Reflection(style=style, seed=1).layer(image).diff(dim=-1).abs().mean()

    assert roughness("defocused") < 0.3 * roughness("focused")
    assert roughness("ghosting") < roughness("focused")


def test_the_reflected_scene_is_mirrored():
    image = torch.linspace(0.1, 0.9, 60).expand(1, 1, 40, 60)
    layer = Reflection(style="focused", part=1.0, contrast=1.0, seed=0).layer(image)
    assert layer[..., :20].mean() > layer[..., -20:].mean() + 0.1
    rows = torch.linspace(0.1, 0.9, 40)[:, None].expand(1, 1, 40, 60)
    upright, turned = (Reflection(style="focused", part=1.0, seed=0, upside_down=u).layer(rows) for u in (False, True))
    assert upright[..., :10, :].mean() < turned[..., :10, :].mean()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown style of reflection 'double'"):
        Reflection(style="double")
    with pytest.raises(ValueError, match="layer should have"):
        reflection(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 5))


def test_draws_keep_to_realrestorers_ranges():
    generator = torch.Generator().manual_seed(0)
    draws = [Reflection.draw(generator) for _ in range(100)]
    assert {draw.style for draw in draws} == {"focused", "defocused", "ghosting"}
    for draw in draws:
        assert 5 <= draw.sigma <= 10 and 0.5 <= draw.attenuation <= 1
        assert all(0.05 <= abs(shift) <= 0.1 for shift in draw.shift)
