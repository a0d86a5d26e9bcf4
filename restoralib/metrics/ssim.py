"""Structural similarity, in the versions with which papers fill their tables.

All are Wang et al., IEEE TIP 2004, eq. 13, with the constants 0.01 and 0.03; they differ in window, border and covariance, and
by that in the second decimal. `protocols` says which tables use which.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.metrics._inputs import check_pair, check_size
from restoralib.metrics._window import constant, gaussian, slide, uniform

Border = Literal["valid", "replicate", "reflect"]

_GAUSSIAN = gaussian(11, 1.5)
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def similarity_maps(
    x: Tensor, y: Tensor, blur: Callable[[Tensor], Tensor], data_range: float, sample: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Maps of the similarity and of its contrast and structure part alone, in the type of the images.

    Args:
        x: one image, (b, c, h, w).
        y: the other.
        blur: gives the weighted means over the windows.
        data_range: largest possible value.
        sample: what variances and the covariance are multiplied by: n / (n - 1) for those of a sample.
    """
    x, y = x / data_range, y / data_range
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = blur(x), blur(y)
    squares, step = mean_x.square() + mean_y.square(), (mean_x - mean_y).square()
    # (2 a b + c) / (a^2 + b^2 + c) is 1 - (a - b)^2 / (a^2 + b^2 + c), and likewise with variances: exactly one for equal
    # images, and without the cancellation of nearly equal numbers.
    structure = 1 - sample * (blur((x - y).square()) - step) / (sample * (blur(x.square() + y.square()) - squares) + c2)
    return (1 - step / (squares + c1)) * structure, structure


def ssim(
    image: Tensor,
    target: Tensor,
    *,
    data_range: float = 1.0,
    crop: int = 0,
    window: int = 11,
    sigma: float | None = 1.5,
    border: Border = "valid",
    sample_covariance: bool = False,
) -> Tensor:
    """SSIM of each image of a batch, by default as most restoration tables compute it, in float64.

    Each channel alone, an 11x11 Gaussian window of sigma 1.5, population covariance, only positions where the window fits;
    the mean over the map and the channels. Papers round results to 8 bits first and often take the luma: see `protocols`.
    Other libraries differ in the last four arguments, and by that in the second decimal. Differentiable; NaN where an image
    holds NaN.

    Args:
        image: (b, c, h, w), at least as high and wide as the window after the crop.
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels.
        window: side of the window, odd.
        sigma: of the Gaussian window, in pixels; None gives all pixels of the window the same weight.
        border: "valid": only positions where the window fits; "replicate": every position, the outermost pixels repeated
            outside, as MATLAB does; "reflect": every position, the image mirrored, as torchmetrics does.
        sample_covariance: variances and covariance with divisor n - 1, as scikit-image has them by default.

    Returns:
        (b,), one where the images are equal, constant ones too.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), the window does not fit in, or the reference is far out of range.
        TypeError: one image is of integers.

    Source: Wang et al., IEEE TIP 2004, eq. 13; conventions of BasicSR.
    """
    image, target = check_pair(image, target, crop, data_range)
    if window < 3 or window % 2 == 0:
        raise ValueError(f"window should be an odd number of 3 or more pixels, got {window}")
    if sigma is not None and not sigma > 0:
        raise ValueError(f"sigma should be above 0, or None for a window of equal weights, got {sigma}")
    if border not in ("valid", "replicate", "reflect"):
        raise ValueError(f"border should be 'valid', 'replicate' or 'reflect', got {border!r}")
    smallest = {"valid": window, "replicate": 1, "reflect": window // 2 + 1}[border]
    check_size(image, smallest, f"SSIM with a window of {window} pixels", crop)
    weights = uniform(window) if sigma is None else gaussian(window, sigma)

    def blur(x: Tensor) -> Tensor:
        return slide(x if border == "valid" else F.pad(x, (window // 2,) * 4, mode=border), weights)

    sample = window**2 / (window**2 - 1) if sample_covariance else 1.0
    return similarity_maps(image, target, blur, data_range, sample)[0].mean((1, 2, 3))


@lru_cache(maxsize=8)
def _mixing(channels: int) -> np.ndarray:
    """What an 11-tap Gaussian along the channels makes of them, the outermost repeated outside."""
    matrix = np.zeros((channels, channels))
    for out in range(channels):
        for tap, weight in enumerate(_GAUSSIAN):
            matrix[out, min(max(out + tap - len(_GAUSSIAN) // 2, 0), channels - 1)] += weight
    return matrix


def _blur_volume(x: Tensor) -> Tensor:
    mixed = torch.einsum("bchw,dc->bdhw", x, constant(_mixing(x.shape[1]), x)) if x.shape[1] > 1 else x
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
        ValueError: shapes differ, are not (b, c, h, w), `crop` leaves nothing, or the reference is far out of range.
        TypeError: one image is of integers.

    Source: MATLAB's ssim, as documented; NAFNet's 3-D SSIM is the same.
    """
    image, target = check_pair(image, target, crop, data_range)
    return similarity_maps(image, target, _blur_volume, data_range)[0].mean((1, 2, 3))


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
        ValueError: shapes differ, are not (b, c, h, w), fewer than 7 pixels are left, or the reference is far out of range.
        TypeError: one image is of integers.
    """
    return ssim(image, target, data_range=data_range, crop=crop, window=7, sigma=None, sample_covariance=True)


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
        ValueError: shapes differ, are not (b, c, h, w), fewer than 11 pixels are left, or the reference is far out of range.
        TypeError: one image is of integers.
    """
    image, target = check_pair(image, target, crop, data_range)
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
        ValueError: shapes differ, are not (b, c, h, w), fewer than 161 pixels are left, or the reference is far out of range.
        TypeError: one image is of integers.

    Source: Wang et al., Asilomar 2003, with its five exponents.
    """
    image, target = check_pair(image, target, crop, data_range)
    check_size(image, (len(_GAUSSIAN) - 1) * 2 ** (len(_EXPONENTS) - 1) + 1, "MS-SSIM", crop)
    product = image.new_ones(image.shape[:2])
    for scale, exponent in enumerate(_EXPONENTS):
        if scale:
            image, target = _halve(image), _halve(target)
        whole, structure = similarity_maps(image, target, partial(slide, weights=_GAUSSIAN), data_range)
        value = (whole if scale == len(_EXPONENTS) - 1 else structure).mean((2, 3))
        # A power of 0 has no gradient: what is not positive takes no part in it. NaN stays NaN.
        negative = value <= 0
        product = product * torch.where(negative, 0.0, torch.where(negative, 1.0, value) ** exponent)
    return product.mean(1)
