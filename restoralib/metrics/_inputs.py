"""Checks that all metrics share."""

import torch
from torch import Tensor


def precision(image: Tensor) -> torch.dtype:
    """The type in which figures are computed: float64, and float32 on Apple's devices, which have no wider one."""
    return torch.float32 if image.device.type == "mps" else torch.float64


def check_image(image: Tensor, crop: int = 0) -> Tensor:
    """One batch of images in float64 and without its border.

    Raises:
        ValueError: it is not (b, c, h, w), or `crop` leaves nothing.
        TypeError: it is of integers.
    """
    if image.ndim != 4:
        raise ValueError(f"expected images of shape (b, c, h, w), got {tuple(image.shape)}; image[None] makes one a batch")
    if not image.is_floating_point():
        raise TypeError(f"expected floating-point images, got {image.dtype}; divide 8-bit values by 255")
    height, width = image.shape[-2:]
    if crop < 0 or 2 * crop >= min(height, width):
        raise ValueError(f"a border of {crop} pixels leaves nothing of {height}x{width}; pass a smaller crop")
    return image[..., crop : height - crop, crop : width - crop].to(precision(image))


def told_size(image: Tensor, crop: int) -> str:
    """Height and width for a message, with the crop where there was one."""
    height, width = image.shape[-2:]
    return f"{height}x{width}" + (f" after a crop of {crop}" if crop else "")


def check_size(image: Tensor, smallest: int, name: str, crop: int = 0) -> None:
    """Refuse an image with a side below the smallest, which `name` needs."""
    if min(image.shape[-2:]) < smallest:
        raise ValueError(f"{name} needs {smallest}x{smallest} pixels, got {told_size(image, crop)}")


def check_shapes(image: Tensor, target: Tensor) -> None:
    """Refuse images of different shapes, with what to do about it."""
    if image.shape == target.shape and image.ndim == 4:
        return
    mend = ""
    if image.ndim == target.ndim == 4 and image.shape[0] == target.shape[0]:
        if image.shape[-2:] != target.shape[-2:]:
            mend = "; cut or resize one of them first, metrics never do"
        elif {image.shape[1], target.shape[1]} == {1, 3}:
            mend = "; compare grey with grey: take the luma of the colours (ops.rgb_to_y), or repeat the grey in three channels"
    raise ValueError(f"expected two images of one shape (b, c, h, w), got {tuple(image.shape)} and {tuple(target.shape)}{mend}")


def check_types(image: Tensor, target: Tensor) -> None:
    """Refuse integers, whose range nobody knows."""
    if not (image.is_floating_point() and target.is_floating_point()):
        raise TypeError(f"expected floating-point images, got {image.dtype} and {target.dtype}; divide 8-bit values by 255")


def check_range(target: Tensor, data_range: float = 1.0, name: str = "the reference") -> None:
    """Refuse a reference in another unit: values of 8 bits, or of [-1, 1], where [0, data_range] is expected.

    Only what is far out counts, for interpolation and filters overshoot; and only the reference, for a result may be as bad as
    it likes. A compiled graph does not look at values.
    """
    if not data_range > 0:
        raise ValueError(f"data_range should be above 0, got {data_range}")
    if torch.compiler.is_compiling() or not target.numel():
        return
    low, high = (value.item() for value in target.detach().aminmax())
    if low < -data_range / 2 or high > 1.5 * data_range:
        raise ValueError(
            f"{name} goes from {low:g} to {high:g}, where 0 to {data_range:g} is expected; convert the images, or pass "
            "data_range where the metric has it"
        )


def check_pair(image: Tensor, target: Tensor, crop: int = 0, data_range: float = 1.0) -> tuple[Tensor, Tensor]:
    """The two images in float64 and without their borders.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), `crop` leaves nothing, or the reference is far out of the range.
        TypeError: one image is of integers.
    """
    check_shapes(image, target)
    check_types(image, target)
    image, exact = check_image(image, crop), check_image(target, crop)
    check_range(target, data_range)
    return image, exact


def check_colours(image: Tensor, target: Tensor) -> None:
    """Refuse pairs that a network of colours cannot compare.

    Raises:
        ValueError: shapes differ or are not (b, 3, h, w).
        TypeError: one image is of integers.
    """
    check_shapes(image, target)
    if image.shape[1] != 3:
        raise ValueError(f"expected colour images (b, 3, h, w), got {tuple(image.shape)}; repeat grey three times")
    check_types(image, target)
