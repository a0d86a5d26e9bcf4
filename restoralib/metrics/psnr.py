"""Peak signal-to-noise ratio."""

from torch import Tensor

from restoralib.metrics._inputs import check_pair


def psnr(image: Tensor, target: Tensor, *, data_range: float = 1.0, crop: int = 0) -> Tensor:
    """PSNR in dB of each image of a batch, over all its pixels and channels together, in float64.

    Nothing is clamped, rounded or converted: papers round results to 8 bits first and often take the luma (`ops.rgb_to_y`).

    Args:
        image: (b, c, h, w).
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels; super-resolution tables leave out `scale`.

    Returns:
        (b,), infinite where the images are equal.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or `crop` leaves nothing.
        TypeError: one image is of integers.
    """
    image, target = check_pair(image, target, crop)
    squared_error = (image - target).square().mean((1, 2, 3))
    return 10 * (data_range**2 / squared_error).log10()
