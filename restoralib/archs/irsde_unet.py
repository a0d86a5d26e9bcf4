"""ConditionalUNet of IR-SDE: the noise in an image on its way from degraded to clean, by a U-Net with linear attention.

Luo et al., Image Restoration with Mean-Reverting Stochastic Differential Equations, ICML 2023, arXiv:2301.11699. The
checkpoints of Algolzw/image-restoration-sde load unchanged, also those of GOUB (arXiv:2312.10299), whose network it is. It is
one step of a diffusion: state, degraded image and time in, noise out. Images are RGB in [0, 1], a state is what the process
makes of them; any size, padded inside by reflection at the right and at the bottom to multiples of 2^depth.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.embedding import SinusoidalMLP, times_of
from restoralib.blocks.norm import GainLayerNorm
from restoralib.blocks.resample import NearestUpsample
from restoralib.blocks.softmax_linear_attention import SoftmaxLinearAttention
from restoralib.ops.pad import pad_to_multiple


class ConvBlock(nn.Module):
    """A 3x3 convolution without bias, whose output is scaled and shifted where that is asked, and SiLU.

    Shapes: (b, channels, h, w) and two of (b, out_channels, 1, 1) -> (b, out_channels, h, w).
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        self.act = nn.SiLU()

    def forward(self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = self.proj(x)
        if modulation is not None:
            scale, shift = modulation
            x = x * (scale + 1) + shift
        return self.act(x)


class ResBlock(nn.Module):
    """Two ConvBlocks, the first modulated by the time, added to the input; no norm.

    Shapes: (b, channels, h, w) and (b, time_channels) -> (b, out_channels, h, w).
    """

    def __init__(self, channels: int, out_channels: int, time_channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_channels, 2 * out_channels))
        self.block1 = ConvBlock(channels, out_channels)
        self.block2 = ConvBlock(out_channels, out_channels)
        same = channels == out_channels
        self.res_conv = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.mlp(time)[..., None, None].chunk(2, dim=1)
        return self.block2(self.block1(x, (scale, shift))) + self.res_conv(x)


