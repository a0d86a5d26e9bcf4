"""What a degradation is: a record of plain numbers that can be called on images, and drawn at random.

A pair of a clean and a degraded image can be rebuilt from the record alone: everything random that is larger than a few numbers
(noise, rain streaks, a mask) is drawn anew from the seed that the record keeps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

T = TypeVar("T")


class Degradation(ABC):
    """One degradation with its parameters.

    Subclasses are frozen dataclasses whose fields are numbers, strings, booleans, None, tuples of these, or further
    degradations, so that `record` and `rebuild` can turn them into JSON and back.
    """

    @abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """Degrade images.

        Args:
            image: (b, c, h, w) in [0, 1], RGB or grey.

        Returns:
            (b, c, h', w'); equal calls give equal results, on every device.
        """

    @classmethod
    @abstractmethod
    def draw(cls, generator: torch.Generator) -> Self:
        """Draw the parameters at random from the documented ranges.

        Args:
            generator: source of all randomness, on the CPU.
        """


def check_image(image: Tensor) -> Tensor:
    """The image, unchanged.

    Raises:
        ValueError: it is not (b, c, h, w) with one or three channels and at least one pixel.
        TypeError: it is not of floating point.
    """
    if image.ndim != 4 or image.shape[1] not in (1, 3) or image.numel() == 0:
        raise ValueError(f"expected images (b, c, h, w) with one or three channels, got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise TypeError(f"expected floating point in [0, 1], got {image.dtype}; divide 8-bit images by 255")
    return image


def check_reduction(scale: float) -> None:
    """Refuse a factor of reduction that enlarges, or is none.

    Raises:
        ValueError: it is below 1, or NaN.
    """
    if not scale >= 1:
        raise ValueError(f"the scale of a reduction should be at least 1, got {scale}")


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU, where the same seed gives the same numbers whatever device the image is on."""
    return torch.Generator().manual_seed(seed)


def draw_seed(generator: torch.Generator) -> int:
    """A seed for a record, from the generator of a pair."""
    return int(torch.randint(2**31, (), generator=generator))


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A number between low and high, all equally likely."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def integer(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def choice(items: Sequence[T], generator: torch.Generator, weights: Sequence[float] | None = None) -> T:
    """One of the items, all equally likely or by their weights."""
    chances = torch.ones(len(items)) if weights is None else torch.tensor(weights, dtype=torch.float64)
    return items[int(torch.multinomial(chances, 1, generator=generator))]
