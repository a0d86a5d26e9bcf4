"""Channel attention: a weight for every channel, from its mean over the image."""

from torch import Tensor, nn

from restoralib.blocks.reduction import GlobalMean


class _ChannelWeights(nn.Sequential):
    """Layers that make a weight for every channel; the input is multiplied by it."""

    def forward(self, x: Tensor) -> Tensor:
        weights = x
        for layer in self:
            weights = layer(weights)
        return x * weights


class SCA(_ChannelWeights):
    """Simplified channel attention: the channels' weights are one 1x1 convolution of their means, without any activation.

    NAFNet (arXiv:2204.04676, eq. 6). Weights lie under the key `1`, as in the authors' checkpoints.

    Args:
        channels: channels in and out.
        pool: what takes the mean; TLC puts a local mean here.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, pool: nn.Module | None = None) -> None:
        super().__init__(GlobalMean() if pool is None else pool, nn.Conv2d(channels, channels, 1))


class ChannelAttention(_ChannelWeights):
    """Squeeze and excitation: a bottleneck with ReLU and sigmoid weighs the channels by their means.

    Hu et al. (arXiv:1709.01507); Baseline of NAFNet (arXiv:2204.04676, eq. 5) and RCAN (arXiv:1807.02758) use it.
    Weights lie under the keys `1` and `3`.

    Args:
        channels: channels in and out.
        reduction: channels divided by this are the bottleneck's width.
        bias: whether the convolutions have biases.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, reduction: int = 2, bias: bool = True, pool: nn.Module | None = None) -> None:
        width = channels // reduction
        super().__init__(
            GlobalMean() if pool is None else pool,
            nn.Conv2d(channels, width, 1, bias=bias),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, channels, 1, bias=bias),
            nn.Sigmoid(),
        )


class CALayer(nn.Module):
    """`ChannelAttention` with the keys of RCAN's authors: weights lie under `conv_du.0` and `conv_du.2`.

    Zhang et al. (arXiv:1807.02758, Fig. 3).

    Args:
        channels: channels in and out.
        reduction: channels divided by this are the bottleneck's width.
        bias: whether the convolutions have biases.
        pool: what takes the mean.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, reduction: int = 16, bias: bool = True, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.avg_pool = GlobalMean() if pool is None else pool
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=bias),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1, bias=bias),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(self.avg_pool(x))
