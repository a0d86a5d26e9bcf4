"""Measures of degradations: that they are what they say, and move as the degradation moves them."""

import math

import pytest
import torch

from restoralib.degradations import JPEG, GaussianBlur, Haze, MotionBlur
from restoralib.degradations.blur import DefocusBlur
from restoralib.ops.degradation_evidence import CELL_MAPS, HOP, MEASURES, SIDE, SPECTRA, cells, measures, opponents, spectra


def texture(*shape, seed=0):
    """Clouds with detail at all scales, in [0, 1]."""
    noise = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    total = sum(
        torch.nn.functional.avg_pool2d(noise, side, 1, side // 2)[..., : shape[0], : shape[1]] * side for side in (1, 3, 9)
    )
    return (0.5 + 0.06 * total).clamp(0, 1)


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (33, 95), (100, 64)])
def test_shapes_are_those_they_are_said_to_be(size):
    image = torch.rand(2, 3, *size)
    maps = cells(image)
    assert spectra(image).shape == (2, *SPECTRA) and measures(image, maps).shape == (2, MEASURES)
    assert maps.shape == (2, CELL_MAPS, -(-size[0] // 8), -(-size[1] // 8))
    assert all(part.isfinite().all() for part in (spectra(image), maps, measures(image, maps)))


def test_spectra_are_those_of_the_fourier_transform():
    image = torch.rand(1, 3, 61, 90, dtype=torch.float64)
    window = (math.pi * (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE).sin() ** 2
    window = torch.outer(window, window) / window.square().sum()
    powers = []
    for top in range(0, 61 - SIDE + 1, HOP):
        for left in range(0, 90 - SIDE + 1, HOP):
            part = opponents(image)[..., top : top + SIDE, left : left + SIDE]
            part = (part - part.mean((-2, -1), keepdim=True)) * window
            powers.append(torch.fft.fftshift(torch.fft.rfft2(part), dim=-2).abs() ** 2 + 1e-7)
    power = torch.stack(powers)
    expected = torch.cat([power.log().mean(0), power.mean(0).log(), power[:, :, :1].log().std(0, correction=0)], 1)
    torch.testing.assert_close(spectra(image), expected)


def test_white_noise_has_its_variance_at_every_frequency():
    noise = 0.1 * torch.randn(1, 3, 700, 700, generator=torch.Generator().manual_seed(0))
    power = spectra(noise)[0, 3:6].exp()
    inner = power[:, :, 2:-1]  # the mean of each window is taken away
    expected = torch.tensor([0.01 / 3, 0.01, 0.01])
    torch.testing.assert_close(inner.mean((1, 2)), expected, atol=0, rtol=0.03)
    assert (inner / expected[:, None, None] - 1).abs().max() < 0.3


def test_motion_dims_one_direction_and_defocus_all():
    image = texture(160, 160)
    sharp = spectra(image)[0, 0]
    across, down = (slice(16, 17), slice(6, 12)), (slice(22, 28), slice(0, 1))
    moved = spectra(MotionBlur(11.0, 0.0)(image))[0, 0] - sharp
    assert moved[across].mean() < -2 and moved[down].mean() > -0.5
    blurred = spectra(DefocusBlur(3.0)(image))[0, 0] - sharp
    assert blurred[across].mean() < -2 and blurred[down].mean() < -2


def test_cells_are_means_extremes_and_energies():
    image = torch.zeros(1, 3, 8, 16, dtype=torch.float64)
    image[..., 8:] = torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64)[:, None, None]
    image[0, 1, 3, 12] = 1.0
    maps = cells(image)[0, :, 0]
    torch.testing.assert_close(maps[:3, 0], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(maps[:3, 1], torch.tensor([0.2, 0.4 + 0.6 / 64, 0.6], dtype=torch.float64))
    torch.testing.assert_close(maps[3:5, 1], torch.tensor([0.2, 1.0], dtype=torch.float64))  # darkest channel, brightest pixel
    # A step across is none down, so the finest detail does not see it; the dot it sees: (1 + ... )^2 / 36 of 0.6 in green.
    square = (0.6**2) * (4**2 + 4 * 2**2 + 4 * 1**2) / 36 / 64
    torch.testing.assert_close(maps[6, 1], torch.tensor(math.log(square / 9 + 1e-6) / 8 + 1, dtype=torch.float64))


def test_haze_lifts_the_dark_and_jpeg_leaves_steps():
    image = texture(96, 128)

    def shares_of_dark(x):
        return measures(x, cells(x))[0, 15:30]  # the second map of the levels

    assert (shares_of_dark(Haze(beta=1.5)(image)) - shares_of_dark(image)).sum() > 1

    def steps(x):
        return measures(x, cells(x))[0, -24]  # largest step across in luma

    assert steps(JPEG(10)(image)) > steps(image) + 0.3
    assert abs(steps(GaussianBlur(sigma=1.0)(image)) - steps(image)) < 0.3
