"""Sampling by two as in diffusion U-Nets: nearest neighbours up, strided convolutions or means of four pixels down."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class NearestUpsample(nn.Module):
    """Each pixel becomes four; then a 3x3 convolution, or none.

    The convolution's key is `conv`, as in guided-diffusion and SR3.

    Args:
        channels: channels in.
        out_channels: channels out; None for `channels`.
        use_conv: whether there is the convolution.

    Shapes: (b, channels, h, w) -> (b, out_channels, 2 h, 2 w).

    Raises:
        ValueError: there is no convolution and out_channels is not `channels`.
    """

    def __init__(self, channels: int, out_channels: int | None = None, use_conv: bool = True) -> None:
        super().__init__()
        out_channels = _out_channels(channels, out_channels, use_conv)
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1) if use_conv else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x if self.conv is None else self.conv(x)


class HalvingDownsample(nn.Module):
    """A 3x3 convolution at every second pixel, or the mean of four pixels.

    The key is `op`, as in guided-diffusion. Odd sides are rounded up by the convolution and down by the mean.

    Args:
        channels: channels in.
        out_channels: channels out; None for `channels`.
        use_conv: the convolution instead of the mean.

    Shapes: (b, channels, h, w) -> (b, out_channels, h / 2, w / 2).

    Raises:
        ValueError: there is no convolution and out_channels is not `channels`.
    """

    def __init__(self, channels: int, out_channels: int | None = None, use_conv: bool = True) -> None:
        super().__init__()
        out_channels = _out_channels(channels, out_channels, use_conv)
        self.op = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1) if use_conv else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class CornerDownsample(nn.Module):
    """A 3x3 convolution at every second pixel that looks right and down: zeros are added at these two sides alone.

    The autoencoders of latent diffusion (arXiv:2112.10752). The key is `conv`. Sides should be even.

    Args:
        channels: channels in and out.

    Shapes: (b, channels, h, w) -> (b, channels, h / 2, w / 2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def _out_channels(channels: int, out_channels: int | None, use_conv: bool) -> int:
    if not use_conv and out_channels not in (None, channels):
        raise ValueError(f"without a convolution out_channels should be {channels}, got {out_channels}; set use_conv")
    return out_channels or channels
