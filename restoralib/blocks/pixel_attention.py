"""Attention of every pixel of a feature map to every other, as in the U-Nets of diffusion models."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def pixel_attention(tokens: Tensor, heads: int, *, heads_first: bool) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of tokens that hold queries, keys and values.

    Args:
        tokens: (b, n, 3 heads d).
        heads: number of heads.
        heads_first: the channels are (heads, three, d), as in guided-diffusion's "legacy" order, instead of (three, heads, d).

    Returns:
        (b, n, heads d).
    """
    batch, pixels, width = tokens.shape
    dim = width // (3 * heads)
    if heads_first:
        q, k, v = tokens.view(batch, pixels, heads, 3, dim).permute(3, 0, 2, 1, 4).unbind()
    else:
        q, k, v = tokens.view(batch, pixels, 3, heads, dim).permute(2, 0, 3, 1, 4).unbind()
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, pixels, heads * dim)


class AttentionBlock(nn.Module):
    """Group norm, multi-head self-attention between all pixels and a projection, added to the input.

    Guided diffusion (Dhariwal and Nichol, arXiv:2105.05233, section 3), Palette and all that has their layout. Memory grows
    with the number of pixels, not with its square, where torch has a fused kernel. The projection starts at zero, so that a
    new block is the identity.

    Args:
        channels: channels in and out, a multiple of 32.
        heads: a divisor of `channels`.
        new_order: channels of queries, keys and values are split before heads are, and not after.

    Shapes: (b, channels, h, w) -> (b, channels, h, w), any height and width.

    Raises:
        ValueError: the heads do not divide the channels.
    """

    def __init__(self, channels: int, heads: int = 1, new_order: bool = False) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"{heads} heads do not divide {channels} channels")
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)  # type: ignore[arg-type]
        self.heads = heads
        self.new_order = new_order

    def forward(self, x: Tensor) -> Tensor:
        # Tokens and linear layers, so that heads lie side by side in memory, which the fused kernels need.
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        tokens = F.linear(tokens, self.qkv.weight.squeeze(-1), self.qkv.bias)
        tokens = pixel_attention(tokens, self.heads, heads_first=not self.new_order)
        tokens = F.linear(tokens, self.proj_out.weight.squeeze(-1), self.proj_out.bias)
        return x + tokens.transpose(1, 2).view_as(x)


def one_head_attention(x: Tensor, norm: nn.Module, q: nn.Module, k: nn.Module, v: nn.Module, out: nn.Module) -> Tensor:
    """Attention with one head between all pixels behind a norm, and a projection, added to the input.

    The autoencoders of latent diffusion (arXiv:2112.10752), whose layouts know the four projections by different names, and as
    linear layers or as 1x1 convolutions.

    Args:
        x: (b, c, h, w).
        norm: of (b, c, h, w).
        q, k, v, out: modules with a `weight` (c, c) or (c, c, 1, 1) and a `bias` (c,).

    Returns:
        (b, c, h, w).
    """
    tokens = norm(x).flatten(2).transpose(1, 2)
    queries, keys, values = (_project(tokens, layer)[:, None] for layer in (q, k, v))
    attended = F.scaled_dot_product_attention(queries, keys, values)[:, 0]
    return x + _project(attended, out).transpose(1, 2).view_as(x)


def _project(tokens: Tensor, layer: nn.Module) -> Tensor:
    return F.linear(tokens, layer.get_parameter("weight").flatten(1), layer.get_parameter("bias"))
