"""The mean of a data set, taken from images and given back to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
_MEANS = (DIV2K_MEAN, (0.4690, 0.4490, 0.4036))  # the second is that of DIV2K and Flickr2K together


class MeanShift(nn.Module):
    """Adds `sign` times the mean colour of the training images, as a 1x1 convolution that is never trained.

    EDSR (arXiv:1707.02921) and RCAN (arXiv:1807.02758) begin and end with it. Checkpoints hold it under the keys `weight` and
    `bias`; here these are buffers, for nothing should move them.

    Args:
        rgb_range: largest value of a channel.
        sign: -1 to take the mean, 1 to give it back.
        rgb_mean: mean of each channel, for images in [0, 1].

    Shapes: (b, 3, h, w) -> (b, 3, h, w).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, rgb_range: float, sign: int = -1, rgb_mean: Sequence[float] = DIV2K_MEAN) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor([[[[float(i == j)]] for j in range(3)] for i in range(3)]))
        self.register_buffer("bias", torch.tensor([sign * rgb_range * value for value in rgb_mean]))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)


def told_range(bias: Tensor) -> float | None:
    """The `rgb_range` that made the bias of a MeanShift, if its mean is DIV2K's or that of DIV2K and Flickr2K together.

    None for any other bias, and for one without values.
    """
    if bias.is_meta or bias.shape != (3,):
        return None
    values = [abs(value) for value in bias.tolist()]
    for mean in _MEANS:
        rgb_range = values[0] / mean[0]
        errors = [abs(value - rgb_range * part) for value, part in zip(values, mean, strict=True)]
        if 0 < rgb_range < math.inf and max(errors) < 1e-4 * rgb_range:
            whole = round(rgb_range)
            return whole if abs(whole - rgb_range) < 1e-6 * rgb_range else round(rgb_range, 6)
    return None
