"""Checks that all full-reference metrics share."""

from torch import Tensor


def check_pair(image: Tensor, target: Tensor, crop: int) -> tuple[Tensor, Tensor]:
    """The two images in float64 and without their borders.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or `crop` leaves nothing.
        TypeError: one image is of integers.
    """
    if image.shape != target.shape or image.ndim != 4:
        raise ValueError(f"expected two images of one shape (b, c, h, w), got {tuple(image.shape)} and {tuple(target.shape)}")
    if not (image.is_floating_point() and target.is_floating_point()):
        raise TypeError(f"expected floating-point images, got {image.dtype} and {target.dtype}; divide 8-bit values by 255")
    height, width = image.shape[-2:]
    if crop < 0 or 2 * crop >= min(height, width):
        raise ValueError(f"a border of {crop} pixels leaves nothing of {height}x{width}; pass a smaller crop")
    inner = (..., slice(crop, height - crop), slice(crop, width - crop))
    return image[inner].double(), target[inner].double()
