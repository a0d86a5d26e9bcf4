"""Resizing as pipelines of blind super-resolution do it: by torch's and OpenCV's interpolations, which are not antialiased."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from restoralib.degradations.degradation import Degradation, check_image, choice, uniform
from restoralib.ops.precision import full_precision

Interpolation = Literal["area", "bilinear", "bicubic", "coverage"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("area", "bilinear", "bicubic", "coverage")


def interpolate(
    image: Tensor,
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    mode: Interpolation = "bilinear",
    aligned: bool = True,
) -> Tensor:
    """Resize without antialiasing.

    Args:
        image: (b, c, h, w).
        scale: new sides over old ones; the result has floor(scale * side) pixels, but one at least.
        size: (height, width) to reach instead.
        mode: "bilinear" and "bicubic" (a = -0.75) are torch's and OpenCV's, "area" is torch's mean of whole pixels, "coverage"
            the mean over the exact area of each new pixel, OpenCV's INTER_AREA.
        aligned: old and new image cover the same area, as in OpenCV. False is torch's way with a scale, and Real-ESRGAN's:
            where scale * side is not whole, samples lie 1 / scale apart and the last rows and columns are lost. It matters for
            "bilinear" and "bicubic" with a scale.

    Returns:
        (b, c, h', w'); bicubic overshoots [0, 1].

    Raises:
        ValueError: not one of scale and size is given, it is not positive, or the mode is unknown.
    """
    h, w = image.shape[-2:]
    if (scale is None) == (size is None):
        raise ValueError("interpolate expects a scale or a size, one of them")
    if mode not in INTERPOLATIONS:
        raise ValueError(f"unknown mode {mode!r}; choose one of {', '.join(INTERPOLATIONS)}")
    if scale is not None:
        if not 0 < scale < math.inf:
            raise ValueError(f"scale should be positive, got {scale}")
        size = (max(math.floor(h * scale), 1), max(math.floor(w * scale), 1))
    assert size is not None
    if min(size) < 1:
        raise ValueError(f"size should be positive, got {size}")
    work = full_precision(image)
    if mode == "area":
        return functional.interpolate(work, size, mode="area").to(image.dtype)
    if mode == "coverage":
        down, across = _coverage(h, size[0]).to(work), _coverage(w, size[1]).to(work)
        return (down @ work @ across.T).to(image.dtype)
    if scale is not None and not aligned and min(h, w) * scale >= 1:
        return functional.interpolate(work, scale_factor=scale, mode=mode, align_corners=False).to(image.dtype)
    return functional.interpolate(work, size, mode=mode, align_corners=False).to(image.dtype)


@dataclass(frozen=True)
class Interpolate(Degradation):
    """Another size without antialiasing, `interpolate`; bicubic results are not clipped.

    Args:
        scale: new sides over old ones.
        mode: "area", "bilinear", "bicubic" or "coverage".
        aligned: as in `interpolate`.
    """

    scale: float = 0.5
    mode: Interpolation = "bilinear"
    aligned: bool = True

    def __call__(self, image: Tensor) -> Tensor:
        return interpolate(check_image(image), self.scale, mode=self.mode, aligned=self.aligned)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        chances: tuple[float, float, float] = (0.2, 0.7, 0.1),
        scale: tuple[float, float] = (0.15, 1.5),
        modes: tuple[Interpolation, ...] = ("area", "bilinear", "bicubic"),
        aligned: bool = True,
    ) -> Self:
        """Draw Real-ESRGAN's resizing; the ranges are those of its first stage.

        Args:
            generator: source of all randomness, on the CPU.
            chances: of enlarging, reducing and keeping the size.
            scale: the smallest and the largest.
            modes: to choose from.
            aligned: as in `interpolate`.
        """
        direction = choice(("up", "down", "keep"), generator, chances)
        low, high = {"up": (1.0, scale[1]), "down": (scale[0], 1.0), "keep": (1.0, 1.0)}[direction]
        return cls(uniform(low, high, generator), choice(modes, generator), aligned)


def _coverage(length: int, size: int) -> Tensor:
    """How much of every new sample lies over every old one, (size, length), float64; rows of sum one."""
    edges = torch.arange(size + 1, dtype=torch.float64) * (length / size)
    old = torch.arange(length, dtype=torch.float64)
    over = torch.minimum(edges[1:, None], old + 1) - torch.maximum(edges[:-1, None], old)
    return over.clamp(min=0) * (size / length)
