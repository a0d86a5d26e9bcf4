"""Layer norms of image features: over channels, at every pixel apart."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def channel_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Layer norm over the channels of (b, c, h, w), biased variance, `eps` inside the root.

    In channels_last memory the permutations cost nothing and torch's own fused kernel runs, whose statistics are float32
    also for half-precision input. A formula in half precision would overflow at (x - mean)^2.
    """
    return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), weight, bias, eps).permute(0, 3, 1, 2)


class LayerNorm2d(nn.Module):
    """Layer norm over channels of NAFNet (arXiv:2204.04676), eps 1e-6.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return channel_norm(x, self.weight, self.bias, self.eps)
