"""Moire: the screen's stripes, the camera's view, beats where there were none, and pairs that stay aligned."""

import pytest
import torch

from restoralib.degradations import Moire, gaussian_blur, moire_camera, moire_screen
from restoralib.degradations._fields import axes, sample


def test_a_screen_lights_one_colour_a_column():
    image = torch.rand(2, 3, 4, 5) + 0.1
    screen = moire_screen(image)
    assert screen.shape == (2, 3, 12, 15)
    torch.testing.assert_close(screen.mean((-2, -1)), image.mean((-2, -1)) / 3)
    assert torch.equal(screen[..., 1::3, :].sum(1)[..., ::3], image[:, 0])
    for enlarge in (1, 2, 4):
        lit = (moire_screen(image, enlarge) > 0).sum(1)
        assert lit.shape == (2, 4 * enlarge, 5 * enlarge) and (lit == 1).all()


def test_a_screen_needs_colours():
    with pytest.raises(ValueError, match="needs RGB, got 1 channel"):
        moire_screen(torch.rand(1, 1, 4, 4))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        moire_screen(torch.rand(1, 3, 4, 4), 0)


def test_a_camera_that_stands_straight_sees_the_screen():
    screen = torch.rand(1, 3, 9, 12)
    torch.testing.assert_close(moire_camera(screen, 0.0, 1.0, decimate=1, gain=1), screen)
    torch.testing.assert_close(moire_camera(screen, 0.0, 1.0, decimate=2, gain=3), 3 * screen[..., ::2, ::2])


def test_a_quarter_turn_about_the_middle_turns_the_picture():
    screen = torch.rand(1, 1, 8, 8)
    turned = moire_camera(screen, torch.pi / 2, 1.0, decimate=1, gain=1)
    torch.testing.assert_close(turned, screen.rot90(1, (-2, -1)), atol=1e-5, rtol=0)


def test_outside_the_screen_it_is_dark():
    seen = moire_camera(torch.ones(1, 3, 20, 20), 0.0, 0.5, decimate=1, gain=1)
    assert seen[..., 10, 10].min() == 1 and seen[..., 0, :].max() == 0


def test_a_flat_screen_beats_and_blur_takes_the_beats_away():
    flat = torch.full((1, 3, 96, 96), 0.5)

    def beat(optics):
        picture = gaussian_blur(Moire(angle=0.03, zoom=1.0, optics=optics)(flat), 2.0)[..., 16:-16, 16:-16]
        return picture.std((-2, -1)).mean()

    assert beat(0.8) > 0.02
    assert beat(3.0) < 0.2 * beat(0.8)


@pytest.mark.parametrize("optics", [0.8, 1.5, 3.0])
def test_the_camera_records_the_blurred_screen(optics):
    """`Moire` sums stripes where its camera looks; here the screen is made, blurred and looked at."""
    image = gaussian_blur(torch.rand(1, 3, 24, 30, dtype=torch.float64), 1.0)
    degradation = Moire(angle=0.2, zoom=1.3, tilt=(0.05, -0.05), optics=optics)
    recorded = degradation._record(image, (40, 50))
    columns = torch.arange(12 * 30) // 4 % 3  # 12 samples a pixel, in stripes of four
    fine = image.repeat_interleave(12, -1).repeat_interleave(12, -2) * (columns == torch.arange(3)[:, None])[:, None]
    screen = 3 * gaussian_blur(fine, 4 * optics, padding="replicate")
    rows, columns = axes(recorded)
    down, right = degradation._to_screen(rows - 19.5, columns - 24.5, 24, 30)
    looked = sample(screen, 12 * (down + 11.5) + 5.5, 12 * (right + 14.5) + 5.5)
    mosaic = looked.gather(1, (rows % 2 + columns % 2).long()[None, None])[:, 0]
    well_inside = (down.abs() < 12 - 4) & (right.abs() < 15 - 4)
    difference = (recorded - mosaic)[:, well_inside].abs()
    assert difference.max() < 0.02 and difference.mean() < 0.005


def test_light_is_kept():
    flat = torch.full((1, 3, 96, 96), 0.5)
    picture = Moire(angle=0.1, zoom=1.03, gamma=1.0)(flat)
    assert abs(picture[..., 8:-8, 8:-8].mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    "degradation",
    [
        Moire(angle=0.15, zoom=1.08, tilt=(0.1, -0.1), distortion=0.03, optics=2.0),
        Moire(angle=-0.1, zoom=2.1, tilt=(-0.1, 0.05), distortion=-0.03, optics=2.0),
    ],
)
@pytest.mark.parametrize("size", [(80, 120), (121, 60)])
def test_the_picture_lies_where_the_image_lay(degradation, size):
    height, width = size
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    for scene in (rows / height + 0 * columns, columns / width + 0 * rows):
        image = (0.2 + 0.6 * scene).expand(1, 3, -1, -1)
        picture = degradation(image)
        off = (gaussian_blur(picture, 4.0) - image)[..., 14:-14, 14:-14].abs().mean()
        assert off < 0.01, "a shift of one pixel would be about that"


def test_turning_forth_and_back_ends_where_it_began():
    degradation = Moire(angle=0.15, zoom=1.9, tilt=(0.1, 0.1), distortion=0.03)
    down, right = torch.rand(2, 50) * 200 - 100
    camera = degradation._to_camera(down, right, 200, 200)
    back = degradation._to_screen(*camera, 200, 200)
    torch.testing.assert_close(torch.stack(back), torch.stack([down, right]), atol=5e-3, rtol=0)  # pixels


def test_draws_are_near_resonance():
    generator = torch.Generator().manual_seed(0)
    zooms = [Moire.draw(generator).zoom for _ in range(60)]
    assert all(min(abs(zoom - 1), abs(zoom / 2 - 1)) <= 0.08 for zoom in zooms)
    assert min(zooms) < 1.1 and max(zooms) > 1.8
