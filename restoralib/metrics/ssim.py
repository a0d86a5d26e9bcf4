"""Structural similarity, in the versions with which papers fill their tables.

All are Wang et al., IEEE TIP 2004, eq. 13, with the constants 0.01 and 0.03; they differ in window, border and covariance, and
by that in the second decimal. `protocols` says which tables use which.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.metrics._inputs import check_pair
from restoralib.metrics._window import gaussian, slide, uniform

_GAUSSIAN = gaussian(11, 1.5)
_UNIFORM = uniform(7)
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def _similarity(
    x: Tensor, y: Tensor, blur: Callable[[Tensor], Tensor], data_range: float, sample: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Maps of the similarity and of its contrast and structure part alone."""
    x, y = x / data_range, y / data_range
    mean_x, mean_y = blur(x), blur(y)
    variances = sample * (blur(x * x + y * y) - mean_x**2 - mean_y**2)
    covariance = sample * (blur(x * y) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    structure = (2 * covariance + c2) / (variances + c2)
    return (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * structure, structure


def _check_size(image: Tensor, smallest: int, name: str, crop: int) -> None:
    height, width = image.shape[-2:]
    if min(height, width) < smallest:
        raise ValueError(f"{name} needs {smallest}x{smallest} pixels, got {height}x{width} after a crop of {crop}")


def ssim(image: Tensor, target: Tensor, *, data_range: float = 1.0, crop: int = 0) -> Tensor:
    """SSIM of each image of a batch, as most restoration tables compute it, in float64.

    Each channel alone, an 11x11 Gaussian window of sigma 1.5, population covariance, only positions where the window fits;
    the mean over the map and the channels. Papers round results to 8 bits first and often take the luma: see `protocols`.
    Differentiable; NaN where an image holds NaN.

    Args:
        image: (b, c, h, w), at least 11 pixels high and wide after the crop.
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels.

    Returns:
        (b,), one where the images are equal, constant ones too.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or fewer than 11 pixels are left.
        TypeError: one image is of integers.

    Source: Wang et al., IEEE TIP 2004, eq. 13; conventions of BasicSR.
    """
    image, target = check_pair(image, target, crop)
    _check_size(image, len(_GAUSSIAN), "SSIM", crop)
    return _similarity(image, target, partial(slide, weights=_GAUSSIAN), data_range)[0].mean((1, 2, 3))


@lru_cache(maxsize=8)
def _mixing(channels: int) -> Tensor:
    """What an 11-tap Gaussian along the channels makes of them, the outermost repeated outside."""
    matrix = torch.zeros(channels, channels, dtype=torch.float64)
    for out in range(channels):
        for tap, weight in enumerate(_GAUSSIAN):
            matrix[out, min(max(out + tap - len(_GAUSSIAN) // 2, 0), channels - 1)] += weight
    return matrix


def _blur_volume(x: Tensor) -> Tensor:
    mixed = torch.einsum("bchw,dc->bdhw", x, _mixing(x.shape[1]).to(x)) if x.shape[1] > 1 else x
    side = len(_GAUSSIAN) // 2
    return slide(F.pad(mixed, (side, side, side, side), mode="replicate"), _GAUSSIAN)


def ssim_matlab(image: Tensor, target: Tensor, *, data_range: float = 1.0, crop: int = 0) -> Tensor:
    """SSIM of each image of a batch, as MATLAB's `ssim` computes it, in float64.

    A colour image is one volume, over whose three axes an 11x11x11 Gaussian window of sigma 1.5 slides, so that the channels
    mix almost evenly; a grey image has an 11x11 window. The outermost values are repeated outside, and the mean is over the
    full map. The tables of GoPro, HIDE, SIDD and TIP2018. Differentiable; NaN where an image holds NaN.

    Args:
        image: (b, c, h, w), of any size.
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels.

    Returns:
        (b,), one where the images are equal.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or `crop` leaves nothing.
        TypeError: one image is of integers.

    Source: MATLAB's ssim, as documented; NAFNet's 3-D SSIM is the same.
    """
    image, target = check_pair(image, target, crop)
    return _similarity(image, target, _blur_volume, data_range)[0].mean((1, 2, 3))


def ssim_skimage(image: Tensor, target: Tensor, *, data_range: float = 1.0, crop: int = 0) -> Tensor:
    """SSIM of each image of a batch, as scikit-image computes it by default, in float64.

    Each channel alone, a 7x7 window of equal weights, sample covariance, only positions where the window fits. The tables of
    all-in-one restoration, FHDMi and LCDMoire. Differentiable; NaN where an image holds NaN.

    Args:
        image: (b, c, h, w), at least 7 pixels high and wide after the crop.
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels.

    Returns:
        (b,), one where the images are equal.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or fewer than 7 pixels are left.
        TypeError: one image is of integers.
    """
    image, target = check_pair(image, target, crop)
    _check_size(image, len(_UNIFORM), "SSIM with scikit-image's window", crop)
    count = len(_UNIFORM) ** 2
    blur = partial(slide, weights=_UNIFORM)
    return _similarity(image, target, blur, data_range, sample=count / (count - 1))[0].mean((1, 2, 3))


def ssim_pooled(image: Tensor, target: Tensor, *, data_range: float = 1.0, crop: int = 0) -> Tensor:
    """SSIM of images that are first averaged over blocks of round(min(h, w) / 256) pixels, in float64.

    `ssim` for images whose smaller side is below 384, and at a lower resolution beyond, as the authors of SSIM suggest. The
    SOTS tables since DehazeFormer, and piq by default. Differentiable; NaN where an image holds NaN.

    Args:
        image: (b, c, h, w), at least 11 pixels high and wide after the crop.
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels.

    Returns:
        (b,), one where the images are equal.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or fewer than 11 pixels are left.
        TypeError: one image is of integers.
    """
    image, target = check_pair(image, target, crop)
    factor = max(1, round(min(image.shape[-2:]) / 256))
    return ssim(F.avg_pool2d(image, factor), F.avg_pool2d(target, factor), data_range=data_range)


def _halve(x: Tensor) -> Tensor:
    odd = max(x.shape[-2] % 2, x.shape[-1] % 2)
    return F.avg_pool2d(F.pad(x, (odd, 0, odd, 0), mode="replicate"), 2)


def ms_ssim(image: Tensor, target: Tensor, *, data_range: float = 1.0, crop: int = 0) -> Tensor:
    """Multi-scale SSIM of each image of a batch, in float64.

    The contrast and structure at four scales and the whole SSIM at the fifth, each scale the mean of 2x2 pixels of the one
    before, weighted as exponents and multiplied; then the mean over channels. The windows are those of `ssim`. Where a side is
    odd, the first row and the first column are repeated, as piq does; other libraries differ there. Negative structure counts
    as 0. Differentiable; NaN where an image holds NaN.

    Args:
        image: (b, c, h, w), at least 161 pixels high and wide after the crop.
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels.

    Returns:
        (b,), one where the images are equal.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or fewer than 161 pixels are left.
        TypeError: one image is of integers.

    Source: Wang et al., Asilomar 2003, with its five exponents.
    """
    image, target = check_pair(image, target, crop)
    _check_size(image, (len(_GAUSSIAN) - 1) * 2 ** (len(_EXPONENTS) - 1) + 1, "MS-SSIM", crop)
    product = image.new_ones(image.shape[:2])
    for scale, exponent in enumerate(_EXPONENTS):
        if scale:
            image, target = _halve(image), _halve(target)
        whole, structure = _similarity(image, target, partial(slide, weights=_GAUSSIAN), data_range)
        value = (whole if scale == len(_EXPONENTS) - 1 else structure).mean((2, 3))
        # A power of 0 has no gradient: what is not positive takes no part in it. NaN stays NaN.
        negative = value <= 0
        product = product * torch.where(negative, 0.0, torch.where(negative, 1.0, value) ** exponent)
    return product.mean(1)
