"""SANA: a diffusion transformer with linear attention over the latents of DC-AE, told by a text what to make.

Xie et al., SANA: Efficient High-Resolution Image Synthesis with Linear Diffusion Transformers, ICLR 2025, arXiv:2410.10629;
SANA-1.5, arXiv:2501.18427. The published weights load unchanged, in the layout of diffusers (`SanaTransformer2DModel`) and in
the original one. It is one step of a flow from clean latents to noise: latents and the noise level in, the velocity
(noise - clean) out. There is no position encoding but in the releases for 2K and 4K; the 3x3 convolutions of the feed-forward
networks know what lies beside what. Any size: sides that patches do not divide are padded inside.

The forward pass is open to those who advance tiles of a large picture together, layer by layer: `embed`, `times`, `text`, the
blocks with their pieces, `unembed`.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.archs.swinir import count_indices, shortest_ratio
from restoralib.blocks.embedding import sinusoidal_embedding, times_of
from restoralib.blocks.glumb_conv import Border, GLUMBConv
from restoralib.blocks.linear_attention import LinearAttention, LinearState
from restoralib.blocks.norm import RMSNorm
from restoralib.blocks.rotary import Rotation
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.precision import at_least_float32

Grid = tuple[int, int]
QK_NORM = "rms_norm_across_heads"
_TIME_CHANNELS = 256
_MASKED = -10000.0


class PatchEmbed(nn.Module):
    """Patches as tokens in raster order, with a table of sines and cosines of their places or none.

    The table stretches over the picture: its positions run from 0 to base / scale whatever the size. The first half of the
    features tells the column, the second the row.

    Args:
        sample_size: side of the training latents.
        patch_size: side of a patch.
        in_channels: channels of the latents.
        dim: features of a token, divisible by 4 for a table.
        interpolation_scale: None for no table.

    Shapes: (b, in_channels, p h, p w) -> (b, h w, dim).
    """

    def __init__(
        self, sample_size: int, patch_size: int, in_channels: int, dim: int, interpolation_scale: float | None = None
    ) -> None:
        super().__init__()
        if interpolation_scale is not None and dim % 4:
            raise ValueError(f"a table of positions needs a width divisible by 4, got {dim}")
        self.base = sample_size // patch_size
        self.interpolation_scale = interpolation_scale
        self.proj = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor, origin: Grid = (0, 0), whole: Grid | None = None) -> Tensor:
        maps: Tensor = self.proj(x)
        tokens = maps.flatten(2).mT
        if self.interpolation_scale is None:
            return tokens
        return tokens + self._table(tokens, (maps.shape[2], maps.shape[3]), origin, whole).to(tokens.dtype)

    def _table(self, like: Tensor, grid: Grid, origin: Grid, whole: Grid | None) -> Tensor:
        assert self.interpolation_scale is not None
        channels, dtype = like.shape[-1] // 2, at_least_float32(like.dtype)
        sides = []
        for count, start, length in zip(grid, origin, whole or grid, strict=True):
            places = torch.arange(start, start + count, dtype=dtype, device=like.device)
            places = places * (self.base / (length * self.interpolation_scale))
            sides.append(sinusoidal_embedding(places, channels, sine_first=True))
        rows, columns = sides
        height, width = grid
        places = torch.cat((columns.expand(height, -1, -1), rows[:, None].expand(-1, width, -1)), -1)
        return places.flatten(0, 1)


class Projection(nn.Module):
    """Two linear layers with an activation between them.

    Shapes: (..., channels) -> (..., dim).
    """

    def __init__(self, channels: int, dim: int, activation: nn.Module) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(channels, dim)
        self.activation = activation
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(self.activation(self.linear_1(x)))


class TimeModulation(nn.Module):
    """AdaLN-single: one embedding of the time and one projection of it for all blocks.

    Args:
        dim: features of a token.
        guidance: a scale of guidance is embedded beside the time and added (distilled networks).

    Shapes: (b,) and (b,) or None -> (b, 6 dim) and (b, dim).
    """

    def __init__(self, dim: int, guidance: bool = False) -> None:
        super().__init__()
        time = Projection(_TIME_CHANNELS, dim, nn.SiLU())
        if guidance:
            self.timestep_embedder = time
            self.guidance_embedder = Projection(_TIME_CHANNELS, dim, nn.SiLU())
        else:
            self.emb = nn.ModuleDict({"timestep_embedder": time})
        self.guided = guidance
        self.linear = nn.Linear(dim, 6 * dim)

    def forward(self, time: Tensor, guidance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        dtype = self.linear.weight.dtype
        if self.guided:
            assert guidance is not None
            e = self.timestep_embedder(sinusoidal_embedding(time, _TIME_CHANNELS).to(dtype))
            e = e + self.guidance_embedder(sinusoidal_embedding(guidance, _TIME_CHANNELS).to(dtype))
        else:
            e = self.emb["timestep_embedder"](sinusoidal_embedding(time, _TIME_CHANNELS).to(dtype))
        return self.linear(F.silu(e)), e


class TextAttention(nn.Module):
    """Softmax attention of tokens to the vectors of a text.

    Args:
        dim: features of a token.
        context_dim: features of a vector.
        heads: number of heads.
        head_dim: features of each head.
        qk_norm: queries and keys are divided by their root mean square over all heads.
        dropout: of the output in training.

    Shapes: (b, n, dim), (b or 1, m, context_dim) and a bias (b or 1, 1, m) for the attention to each vector, or None ->
        (b, n, dim).
    """

    def __init__(
        self, dim: int, context_dim: int, heads: int, head_dim: int, qk_norm: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        width = heads * head_dim
        self.norm_q = RMSNorm(width, 1e-5) if qk_norm else nn.Identity()
        self.norm_k = RMSNorm(width, 1e-5) if qk_norm else nn.Identity()
        self.to_q = nn.Linear(dim, width)
        self.to_k = nn.Linear(context_dim, width)
        self.to_v = nn.Linear(context_dim, width)
        self.to_out = nn.Sequential(nn.Linear(width, dim), nn.Dropout(dropout))

    def forward(self, tokens: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        for name, count in (("texts", len(context)), ("masks", 1 if bias is None else len(bias))):
            if count not in (1, len(tokens)):
                raise ValueError(f"expected one text and mask, or one for each of {len(tokens)} latents, got {count} {name}")
        q = self._split(self.norm_q(self.to_q(tokens)))
        k, v = self._split(self.norm_k(self.to_k(context))), self._split(self.to_v(context))
        k, v = (each.expand(len(tokens), -1, -1, -1) for each in (k, v))
        mask = None if bias is None else bias.unsqueeze(1).to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.to_out(rearrange(out, "b heads n d -> b n (heads d)"))

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (heads d) -> b heads n d", heads=self.heads)


class SanaBlock(nn.Module):
    """Linear self-attention, attention to the text, Mix-FFN; the time modulates the first and the last.

    A caller who advances several tiles together goes through the pieces: `modulated`, `attn1.update` for every tile, then
    `attend`, `cross` and `mix`.

    Args:
        dim: features of a token.
        num_attention_heads, attention_head_dim: of the self-attention.
        num_cross_attention_heads, cross_attention_head_dim: of the attention to the text.
        cross_attention_dim: features of the text's vectors; None for no attention to it.
        dropout: of the outputs of attention in training.
        attention_bias: queries, keys and values of the self-attention have a bias.
        norm_elementwise_affine: the norm before the Mix-FFN has weights.
        norm_eps: added to the variance in the layer norms.
        mlp_ratio: hidden channels of the Mix-FFN for each feature.
        qk_norm: None, or "rms_norm_across_heads" for queries and keys of both attentions.

    Shapes: see `forward`.
    """

    def __init__(
        self,
        dim: int = 2240,
        num_attention_heads: int = 70,
        attention_head_dim: int = 32,
        dropout: float = 0.0,
        num_cross_attention_heads: int | None = 20,
        cross_attention_head_dim: int | None = 112,
        cross_attention_dim: int | None = 2240,
        attention_bias: bool = False,
        norm_elementwise_affine: bool = False,
        norm_eps: float = 1e-6,
        mlp_ratio: float = 2.5,
        qk_norm: str | None = None,
    ) -> None:
        super().__init__()
        normed = qk_norm is not None
        self.scale_shift_table = nn.Parameter(nn.init.normal_(torch.empty(6, dim), std=dim**-0.5))
        self.norm1 = nn.LayerNorm(dim, norm_eps, elementwise_affine=False)
        self.attn1 = LinearAttention(
            dim, num_attention_heads, attention_head_dim, bias=attention_bias, qk_norm=normed, dropout=dropout
        )
        self.norm2 = nn.LayerNorm(dim, norm_eps, elementwise_affine=norm_elementwise_affine)
        self.attn2: TextAttention | None = None
        if cross_attention_dim is not None:
            if num_cross_attention_heads is None or cross_attention_head_dim is None:
                raise ValueError("attention to the text needs num_cross_attention_heads and cross_attention_head_dim")
            self.attn2 = TextAttention(
                dim, cross_attention_dim, num_cross_attention_heads, cross_attention_head_dim, normed, dropout
            )
        self.ff = GLUMBConv(dim, dim, mlp_ratio, residual_connection=False)

    def forward(
        self,
        tokens: Tensor,
        context: Tensor,
        modulation: Tensor,
        grid: Grid,
        bias: Tensor | None = None,
        state: LinearState | None = None,
        weight: Tensor | None = None,
        border: Border | None = None,
        rotation: Rotation | None = None,
    ) -> tuple[Tensor, LinearState]:
        """Advance the tokens of one picture or tile.

        Args:
            tokens: (b, n, dim) in raster order.
            context: vectors of the text, (b or 1, m, dim).
            modulation: what the time does to all blocks, (b or 1, 6 dim).
            grid: rows and columns of the tokens.
            bias: of the attention to each vector, (b or 1, 1, m).
            state: sums of the self-attention over the tiles before this one.
            weight: how much each token counts in the sums, (b or 1, n).
            border: inputs of the Mix-FFN above and left of this tile: `modulated(..., for_mix=True)` of the tiles there.
            rotation: of the tokens' positions.

        Returns:
            The tokens, and the sums with this tile in them.
        """
        modulated = self.modulated(tokens, modulation)
        state = self.attn1.update(modulated, state, weight=weight, rotation=rotation)
        tokens = self.attend(tokens, modulated, state, modulation, rotation)
        tokens = self.cross(tokens, context, bias)
        return self.mix(tokens, modulation, grid, border), state

    def modulated(self, tokens: Tensor, modulation: Tensor, *, for_mix: bool = False) -> Tensor:
        """What the self-attention is given of tokens, or the Mix-FFN: normed, scaled and shifted by the time."""
        shift, scale, _ = self._moves(modulation)[3 * for_mix : 3 * for_mix + 3]
        normed = (self.norm2 if for_mix else self.norm1)(tokens)
        return torch.addcmul(shift, normed, 1 + scale)

    def attend(
        self, tokens: Tensor, modulated: Tensor, state: LinearState, modulation: Tensor, rotation: Rotation | None = None
    ) -> Tensor:
        """The tokens with what they see in the sums; `modulated` is `self.modulated(tokens, modulation)`."""
        seen = self.attn1.read(modulated, state, rotation=rotation)
        return torch.addcmul(tokens, self._moves(modulation)[2], seen)

    def cross(self, tokens: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """The tokens with what they see of the text; neither norm nor time here."""
        return tokens if self.attn2 is None else tokens + self.attn2(tokens, context, bias)

    def mix(self, tokens: Tensor, modulation: Tensor, grid: Grid, border: Border | None = None) -> Tensor:
        """The tokens with what the Mix-FFN makes of them and their neighbours."""
        maps = rearrange(self.modulated(tokens, modulation, for_mix=True), "b (h w) d -> b d h w", h=grid[0], w=grid[1])
        out = self.ff(maps, border).flatten(2).mT
        return torch.addcmul(tokens, self._moves(modulation)[5], out)

    def _moves(self, modulation: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate of the self-attention, then of the Mix-FFN, (b, 1, dim) each."""
        return (self.scale_shift_table + rearrange(modulation, "b (k d) -> b k d", k=6)).chunk(6, 1)


