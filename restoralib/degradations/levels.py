"""Whole levels, as 8-bit files keep them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.degradation import Degradation, check_image
from restoralib.ops.precision import at_least_float32


def round_to_levels(image: Tensor, levels: int = 255, *, clip: bool = True) -> Tensor:
    """Round to multiples of 1 / levels, ties to even, and clip to [0, 1] unless told otherwise.

    Shapes: any -> the same. NaN passes through. The gradient is zero.

    Raises:
        ValueError: levels is not positive.
    """
    if levels < 1:
        raise ValueError(f"levels should be positive, got {levels}; 255 is 8 bits")
    work = in_float32(image)
    work = (work * levels).round() / levels
    return (work.clamp(0, 1) if clip else work).to(image.dtype)


@dataclass(frozen=True)
class RoundToLevels(Degradation):
    """Clip to [0, 1] and round to whole levels, as a file of 8 bits does.

    Args:
        levels: whole steps from black to white.
    """

    levels: int = 255

    def __call__(self, image: Tensor) -> Tensor:
        return round_to_levels(check_image(image), self.levels)

    @classmethod
    def draw(cls, generator: torch.Generator) -> Self:
        """Eight bits: nothing is drawn."""
        return cls()


def in_float32(image: Tensor) -> Tensor:
    """The image, half precision as float32."""
    return image.to(at_least_float32(image.dtype))


def check_finite(image: Tensor, name: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        ValueError: there are some.
    """
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"{name} expects finite values, got NaN or infinity; replace them first, by nan_to_num say")


def check_level(value: float | Tensor, name: str) -> None:
    """Refuse what is no strength: negative, NaN or infinite.

    Raises:
        ValueError: it is one of these.
    """
    good = bool((torch.isfinite(value) & (value >= 0)).all()) if isinstance(value, Tensor) else 0 <= value < math.inf
    if not good:
        raise ValueError(f"{name} should be zero or more, got {value}")


def for_each_image(value: float | Tensor, image: Tensor, name: str) -> float | Tensor:
    """A number for all images, or one for each, (b,), so that it can be multiplied with them.

    Raises:
        ValueError: it is a tensor of another shape.
    """
    if not isinstance(value, Tensor):
        return value
    if value.numel() not in (1, image.shape[0]) or value.ndim > 1:
        raise ValueError(
            f"{name} should be a number or one for each of {image.shape[0]} images, got shape {tuple(value.shape)}"
        )
    return value.to(image).reshape(-1, 1, 1, 1)
