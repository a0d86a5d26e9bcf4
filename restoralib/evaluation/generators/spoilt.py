"""What a generator of test images gives, and the draws that generators share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

Rng = np.random.Generator


@dataclass(frozen=True)
class Spoilt:
    """A degraded image, and what was drawn to make it.

    Args:
        image: (3, h, w), float64; not yet clipped or rounded.
        facts: the drawn numbers and words, by name.
        kernel: of a blur that is the same everywhere, (k, k) with sum one and k odd; None for all else.
    """

    image: Tensor
    facts: Mapping[str, str | float] = field(default_factory=dict)
    kernel: Tensor | None = None


def between(rng: Rng, low: float, high: float) -> float:
    """A number from low to high, all equally likely."""
    return float(rng.uniform(low, high))


def by_factor(rng: Rng, low: float, high: float) -> float:
    """A positive number from low to high, all factors equally likely."""
    return math.exp(between(rng, math.log(low), math.log(high)))
