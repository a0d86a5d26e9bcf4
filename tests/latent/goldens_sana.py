"""Runners of SANA's goldens: whole networks as they are, parts through the reference's way of calling them."""

from __future__ import annotations

from restoralib.archs import SanaTransformer
from restoralib.archs.sana import SanaBlock
from restoralib.blocks import LinearAttention, Rotation


class Block(SanaBlock):
    """The reference calls the modulation `timestep` and gives the grid by two numbers."""

    def forward(self, tokens, encoder_hidden_states, timestep, height, width):
        return super().forward(tokens, encoder_hidden_states, timestep, (height, width))[0]


class Attention(LinearAttention):
    def __init__(self, query_dim, heads, dim_head, bias=False, qk_norm=None):
        super().__init__(query_dim, heads, dim_head, bias=bias, qk_norm=qk_norm is not None)

    def forward(self, tokens):
        return super().forward(tokens)[0]


class RotaryAttention(Attention):
    """The reference has the cosines as (b, n, 1, d), each twice."""

    def forward(self, tokens, cos, sin):
        rotation = Rotation(*(each[..., ::2].transpose(1, 2) for each in (cos, sin)))
        return LinearAttention.forward(self, tokens, rotation=rotation)[0]


RUNNERS = {
    "SanaTransformer": SanaTransformer,
    "SanaBlock": Block,
    "SanaLinearAttention": Attention,
    "SanaLinearAttentionRoPE": RotaryAttention,
}
PUBLISHED = {"sana_1600m_1024": "sana_1600m_1024"}
