"""Gates: one half of the channels weighs the other."""

from torch import Tensor, nn


class SimpleGate(nn.Module):
    """The product of the first and the second half of the channels.

    NAFNet (arXiv:2204.04676, eq. 4).

    Shapes: (b, 2c, h, w) -> (b, c, h, w).
    """

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return first * second
