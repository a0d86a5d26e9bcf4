"""A small restoration network of the project's own blocks and restoralib's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from restoralib.blocks import (
    SCA,
    LayerNorm2d,
    LinearAttention,
    LinearState,
    NAFBlock,
    PixelShuffleDirect,
    PixelUnshuffleDownsample,
    SimpleGate,
    TimeEmbedding,
)


class GatedBlock(nn.Module):
    """A gated depthwise convolution that the noise level shifts."""

    def __init__(self, channels: int, level_features: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 3, padding=1, groups=channels)
        self.shift = nn.Linear(level_features, 2 * channels)
        self.gate = SimpleGate()
        self.attention = SCA(channels)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        shift: Tensor = self.shift(level)
        branch: Tensor = self.attention(self.gate(self.expand(self.norm(x)) + shift[:, :, None, None]))
        return x + branch


class SmallNet(nn.Module):
    """Shapes: image (b, 3, h, w) with even sides and noise level (b,) -> (b, 3, h, w)."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.level = TimeEmbedding(channels, 2 * channels)
        self.intro = nn.Conv2d(3, channels, 3, padding=1)
        self.down = PixelUnshuffleDownsample(channels)
        self.gated = GatedBlock(2 * channels, 2 * channels)
        self.attention = LinearAttention(2 * channels, heads=2, head_dim=channels)
        self.block = NAFBlock(2 * channels)
        self.up = PixelShuffleDirect(2 * channels, 2, 3)

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        x: Tensor = self.gated(self.down(self.intro(image)), self.level(level))
        attended, _ = self.attend(x)
        residual: Tensor = self.up(self.block(x + attended))
        return image + residual

    def attend(self, x: Tensor, state: LinearState | None = None) -> tuple[Tensor, LinearState]:
        """Attention over the pixels of one tile and, through the state, of those before it."""
        tokens = x.flatten(2).transpose(1, 2)
        state = self.attention.update(tokens, state)
        return self.attention.read(tokens, state).transpose(1, 2).reshape(x.shape), state


def train_step(net: SmallNet, optimizer: torch.optim.Optimizer, image: Tensor, target: Tensor, level: Tensor) -> float:
    """One step of gradient descent; gives the loss before it."""
    loss = (net(image, level) - target).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())
