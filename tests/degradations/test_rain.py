"""Rain: composition, where streaks point, how much light lines carry, and what a draw may give."""

import math

import pytest
import torch

from restoralib.degradations import Rain, gaussian_blur, rain, rain_layer
from restoralib.degradations._fields import lines, splat


def direction(layer):
    """Degrees of the streaks in a layer (90 falls straight down) and their coherence, by the structure tensor."""
    down, right = torch.gradient(gaussian_blur(layer, 2.0)[0, 0])
    a, b, c = (down * down).mean(), (down * right).mean(), (right * right).mean()
    gradient = 0.5 * math.atan2(2 * float(b), float(c - a))  # of the strongest change, from the columns' axis
    coherence = math.hypot(float(c - a), 2 * float(b)) / float(a + c)
    return (math.degrees(gradient) + 90) % 180, coherence


@pytest.mark.parametrize("angle", [60.0, 75.0, 90.0, 105.0, 120.0])
def test_streaks_point_where_they_should(angle):
    layer = rain_layer(200, 200, torch.Generator().manual_seed(0), density=3000, directions=(angle,), thickness=3.0)
    measured, coherence = direction(layer)
    assert abs(measured - angle) < 2
    assert coherence > 0.6


def test_five_directions_are_less_of_one_mind_than_one():
    generator = torch.Generator().manual_seed(0)
    one = rain_layer(200, 200, generator, density=3000, directions=(90.0,))
    five = rain_layer(200, 200, generator, density=3000, directions=(60.0, 75.0, 90.0, 105.0, 120.0))
    assert direction(five)[1] < direction(one)[1] - 0.1


def test_sum_is_clipped_and_screen_never_leaves_the_range():
    image, layer = torch.rand(2, 3, 6, 7), torch.rand(6, 7)
    torch.testing.assert_close(rain(image, layer), (image + layer).clamp(0, 1))
    screened = rain(image, layer, "screen")
    torch.testing.assert_close(screened, image + layer - image * layer)
    assert (screened >= image - 1e-6).all() and screened.max() <= 1
    assert torch.equal(rain(image, torch.zeros(6, 7)), image)


def test_an_unknown_mode_or_layer_is_refused():
    with pytest.raises(ValueError, match="'additive' or 'screen', got 'multiply'"):
        rain(torch.rand(1, 3, 4, 4), torch.zeros(4, 4), "multiply")
    with pytest.raises(ValueError, match="layer should have"):
        rain(torch.rand(1, 3, 4, 4), torch.zeros(4, 5))
    with pytest.raises(ValueError, match="unknown kind of rain 'drizzle'"):
        Rain.draw(torch.Generator(), kind="drizzle")


def test_points_keep_their_light_and_their_centre():
    rows, columns, weights = torch.tensor([3.25, 7.0]), torch.tensor([5.5, 1.75]), torch.tensor([2.0, 1.0])
    raster = splat(rows, columns, weights, 10, 9)
    torch.testing.assert_close(raster.sum(), weights.sum())
    torch.testing.assert_close((raster.sum(1) * torch.arange(10)).sum(), (rows * weights).sum())
    torch.testing.assert_close((raster.sum(0) * torch.arange(9)).sum(), (columns * weights).sum())


def test_points_outside_leave_no_light():
    outside = torch.tensor([-1.0, -40.0, 4.0, 4.0, 8.0, 99.0]), torch.tensor([3.0, 3.0, -1.0, 8.0, 3.0, 99.0])
    assert splat(*outside, torch.ones(6), 8, 8).sum() == 0
    half = splat(torch.tensor([-0.5]), torch.tensor([3.0]), torch.ones(1), 8, 8)
    assert half.sum() == 0.5 and half[0, 3] == 0.5


