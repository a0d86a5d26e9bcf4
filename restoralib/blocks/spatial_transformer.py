"""Transformer layers on the pixels of a feature map, which also look at a text, as in Stable Diffusion's U-Net."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class TokenAttention(nn.Module):
    """Softmax attention with several heads, from tokens to themselves or to a context.

    Args:
        width: features of the tokens.
        context_width: features of the context; None where tokens attend to themselves.
        heads: number of heads.
        head_dim: features of a head.

    Shapes: (b, n, width), and a context (b, m, context_width) -> (b, n, width).
    """

    def __init__(self, width: int, context_width: int | None = None, heads: int = 8, head_dim: int = 64) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(context_width or width, inner, bias=False)
        self.to_v = nn.Linear(context_width or width, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width))

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        seen = tokens if context is None else context
        split = (self.to_q(tokens), self.to_k(seen), self.to_v(seen))
        q, k, v = (rearrange(part, "b n (h d) -> b h n d", h=self.heads) for part in split)
        return self.to_out(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))


class GatedProjection(nn.Module):
    """A linear layer to twice the features, one half of which gates the other through GELU.

    Shapes: (..., features) -> (..., out_features).
    """

    def __init__(self, features: int, out_features: int) -> None:
        super().__init__()
        self.proj = nn.Linear(features, 2 * out_features)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class GatedFeedForward(nn.Module):
    """A gated projection to four times the width, and one back.

    Shapes: (..., width) -> (..., width).
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(GatedProjection(width, 4 * width), nn.Dropout(dropout), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class ContextTransformerBlock(nn.Module):
    """Self-attention, attention to a context and a feed-forward layer, each behind a layer norm and added to its input.

    Args:
        width: features of the tokens.
        context_width: features of the context.
        heads: number of heads.
        head_dim: features of a head.
        dropout: in the feed-forward layer.

    Shapes: (b, n, width) and (b, m, context_width) -> (b, n, width).
    """

    def __init__(self, width: int, context_width: int, heads: int, head_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attn1 = TokenAttention(width, None, heads, head_dim)
        self.ff = GatedFeedForward(width, dropout)
        self.attn2 = TokenAttention(width, context_width, heads, head_dim)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        tokens = tokens + self.attn1(self.norm1(tokens))
        tokens = tokens + self.attn2(self.norm2(tokens), context)
        return tokens + self.ff(self.norm3(tokens))


class SpatialTransformer(nn.Module):
    """Group norm, a projection, transformer blocks between all pixels, a projection; added to the input.

    Latent diffusion (Rombach et al., arXiv:2112.10752, section 3.3), Stable Diffusion and all that has their layout. The last
    projection starts at zero, so that a new block is the identity.

    Args:
        channels: channels in and out, a multiple of 32.
        context_width: features of the text's tokens.
        heads: number of heads.
        head_dim: features of a head.
        depth: transformer blocks.
        use_linear: the projections are linear layers, as in Stable Diffusion 2, and not 1x1 convolutions; only keys' shapes
            differ.
        dropout: in the feed-forward layers.

    Shapes: (b, channels, h, w) and (b, m, context_width) -> (b, channels, h, w); a context of batch 1 serves all images.
    """

    def __init__(
        self,
        channels: int,
        context_width: int,
        heads: int = 8,
        head_dim: int = 64,
        depth: int = 1,
        use_linear: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.use_linear = use_linear
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, inner) if use_linear else nn.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList(
            ContextTransformerBlock(inner, context_width, heads, head_dim, dropout) for _ in range(depth)
        )
        self.proj_out = nn.Linear(inner, channels) if use_linear else nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        tokens = F.linear(tokens, self.proj_in.weight.flatten(1), self.proj_in.bias)
        context = context.expand(x.shape[0], -1, -1)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        tokens = F.linear(tokens, self.proj_out.weight.flatten(1), self.proj_out.bias)
        return x + tokens.transpose(1, 2).view_as(x)
