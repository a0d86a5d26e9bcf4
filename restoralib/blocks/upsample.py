"""Larger and smaller feature maps, by whole factors."""

from __future__ import annotations

from torch import nn


class PixelShuffleDirect(nn.Sequential):
    """One convolution and one pixel shuffle (Shi et al., arXiv:1609.05158).

    Weights lie under the key `0`. NAFNet's and Restormer's decoders use it with scale 2.

    Args:
        channels: channels in.
        scale: any whole factor.
        out_channels: channels out; None for as many as come in.
        kernel_size: of the convolution; odd.
        bias: whether the convolution has biases.

    Shapes: (b, channels, h, w) -> (b, out_channels, scale h, scale w).
    """

    def __init__(
        self, channels: int, scale: int, out_channels: int | None = None, kernel_size: int = 3, bias: bool = True
    ) -> None:
        width = scale**2 * (out_channels or channels)
        conv = nn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2, bias=bias)
        super().__init__(conv, nn.PixelShuffle(scale))


class PixelShuffleUpsample(nn.Sequential):
    """3x3 convolutions and pixel shuffles by turns, one pair for every factor of two, or a single one for three.

    EDSR (arXiv:1707.02921) and SwinIR. Weights lie under the keys `0`, `2`, `4`, …

    Args:
        channels: channels in and out.
        scale: a power of two, or 3; 1 is the identity.

    Shapes: (b, c, h, w) -> (b, c, scale h, scale w).

    Raises:
        ValueError: any other scale.
    """

    def __init__(self, channels: int, scale: int) -> None:
        if scale != 3 and (scale < 1 or scale & (scale - 1)):
            raise ValueError(f"scale should be a power of two or 3, got {scale}; PixelShuffleDirect takes any")
        stages = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
        super().__init__(*(layer for stage in stages for layer in PixelShuffleDirect(channels, stage)))


class PixelUnshuffleDownsample(nn.Sequential):
    """One convolution and one pixel unshuffle, as in Restormer's encoder (arXiv:2111.09881).

    Weights lie under the key `0`.

    Args:
        channels: channels in.
        scale: any whole factor.
        out_channels: channels out, a multiple of scale**2; None for `channels * scale`.
        kernel_size: of the convolution; odd.
        bias: whether the convolution has biases.

    Shapes: (b, channels, scale h, scale w) -> (b, out_channels, h, w).

    Raises:
        ValueError: out_channels is not a multiple of scale**2.
    """

    def __init__(
        self, channels: int, scale: int = 2, out_channels: int | None = None, kernel_size: int = 3, bias: bool = True
    ) -> None:
        out_channels = out_channels or channels * scale
        if out_channels % scale**2:
            raise ValueError(f"out_channels should be a multiple of scale**2 = {scale**2}, got {out_channels}")
        conv = nn.Conv2d(channels, out_channels // scale**2, kernel_size, padding=kernel_size // 2, bias=bias)
        super().__init__(conv, nn.PixelUnshuffle(scale))


class TransposedConvUpsample(nn.ConvTranspose2d):
    """A transposed convolution whose output is exactly `scale` times as large as its input.

    Args:
        channels: channels in.
        scale: any whole factor from 2.
        out_channels: channels out; None for as many as come in.
        kernel_size: at least `scale`; None for twice `scale`, so that every output pixel has as many taps as any other and no
            checkerboard arises from their number.
        bias: whether there are biases.

    Shapes: (b, channels, h, w) -> (b, out_channels, scale h, scale w).

    Raises:
        ValueError: the scale is less than 2, or the kernel smaller than the scale.
    """

    def __init__(
        self,
        channels: int,
        scale: int,
        out_channels: int | None = None,
        kernel_size: int | None = None,
        bias: bool = True,
    ) -> None:
        kernel_size = kernel_size or 2 * scale
        if scale < 2 or kernel_size < scale:
            raise ValueError(f"scale should be at least 2 and kernel_size no less, got {scale} and {kernel_size}")
        excess = kernel_size - scale
        super().__init__(
            channels,
            out_channels or channels,
            kernel_size,
            stride=scale,
            padding=(excess + 1) // 2,
            output_padding=excess % 2,
            bias=bias,
        )
