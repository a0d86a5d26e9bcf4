"""Colour corrections; tests/latent/test_goldens_latent.py holds them against the authors' results."""

import pytest
import torch

from restoralib.latent import adain, split_frequencies, wavelet_colour


def test_adain_gives_the_statistics_of_the_style():
    image, style = torch.rand(2, 3, 20, 30, dtype=torch.float64), 3 * torch.rand(2, 3, 7, 9, dtype=torch.float64) - 1
    result = adain(image, style, eps=0)
    torch.testing.assert_close(result.mean((2, 3)), style.mean((2, 3)))
    torch.testing.assert_close(result.std((2, 3)), style.std((2, 3)))


def test_adain_of_one_pixel_is_the_mean_of_the_style():
    style = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(adain(torch.rand(1, 3, 1, 1), style)[..., 0, 0], style.mean((2, 3)))


def test_frequencies_add_up_and_flat_images_have_none():
    image = torch.rand(1, 3, 40, 33, dtype=torch.float64)
    high, low = split_frequencies(image)
    torch.testing.assert_close(high + low, image)
    assert split_frequencies(torch.full((1, 3, 9, 9), 0.3, dtype=torch.float64))[0].abs().max() < 1e-15


def test_low_frequencies_reach_31_pixels():
    image = torch.zeros(1, 1, 91, 91, dtype=torch.float64)
    image[..., 45, 45] = 1
    rows = split_frequencies(image)[1][0, 0].sum(1).nonzero().flatten()
    assert (rows.min(), rows.max()) == (45 - 31, 45 + 31)


def test_the_wavelet_correction_takes_details_here_and_colours_there():
    image, style = torch.rand(1, 3, 20, 20, dtype=torch.float64), torch.rand(1, 3, 20, 20, dtype=torch.float64)
    torch.testing.assert_close(wavelet_colour(image, image), image)
    torch.testing.assert_close(wavelet_colour(image + 0.25, style), wavelet_colour(image, style))  # a cast goes
    torch.testing.assert_close(wavelet_colour(image, style + 0.25), wavelet_colour(image, style) + 0.25)


@pytest.mark.parametrize("correct", [adain, wavelet_colour])
def test_a_correction_keeps_type_and_any_size(correct):
    for size in ((1, 1), (1, 9), (5, 3)):
        image = torch.rand(2, 3, *size, dtype=torch.bfloat16)
        result = correct(image, image.flip(0))
        assert result.shape == image.shape and result.dtype == image.dtype and result.isfinite().all()


def test_images_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"of the same batch and channels, got \(1, 3, 4, 4\) and \(1, 1, 4, 4\)"):
        adain(torch.rand(1, 3, 4, 4), torch.rand(1, 1, 4, 4))
    with pytest.raises(ValueError, match="of one shape"):
        wavelet_colour(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 5))
    with pytest.raises(ValueError, match="levels should be at least 0, got -1"):
        split_frequencies(torch.rand(1, 3, 4, 4), -1)
