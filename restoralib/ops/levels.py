"""Whole levels, as files of 8 bits and more keep them."""

from __future__ import annotations

from torch import Tensor

from restoralib.ops.precision import full_precision


def nearest_levels(image: Tensor, levels: int = 255, *, clip: bool = True) -> Tensor:
    """The nearest whole numbers on the scale where black is 0 and white is `levels`, ties to even.

    Values outside [0, 1] are clipped unless told otherwise. Half precision comes back as float32, in which whole levels are
    exact. NaN passes through. The gradient is zero.

    Shapes: any, in [0, 1] -> the same, in 0..levels.

    Raises:
        ValueError: levels is not positive.
    """
    if levels < 1:
        raise ValueError(f"levels should be positive, got {levels}; 255 is 8 bits")
    image = full_precision(image)
    return ((image.clamp(0, 1) if clip else image) * levels).round()


def round_to_levels(image: Tensor, levels: int = 255, *, clip: bool = True) -> Tensor:
    """Round to multiples of 1 / levels, ties to even, and clip to [0, 1] unless told otherwise.

    Shapes: any -> the same, in the image's type. NaN passes through. The gradient is zero.

    Raises:
        ValueError: levels is not positive.
    """
    return (nearest_levels(image, levels, clip=clip) / levels).to(image.dtype)
