"""NAFNet's training loss: minus the PSNR."""

import math

from torch import Tensor


def psnr_loss(restored: Tensor, target: Tensor) -> Tensor:
    """Minus the mean PSNR in dB of the images of a batch, for a range of [0, 1].

    The logarithm gives images with little error the same weight as those with much.

    Args:
        restored: (b, c, h, w).
        target: (b, c, h, w).

    Returns:
        A scalar; 1e-8 is added to each image's squared error.

    Source: megvii-research/NAFNet and HINet, whose training uses it with weight 1.
    """
    squared_error = (restored - target).square().mean((1, 2, 3))
    return 10 / math.log(10) * (squared_error + 1e-8).log().mean()
