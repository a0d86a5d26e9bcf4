"""The filters of MATLAB's `fspecial` that papers blur with: Gaussian, disk, motion and average.

Kernels are in float64, rows downwards, and sum to one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fspecial_gaussian(size: int | tuple[int, int], sigma: float) -> Tensor:
    """Round Gaussian; values below the machine's epsilon of the largest become zero.

    Args:
        size: side in pixels, or (rows, columns); even ones have their middle between pixels.
        sigma: standard deviation in pixels.

    Raises:
        ValueError: a size or sigma is not positive.
    """
    rows, columns = _sides(size)
    if not sigma > 0:
        raise ValueError(f"sigma should be positive, got {sigma}")
    y = torch.arange(rows, dtype=torch.float64) - (rows - 1) / 2
    x = torch.arange(columns, dtype=torch.float64) - (columns - 1) / 2
    kernel = torch.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * sigma**2))
    kernel[kernel < torch.finfo(torch.float64).eps * kernel.max()] = 0
    return kernel / kernel.sum()


def fspecial_average(size: int | tuple[int, int]) -> Tensor:
    """The mean of a box: every value the same.

    Raises:
        ValueError: a size is not positive.
    """
    rows, columns = _sides(size)
    return torch.full((rows, columns), 1 / (rows * columns), dtype=torch.float64)


def fspecial_disk(radius: float) -> Tensor:
    """Circle of confusion of a lens out of focus: the part of each pixel that a disk covers.

    Args:
        radius: in pixels.

    Returns:
        (n, n) with n = 2 ceil(radius - 0.5) + 1.

    Raises:
        ValueError: the radius is not positive.
    """
    if not radius > 0:
        raise ValueError(f"radius should be positive, got {radius}")
    reach = max(math.ceil(radius - 0.5), 0)
    corners = torch.arange(2 * reach + 2, dtype=torch.float64) - reach - 0.5
    # Area of the disk over [0, x] x [0, y], with the signs of x and y: a pixel's area is a difference of four of them.
    area = _disk_area(corners[None, :], corners[:, None], radius)
    kernel = area.diff(dim=0).diff(dim=1).clamp(min=0)
    return kernel / kernel.sum()


def fspecial_motion(length: float, angle: float = 0.0) -> Tensor:
    """Straight motion of a camera: a line one pixel wide with soft ends.

    Args:
        length: of the line, in pixels.
        angle: degrees, counter-clockwise from right.

    Returns:
        (rows, columns), just large enough, both odd.

    Raises:
        ValueError: the length is not positive.
    """
    if not length > 0:
        raise ValueError(f"length should be positive, got {length}")
    length = max(length, 1.0)
    half, eps = (length - 1) / 2, torch.finfo(torch.float64).eps
    phi = math.radians(angle % 180)
    cos, sin = math.cos(phi), math.sin(phi)
    # How far pixels are touched, right of the middle and above it; the epsilon keeps lines along the axes one pixel wide.
    right = int(abs(half * cos + math.copysign(1, cos) - length * eps))
    above = int(half * sin + 1 - length * eps)
    x = torch.arange(-right, right + 1, dtype=torch.float64)[None, :]
    y = torch.arange(above, -above - 1, -1, dtype=torch.float64)[:, None]
    across, along = (y * cos - x * sin).abs(), (y * sin + x * cos).abs()
    beyond = (x**2 + y**2 >= half**2) & (across <= 1)
    distance = torch.where(beyond, torch.hypot(across, half - along), across)
    kernel = (1 + eps - distance).clamp(min=0)
    return kernel / (kernel.sum() + eps * length**2)


def _disk_area(x: Tensor, y: Tensor, radius: float) -> Tensor:
    sign = x.sign() * y.sign()
    x, y = x.abs().clamp(max=radius), y.abs().clamp(max=radius)
    bend = (radius**2 - y**2).clamp(min=0).sqrt().minimum(x)  # up to here the box is lower than the circle
    return sign * (bend * y + _under_circle(x, radius) - _under_circle(bend, radius))


def _under_circle(x: Tensor, radius: float) -> Tensor:
    """Area below the quarter circle from 0 to x."""
    return (x * (radius**2 - x**2).clamp(min=0).sqrt() + radius**2 * torch.asin((x / radius).clamp(max=1))) / 2


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    rows, columns = size if isinstance(size, tuple) else (size, size)
    if min(rows, columns) < 1:
        raise ValueError(f"the size of a kernel should be positive, got {size}")
    return rows, columns