class SanaTransformer(nn.Module):
    """SANA's transformer, with the constructor arguments and the keys of diffusers' SanaTransformer2DModel.

    Args:
        in_channels: channels of the latents.
        out_channels: channels of the result; None for `in_channels`.
        num_attention_heads, attention_head_dim: of the linear self-attention; their product is the width.
        num_layers: blocks.
        num_cross_attention_heads, cross_attention_head_dim: of the attention to the text.
        cross_attention_dim: the width, or None for blocks without attention to the text.
        caption_channels: features of the text's vectors.
        mlp_ratio: hidden channels of the Mix-FFN for each feature.
        dropout: of the outputs of attention in training.
        attention_bias: queries, keys and values of the self-attention have a bias.
        sample_size: side of the training latents, for the table of positions.
        patch_size: side of a patch.
        norm_elementwise_affine: the norm before the Mix-FFN has weights.
        norm_eps: added to the variance in the layer norms.
        interpolation_scale: of the table of positions; None for no table.
        guidance_embeds: the network is told a scale of guidance (distilled networks).
        guidance_embeds_scale, timestep_scale: what pipelines multiply the scale and the time by before they come here.
        qk_norm: None, or "rms_norm_across_heads" (SANA-1.5).

    Attributes:
        gradient_checkpointing: set it to True to keep only the tokens between the blocks for the backward pass and compute the
            rest again, which saves most of the memory of training.

    Shapes: see `forward`.

    Raises:
        ValueError: the arguments make no network; in `forward`, what is given does not fit it.

    Source: Xie et al., arXiv:2410.10629, section 2.
    """

    def __init__(
        self,
        in_channels: int = 32,
        out_channels: int | None = 32,
        num_attention_heads: int = 70,
        attention_head_dim: int = 32,
        num_layers: int = 20,
        num_cross_attention_heads: int | None = 20,
        cross_attention_head_dim: int | None = 112,
        cross_attention_dim: int | None = 2240,
        caption_channels: int = 2304,
        mlp_ratio: float = 2.5,
        dropout: float = 0.0,
        attention_bias: bool = False,
        sample_size: int = 32,
        patch_size: int = 1,
        norm_elementwise_affine: bool = False,
        norm_eps: float = 1e-6,
        interpolation_scale: float | None = None,
        guidance_embeds: bool = False,
        guidance_embeds_scale: float = 0.1,
        qk_norm: str | None = None,
        timestep_scale: float = 1.0,
    ) -> None:
        super().__init__()
        dim = num_attention_heads * attention_head_dim
        if qk_norm not in (None, QK_NORM):
            raise ValueError(f"qk_norm should be None or {QK_NORM!r}, got {qk_norm!r}")
        if cross_attention_dim not in (None, dim):
            raise ValueError(
                f"cross_attention_dim should be the width {num_attention_heads} x {attention_head_dim} = {dim}, to which the "
                f"text is projected, or None, got {cross_attention_dim}"
            )
        counts = (in_channels, num_attention_heads, attention_head_dim, num_layers, caption_channels, sample_size, patch_size)
        if min(counts) < 1 or (out_channels is not None and out_channels < 1):
            raise ValueError("channels, heads, layers and sizes should be at least 1")
        self.config: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels or in_channels,
            "num_attention_heads": num_attention_heads,
            "attention_head_dim": attention_head_dim,
            "num_layers": num_layers,
            "num_cross_attention_heads": num_cross_attention_heads,
            "cross_attention_head_dim": cross_attention_head_dim,
            "cross_attention_dim": cross_attention_dim,
            "caption_channels": caption_channels,
            "mlp_ratio": mlp_ratio,
            "dropout": dropout,
            "attention_bias": attention_bias,
            "sample_size": sample_size,
            "patch_size": patch_size,
            "norm_elementwise_affine": norm_elementwise_affine,
            "norm_eps": norm_eps,
            "interpolation_scale": interpolation_scale,
            "guidance_embeds": guidance_embeds,
            "guidance_embeds_scale": guidance_embeds_scale,
            "qk_norm": qk_norm,
            "timestep_scale": timestep_scale,
        }
        self.patch_size = patch_size
        self.gradient_checkpointing = False
        self.scale_shift_table = nn.Parameter(nn.init.normal_(torch.empty(2, dim), std=dim**-0.5))
        self.patch_embed = PatchEmbed(sample_size, patch_size, in_channels, dim, interpolation_scale)
        self.time_embed = TimeModulation(dim, guidance_embeds)
        self.caption_projection = Projection(caption_channels, dim, nn.GELU("tanh"))
        self.caption_norm = RMSNorm(dim, 1e-5)
        nn.init.constant_(self.caption_norm.weight, 0.01)  # published; the text speaks softly at first
        self.transformer_blocks = nn.ModuleList(
            SanaBlock(
                dim,
                num_attention_heads,
                attention_head_dim,
                dropout,
                num_cross_attention_heads,
                cross_attention_head_dim,
                cross_attention_dim,
                attention_bias,
                norm_elementwise_affine,
                norm_eps,
                mlp_ratio,
                qk_norm,
            )
            for _ in range(num_layers)
        )
        self.norm_out = nn.LayerNorm(dim, 1e-6, elementwise_affine=False)
        self.proj_out = nn.Linear(dim, patch_size**2 * (out_channels or in_channels))
        self.spec = spec(**self.config)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor | float,
        encoder_attention_mask: Tensor | None = None,
        guidance: Tensor | float | None = None,
    ) -> Tensor:
        """The velocity of noisy latents.

        Args:
            hidden_states: noisy latents, (b, in_channels, h, w), any height and width.
            encoder_hidden_states: vectors of the text, (b or 1, m, caption_channels).
            timestep: 1000 times the noise level in [0, 1]: a number, or (1,) or (b,).
            encoder_attention_mask: which vectors count, (b or 1, m), 1 or True where they do; None for all.
            guidance: scale of guidance, for networks that are told it.

        Returns:
            (b, out_channels, h, w).
        """
        height, width = hidden_states.shape[-2:]
        x = pad_to_multiple(hidden_states, self.patch_size)
        grid = (x.shape[-2] // self.patch_size, x.shape[-1] // self.patch_size)
        tokens = self.embed(x)
        modulation, e = self.times(
            times_of(x, timestep, "timestep"), None if guidance is None else times_of(x, guidance, "guidance")
        )
        context, bias = self.text(encoder_hidden_states, encoder_attention_mask)
        keep_little = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self.transformer_blocks:
            if keep_little:
                tokens = checkpoint(_advance, block, tokens, context, modulation, grid, bias, use_reentrant=False)
            else:
                tokens = _advance(block, tokens, context, modulation, grid, bias)
        return self.unembed(tokens, e, grid)[..., :height, :width]

    def embed(self, x: Tensor, origin: Grid = (0, 0), whole: Grid | None = None) -> Tensor:
        """Tokens (b, n, dim) of latents in raster order.

        Args:
            x: (b, in_channels, p h, p w) in whole patches.
            origin: row and column of the first token in the picture of which x is a tile, for the table of positions.
            whole: rows and columns of that picture; None where x is all of it.
        """
        channels = self.patch_embed.proj.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"latents should be (b, {channels}, h, w), got {tuple(x.shape)}")
        if x.shape[2] % self.patch_size or x.shape[3] % self.patch_size:
            raise ValueError(f"sides should be multiples of the patch size {self.patch_size}, got {tuple(x.shape[2:])}")
        tokens: Tensor = self.patch_embed(x, origin, whole)
        return tokens

    def times(self, timestep: Tensor, guidance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the times (b,) do to all blocks, (b, 6 dim), and their embedding for `unembed`, (b, dim)."""
        if self.time_embed.guided != (guidance is not None):
            needs = "needs" if self.time_embed.guided else "takes no"
            raise ValueError(f"this network {needs} guidance (guidance_embeds={self.time_embed.guided})")
        modulation, e = self.time_embed(timestep, guidance)
        return modulation, e

    def text(self, encoder_hidden_states: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The text's vectors for the blocks, (b, m, dim), and the bias (b, 1, m) that hides what `mask` (b, m) leaves out."""
        channels = self.caption_projection.linear_1.in_features
        if encoder_hidden_states.ndim != 3 or encoder_hidden_states.shape[2] != channels:
            raise ValueError(f"a text should be (b, m, {channels}), got {tuple(encoder_hidden_states.shape)}")
        context: Tensor = self.caption_norm(self.caption_projection(encoder_hidden_states))
        if mask is None:
            return context, None
        if mask.ndim != 2 or mask.shape[1] != context.shape[1]:
            raise ValueError(f"a mask should be (b, {context.shape[1]}), got {tuple(mask.shape)}")
        return context, ((1 - mask.to(context.dtype)) * _MASKED).unsqueeze(1)

    def unembed(self, tokens: Tensor, e: Tensor, grid: Grid) -> Tensor:
        """The result (b, out_channels, p h, p w) of the last block's tokens."""
        shift, scale = (self.scale_shift_table + e.unsqueeze(1)).chunk(2, 1)
        patches: Tensor = self.proj_out(torch.addcmul(shift, self.norm_out(tokens), 1 + scale))
        return rearrange(
            patches, "b (h w) (p q c) -> b c (h p) (w q)", h=grid[0], w=grid[1], p=self.patch_size, q=self.patch_size
        )


def _advance(block: nn.Module, tokens: Tensor, context: Tensor, modulation: Tensor, grid: Grid, bias: Tensor | None) -> Tensor:
    tokens, _ = block(tokens, context, modulation, grid, bias)
    return tokens


_600M = {
    "num_attention_heads": 36,
    "attention_head_dim": 32,
    "num_layers": 28,
    "num_cross_attention_heads": 16,
    "cross_attention_head_dim": 72,
    "cross_attention_dim": 1152,
}
_1600M = {
    "num_attention_heads": 70,
    "attention_head_dim": 32,
    "num_layers": 20,
    "num_cross_attention_heads": 20,
    "cross_attention_head_dim": 112,
    "cross_attention_dim": 2240,
}
VARIANTS: dict[str, Variant] = {
    "sana_600m_512": Variant(SanaTransformer, _600M | {"sample_size": 16}),
    "sana_600m_1024": Variant(SanaTransformer, _600M | {"sample_size": 32}),
    "sana_1600m_512": Variant(SanaTransformer, _1600M | {"sample_size": 16}),
    "sana_1600m_1024": Variant(SanaTransformer, _1600M | {"sample_size": 32}),
    "sana_1600m_2k": Variant(SanaTransformer, _1600M | {"sample_size": 64, "interpolation_scale": 1.0}),
    "sana_1600m_4k": Variant(SanaTransformer, _1600M | {"sample_size": 128, "interpolation_scale": 2.0}),
    "sana15_1600m_1024": Variant(SanaTransformer, _1600M | {"sample_size": 32, "qk_norm": QK_NORM}),
    "sana15_4800m_1024": Variant(SanaTransformer, _1600M | {"sample_size": 32, "qk_norm": QK_NORM, "num_layers": 60}),
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `SanaTransformer(**config)`."""
    channels = config.get("in_channels", 32)
    return NetSpec(
        in_channels=channels,
        out_channels=config.get("out_channels", 32) or channels,
        multiple=config.get("patch_size", 1),
        halo=None,
        global_ops=("linear attention",),
        unrecorded=(
            "num_attention_heads",
            "attention_head_dim",
            "num_cross_attention_heads",
            "cross_attention_head_dim",
            "dropout",
            "sample_size",
            "norm_eps",
            "interpolation_scale",
            "guidance_embeds_scale",
            "timestep_scale",
        ),
        role="denoiser",
        inputs=("image", "text", "time", "mask", "guidance") if config.get("guidance_embeds") else ("image", "text", "time"),
        text_channels=config.get("caption_channels", 2304),
    )


_KEY = re.compile(
    r"scale_shift_table|patch_embed\.proj\.(weight|bias)|proj_out\.(weight|bias)|caption_norm\.weight"
    r"|time_embed\.(((emb\.timestep|timestep|guidance)_embedder\.linear_[12])|linear)\.(weight|bias)"
    r"|caption_projection\.linear_[12]\.(weight|bias)"
    r"|transformer_blocks\.\d+\.(scale_shift_table|norm2\.(weight|bias)"
    r"|attn[12]\.(norm_[qk]\.weight|to_([qkv]|out\.0)\.(weight|bias))"
    r"|ff\.(conv_(inverted|depth)\.(weight|bias)|conv_point\.weight))"
)
_CROSS_HEADS = {1152: (16, 72), 2240: (20, 112)}
_NO_TABLE = "no table of positions, as the releases for 512 and 1024 pixels have none"


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The layers tell all but the heads, which have 32 features by convention, and the table of positions.

    The heads of the attention to the text are those of the published widths; for others they are missing.
    """
    state_dict = rename_keys(state_dict)
    if not state_dict or not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    config = _layers(state_dict)
    if config is None:
        return None
    assumed, missing = {"interpolation_scale": _NO_TABLE}, []
    width = state_dict["patch_embed.proj.weight"].shape[0]
    config["interpolation_scale"] = None
    if width % 32:
        missing += ["num_attention_heads", "attention_head_dim"]
    else:
        config |= {"num_attention_heads": width // 32, "attention_head_dim": 32}
        assumed["attention_head_dim"] = "the heads of all published networks have 32 features"
    if config["cross_attention_dim"] is not None:
        if width in _CROSS_HEADS:
            heads, features = _CROSS_HEADS[width]
            config |= {"num_cross_attention_heads": heads, "cross_attention_head_dim": features}
            assumed["cross_attention_head_dim"] = f"as in the published networks of width {width}"
        else:
            missing += ["num_cross_attention_heads", "cross_attention_head_dim"]
    return Inferred(SanaTransformer, config, assumed, tuple(missing))


def _layers(state_dict: StateDict) -> dict[str, Any] | None:
    """What the shapes tell; None where they contradict each other."""
    block = "transformer_blocks.0."
    try:
        width, in_channels, patch, across = state_dict["patch_embed.proj.weight"].shape
        rows = state_dict["proj_out.weight"].shape[0]
        caption = state_dict["caption_projection.linear_1.weight"].shape[1]
        hidden = state_dict[block + "ff.conv_inverted.weight"].shape[0]
    except (KeyError, IndexError, ValueError):
        return None
    text = block + "attn2.to_k.weight" in state_dict
    if (
        not all((width, in_channels, caption, hidden))
        or patch != across
        or not patch
        or rows % patch**2
        or hidden % 2
        or not rows
    ):
        return None
    return {
        "in_channels": in_channels,
        "out_channels": rows // patch**2,
        "num_layers": count_indices(state_dict, "transformer_blocks.{}.attn1.to_q.weight"),
        "cross_attention_dim": width if text else None,
        "caption_channels": caption,
        "mlp_ratio": shortest_ratio(hidden // 2, width),
        "attention_bias": block + "attn1.to_q.bias" in state_dict,
        "patch_size": patch,
        "norm_elementwise_affine": block + "norm2.weight" in state_dict,
        "guidance_embeds": "time_embed.guidance_embedder.linear_1.weight" in state_dict,
        "qk_norm": QK_NORM if block + "attn1.norm_q.weight" in state_dict else None,
    }


_DROPPED = re.compile(r"y_embedder\.y_embedding|pos_embed|logvar_linear\..*")
_ORIGINAL = {
    r"x_embedder\.proj": "patch_embed.proj",
    r"y_embedder\.y_proj\.fc([12])": r"caption_projection.linear_\1",
    r"t_embedder\.mlp\.0": "time_embed.emb.timestep_embedder.linear_1",
    r"t_embedder\.mlp\.2": "time_embed.emb.timestep_embedder.linear_2",
    r"t_block\.1": "time_embed.linear",
    r"attention_y_norm": "caption_norm",
    r"final_layer\.linear": "proj_out",
    r"final_layer\.scale_shift_table": "scale_shift_table",
    r"blocks\.(\d+)\.attn\.proj": r"transformer_blocks.\1.attn1.to_out.0",
    r"blocks\.(\d+)\.attn\.([qk])_norm": r"transformer_blocks.\1.attn1.norm_\2",
    r"blocks\.(\d+)\.cross_attn\.q_linear": r"transformer_blocks.\1.attn2.to_q",
    r"blocks\.(\d+)\.cross_attn\.proj": r"transformer_blocks.\1.attn2.to_out.0",
    r"blocks\.(\d+)\.cross_attn\.([qk])_norm": r"transformer_blocks.\1.attn2.norm_\2",
    r"blocks\.(\d+)\.mlp\.(inverted|depth|point)_conv\.conv": r"transformer_blocks.\1.ff.conv_\2",
    r"blocks\.(\d+)\.scale_shift_table": r"transformer_blocks.\1.scale_shift_table",
}
_STACKED = {
    r"blocks\.(\d+)\.attn\.qkv": (r"transformer_blocks.\1.attn1.to_{}", "qkv"),
    r"blocks\.(\d+)\.cross_attn\.kv_linear": (r"transformer_blocks.\1.attn2.to_{}", "kv"),
}


def rename_keys(state_dict: StateDict) -> StateDict:
    """The keys of diffusers for a file in the layout of the authors' own code (NVlabs/Sana)."""
    if not {"x_embedder.proj.weight", "t_block.1.weight"} <= state_dict.keys():
        return state_dict
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        if _DROPPED.fullmatch(key):
            continue
        name, _, kind = key.rpartition(".")
        if kind not in ("weight", "bias"):
            name, kind = key, ""
        stacked = next((each for each in _STACKED.items() if re.fullmatch(each[0], name)), None)
        if stacked is not None:
            pattern, (to, letters) = stacked
            if value.ndim == 0 or len(value) % len(letters):
                return state_dict
            for letter, part in zip(letters, value.chunk(len(letters)), strict=True):
                renamed[re.sub(pattern, to.format(letter), name) + "." + kind] = part
            continue
        found = next((re.sub(old, new, name) for old, new in _ORIGINAL.items() if re.fullmatch(old, name)), name)
        renamed[found + ("." + kind if kind else "")] = value
    return renamed
