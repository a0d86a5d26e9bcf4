"""Resizing of images with MATLAB's `imresize` conventions, on which the papers' low-resolution images rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from restoralib.ops.pad import mirrored

Kernel = Literal["box", "bilinear", "bicubic", "lanczos2", "lanczos3"]


def _box(x: Tensor) -> Tensor:
    return ((x >= -0.5) & (x < 0.5)).to(x.dtype)


def _bilinear(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _bicubic(x: Tensor) -> Tensor:
    x = x.abs()
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))


def _lanczos(lobes: int) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.where(x.abs() < lobes, torch.sinc(x) * torch.sinc(x / lobes), torch.zeros_like(x))


_KERNELS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "box": (_box, 1),
    "bilinear": (_bilinear, 2),
    "bicubic": (_bicubic, 4),
    "lanczos2": (_lanczos(2), 4),
    "lanczos3": (_lanczos(3), 6),
}


def resized_length(length: int, scale: float) -> int:
    """The number of samples that a line has after resizing, ceil(scale * length)."""
    # The product of a decimal scale and a length may miss a whole number by rounding: 0.7 * 10 is 7.000000000000001.
    return math.ceil(round(scale * length, 9))


def resize_taps(
    length: int, size: int, scale: float, kernel: Kernel = "bicubic", antialias: bool = True
) -> tuple[Tensor, Tensor]:
    """Source positions and weights of every output sample along one axis.

    Pixel centres, the widening of the kernel by 1 / scale when shrinking and the mirrored border (edge repeated) are those of
    MATLAB's `imresize`.

    Args:
        length: samples in.
        size: samples out.
        scale: the ratio that places the samples, which is not size / length where that is not whole.

    Returns:
        Positions (size, taps), int64, and weights (size, taps), float64; each row of weights sums to one.
    """
    function, width = _KERNELS[kernel]
    stretch = min(scale, 1.0) if antialias else 1.0
    support = width / stretch
    centers = (torch.arange(size, dtype=torch.float64) + 0.5) / scale - 0.5
    # Two taps more than the support: its ends may fall between samples on both sides.
    positions = torch.floor(centers - support / 2)[:, None] + torch.arange(math.ceil(support) + 2)
    weights = function((centers[:, None] - positions) * stretch)
    weights = weights / weights.sum(1, keepdim=True)
    used = (weights != 0).any(0)
    return mirrored(positions.long(), length)[:, used], weights[:, used]


def resize(
    image: Tensor,
    scale: float | tuple[float, float] | None = None,
    *,
    size: tuple[int, int] | None = None,
    kernel: Kernel = "bicubic",
    antialias: bool = True,
    levels: int | None = None,
) -> Tensor:
    """Resize as MATLAB's `imresize` does, antialiased when shrinking.

    Results overshoot [0, 1] near edges; clamp them before they are stored. Differentiable; runs in the image's own
    floating-point type, with weights made in float64.

    Args:
        image: (..., h, w), floating point.
        scale: factor along both axes, or (vertical, horizontal); the output has ceil(scale * length) samples.
        size: (height, width) to reach instead; together with `scale`, which then only places the samples.
        kernel: interpolation kernel; "bicubic" is Keys' with a = -0.5.
        antialias: widen the kernel when shrinking.
        levels: round to multiples of 1 / levels and clamp to [0, 1] after each pass; 255 is MATLAB on uint8 images (up to
            ties, which MATLAB rounds away from zero and this rounds to even).

    Returns:
        (..., new h, new w).

    Raises:
        ValueError: neither scale nor size is given, one is not positive, the kernel is unknown or the image is empty.
        TypeError: the image is not of floating point.

    Source: MATLAB imresize, as documented; Keys, IEEE TASSP 1981, for the bicubic kernel.
    """
    if not image.is_floating_point():
        raise TypeError(f"resize expects a floating-point image, got {image.dtype}; divide 8-bit values by 255 first")
    if image.ndim < 2 or 0 in image.shape:
        raise ValueError(f"resize expects (..., h, w) with at least one pixel, got shape {tuple(image.shape)}")
    if kernel not in _KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; choose one of {', '.join(_KERNELS)}")
    height, width = image.shape[-2:]
    if scale is None:
        if size is None:
            raise ValueError("resize expects a scale or a size; pass scale=0.5, say, or size=(height, width)")
        scales = (size[0] / height, size[1] / width)
    else:
        scales = (scale[0], scale[1]) if isinstance(scale, tuple) else (float(scale), float(scale))
    if min(scales) <= 0 or (size is not None and min(size) < 1):
        raise ValueError(f"scale and size should be positive, got scale {scale} and size {size}")
    if size is None:
        size = (resized_length(height, scales[0]), resized_length(width, scales[1]))

    if levels is not None:
        image = image * levels  # Whole levels stay exact, so that ties round as ties.
    # MATLAB takes the axis that shrinks most first, the vertical one when they are equal.
    for axis in sorted((-2, -1), key=lambda axis: scales[axis]):
        if size[axis] == image.shape[axis] and scales[axis] == 1:
            continue
        positions, weights = resize_taps(image.shape[axis], size[axis], scales[axis], kernel, antialias)
        positions, weights = positions.to(image.device), weights.to(image)
        if axis == -2:
            weights = weights[..., None]
        image = sum(image.index_select(axis, positions[:, tap]) * weights[:, tap] for tap in range(positions.shape[1]))  # type: ignore[assignment]
        if levels is not None:
            image = image.round().clamp(0, levels)
    return image if levels is None else image / levels
