"""Reductions over the whole image: the only places where a network looks further than its convolutions.

They are modules of their own, without weights, so that `restore(exact=True)` can gather them tile by tile.
"""

from torch import Tensor, nn


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
