"""Residual blocks with group norm, as in the autoencoders of latent diffusion."""

from __future__ import annotations

from torch import Tensor, nn


class NormResBlock(nn.Module):
    """Norm, activation, convolution, twice; added to the input.

    The autoencoders of latent diffusion (arXiv:2112.10752) and the face restorer whose fusion StableSR took over. Their keys
    differ by one name alone, that of the 1x1 convolution along the skip connection.

    Args:
        channels: channels in.
        out_channels: channels out; None for `channels`.
        groups: of the norms; divides both.
        shortcut: name of the 1x1 convolution, which there is where the channels change.
        dropout: in front of the last convolution.
        activation: SiLU, or another that keeps shapes.

    Shapes: (b, channels, h, w) -> (b, out_channels, h, w).
    """

    def __init__(
        self,
        channels: int,
        out_channels: int | None = None,
        groups: int = 32,
        shortcut: str = "conv_shortcut",
        dropout: float = 0.0,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        out_channels = out_channels or channels
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.activation = activation or nn.SiLU()
        self.shortcut = shortcut if channels != out_channels else ""
        if self.shortcut:
            self.add_module(shortcut, nn.Conv2d(channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.activation(self.norm1(x)))
        h = self.conv2(self.dropout(self.activation(self.norm2(h))))
        skip = self.get_submodule(self.shortcut)(x) if self.shortcut else x
        return skip + h
