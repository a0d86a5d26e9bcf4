"""Residual blocks of plain convolutions."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """3x3 convolution, ReLU, 3x3 convolution, added to the input; no norm.

    EDSR (arXiv:1707.02921), MSRResNet and SNR-Aware. Keys are `conv1` and `conv2`.

    Args:
        channels: channels in and out.
        residual_scale: factor of the branch; EDSR's large model has 0.1.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, residual_scale: float = 1.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.conv2(self.conv1(x).relu())
        return x + branch * self.residual_scale
