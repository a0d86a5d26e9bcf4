"""Linear attention with ReLU features: its cost grows with the number of tokens, not with the square of it.

Katharopoulos et al. (arXiv:2006.16236) in the form of EfficientViT (arXiv:2205.14756), DC-AE and SANA. With phi = ReLU,

    S = sum_j phi(k_j)^T v_j        z = sum_j phi(k_j)        o_i = phi(q_i) S / (phi(q_i) z + eps),  eps = 1e-15

All that queries see of the tokens is the pair (S, z), of constant size: an image can be read in parts that hand it on. It is
an argument and a return value here, never kept in a module. Sums and products are float32, or float64 for float64 input,
also under autocast.

With positions (rotary embedding), phi(q) and phi(k) are turned in the numerator alone, as in SANA-Video (arXiv:2509.24695):
turned features have signs, with which the denominator could vanish.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from restoralib.blocks.norm import RMSNorm
from restoralib.blocks.rotary import Rotation, rotate
from restoralib.ops.precision import at_least_float32, without_autocast

_EPS = 1e-15
_FLOAT16_MAX = 65504.0


class LinearState(NamedTuple):
    """The sums over all tokens seen so far.

    Args:
        s: sum of phi(k)^T v, shape (..., heads, d, e); d features of a key, e of a value.
        z: sum of phi(k), shape (..., heads, d).
    """

    s: Tensor
    z: Tensor


def update_linear_state(
    k: Tensor,
    v: Tensor,
    state: LinearState | None = None,
    weight: Tensor | None = None,
    rotation: Rotation | None = None,
) -> LinearState:
    """Add tokens to the sums; the order in which parts come does not matter.

    Args:
        k: keys before ReLU, (..., heads, n, d).
        v: values, (..., heads, n, e).
        state: the sums so far; None is zero.
        weight: how much each token counts, broadcast against (..., heads, n). Where parts overlap, weights that sum to one
            for every token of the whole make it count once.
        rotation: of the tokens' positions; None for none.
    """
    dtype = at_least_float32(k.dtype)
    with without_autocast(k):
        k, v = k.relu().to(dtype), v.to(dtype)
        if weight is not None:
            k = k * weight.to(dtype).unsqueeze(-1)
        turned = k if rotation is None else rotate(k, rotation)
        s, z = turned.transpose(-1, -2) @ v, k.sum(-2)
        return LinearState(s, z) if state is None else LinearState(state.s + s, state.z + z)


def read_linear_state(q: Tensor, state: LinearState, rotation: Rotation | None = None) -> Tensor:
    """What queries, (..., heads, n, d) before ReLU, see of the tokens in the sums: (..., heads, n, e), of the queries' type."""
    with without_autocast(q):
        features = q.relu().to(state.z.dtype)
        turned = features if rotation is None else rotate(features, rotation)
        return (turned @ state.s / (features @ state.z.unsqueeze(-1) + _EPS)).to(q.dtype)


def relu_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: LinearState | None = None,
    *,
    weight: Tensor | None = None,
    rotation: Rotation | None = None,
) -> tuple[Tensor, LinearState]:
    """Attention of queries to their own part and to all parts before it.

    To give every part the attention of the whole, first add all parts with `update_linear_state`, then read the total with
    `read_linear_state`.

    Args:
        q: queries before ReLU, (..., heads, n, d).
        k: keys before ReLU, (..., heads, m, d).
        v: values, (..., heads, m, e).
        state: the sums over the parts before; None, or zeros, leaves this part on its own.
        weight: see `update_linear_state`.
        rotation: of the positions of queries and keys, which are then the same tokens; None for none.

    Returns:
        The output (..., heads, n, e), of the queries' type, and the sums with this part in them.
    """
    state = update_linear_state(k, v, state, weight, rotation)
    return read_linear_state(q, state, rotation), state


class LinearAttention(nn.Module):
    """Multi-head ReLU linear attention over tokens, with the projections and keys of SANA (arXiv:2410.10629).

    An image is `rearrange(image, "b c h w -> b (h w) c")`; positions are not told where no `rotation` is given. Outputs in
    float16 are cut to its range, as SANA's are.

        out, state = attention(tokens)              # one image
        out, state = attention(next_tokens, state)  # a tile that also sees the tiles before it

    Args:
        channels: channels in and out.
        heads: number of heads.
        head_dim: features of each head; heads * head_dim need not be `channels`.
        bias: queries, keys and values have a bias; the output always has.
        qk_norm: queries and keys are divided by their root mean square over all heads before the ReLU (SANA-1.5).
        dropout: of the output in training.

    Shapes: (b, n, channels) -> (b, n, channels) and the state, with heads after b.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        head_dim: int = 32,
        *,
        bias: bool = False,
        qk_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        width = heads * head_dim
        self.norm_q = RMSNorm(width, 1e-5) if qk_norm else nn.Identity()
        self.norm_k = RMSNorm(width, 1e-5) if qk_norm else nn.Identity()
        self.to_q = nn.Linear(channels, width, bias=bias)
        self.to_k = nn.Linear(channels, width, bias=bias)
        self.to_v = nn.Linear(channels, width, bias=bias)
        self.to_out = nn.Sequential(nn.Linear(width, channels), nn.Dropout(dropout))

    def forward(
        self,
        tokens: Tensor,
        state: LinearState | None = None,
        *,
        weight: Tensor | None = None,
        rotation: Rotation | None = None,
    ) -> tuple[Tensor, LinearState]:
        state = self.update(tokens, state, weight=weight, rotation=rotation)
        return self.read(tokens, state, rotation=rotation), state

    def update(
        self,
        tokens: Tensor,
        state: LinearState | None = None,
        *,
        weight: Tensor | None = None,
        rotation: Rotation | None = None,
    ) -> LinearState:
        """Add tokens to the sums, each counted `weight` (b, n) times."""
        weight = None if weight is None else weight.unsqueeze(-2)
        keys, values = self._split(self.norm_k(self.to_k(tokens))), self._split(self.to_v(tokens))
        return update_linear_state(keys, values, state, weight, rotation)

    def read(self, tokens: Tensor, state: LinearState, *, rotation: Rotation | None = None) -> Tensor:
        """The output for tokens that see what is in the sums."""
        seen = read_linear_state(self._split(self.norm_q(self.to_q(tokens))), state, rotation)
        out: Tensor = self.to_out(rearrange(seen, "b heads n d -> b n (heads d)"))
        return out.clamp(-_FLOAT16_MAX, _FLOAT16_MAX) if out.dtype == torch.float16 else out

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (heads d) -> b heads n d", heads=self.heads)
