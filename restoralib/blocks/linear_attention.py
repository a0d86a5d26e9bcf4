"""Linear attention with ReLU features: its cost grows with the number of tokens, not with the square of it.

Katharopoulos et al. (arXiv:2006.16236) in the form of EfficientViT (arXiv:2205.14756), DC-AE and SANA. With phi = ReLU,

    S = sum_j phi(k_j)^T v_j        z = sum_j phi(k_j)        o_i = phi(q_i) S / (phi(q_i) z + eps),  eps = 1e-15

All that queries see of the tokens is the pair (S, z), of constant size: an image can be read in parts that hand it on. It is
an argument and a return value here, never kept in a module. Sums and products are float32, or float64 for float64 input,
also under autocast.
"""

from __future__ import annotations

from typing import NamedTuple

from einops import rearrange
from torch import Tensor, nn

from restoralib.ops.precision import at_least_float32, without_autocast

_EPS = 1e-15


class LinearState(NamedTuple):
    """The sums over all tokens seen so far.

    Args:
        s: sum of phi(k)^T v, shape (..., heads, d, e); d features of a key, e of a value.
        z: sum of phi(k), shape (..., heads, d).
    """

    s: Tensor
    z: Tensor


def update_linear_state(k: Tensor, v: Tensor, state: LinearState | None = None, weight: Tensor | None = None) -> LinearState:
    """Add tokens to the sums; the order in which parts come does not matter.

    Args:
        k: keys before ReLU, (..., heads, n, d).
        v: values, (..., heads, n, e).
        state: the sums so far; None is zero.
        weight: how much each token counts, broadcast against (..., heads, n). Where parts overlap, weights that sum to one
            for every token of the whole make it count once.
    """
    dtype = at_least_float32(k.dtype)
    with without_autocast(k):
        k, v = k.relu().to(dtype), v.to(dtype)
        if weight is not None:
            k = k * weight.to(dtype).unsqueeze(-1)
        s, z = k.transpose(-1, -2) @ v, k.sum(-2)
        return LinearState(s, z) if state is None else LinearState(state.s + s, state.z + z)


def read_linear_state(q: Tensor, state: LinearState) -> Tensor:
    """What queries, (..., heads, n, d) before ReLU, see of the tokens in the sums: (..., heads, n, e), of the queries' type."""
    with without_autocast(q):
        features = q.relu().to(state.z.dtype)
        return (features @ state.s / (features @ state.z.unsqueeze(-1) + _EPS)).to(q.dtype)


def relu_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, state: LinearState | None = None, *, weight: Tensor | None = None
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

    Returns:
        The output (..., heads, n, e), of the queries' type, and the sums with this part in them.
    """
    state = update_linear_state(k, v, state, weight)
    return read_linear_state(q, state), state


class LinearAttention(nn.Module):
    """Multi-head ReLU linear attention over tokens, with the projections of SANA (arXiv:2410.10629).

    An image is `rearrange(image, "b c h w -> b (h w) c")`; there is no position encoding.

        out, state = attention(tokens)              # one image
        out, state = attention(next_tokens, state)  # a tile that also sees the tiles before it

    Args:
        channels: channels in and out.
        heads: number of heads.
        head_dim: features of each head; heads * head_dim need not be `channels`.

    Shapes: (b, n, channels) -> (b, n, channels) and the state, with heads after b.
    """

    def __init__(self, channels: int, heads: int, head_dim: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, heads * head_dim, bias=False)
        self.to_k = nn.Linear(channels, heads * head_dim, bias=False)
        self.to_v = nn.Linear(channels, heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, channels)

    def forward(
        self, tokens: Tensor, state: LinearState | None = None, *, weight: Tensor | None = None
    ) -> tuple[Tensor, LinearState]:
        state = self.update(tokens, state, weight=weight)
        return self.read(tokens, state), state

    def update(self, tokens: Tensor, state: LinearState | None = None, *, weight: Tensor | None = None) -> LinearState:
        """Add tokens to the sums, each counted `weight` (b, n) times."""
        weight = None if weight is None else weight.unsqueeze(-2)
        return update_linear_state(self._split(self.to_k(tokens)), self._split(self.to_v(tokens)), state, weight)

    def read(self, tokens: Tensor, state: LinearState) -> Tensor:
        """The output for tokens that see what is in the sums."""
        seen = read_linear_state(self._split(self.to_q(tokens)), state)
        out: Tensor = self.to_out(rearrange(seen, "b heads n d -> b n (heads d)"))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (heads d) -> b heads n d", heads=self.heads)
