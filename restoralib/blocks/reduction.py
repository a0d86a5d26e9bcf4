"""Reductions over the whole image: the only places where a network looks further than its convolutions.

They are modules of their own, without weights, so that `restore(exact=True)` can gather them tile by tile.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from restoralib.ops.precision import at_least_float32, without_autocast


class GlobalReduction(nn.Module):
    """A statistic of all pixels that is the mean of the statistics of equal parts.

    `forward` maps a feature map (…, h, w) to a tensor without pixels; for parts of the same number of pixels, the mean of
    their results must be the result of the whole.
    """


class GlobalMean(GlobalReduction):
    """Mean over height and width, kept as axes of length one.

    Shapes: (b, c, h, w) -> (b, c, 1, 1).
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class ChannelGram(GlobalReduction):
    """Second moments of queries and keys, for attention between channels: the mean of q_i k_j, and of q_i^2 and k_j^2.

    The Gram matrix of Restormer's transposed attention (arXiv:2111.09881, eq. 1) with all that its normalisation needs.
    Half precision is summed, and given back, in float32: the squares of a large image overflow float16.

    Args:
        heads: groups of channels; only channels of one group meet.

    Shapes: (b, 2c, h, w), the queries before the keys -> (b, heads, c / heads, c / heads + 2): a row for every query
        channel, a column for every key channel, then a column of the queries' mean squares and one of the keys'.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):
            x = x.to(at_least_float32(x.dtype))
            qk = rearrange(x, "b (two heads c) h w -> b two heads c (h w)", two=2, heads=self.heads)
            products = qk[:, 0] @ qk[:, 1].mT / qk.shape[-1]
            return torch.cat((products, qk.square().mean(-1).movedim(1, -1)), -1)
