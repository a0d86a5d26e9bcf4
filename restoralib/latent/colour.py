"""Colours of a generated image corrected by those of the degraded one, which knows them better than its details."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.ops.precision import full_precision


def adain(image: Tensor, style: Tensor, eps: float = 1e-5) -> Tensor:
    """The image with the mean and the standard deviation of each channel of another (AdaIN, arXiv:1703.06868).

    Args:
        image: (b, c, h, w), in any range.
        style: (b, c, ...) in the same range; for StableSR the enlarged degraded image.
        eps: added to the variances, which are those of a sample (n - 1).

    Returns:
        Like the image, not clamped.

    Raises:
        ValueError: batches or channels differ.
    """
    _check(image, style, size=False)
    mean, std = _statistics(image, eps)
    style_mean, style_std = _statistics(style, eps)
    return ((full_precision(image) - mean) / std * style_std + style_mean).to(image.dtype)


def wavelet_colour(image: Tensor, style: Tensor, levels: int = 5) -> Tensor:
    """The details of an image on the low frequencies of another.

    Args:
        image: (b, c, h, w), in any range.
        style: of the same shape and range.
        levels: how often details are split off, each time twice as large; 5 reach 31 pixels far.

    Returns:
        Like the image, not clamped.

    Raises:
        ValueError: shapes differ, or levels is negative.

    Source: the wavelet correction of StableSR (arXiv:2305.07015).
    """
    _check(image, style, size=True)
    low = split_frequencies(style, levels)[1]
    return split_frequencies(image, levels)[0] + low


def split_frequencies(image: Tensor, levels: int = 5) -> tuple[Tensor, Tensor]:
    """High and low frequencies, which add up to the image.

    What a 3x3 binomial blur takes away is kept, at distances of 1, 2, 4 … pixels in turn, with the border repeated (à trous).

    Args:
        image: (b, c, h, w).
        levels: blurs.

    Raises:
        ValueError: levels is negative.
    """
    if levels < 0:
        raise ValueError(f"levels should be at least 0, got {levels}")
    low = image
    for level in range(levels):
        low = _blur(low, 2**level)
    return image - low, low


def _blur(image: Tensor, step: int) -> Tensor:
    """[1 2 1] / 4 along both axes, at a distance."""
    channels = image.shape[1]
    line = image.new_tensor([0.25, 0.5, 0.25])
    for axis in (2, 3):
        pad = (0, 0, step, step) if axis == 2 else (step, step, 0, 0)
        weight = (line[:, None] if axis == 2 else line).expand(channels, 1, *((3, 1) if axis == 2 else (1, 3)))
        image = F.conv2d(F.pad(image, pad, mode="replicate"), weight, dilation=step, groups=channels)
    return image


def _statistics(image: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    flat = full_precision(image).flatten(2)
    variance = flat.var(2) if flat.shape[2] > 1 else torch.zeros_like(flat[..., 0])  # one pixel does not vary
    shape = (*image.shape[:2], *(1,) * (image.ndim - 2))
    return flat.mean(2).view(shape), (variance + eps).sqrt().view(shape)


def _check(image: Tensor, style: Tensor, size: bool) -> None:
    alike = image.shape == style.shape if size else image.shape[:2] == style.shape[:2]
    if image.ndim != 4 or style.ndim != 4 or not alike:
        expected = "of one shape (b, c, h, w)" if size else "(b, c, h, w) of the same batch and channels"
        raise ValueError(f"image and style should be {expected}, got {tuple(image.shape)} and {tuple(style.shape)}")
