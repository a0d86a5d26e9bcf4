"""Colours that a camera or a person got slightly wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.degradation import Degradation, check_image, uniform
from restoralib.degradations.levels import check_level
from restoralib.degradations.noise import LUMA
from restoralib.ops.precision import full_precision


def jitter_color(image: Tensor, brightness: float = 1.0, contrast: float = 1.0) -> Tensor:
    """Multiply by a brightness, then stretch about the image's mean luma by a contrast; clipped to [0, 1] after each.

    Args:
        image: (b, c, h, w) in [0, 1].
        brightness: factor of all values.
        contrast: factor of their distance from the mean luma, image by image.

    Returns:
        (b, c, h, w). NaN spoils the image.

    Raises:
        ValueError: a factor is negative, or the image has another shape.
    """
    work = full_precision(check_image(image))
    check_level(brightness, "brightness")
    check_level(contrast, "contrast")
    bright = (work * brightness).clamp(0, 1)
    luma = torch.einsum("bchw,c->bhw", bright, torch.tensor(LUMA).to(bright)) if image.shape[1] == 3 else bright[:, 0]
    mean = luma.mean((1, 2))[:, None, None, None]
    return torch.lerp(mean, bright, contrast).clamp(0, 1).to(image.dtype)


@dataclass(frozen=True)
class ColorJitter(Degradation):
    """Other brightness and contrast: `jitter_color`.

    Args:
        brightness: factor of all values.
        contrast: factor of their distance from the mean luma.
    """

    brightness: float = 1.0
    contrast: float = 1.0

    def __call__(self, image: Tensor) -> Tensor:
        return jitter_color(image, self.brightness, self.contrast)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        brightness: tuple[float, float] = (0.8, 1.2),
        contrast: tuple[float, float] = (0.8, 1.2),
    ) -> Self:
        """Draw both factors from ranges, the mission's by default."""
        return cls(uniform(*brightness, generator), uniform(*contrast, generator))
