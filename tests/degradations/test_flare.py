"""Flares: addition in linear light, and the parts of a procedural flare."""

import math

import pytest
import torch

from restoralib.degradations import Flare, flare

LAMP = {"streaks": 0, "ghosts": 0}


def test_light_is_added_where_it_is_linear():
    image, layer = torch.rand(2, 3, 4, 5), torch.rand(1, 3, 4, 5)
    expected = (image**2.2 + layer**2.2).clamp(max=1) ** (1 / 2.2)
    torch.testing.assert_close(flare(image, layer), expected)
    torch.testing.assert_close(flare(image, layer, 1.0), (image + layer).clamp(max=1))
    torch.testing.assert_close(flare(image, torch.zeros(4, 5)), image)


def test_a_flare_only_brightens():
    image = torch.rand(1, 3, 30, 40)
    for seed in range(4):
        spoilt = Flare.draw(torch.Generator().manual_seed(seed))(image)
        assert (spoilt >= image - 1e-5).all()


def test_more_power_is_more_light():
    image = torch.full((1, 3, 30, 40), 0.2)
    weak, strong = Flare(power=0.3)(image), Flare(power=1.2)(image)
    assert (strong >= weak).all() and strong.mean() > weak.mean() + 0.03


@pytest.mark.parametrize("place", [(0.25, 0.3), (0.6, 0.8)])
def test_the_lamp_is_brightest_and_its_glow_fades(place):
    image = torch.zeros(1, 1, 80, 100)
    light = Flare(position=place, shimmer=0, **LAMP).light(image)[0, 0]
    row, column = divmod(int(light.argmax()), 100)
    assert abs(row - (place[0] * 80 - 0.5)) <= 1 and abs(column - (place[1] * 100 - 0.5)) <= 1
    assert (light[row, column + 1 :].diff() <= 0).all()


def test_the_colour_is_the_lamps():
    light = Flare(color=(1.0, 0.5, 0.25), ghosts=0).light(torch.zeros(1, 3, 20, 20))[0]
    torch.testing.assert_close(light[0] / 4, light[2])
    torch.testing.assert_close(light[0] / 2, light[1])


@pytest.mark.parametrize("angle", [0.0, 35.0, 90.0, 150.0])
def test_a_streak_runs_through_the_lamp_at_its_angle(angle):
    image = torch.zeros(1, 1, 101, 101)
    common = {"position": (0.5, 0.5), "shimmer": 0.0, "ghosts": 0, "streak_angle": angle}
    streak = (Flare(streaks=1, **common).light(image) - Flare(streaks=0, **common).light(image))[0, 0]
    offset = torch.arange(101) - 50.0
    down, right = offset[:, None].expand(101, 101), offset.expand(101, 101)
    weights = streak.clamp(min=0) * (down**2 + right**2 > 25)
    moments = [(weights * product).sum() for product in (right * right, right * down, down * down)]
    measured = 0.5 * math.degrees(math.atan2(2 * float(moments[1]), float(moments[0] - moments[2]))) % 180
    assert min(abs(measured - angle), 180 - abs(measured - angle)) < 2


def test_ghosts_lie_on_the_line_from_the_lamp_through_the_middle():
    image = torch.zeros(1, 1, 121, 121)
    common = {"position": (0.5, 0.2), "shimmer": 0.0, "streaks": 0, "seed": 2}
    ghosts = (Flare(ghosts=8, **common).light(image) - Flare(ghosts=0, **common).light(image))[0, 0]
    assert ghosts.sum() > 1
    mean = (ghosts.sum(1) * torch.arange(121)).sum() / ghosts.sum()
    assert abs(mean - 60) < 1


def test_round_ghosts_have_no_corners():
    image = torch.zeros(1, 1, 61, 61)
    common = {"position": (0.5, 0.2), "shimmer": 0.0, "streaks": 0, "seed": 2}
    round_one = (Flare(ghosts=3, blades=0, **common).light(image) - Flare(ghosts=0, **common).light(image))[0, 0]
    torch.testing.assert_close(round_one, round_one.flip(0), atol=1e-4, rtol=0)


def test_draws_keep_to_the_ranges():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        draw = Flare.draw(generator)
        assert 1.8 <= draw.gamma <= 2.2 and 0 <= draw.streaks <= 4 and draw.blades in (0, 5, 6, 7, 8)
        assert all(0 <= value <= 1 for value in draw.color)
