"""Rounding to whole levels as a degradation, and checks of the strengths that degradations take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.degradation import Degradation, check_image
from restoralib.ops.levels import round_to_levels


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
