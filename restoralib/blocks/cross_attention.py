"""Attention from the pixels of an image to the vectors of an embedding."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from restoralib.blocks.modulation import zero_start
from restoralib.blocks.norm import LayerNorm2d


class CrossAttention(nn.Module):
    """Every pixel asks, behind a layer norm, the vectors of an embedding; the answer is added to it.

    Text and degradations come into diffusion networks in this way (Rombach et al., arXiv:2112.10752, section 3.3; DA-CLIP,
    arXiv:2310.01018). The last layer starts at zero: a new block gives its input, bit for bit. With one vector all pixels get
    the same answer, whatever they ask.

    Args:
        channels: channels in and out.
        features: of each vector.
        heads: number of heads; divides `channels`.

    Shapes: (b, channels, h, w) and (b, n, features), or (b, features) for one vector -> (b, channels, h, w). An embedding of
        batch 1 serves all images.

    Raises:
        ValueError: `heads` does not divide `channels`; in `forward`, the embedding has another shape.
    """

    def __init__(self, channels: int, features: int, heads: int = 4) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"heads should divide channels, got {heads} and {channels}")
        self.heads = heads
        self.norm = LayerNorm2d(channels)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_kv = nn.Linear(features, 2 * channels, bias=False)
        self.to_out = zero_start(nn.Linear(channels, channels))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        if embedding.ndim not in (2, 3):
            raise ValueError(f"an embedding should be (b, d) or (b, n, d), got {tuple(embedding.shape)}")
        vectors = embedding if embedding.ndim == 3 else embedding[:, None]
        height, width = x.shape[-2:]
        q = rearrange(self.to_q(self.norm(x).flatten(2).mT), "b n (k d) -> b k n d", k=self.heads)
        keys_values = self.to_kv(vectors).expand(x.shape[0], -1, -1)
        k, v = rearrange(keys_values, "b n (two k d) -> two b k n d", two=2, k=self.heads)
        out = self.to_out(rearrange(F.scaled_dot_product_attention(q, k, v), "b k n d -> b n (k d)"))
        return x + out.mT.unflatten(2, (height, width))
