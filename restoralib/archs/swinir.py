"""SwinIR: super-resolution, denoising and removal of JPEG artifacts by Swin Transformer layers.

Liang et al., SwinIR: Image Restoration Using Swin Transformer, ICCVW 2021, arXiv:2108.10257. The checkpoints of
JingyunLiang/SwinIR load unchanged, whatever training size their masks have. Images are in [0, 1], RGB or grey, of any size:
they are padded inside by reflection at the right and at the bottom.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import count
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.swin_body import SwinBody, patch_resolution
from restoralib.blocks.upsample import PixelShuffleDirect, PixelShuffleUpsample
from restoralib.blocks.window_attention import RSTB, ResiConnection, residual_conv

Upsampler = Literal["", "pixelshuffle", "pixelshuffledirect", "nearest+conv"]

WIDTH = 64  # channels of the upsamplers


class SwinIR(SwinBody):
    """A convolution for shallow features, residual Swin Transformer blocks for deep ones, and a reconstruction of their sum.

    Args:
        img_size: side, or (height, width), of the training patches. Files hold masks of that size, which change no result,
            and `ape` a table. Where its smaller side is at most `window_size`, the windows are as small and never shifted.
        patch_size: divides `img_size`; features have the resolution of the image all the same.
        in_chans: channels of the image; the mean of DIV2K is subtracted from three.
        embed_dim: channels of the features.
        depths: layers of each block.
        num_heads: attention heads of each block; divisors of `embed_dim`.
        window_size: side of the windows in pixels.
        mlp_ratio: width of the feed-forwards, as a multiple of `embed_dim`; 2 in all published models.
        qkv_bias: whether queries, keys and values have biases.
        qk_scale: factor of the attention logits; None for (embed_dim / heads)**-0.5.
        drop_rate: dropout of the features.
        attn_drop_rate: dropout of the attention weights.
        drop_path_rate: stochastic depth of the last layer, rising from 0 at the first one; in training only.
        ape: add a learned table of positions; it fits images of `img_size` only.
        patch_norm: whether a layer norm comes before the first block.
        use_checkpoint: compute each layer again in the backward pass of training, which saves memory for time.
        upscale: pixels of the result for each of the image, along each axis; without effect where there is no upsampler.
        img_range: factor of the image inside; 255 in the published JPEG models, else 1. Images are in [0, 1] all the same.
        upsampler: "pixelshuffle" (classical; a power of two or 3), "pixelshuffledirect" (lightweight; any scale),
            "nearest+conv" (real photographs; 2 or 4), or "" for the image plus a residual.
        resi_connection: what precedes the residual sums, "1conv" or "3conv".

    Shapes: (b, in_chans, h, w) -> (b, in_chans, upscale h, upscale w), any height and width.

    Raises:
        ValueError: an upscale that the upsampler cannot make, depths and heads that do not match, an unknown name; from
            `forward` with `ape`, another image size.
    """

    derived_suffixes = ("attn_mask", "relative_position_index")
    """Endings of the keys that follow from the configuration: files may lack them, or have them for another `img_size`."""

    def __init__(
        self,
        img_size: int | Sequence[int] = 64,
        patch_size: int | Sequence[int] = 1,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6),
        window_size: int = 7,
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
        upsampler: Upsampler | None = "",
        resi_connection: ResiConnection = "1conv",
    ) -> None:
        upsampler = upsampler or ""
        reconstruction = _reconstruction(upsampler, upscale)
        resolution = patch_resolution(img_size, patch_size)

        def stage(depth: int, heads: int, rates: Sequence[float]) -> RSTB:
            return RSTB(
                embed_dim,
                depth,
                heads,
                self.window_size,
                bool(self.shift_size),
                resi_connection,
                drop_path=rates,
                use_checkpoint=use_checkpoint,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                qk_scale=qk_scale,
                drop=drop_rate,
                attn_drop=attn_drop_rate,
                resolution=resolution,
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
            upscale=upscale if upsampler else 1,
            img_range=img_range,
        )
        self.upsampler = upsampler
        self.conv_after_body = residual_conv(embed_dim, resi_connection)
        if self.upsampler == "pixelshuffledirect":
            self.upsample: nn.Module = PixelShuffleDirect(embed_dim, upscale, in_chans)
        elif self.upsampler:
            conv = nn.Conv2d(embed_dim, WIDTH, 3, padding=1)
            self.conv_before_upsample = nn.Sequential(conv, nn.LeakyReLU(0.01, inplace=True))
        if self.upsampler == "pixelshuffle":
            self.upsample = PixelShuffleUpsample(WIDTH, upscale)
        elif self.upsampler == "nearest+conv":
            self.conv_up1 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
            if upscale == 4:
                self.conv_up2 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
            self.conv_hr = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        if self.upsampler != "pixelshuffledirect":
            self.conv_last = nn.Conv2d(WIDTH if self.upsampler else embed_dim, in_chans, 3, padding=1)

        told = {"in_chans": in_chans, "embed_dim": embed_dim, "depths": tuple(depths), "num_heads": tuple(num_heads)}
        told |= {"window_size": window_size, "mlp_ratio": mlp_ratio, "upscale": upscale, "img_range": img_range}
        told |= {"upsampler": self.upsampler, "resi_connection": resi_connection}
        self.spec = NetSpec(
            scale=self.upscale,
            in_channels=in_chans,
            out_channels=in_chans,
            multiple=self.multiple,
            halo=_halo(reconstruction, depths, self.window_size, self.shift_size, 2 if resi_connection == "3conv" else 1),
            tasks=_published_tasks(told),
            unrecorded=(
                *("img_size", "patch_size", "img_range", "qk_scale", "drop_rate", "attn_drop_rate", "drop_path_rate"),
                *("use_checkpoint",),
                *(() if min(resolution) > window_size else ("window_size",)),
                *(() if upsampler else ("upscale",)),
            ),
            color="gray" if in_chans == 1 else "rgb",
            input_size=resolution if ape else None,
        )

    def _restored(self, features: Tensor, image: Tensor) -> Tensor:
        restored = self.reconstruct(features)
        return restored if self.upsampler else image + restored

    def reconstruct(self, features: Tensor) -> Tensor:
        """The image, or where there is no upsampler its residual, from features."""
        x = features
        if self.upsampler in ("pixelshuffle", "nearest+conv"):
            x = self.conv_before_upsample(x)
        if self.upsampler in ("pixelshuffle", "pixelshuffledirect"):
            x = self.upsample(x)
        if self.upsampler == "nearest+conv":
            x = F.leaky_relu(self.conv_up1(F.interpolate(x, scale_factor=2)), 0.2)
            if self.upscale == 4:
                x = F.leaky_relu(self.conv_up2(F.interpolate(x, scale_factor=2)), 0.2)
            x = F.leaky_relu(self.conv_hr(x), 0.2)
        return x if self.upsampler == "pixelshuffledirect" else self.conv_last(x)


def _reconstruction(upsampler: str, upscale: int) -> list[tuple[int, int]]:
    """The way back from an image to its features: (radius of convolutions, factor of the enlargement that preceded them)."""
    if upscale < 1:
        raise ValueError(f"upscale should be at least 1, got {upscale}")
    match upsampler:
        case "":
            return [(1, 1)]
        case "pixelshuffle":
            stages = [3] if upscale == 3 else [2] * (upscale.bit_length() - 1)
            return [*((1, stage) for stage in stages), (2, 1)]
        case "pixelshuffledirect":
            return [(0, upscale), (1, 1)]
        case "nearest+conv" if upscale in (2, 4):
            return [(3, 2), (1, 2), (1, 1)] if upscale == 4 else [(3, 2), (1, 1)]
        case "nearest+conv":
            raise ValueError(f"upscale should be 2 or 4 with 'nearest+conv', got {upscale}; 'pixelshuffle' makes others")
    raise ValueError(f"unknown upsampler {upsampler!r}; choose 'pixelshuffle', 'pixelshuffledirect', 'nearest+conv' or ''")


def _halo(reconstruction: list[tuple[int, int]], depths: Sequence[int], window: int, shift: int, radius: int) -> int:
    """How far a pixel of the result sees: from every phase of the windows' grid, its view followed back through the network.

    The -100 of the shift's mask counts as a wall: what passes is 1e-44 of an unmasked weight.
    """
    scale = math.prod(factor for _, factor in reconstruction)
    halo = 0
    for pixel in range(window):
        first, last = scale * pixel, scale * pixel + scale - 1
        for reach, factor in reconstruction:
            first, last = (first - reach) // factor, (last + reach) // factor
        first, last = first - radius, last + radius
        for depth in reversed(depths):
            first, last = first - radius, last + radius
            for layer in reversed(range(depth)):
                origin = layer % 2 * shift
                first = (first - origin) // window * window + origin
                last = (last - origin) // window * window + origin + window - 1
        halo = max(halo, pixel - first, last - pixel)
    return halo + 1  # conv_first


_MEDIUM: dict[str, Any] = {
    "window_size": 8,
    "embed_dim": 180,
    "depths": (6,) * 6,
    "num_heads": (6,) * 6,
    "mlp_ratio": 2,
    "img_range": 1.0,
    "upsampler": "",
    "resi_connection": "1conv",
}
_SMALL = _MEDIUM | {"embed_dim": 60, "depths": (6,) * 4, "num_heads": (6,) * 4}
_LARGE = _MEDIUM | {"embed_dim": 240, "depths": (6,) * 9, "num_heads": (8,) * 9, "resi_connection": "3conv"}
_DENOISING = _MEDIUM | {"img_size": 128, "upscale": 1}
_JPEG = _MEDIUM | {"img_size": 126, "upscale": 1, "window_size": 7, "img_range": 255.0}
_CHANNELS = {"gray": 1, "color": 3}


def _super_resolution(body: dict[str, Any], upsampler: Upsampler, upscale: int, img_size: int = 64) -> Variant:
    config = body | {"img_size": img_size, "upscale": upscale, "upsampler": upsampler}
    return Variant(SwinIR, config, (f"sr{upscale}",))


VARIANTS: dict[str, Variant] = {
    **{f"swinir_classical_x{s}": _super_resolution(_MEDIUM, "pixelshuffle", s) for s in (2, 3, 4, 8)},
    **{f"swinir_classical_div2k_x{s}": _super_resolution(_MEDIUM, "pixelshuffle", s, 48) for s in (2, 3, 4, 8)},
    **{f"swinir_lightweight_x{s}": _super_resolution(_SMALL, "pixelshuffledirect", s) for s in (2, 3, 4)},
    **{f"swinir_real_x{s}": _super_resolution(_MEDIUM, "nearest+conv", s) for s in (2, 4)},
    "swinir_real_large_x4": _super_resolution(_LARGE, "nearest+conv", 4),
    **{
        f"swinir_{color}_denoising_{sigma}": Variant(SwinIR, _DENOISING | {"in_chans": channels}, ("denoise",))
        for color, channels in _CHANNELS.items()
        for sigma in (15, 25, 50)
    },
    **{
        f"swinir_{color}_jpeg_{quality}": Variant(SwinIR, _JPEG | {"in_chans": channels}, ("jpeg",))
        for color, channels in _CHANNELS.items()
        for quality in (10, 20, 30, 40)
    },
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `SwinIR(**config)`."""
    with torch.device("meta"):
        return SwinIR(**config).spec


