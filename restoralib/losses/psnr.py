"""NAFNet's training loss: minus the PSNR."""

import math

from torch import Tensor

from restoralib.losses._inputs import check_batch, check_pair
from restoralib.ops.color import rgb_to_y


def psnr_loss(restored: Tensor, target: Tensor, *, eps: float = 1e-8, luma: bool = False) -> Tensor:
    """Minus the mean PSNR in dB of the images of a batch, for a range of [0, 1].

    The logarithm gives images with little error the same weight as those with much.

    Args:
        restored: (b, c, h, w).
        target: (b, c, h, w).
        eps: added to each image's squared error.
        luma: compare the luma of BT.601 in limited range of RGB, the authors' `toY`.

    Returns:
        A scalar; float32 for images of half precision.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or luma is asked of an image that is not RGB.

    Source: megvii-research/NAFNet and HINet, whose training uses it with weight 1.
    """
    check_batch(restored, "psnr_loss")
    restored, target = check_pair(restored, target)
    if luma:
        restored, target = rgb_to_y(restored), rgb_to_y(target)
    squared_error = (restored - target).square().mean((1, 2, 3))
    return 10 / math.log(10) * (squared_error + eps).log().mean()
