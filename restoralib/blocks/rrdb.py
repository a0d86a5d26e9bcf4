"""Residual in residual dense blocks of ESRGAN (arXiv:1809.00219), also in StableSR's decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualDenseBlock(nn.Module):
    """Five 3x3 convolutions, each of which sees the input and all results before it; a fifth of the last is added to the input.

    Args:
        num_feat: channels in and out.
        num_grow_ch: channels that each of the first four convolutions adds.

    Shapes: (b, num_feat, h, w) -> (b, num_feat, h, w).
    """

    def __init__(self, num_feat: int = 64, num_grow_ch: int = 32) -> None:
        super().__init__()
        for i in range(4):
            self.add_module(f"conv{i + 1}", nn.Conv2d(num_feat + i * num_grow_ch, num_grow_ch, 3, padding=1))
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for i in range(1, 5):
            grown = F.leaky_relu(self.get_submodule(f"conv{i}")(features), 0.2, inplace=True)
            features = torch.cat((features, grown), 1)
        return torch.add(x, self.conv5(features), alpha=0.2)


class RRDB(nn.Module):
    """Residual in residual dense block: three dense blocks, a fifth of whose result is added to the input.

    Shapes: (b, num_feat, h, w) -> (b, num_feat, h, w).
    """

    def __init__(self, num_feat: int, num_grow_ch: int = 32) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=0.2)