def _published_tasks(config: dict[str, Any]) -> tuple[str, ...]:
    """Tasks of the published models of this configuration, whatever they were trained on."""
    return tuple(
        dict.fromkeys(
            task
            for variant in VARIANTS.values()
            if all(config[name] == value for name, value in variant.config.items() if name in config)
            for task in variant.tasks
        )
    )


_LAYER_KEY = r"attn_mask|(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)|attn\.relative_position_(bias_table|index)"
_BLOCK_KEY = re.compile(rf"layers\.\d+\.(conv(\.[024])?\.(weight|bias)|residual_group\.blocks\.\d+\.({_LAYER_KEY}))")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no SwinIR's, or has windows of more than 32 pixels.

    Of `img_size` files only tell the area, which is taken for a square, and of `mlp_ratio` the width that it leads to: it is
    the shortest decimal that does.
    """
    layer = "layers.{}.residual_group.blocks.{}."
    table = layer + "attn.relative_position_bias_table"
    dims = {"conv_first.weight": 4, table.format(0, 0): 2, layer.format(0, 0) + "mlp.fc1.weight": 2}
    if not all(key in state_dict and state_dict[key].ndim == ndim for key, ndim in dims.items()):
        return None
    if not all(_BLOCK_KEY.fullmatch(key) for key in state_dict if key.startswith("layers.")):
        return None  # HAT and others have SwinIR's keys and some of their own
    embed_dim, in_chans = state_dict["conv_first.weight"].shape[:2]
    hidden = state_dict[layer.format(0, 0) + "mlp.fc1.weight"].shape[0]
    positions = state_dict[table.format(0, 0)].shape[0]
    window = (math.isqrt(positions) + 1) // 2
    if positions != (2 * window - 1) ** 2 or window > 32 or not embed_dim * in_chans * hidden:
        return None
    blocks = range(count_indices(state_dict, table.format("{}", 0)))
    depths = tuple(count_indices(state_dict, table.format(block, "{}")) for block in blocks)
    heads = tuple(state_dict[table.format(block, 0)].numel() // positions for block in blocks)
    upsampler, upscale = _infer_upsampler(state_dict, in_chans)
    ape = "absolute_pos_embed" in state_dict
    config = {
        "img_size": 8 * window,
        "in_chans": in_chans,
        "embed_dim": embed_dim,
        "depths": depths,
        "num_heads": heads,
        "window_size": window,
        "mlp_ratio": shortest_ratio(hidden, embed_dim),
        "qkv_bias": layer.format(0, 0) + "attn.qkv.bias" in state_dict,
        "ape": ape,
        "patch_norm": "patch_embed.norm.weight" in state_dict,
        "upscale": upscale,
        "upsampler": upsampler,
        "resi_connection": "3conv" if "conv_after_body.0.weight" in state_dict else "1conv",
    }

    assumed: dict[str, str] = {}
    missing: tuple[str, ...] = ()
    if window == 7:
        config["img_range"] = 255.0
        assumed["img_range"] = "the published models with windows of 7 pixels, those for JPEG, have the range 255"
    masks = [value for key, value in state_dict.items() if key.endswith(".attn_mask")]
    area = state_dict["absolute_pos_embed"].numel() // embed_dim if ape else masks[0].numel() // window**2 if masks else 0
    side = math.isqrt(area)
    if side and side**2 == area:
        config["img_size"] = side
    elif ape:
        del config["img_size"]
        missing = ("img_size",)
    elif not masks and max(depths) > 1 and window > 1:
        assumed["img_size"] = "there is no attn_mask; the layers are taken as shifted, as in all published models"
    return Inferred(SwinIR, config, assumed, missing)


def _infer_upsampler(state_dict: StateDict, in_chans: int) -> tuple[str, int]:
    if "conv_up1.weight" in state_dict:
        return "nearest+conv", 4 if "conv_up2.weight" in state_dict else 2
    if "conv_before_upsample.0.weight" in state_dict:
        return "pixelshuffle", infer_shuffled_scale(state_dict)
    if "upsample.0.bias" in state_dict:
        return "pixelshuffledirect", math.isqrt(state_dict["upsample.0.bias"].numel() // in_chans)
    return "", 1


def infer_shuffled_scale(state_dict: StateDict) -> int:
    """The scale of a `PixelShuffleUpsample` of `WIDTH` channels under the key `upsample`."""
    stages = sum(f"upsample.{2 * stage}.bias" in state_dict for stage in range(len(state_dict)))
    return 3 if stages == 1 and state_dict["upsample.0.bias"].numel() == 3**2 * WIDTH else 2**stages


def count_indices(state_dict: StateDict, key: str) -> int:
    """How many of the keys with 0, 1, … in the place of {} there are."""
    return next(index for index in count() if key.format(index) not in state_dict)


def shortest_ratio(hidden: int, dim: int) -> float:
    """The factor of fewest decimals with int(dim * factor) == hidden."""
    rounded_up = (-(-hidden * 10**digits // dim) / 10**digits for digits in range(16))
    return next((ratio for ratio in rounded_up if int(dim * ratio) == hidden), hidden / dim)