class AttentionBlock(nn.Module):
    """Linear attention behind a layer norm, added to the input; keys as the authors' nested wrappers make them.

    Shapes: (b, channels, h, w) -> (b, channels, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fn = nn.ModuleDict({"fn": SoftmaxLinearAttention(channels), "norm": GainLayerNorm(channels)})

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn["fn"](self.fn["norm"](x))


class ConditionalUNet(nn.Module):
    """U-Net on the state minus the degraded image, beside the degraded image.

    Args:
        in_nc: channels of the state and of the degraded image, each.
        out_nc: channels of the result.
        nf: width of the first level, even and at least 4; every level doubles it.
        depth: levels. The last one changes the width alone, so that the map is halved depth - 1 times.
        upscale: without effect, as in the authors' code: a small image is enlarged before.

    Shapes: (b, in_nc, h, w), (b, in_nc, h, w) and (b,), one value or a number -> (b, out_nc, h, w), any height and width.

    Raises:
        ValueError: nf or depth make no network; in `forward`, image and condition differ in shape, or times do not fit them.
    """

    def __init__(self, in_nc: int = 3, out_nc: int = 3, nf: int = 64, depth: int = 4, upscale: int = 1) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth should be at least 1, got {depth}")
        if nf < 4 or nf % 2:
            raise ValueError(f"nf should be even and at least 4, got {nf}: times are embedded in nf channels")
        time = 4 * nf
        self.init_conv = nn.Conv2d(2 * in_nc, nf, 7, padding=3, bias=False)
        self.time_mlp = SinusoidalMLP(nf, nn.Linear(nf, time), nn.GELU(), nn.Linear(time, time), sine_first=True, endpoint=True)
        widths = [nf << level for level in range(depth + 1)]
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        for level, (width, deeper) in enumerate(pairwise(widths)):
            last = level == depth - 1
            down = _plain_conv(width, deeper) if last else nn.Conv2d(width, deeper, 4, stride=2, padding=1)
            self.downs.append(_stage(width, width, time, down))
        for level in reversed(range(depth)):
            width, deeper = widths[level], widths[level + 1]
            up = nn.Sequential(NearestUpsample(deeper, use_conv=False), nn.Conv2d(deeper, width, 3, padding=1))
            self.ups.append(_stage(width + deeper, deeper, time, up if level else _plain_conv(deeper, width)))
        self.mid_block1 = ResBlock(widths[-1], widths[-1], time)
        self.mid_attn = AttentionBlock(widths[-1])
        self.mid_block2 = ResBlock(widths[-1], widths[-1], time)
        self.final_res_block = ResBlock(2 * nf, nf, time)
        self.final_conv = nn.Conv2d(nf, out_nc, 3, padding=1)
        self.spec = spec(in_nc=in_nc, out_nc=out_nc, nf=nf, depth=depth, upscale=upscale)

    def forward(self, image: Tensor, condition: Tensor, time: Tensor | float) -> Tensor:
        return self.run(image, condition, self.time_mlp(times_of(image, time)), lambda attention, x: attention(x))

    def run(self, image: Tensor, condition: Tensor, t: Tensor, attend: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """The network at an embedding of the time, (b, d), whose attentions are called by `attend(attention, x)`.

        They come in the order of the flow: those on the way down, that of the middle, those on the way up.
        """
        if image.shape != condition.shape:
            raise ValueError(f"image and condition should be of one shape, got {_shape(image)} and {_shape(condition)}")
        height, width = image.shape[-2:]
        x = pad_to_multiple(torch.cat((image - condition, condition), dim=1), self.spec.multiple)
        x = first = self.init_conv(x)
        skips = []
        for stage in self.downs:
            block1, block2, attention, down = cast("nn.ModuleList", stage)
            x = block1(x, t)
            skips.append(x)
            x = attend(attention, block2(x, t))
            skips.append(x)
            x = down(x)
        x = self.mid_block2(attend(self.mid_attn, self.mid_block1(x, t)), t)
        for stage in self.ups:
            block1, block2, attention, up = cast("nn.ModuleList", stage)
            x = block1(torch.cat((x, skips.pop()), dim=1), t)
            x = block2(torch.cat((x, skips.pop()), dim=1), t)
            x = up(attend(attention, x))
        x = self.final_res_block(torch.cat((x, first), dim=1), t)
        return self.final_conv(x)[..., :height, :width]


def _stage(channels: int, out_channels: int, time: int, resample: nn.Module) -> nn.ModuleList:
    blocks = (ResBlock(channels, out_channels, time) for _ in range(2))
    return nn.ModuleList((*blocks, AttentionBlock(out_channels), resample))


def _plain_conv(channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)


def _shape(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape)


def _variant(*tasks: str, nf: int = 64, depth: int = 4) -> Variant:
    return Variant(ConditionalUNet, {"in_nc": 3, "out_nc": 3, "nf": nf, "depth": depth}, tasks)


VARIANTS: dict[str, Variant] = {
    "irsde_derain_rain100h": _variant("derain"),
    "irsde_derain_rain100l": _variant("derain"),
    "irsde_deblur_gopro": _variant("deblur"),
    "irsde_inpaint": _variant(),
    "irsde_deshadow": _variant(nf=32, depth=5),
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `ConditionalUNet(**config)`."""
    config = {"in_nc": 3, "out_nc": 3, "nf": 64, "depth": 4} | config
    published = (v for v in VARIANTS.values() if all(config[key] == value for key, value in v.config.items()))
    return NetSpec(
        in_channels=config["in_nc"],
        out_channels=config["out_nc"],
        multiple=2 ** config["depth"],
        halo=None,
        global_ops=("linear attention",),
        tasks=tuple(dict.fromkeys(task for variant in published for task in variant.tasks)),
        unrecorded=("upscale",),
        role="denoiser",
        inputs=("image", "condition", "time"),
    )


_RES = r"(mlp\.1\.(weight|bias)|block[12]\.proj\.weight|res_conv\.weight)"
_ATTENTION = r"fn\.(fn\.(to_qkv\.weight|to_out\.0\.(weight|bias)|to_out\.1\.g)|norm\.g)"
_KEY = re.compile(
    r"init_conv\.weight|time_mlp\.[13]\.(weight|bias)|final_conv\.(weight|bias)"
    rf"|(mid_block[12]|final_res_block)\.{_RES}|mid_attn\.{_ATTENTION}"
    rf"|(downs|ups)\.\d+\.([01]\.{_RES}|2\.{_ATTENTION}|3\.(1\.)?(weight|bias))"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """Everything from shapes and by counting levels."""
    if not state_dict or not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    try:
        nf, channels = state_dict["init_conv.weight"].shape[:2]
        out_nc = state_dict["final_conv.weight"].shape[0]
    except (KeyError, ValueError, IndexError):
        return None
    if channels % 2:
        return None
    depth = len({key.split(".")[1] for key in state_dict if key.startswith("downs.")})
    return Inferred(ConditionalUNet, {"in_nc": channels // 2, "out_nc": out_nc, "nf": nf, "depth": depth})
