"""Peak signal-to-noise ratio."""

import math

from torch import Tensor

from restoralib.metrics._inputs import check_pair, told_size


def psnr(image: Tensor, target: Tensor, *, data_range: float = 1.0, crop: int = 0, eps: float = 0.0) -> Tensor:
    """PSNR in dB of each image of a batch, over all its pixels and channels together, in float64.

    Nothing is clamped, rounded or converted: `protocols` does what papers do before. Differentiable; NaN where an image holds
    NaN.

    Args:
        image: (b, c, h, w).
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels; super-resolution tables leave out `scale`.
        eps: added to the mean squared error of [0, 1]. BasicSR's tensor version and piq add 1e-8, which makes equal images 80
            dB and the gradient finite.

    Returns:
        (b,), infinite where the images are equal and eps is 0.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), `crop` leaves nothing, or the reference is far out of range.
        TypeError: one image is of integers.
    """
    image, target = check_pair(image, target, crop, data_range)
    squared_error = (image - target).square().mean((1, 2, 3)) / data_range**2
    return -10 * (squared_error + eps).log10()


def psnr_b(image: Tensor, target: Tensor, *, data_range: float = 1.0, crop: int = 0, block: int = 8) -> Tensor:
    """PSNR-B in dB of each image of a batch: PSNR with the visible blocks of JPEG counted as errors, in float64.

    The blocking effect of the restored image is the excess of the mean squared step across block borders over that of all other
    steps, times log2(block) / log2(min(h, w)), and 0 where there is no excess; it is added to the mean squared error. Each
    channel alone, then the mean over channels. Not symmetric: the restored image comes first.

    Args:
        image: the restored image, (b, c, h, w); its blocks begin at its first row and column, after the crop.
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels; tables of JPEG artifacts leave out none.
        block: side of the blocks.

    Returns:
        (b,), infinite where the images are equal and show no blocks.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), a side has fewer than two blocks, or the reference is far out of range.
        TypeError: one image is of integers.

    Source: Yim and Bovik, IEEE TIP 2011; conventions of SwinIR's tables.
    """
    image, target = check_pair(image, target, crop, data_range)
    height, width = image.shape[-2:]
    if min(height, width) < 2 * block:
        raise ValueError(f"PSNR-B needs two blocks of {block} pixels along each side, got {told_size(image, crop)}")
    image, target = image / data_range, target / data_range
    columns = image.diff(dim=-1).square().sum(-2)  # of the steps from column to column
    rows = image.diff(dim=-2).square().sum(-1)
    on_border = columns[..., block - 1 :: block].sum(-1) + rows[..., block - 1 :: block].sum(-1)
    inside = columns.sum(-1) + rows.sum(-1) - on_border
    # The tables' counts: a last block that is not whole has its border in the sum, but not in the number of steps.
    borders = height * (width // block - 1) + width * (height // block - 1)
    others = height * (width - 1) + width * (height - 1) - borders
    excess = (on_border / borders - inside / others).clamp(min=0)
    effect = excess * math.log2(block) / math.log2(min(height, width))
    squared_error = (image - target).square().mean((2, 3))
    return -10 * (squared_error + effect).log10().mean(1)