def test_a_lines_light_is_length_by_thickness_by_brightness():
    ends = torch.tensor([[30.0, 44.0], [55.0, 10.0], [20.3, 20.9]])
    starts = torch.tensor([[10.0, 14.0], [50.0, 50.0], [20.0, 20.0]])
    thickness, brightness = torch.tensor([0.5, 4.0, 1.0]), torch.tensor([0.3, 0.7, 1.0])
    for index in range(3):
        some = slice(index, index + 1)
        raster = lines(64, 64, starts[some], ends[some], thickness[some], brightness[some])
        length = (ends[index] - starts[index]).norm()
        torch.testing.assert_close(raster.sum(), length * thickness[index] * brightness[index], rtol=1e-4, atol=0)
    everything = lines(64, 64, starts, ends, thickness, brightness)
    torch.testing.assert_close(
        everything.sum(), ((ends - starts).norm(dim=1) * thickness * brightness).sum(), rtol=1e-4, atol=0
    )


def test_a_thick_line_has_its_brightness_within_and_nothing_beyond():
    raster = lines(40, 60, torch.tensor([[20.0, 5.0]]), torch.tensor([[20.0, 55.0]]), torch.tensor([7.0]), torch.tensor([0.6]))
    assert ((raster[18:23, 10:50] - 0.6).abs() < 0.03).all()
    assert raster[:15].max() == 0 and raster[26:].max() == 0


def test_lines_of_many_lengths_are_drawn_as_alone():
    generator = torch.Generator().manual_seed(0)
    starts, ends = torch.rand(200, 2, generator=generator) * 50, torch.rand(200, 2, generator=generator) * 50
    thickness, brightness = torch.rand(200, generator=generator) * 3, torch.rand(200, generator=generator)
    together = lines(50, 50, starts, ends, thickness, brightness)
    alone = sum(lines(50, 50, *(v[i : i + 1] for v in (starts, ends, thickness, brightness))) for i in range(200))
    assert (together - alone).abs().mean() < 0.02 * alone.mean()


def test_rain_falls_evenly_up_to_the_border():
    layer = rain_layer(200, 200, torch.Generator().manual_seed(0), density=100_000, length=12, brightness=0.05)[0, 0]
    inner = layer[50:150, 50:150].mean()
    for edge in (layer[0], layer[-1], layer[:, 0], layer[:, -1]):
        assert 0.8 * inner < edge.mean() < 1.2 * inner


def test_twice_the_drops_are_twice_the_light():
    few, many = (
        rain_layer(150, 150, torch.Generator().manual_seed(0), density=density, brightness=0.05).mean()
        for density in (5_000, 10_000)
    )
    assert 1.7 < many / few < 2.3


def test_the_first_of_a_batch_is_a_lone_image_and_the_next_has_rain_of_its_own():
    image = torch.full((2, 3, 40, 40), 0.2)
    rainy = Rain(seed=7)(image)
    assert torch.equal(rainy[:1], Rain(seed=7)(image[:1]))
    assert not torch.equal(rainy[0], rainy[1])


def test_splashes_are_seen_in_the_lower_part_only():
    layer = rain_layer(120, 120, torch.Generator().manual_seed(0), density=5_000, splash=1.0)[0, 0]
    assert layer[:30].max() == 0 and layer[60:].mean() > 0


def test_the_veil_pales_what_is_far():
    image = torch.full((1, 3, 60, 60), 0.1)
    veiled = Rain(density=0, veil=0.8)(image)
    assert veiled[..., :15, :].mean() > veiled[..., 45:, :].mean() + 0.1


def test_draws_keep_to_the_ranges():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        draw = Rain.draw(generator, kind="realrestorer")
        assert draw.mode == "screen" and 8_000 <= draw.density <= 15_000 and 0.7 <= draw.brightness <= 0.95
        assert 0.02 <= draw.splash <= 0.07 and all(75 <= angle <= 105 for angle in draw.directions)
    assert len(Rain.draw(generator, kind="heavy").directions) == 5
    assert len(Rain.draw(generator, kind="light").directions) == 1
    assert {Rain.draw(generator).mode for _ in range(30)} == {"additive", "screen"}
