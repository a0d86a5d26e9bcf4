"""HAT: super-resolution by SwinIR's layers with channel attention beside them, and windows that look over their borders.

Chen et al., Activating More Pixels in Image Super-Resolution Transformer, CVPR 2023, arXiv:2205.04437. The checkpoints of
XPixelGroup/HAT load unchanged. Images are in [0, 1], RGB or grey, of any size: they are padded inside by reflection at the
right and at the bottom to whole windows, 16 pixels in all published models. Only the means of the channel attention see the
whole image: `restore(exact=True)` gathers them, with tiles of at least 816 pixels for the models of six groups, where a pixel
sees 389 far by its windows alone (x4).
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.archs.swinir import WIDTH, count_indices, infer_shuffled_scale, shortest_ratio
from restoralib.blocks.channel_attention import ChannelAttention
from restoralib.blocks.norm import LayerNorm2d
from restoralib.blocks.swin_body import SwinBody, patch_resolution
from restoralib.blocks.upsample import PixelShuffleUpsample
from restoralib.blocks.window_attention import (
    DropPath,
    IndexedAttention,
    ShiftedWindows,
    feed_forward,
    in_windows,
    projection,
    relative_position_bias_table,
    relative_position_index,
    residual_conv,
    window_partition,
    window_reverse,
)

Connection = Literal["1conv", "identity"]


class CAB(nn.Module):
    """Channel attention block: a bottleneck of 3x3 convolutions, weighed by the means of its channels (Fig. 2).

    Args:
        dim: channels in and out.
        compress_ratio: `dim` divided by this is the width between the convolutions.
        squeeze_factor: `dim` divided by this is the width of the channel attention's bottleneck.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, dim: int, compress_ratio: int, squeeze_factor: int) -> None:
        super().__init__()
        self.cab = nn.Sequential(
            nn.Conv2d(dim, dim // compress_ratio, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(dim // compress_ratio, dim, 3, padding=1),
            nn.Sequential(OrderedDict(attention=ChannelAttention(dim, squeeze_factor))),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cab(x)


class HAB(nn.Module):
    """Hybrid attention block: attention within windows and, on a small scale, between channels; then a feed-forward (Fig. 2).

    Args:
        dim: channels in and out.
        num_heads: a divisor of `dim`.
        window_size: side of the windows in pixels.
        shifted: whether they are moved by half of it.
        compress_ratio, squeeze_factor: of the channel attention.
        conv_scale: its factor.
        mlp_ratio: width of the feed-forward, as a multiple of `dim`.
        drop: dropout of the branches.
        drop_path: probability of stochastic depth.
        **attention: further arguments of `IndexedAttention`.

    Shapes: (b, c, h, w) -> (b, c, h, w), of whole windows, fastest in channels_last memory.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        shifted: bool,
        compress_ratio: int,
        squeeze_factor: int,
        conv_scale: float,
        mlp_ratio: float,
        drop: float,
        drop_path: float,
        **attention: Any,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shifted = shifted
        self.conv_scale = conv_scale
        self.norm1 = LayerNorm2d(dim, eps=1e-5)
        self.attn = IndexedAttention(dim, num_heads, window_size, proj_drop=drop, **attention)
        self.conv_block = CAB(dim, compress_ratio, squeeze_factor)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = feed_forward(dim, int(dim * mlp_ratio), drop)

    def forward(self, x: Tensor, index: Tensor, shifted: ShiftedWindows | None) -> Tensor:
        def attend(windows: Tensor, mask: Tensor | None) -> Tensor:
            attended: Tensor = self.attn(windows, index, mask)
            return attended

        normed = self.norm1(x)
        attended = in_windows(normed.permute(0, 2, 3, 1), self.window_size, attend, shifted if self.shifted else None)
        x = x + self.drop_path(attended).permute(0, 3, 1, 2) + self.conv_block(normed) * self.conv_scale
        pixels = x.permute(0, 2, 3, 1)
        pixels = pixels + self.drop_path(self.mlp(self.norm2(pixels)))
        return pixels.permute(0, 3, 1, 2)


class OCAB(nn.Module):
    """Overlapping cross-attention block: each window asks a larger one about the same centre; then a feed-forward (Fig. 4).

    Beyond the image keys and values are zero, and take part.

    Args:
        dim: channels in and out.
        num_heads: a divisor of `dim`.
        window_size: side of the windows in pixels.
        overlap: by how much the larger ones exceed them, even.
        qkv_bias: whether queries, keys and values have biases.
        qk_scale: factor of the logits; None for (dim / num_heads)**-0.5.
        mlp_ratio: width of the feed-forward, as a multiple of `dim`.

    Shapes: (b, c, h, w) and the index (n, m) -> (b, c, h, w), of whole windows.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        overlap: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        mlp_ratio: float = 2.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.overlap = overlap
        self.scale = qk_scale
        self.relative_position_bias_table = relative_position_bias_table(2 * window_size + overlap - 1, num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = projection(dim, 3 * dim, qkv_bias)
        self.proj = projection(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = feed_forward(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1)
        b, h, w, c = pixels.shape
        q, kv = self.qkv(self.norm1(pixels)).split((c, 2 * c), -1)
        q = window_partition(q, self.window_size)
        count, n = q.shape[1:3]
        q = q.view(b * count, n, self.num_heads, c // self.num_heads).transpose(1, 2)
        margin, side = self.overlap // 2, self.window_size + self.overlap
        kv = F.pad(kv, (0, 0, margin, margin, margin, margin))
        kv = kv.unfold(1, side, self.window_size).unfold(2, side, self.window_size)  # (b, rows, columns, 2c, side, side)
        kv = kv.permute(0, 1, 2, 4, 5, 3).reshape(b * count, side**2, 2, self.num_heads, c // self.num_heads)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind()
        bias = self.relative_position_bias_table.T[:, index]
        mixed = F.scaled_dot_product_attention(q, k, v, bias[None].to(q.dtype), scale=self.scale)
        mixed = self.proj(mixed.transpose(1, 2).reshape(b, count, n, c))
        pixels = pixels + window_reverse(mixed, self.window_size, h, w)
        pixels = pixels + self.mlp(self.norm2(pixels))
        return pixels.permute(0, 3, 1, 2)


class RHAG(nn.Module):
    """Residual hybrid attention group: HABs, every second one shifted, an OCAB and a convolution, added to the input (Fig. 2).

    Args:
        dim: channels in and out.
        depth: number of HABs.
        num_heads: a divisor of `dim`.
        window_size: side of the windows in pixels.
        shifted: False for no shift in any of them.
        overlap: by how much the OCAB's larger windows exceed them.
        resi_connection: "1conv" for the convolution, "identity" for none.
        drop_path: probability of stochastic depth of each HAB.
        use_checkpoint: compute each block again in the backward pass of training, which saves memory for time.
        qkv_bias, qk_scale, mlp_ratio: of all blocks.
        **block: further arguments of `HAB`.

    Shapes: (b, c, h, w) and the two indices -> (b, c, h, w), of whole windows.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        window_size: int,
        shifted: bool,
        overlap: int,
        resi_connection: Connection,
        drop_path: Sequence[float],
        use_checkpoint: bool,
        qkv_bias: bool,
        qk_scale: float | None,
        mlp_ratio: float,
        **block: Any,
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        common: dict[str, Any] = {"qkv_bias": qkv_bias, "qk_scale": qk_scale, "mlp_ratio": mlp_ratio}
        blocks = [
            HAB(dim, num_heads, window_size, shifted and index % 2 == 1, drop_path=rate, **common, **block)
            for index, rate in zip(range(depth), drop_path, strict=True)
        ]
        overlap_attn = OCAB(dim, num_heads, window_size, overlap, **common)
        self.residual_group = nn.ModuleDict({"blocks": nn.ModuleList(blocks), "overlap_attn": overlap_attn})
        self.conv = _residual_conv(dim, resi_connection)

    def forward(self, x: Tensor, index: Tensor, overlap_index: Tensor, shifted: ShiftedWindows | None) -> Tensor:
        deep = x
        for block in self.residual_group["blocks"].children():
            if self.use_checkpoint:
                deep = checkpoint(block, deep, index, shifted, use_reentrant=False)
            else:
                deep = block(deep, index, shifted)
        residual: Tensor = self.conv(self.residual_group["overlap_attn"](deep, overlap_index))
        return x + residual


class HAT(SwinBody):
    """A convolution for shallow features, residual hybrid attention groups for deep ones, and pixel shuffles for their sum.

    Args:
        img_size: side, or (height, width), of the training patches. Where its smaller side is `window_size`, windows are never
            shifted.
        patch_size: divides `img_size`; features have the resolution of the image all the same.
        in_chans: channels of the image; the mean of DIV2K is subtracted from three.
        embed_dim: channels of the features.
        depths: hybrid attention blocks of each group.
        num_heads: attention heads of each group; divisors of `embed_dim`.
        window_size: side of the windows in pixels; the authors' default of 7 fits no overlap of a half.
        compress_ratio: how far the convolutions beside the attention narrow the channels.
        squeeze_factor: how far their channel attention does.
        conv_scale: their factor.
        overlap_ratio: by how much the windows of keys and values exceed those of queries; the pixels have to be even.
        mlp_ratio: width of the feed-forwards, as a multiple of `embed_dim`; 2 in all published models.
        qkv_bias: whether queries, keys and values have biases.
        qk_scale: factor of the attention logits; None for (embed_dim / heads)**-0.5.
        drop_rate: dropout of the features.
        attn_drop_rate: dropout of the attention weights.
        drop_path_rate: stochastic depth of the last block, rising from 0 at the first one; in training only.
        ape: add a learned table of positions; it fits images of `img_size` only.
        patch_norm: whether a layer norm comes before the first group.
        use_checkpoint: compute each block again in the backward pass of training, which saves memory for time.
        upscale: pixels of the result for each of the image, along each axis; a power of two or 3.
        img_range: factor of the image inside; images are in [0, 1] all the same.
        upsampler: "pixelshuffle"; the authors' network makes no other.
        resi_connection: what precedes the residual sums, "1conv" or "identity".

    Shapes: (b, in_chans, h, w) -> (b, in_chans, upscale h, upscale w), any height and width.

    Raises:
        ValueError: the arguments make no network; from `forward` with `ape`, another image size.
    """

    derived_suffixes = ("relative_position_index_SA", "relative_position_index_OCA")
    """Endings of the keys that follow from the configuration: files may lack them."""

    relative_position_index_SA: Tensor
    relative_position_index_OCA: Tensor

    def __init__(
        self,
        img_size: int | Sequence[int] = 64,
        patch_size: int | Sequence[int] = 1,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6),
        window_size: int = 16,
        compress_ratio: int = 3,
        squeeze_factor: int = 30,
        conv_scale: float = 0.01,
        overlap_ratio: float = 0.5,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        ape: bool = False,
        patch_norm: bool = True,
        use_checkpoint: bool = False,
        upscale: int = 2,
        img_range: float = 1.0,
        upsampler: Literal["pixelshuffle"] = "pixelshuffle",
        resi_connection: Connection = "1conv",
    ) -> None:
        if any(heads < 1 or embed_dim % heads for heads in num_heads):
            raise ValueError(f"embed_dim should be a multiple of all num_heads, got {embed_dim} and {num_heads}")
        overlap = int(window_size * overlap_ratio)
        if window_size < 1 or overlap < 0 or overlap % 2:
            raise ValueError(
                f"window_size times overlap_ratio should be an even number of pixels, got {window_size} times {overlap_ratio}"
            )
        for name, ratio in (("compress_ratio", compress_ratio), ("squeeze_factor", squeeze_factor)):
            if not 1 <= ratio <= embed_dim:
                raise ValueError(f"{name} should be from 1 to embed_dim = {embed_dim}, got {ratio}")
        if upsampler != "pixelshuffle":
            raise ValueError(f"upsampler should be 'pixelshuffle', got {upsampler!r}")
        resolution = patch_resolution(img_size, patch_size)
        if min(resolution) < window_size:
            raise ValueError(f"img_size should be at least window_size = {window_size}, got {img_size}")

        def stage(depth: int, heads: int, rates: Sequence[float]) -> RHAG:
            return RHAG(
                embed_dim,
                depth,
                heads,
                window_size,
                bool(self.shift_size),
                overlap,
                resi_connection,
                rates,
                use_checkpoint,
                qkv_bias,
                qk_scale,
                mlp_ratio,
                compress_ratio=compress_ratio,
                squeeze_factor=squeeze_factor,
                conv_scale=conv_scale,
                drop=drop_rate,
                attn_drop=attn_drop_rate,
            )

        super().__init__(
            stage,
            depths,
            num_heads,
            in_chans=in_chans,
            embed_dim=embed_dim,
            resolution=resolution,
            window_size=window_size,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            ape=ape,
            patch_norm=patch_norm,
            upscale=upscale,
            img_range=img_range,
        )
        self.register_buffer("relative_position_index_SA", relative_position_index(window_size))
        self.register_buffer("relative_position_index_OCA", _overlap_index(window_size, overlap))
        self.conv_after_body = _residual_conv(embed_dim, resi_connection)
        conv = nn.Conv2d(embed_dim, WIDTH, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(conv, nn.LeakyReLU(0.01, inplace=True))
        self.upsample = PixelShuffleUpsample(WIDTH, upscale)
        self.conv_last = nn.Conv2d(WIDTH, in_chans, 3, padding=1)

        told = {"in_chans": in_chans, "embed_dim": embed_dim, "depths": tuple(depths), "num_heads": tuple(num_heads)}
        told |= {"window_size": window_size, "compress_ratio": compress_ratio, "squeeze_factor": squeeze_factor}
        told |= {"conv_scale": conv_scale, "overlap_ratio": overlap_ratio, "mlp_ratio": mlp_ratio, "img_range": img_range}
        told |= {"upscale": upscale, "upsampler": upsampler, "resi_connection": resi_connection}
        published = qkv_bias and patch_norm and not ape
        self.spec = NetSpec(
            scale=upscale,
            in_channels=in_chans,
            out_channels=in_chans,
            multiple=window_size,
            halo=None,
            global_ops=("ChannelAttention",),
            tasks=_published_tasks(told) if published else (),
            unrecorded=(
                *("img_size", "patch_size", "conv_scale", "qk_scale", "drop_rate", "attn_drop_rate", "drop_path_rate"),
                *("use_checkpoint", "img_range"),
            ),
            color="gray" if in_chans == 1 else "rgb",
            input_size=resolution if ape else None,
        )

    def _run_stage(self, stage: nn.Module, x: Tensor, shifted: ShiftedWindows | None) -> Tensor:
        deep: Tensor = stage(x, self.relative_position_index_SA, self.relative_position_index_OCA, shifted)
        return deep

    def _restored(self, features: Tensor, image: Tensor) -> Tensor:
        restored: Tensor = self.conv_last(self.upsample(self.conv_before_upsample(features)))
        return restored

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The windows tell the indices: a file may lack them, and is not believed where it has them.
        for name in self.derived_suffixes:
            state_dict[prefix + name] = getattr(self, name)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[no-untyped-call]


def _residual_conv(channels: int, connection: Connection) -> nn.Module:
    if connection not in ("1conv", "identity"):
        raise ValueError(f"resi_connection should be '1conv' or 'identity', got {connection!r}")
    return nn.Identity() if connection == "identity" else residual_conv(channels)


def _overlap_index(window_size: int, overlap: int) -> Tensor:
    """Rows of the bias table for a window's pixels and those of the larger window, (n, m).

    The authors count from another corner than the larger window's own, so that some rows are counted from the table's end.
    """
    larger = window_size + overlap
    distance = np.arange(larger) - np.arange(window_size)[:, None] + 1 - overlap
    rows = (window_size + larger - 1) * distance
    return torch.tensor((rows[:, None, :, None] + distance[None, :, None, :]).reshape(window_size**2, larger**2))


_DEFAULTS: dict[str, Any] = {
    "img_size": 64,
    "in_chans": 3,
    "embed_dim": 180,
    "depths": (6,) * 6,
    "num_heads": (6,) * 6,
    "window_size": 16,
    "compress_ratio": 3,
    "squeeze_factor": 30,
    "conv_scale": 0.01,
    "overlap_ratio": 0.5,
    "mlp_ratio": 2.0,
    "img_range": 1.0,
    "upsampler": "pixelshuffle",
    "resi_connection": "1conv",
}
_SMALL = _DEFAULTS | {"embed_dim": 144, "compress_ratio": 24, "squeeze_factor": 24}
_LARGE = _DEFAULTS | {"depths": (6,) * 12, "num_heads": (6,) * 12}


def _super_resolution(body: dict[str, Any], upscale: int) -> Variant:
    return Variant(HAT, body | {"upscale": upscale}, (f"sr{upscale}",))


VARIANTS: dict[str, Variant] = {
    **{f"hat_s_x{scale}": _super_resolution(_SMALL, scale) for scale in (2, 3, 4)},
    **{f"hat_x{scale}": _super_resolution(_DEFAULTS, scale) for scale in (2, 3, 4)},
    **{f"hat_imagenet_x{scale}": _super_resolution(_DEFAULTS, scale) for scale in (2, 3, 4)},
    **{f"hat_l_imagenet_x{scale}": _super_resolution(_LARGE, scale) for scale in (2, 3, 4)},
    "hat_real_gan_x4": _super_resolution(_DEFAULTS, 4),
    "hat_real_gan_sharper_x4": _super_resolution(_DEFAULTS, 4),
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `HAT(**config)`."""
    with torch.device("meta"):
        return HAT(**config).spec


def _published_tasks(config: dict[str, Any]) -> tuple[str, ...]:
    """Tasks of the published models of this configuration, whatever they were trained on."""
    return tuple(
        dict.fromkeys(
            task
            for variant in VARIANTS.values()
            if variant.config == config | {"img_size": variant.config["img_size"]}
            for task in variant.tasks
        )
    )


_TENSORS = r"(weight|bias)"
_MLP = rf"norm[12]\.{_TENSORS}|mlp\.fc[12]\.{_TENSORS}"
_ATTENTION = rf"(qkv|proj)\.{_TENSORS}|relative_position_bias_table"
_HAB_KEY = rf"{_MLP}|attn\.({_ATTENTION})|conv_block\.cab\.([02]|3\.attention\.[13])\.{_TENSORS}"
_GROUP_KEY = rf"conv\.{_TENSORS}|residual_group\.(blocks\.\d+\.({_HAB_KEY})|overlap_attn\.({_MLP}|{_ATTENTION}))"
_OTHER_KEY = rf"(conv_first|patch_embed\.norm|norm|conv_after_body|conv_before_upsample\.0|upsample\.\d+|conv_last)\.{_TENSORS}"
_KEY = re.compile(rf"absolute_pos_embed|relative_position_index_(SA|OCA)|{_OTHER_KEY}|layers\.\d+\.({_GROUP_KEY})")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no HAT's, or has windows of more than 32 pixels.

    Of the ratios files only tell the widths that they lead to: these are the largest whole divisors and the shortest decimals.
    """
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    block = "layers.{}.residual_group.blocks.{}."
    first = block.format(0, 0)
    table = block + "attn.relative_position_bias_table"
    overlapping = "layers.0.residual_group.overlap_attn.relative_position_bias_table"
    dims = {
        "conv_first.weight": 4,
        table.format(0, 0): 2,
        overlapping: 2,
        first + "mlp.fc1.weight": 2,
        first + "conv_block.cab.0.weight": 4,
        first + "conv_block.cab.3.attention.1.weight": 4,
    }
    if not all(key in state_dict and state_dict[key].ndim == ndim for key, ndim in dims.items()):
        return None
    embed_dim, in_chans = state_dict["conv_first.weight"].shape[:2]
    hidden, compressed, squeezed = (len(state_dict[key]) for key in [*dims][3:])
    positions, wider = (math.isqrt(len(state_dict[key])) for key in (table.format(0, 0), overlapping))
    window = (positions + 1) // 2
    overlap = wider - 2 * window + 1
    if (len(state_dict[table.format(0, 0)]), len(state_dict[overlapping])) != (positions**2, wider**2) or window > 32:
        return None
    if not embed_dim * in_chans * hidden * compressed * squeezed or positions % 2 == 0 or not 0 <= overlap <= 32:
        return None
    groups = range(count_indices(state_dict, table.format("{}", 0)))
    config: dict[str, Any] = {
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "depths": tuple(count_indices(state_dict, table.format(group, "{}")) for group in groups),
        "num_heads": tuple(state_dict[table.format(group, 0)].numel() // positions**2 for group in groups),
        "window_size": window,
        "compress_ratio": embed_dim // compressed,
        "squeeze_factor": embed_dim // squeezed,
        "overlap_ratio": shortest_ratio(overlap, window),
        "mlp_ratio": shortest_ratio(hidden, embed_dim),
        "qkv_bias": first + "attn.qkv.bias" in state_dict,
        "ape": "absolute_pos_embed" in state_dict,
        "patch_norm": "patch_embed.norm.weight" in state_dict,
        "upscale": infer_shuffled_scale(state_dict),
        "upsampler": "pixelshuffle",
        "resi_connection": "1conv" if "conv_after_body.weight" in state_dict else "identity",
    }
    if not config["ape"]:
        return Inferred(HAT, config | {"img_size": max(64, 2 * window)})
    side = math.isqrt(state_dict["absolute_pos_embed"].numel() // embed_dim)
    if side**2 * embed_dim == state_dict["absolute_pos_embed"].numel():
        return Inferred(HAT, config | {"img_size": side})
    return Inferred(HAT, config, missing=("img_size",))
