"""SR3's U-Net: the noise in a noisy image beside a small image enlarged, for super-resolution by diffusion.

Saharia et al., Image Super-Resolution via Iterative Refinement, TPAMI 2022, arXiv:2104.07636, in the unofficial implementation
Janspiry/Image-Super-Resolution-via-Iterative-Refinement, whose checkpoints load unchanged. It is one step of a diffusion: six
channels in [-1, 1] in, the enlarged image before the noisy one, and noise out. Any size: sides that cannot be halved often
enough are padded inside by reflection at the right and at the bottom (the implementation fails there); others are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.embedding import SinusoidalMLP, times_of
from restoralib.blocks.pixel_attention import pixel_attention
from restoralib.blocks.resample import NearestUpsample
from restoralib.ops.pad import pad_to_multiple


class Block(nn.Module):
    """Group norm, SiLU, dropout and a 3x3 convolution.

    Shapes: (b, channels, h, w) -> (b, out_channels, h, w).
    """

    def __init__(self, channels: int, out_channels: int, norm_groups: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(norm_groups, channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv2d(channels, out_channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class NoiseShift(nn.Module):
    """Adds a linear map of the embedded noise level to the features.

    Shapes: (b, channels, h, w) and (b, features) -> (b, channels, h, w).
    """

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.noise_func = nn.Sequential(nn.Linear(features, channels))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return x + self.noise_func(level)[..., None, None]


class ResnetBlock(nn.Module):
    """Block, the noise level, Block, added to the input.

    Shapes: (b, channels, h, w) and (b, features) -> (b, out_channels, h, w).
    """

    def __init__(self, channels: int, out_channels: int, features: int, norm_groups: int, dropout: float) -> None:
        super().__init__()
        self.noise_func = NoiseShift(features, out_channels)
        self.block1 = Block(channels, out_channels, norm_groups)
        self.block2 = Block(out_channels, out_channels, norm_groups, dropout)
        self.res_conv = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.block2(self.noise_func(self.block1(x), level)) + self.res_conv(x)


class SelfAttention(nn.Module):
    """Attention of one head between all pixels behind a group norm, added to the input.

    Shapes: (b, channels, h, w) -> (b, channels, h, w).
    """

    def __init__(self, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        tokens = F.linear(tokens, self.qkv.weight.flatten(1))
        tokens = pixel_attention(tokens, 1, heads_first=False)
        tokens = F.linear(tokens, self.out.weight.flatten(1), self.out.bias)
        return x + tokens.transpose(1, 2).view_as(x)


class ResnetBlockWithAttention(nn.Module):
    """ResnetBlock, and SelfAttention behind it or not.

    Shapes: (b, channels, h, w) and (b, features) -> (b, out_channels, h, w).
    """

    def __init__(
        self, channels: int, out_channels: int, features: int, norm_groups: int, dropout: float, with_attn: bool
    ) -> None:
        super().__init__()
        self.res_block = ResnetBlock(channels, out_channels, features, norm_groups, dropout)
        self.attn = SelfAttention(out_channels, norm_groups) if with_attn else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.attn(self.res_block(x, level))


class Downsample(nn.Module):
    """A 3x3 convolution at every second pixel.

    Shapes: (b, channels, h, w) -> (b, channels, h / 2, w / 2), rounded up.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class SR3UNet(nn.Module):
    """The implementation's UNet, with its constructor arguments and state-dict keys.

    Args:
        in_channel: channels of the enlarged and the noisy image together.
        out_channel: channels of the result.
        inner_channel: unit of the widths, even.
        norm_groups: groups of the group norms, a divisor of every width and of those of features concatenated.
        channel_mults: width of each level in units of `inner_channel`.
        attn_res: sides at which there is attention. They are compared with image_size halved at each level, whatever the size
            of the real image. The middle always has it.
        res_blocks: residual blocks of each level; the decoder has one more.
        dropout: in the residual blocks.
        with_noise_level_emb: True; the implementation cannot build a network without.
        image_size: side of the training images, for attn_res.

    Shapes: (b, in_channel, h, w) and the levels, the root of the mean of the signal's squares (sqrt of alpha bar) in [0, 1], as
        (b, 1), (b,), one value or a number -> (b, out_channel, h, w), any height and width.

    Raises:
        ValueError: the arguments make no network; in `forward`, the levels do not fit the images.
    """

    def __init__(
        self,
        in_channel: int = 6,
        out_channel: int = 3,
        inner_channel: int = 32,
        norm_groups: int = 32,
        channel_mults: Sequence[int] = (1, 2, 4, 8, 8),
        attn_res: Sequence[int] | int = (8,),
        res_blocks: int = 3,
        dropout: float = 0.0,
        with_noise_level_emb: bool = True,
        image_size: int = 128,
    ) -> None:
        super().__init__()
        if not with_noise_level_emb:
            raise ValueError("with_noise_level_emb should be True: every block needs the noise level")
        if not channel_mults or res_blocks < 0:
            raise ValueError(f"there should be levels and blocks, got channel_mults {channel_mults} and {res_blocks} blocks")
        attended = (attn_res,) if isinstance(attn_res, int) else attn_res
        self.noise_level_mlp = SinusoidalMLP(
            inner_channel,
            nn.Linear(inner_channel, 4 * inner_channel),
            nn.SiLU(),
            nn.Linear(4 * inner_channel, inner_channel),
            sine_first=True,
        )

        def block(channels: int, width: int, with_attn: bool) -> ResnetBlockWithAttention:
            for count in (channels, width):
                if count % norm_groups:
                    raise ValueError(f"norm_groups should divide all widths, got {norm_groups} for {count} channels")
            return ResnetBlockWithAttention(channels, width, inner_channel, norm_groups, dropout, with_attn)

        widths = [inner_channel * factor for factor in channel_mults]
        last = len(widths) - 1
        channels, side = inner_channel, image_size
        self.downs = nn.ModuleList([nn.Conv2d(in_channel, channels, 3, padding=1)])
        skips = [channels]
        for level, width in enumerate(widths):
            for _ in range(res_blocks):
                self.downs.append(block(channels, width, side in attended))
                channels = width
                skips.append(channels)
            if level < last:
                self.downs.append(Downsample(channels))
                skips.append(channels)
                side //= 2
        self.mid = nn.ModuleList([block(channels, channels, True), block(channels, channels, False)])
        self.ups = nn.ModuleList()
        for level, width in reversed([*enumerate(widths)]):
            for _ in range(res_blocks + 1):
                self.ups.append(block(channels + skips.pop(), width, side in attended))
                channels = width
            if level:
                self.ups.append(NearestUpsample(channels))
                side *= 2
        self.final_conv = Block(channels, out_channel, norm_groups)
        self.spec = spec(
            in_channel=in_channel,
            out_channel=out_channel,
            inner_channel=inner_channel,
            norm_groups=norm_groups,
            channel_mults=channel_mults,
            attn_res=attended,
            res_blocks=res_blocks,
            image_size=image_size,
        )

    def forward(self, image: Tensor, level: Tensor | float) -> Tensor:
        height, width = image.shape[-2:]
        x = pad_to_multiple(image, self.spec.multiple)
        embedded: Tensor = self.noise_level_mlp(times_of(image, level, "level"))
        skips = []
        for layer in self.downs:
            x = layer(x, embedded) if isinstance(layer, ResnetBlockWithAttention) else layer(x)
            skips.append(x)
        for layer in self.mid:
            x = layer(x, embedded)
        for layer in self.ups:
            timed = isinstance(layer, ResnetBlockWithAttention)
            x = layer(torch.cat((x, skips.pop()), dim=1), embedded) if timed else layer(x)
        return self.final_conv(x)[..., :height, :width]


_FACES_128 = {
    "in_channel": 6,
    "out_channel": 3,
    "inner_channel": 64,
    "norm_groups": 32,
    "channel_mults": (1, 2, 4, 8, 8),
    "attn_res": (16,),
    "res_blocks": 2,
    "dropout": 0.2,
    "image_size": 128,
}
_FACES_512 = _FACES_128 | {
    "norm_groups": 16,
    "channel_mults": (1, 2, 4, 8, 16),
    "attn_res": (),
    "res_blocks": 1,
    "dropout": 0.0,
    "image_size": 512,
}
VARIANTS: dict[str, Variant] = {
    "sr3_faces_16_128": Variant(SR3UNet, _FACES_128, ("sr8",)),
    "sr3_faces_64_512": Variant(SR3UNet, _FACES_512, ("sr8",)),
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `SR3UNet(**config)`."""
    plain = {key: tuple(value) if isinstance(value, Sequence) else value for key, value in config.items()}
    published = (v for v in VARIANTS.values() if all(plain.get(key, v.config[key]) == v.config[key] for key in v.config))
    return NetSpec(
        in_channels=config.get("in_channel", 6),
        out_channels=config.get("out_channel", 3),
        multiple=2 ** (len(config.get("channel_mults", (1, 2, 4, 8, 8))) - 1),
        halo=None,
        global_ops=("GroupNorm", "attention"),
        tasks=tuple(dict.fromkeys(task for variant in published for task in variant.tasks)),
        unrecorded=("norm_groups", "dropout"),
        role="denoiser",
        inputs=("image", "level"),
    )


_BLOCK = (
    r"(res_block\.(noise_func\.noise_func\.0|block[12]\.block\.[03]|res_conv)\.(weight|bias)"
    r"|attn\.(norm\.(weight|bias)|qkv\.weight|out\.(weight|bias)))"
)
_KEY = re.compile(
    r"noise_level_mlp\.[13]\.(weight|bias)|downs\.0\.(weight|bias)|final_conv\.block\.[03]\.(weight|bias)"
    rf"|(downs|ups)\.\d+\.(conv\.(weight|bias)|{_BLOCK})|mid\.[01]\.{_BLOCK}"
)
_SCHEDULE = re.compile(
    r"betas|alphas_cumprod(_prev)?|(sqrt|log)_(one_minus_)?alphas_cumprod|sqrt_recip(m1)?_alphas_cumprod"
    r"|posterior_(variance|log_variance_clipped|mean_coef[12])"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The layers tell all but the groups, which are those of the published configuration with these layers, or else 32.

    Where 32 does not divide all widths, `norm_groups` is missing. Of `attn_res` and `image_size` the weights tell the levels
    with attention alone.
    """
    state_dict = rename_keys(state_dict)
    if not state_dict or not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    count = len({key.split(".")[1] for key in state_dict if key.startswith("ups.")})
    doublings = [index for index in range(count) if f"ups.{index}.conv.weight" in state_dict]
    each, levels = (doublings[0] if doublings else count), len(doublings) + 1
    if count != levels * (each + 1) - 1 or not each:
        return None
    try:
        inner = state_dict["noise_level_mlp.1.weight"].shape[1]
        config: dict[str, Any] = {
            "in_channel": state_dict["downs.0.weight"].shape[1],
            "out_channel": state_dict["final_conv.block.3.weight"].shape[0],
            "inner_channel": inner,
        }
        starts = [(each + 1) * (levels - 1 - level) for level in range(levels)]
        widths = [state_dict[f"ups.{start}.res_block.block1.block.3.weight"].shape[0] for start in starts]
    except (KeyError, IndexError):
        return None
    if not inner or any(width % inner for width in widths):
        return None
    config |= {"channel_mults": tuple(width // inner for width in widths), "res_blocks": each - 1}
    up = {level for level, start in enumerate(starts) if f"ups.{start}.attn.norm.weight" in state_dict}
    down = {level for level in range(levels) if f"downs.{1 + level * each}.attn.norm.weight" in state_dict} if each > 1 else up
    for name, variant in VARIANTS.items():
        layers = {key: value for key, value in variant.config.items() if key in config}
        if layers == config and _attended(variant.config, levels) == (down, up):
            reason = f"as in {name}, whose layers these are"
            return Inferred(SR3UNet, dict(variant.config), {"norm_groups": reason})
    sides = _sides(down, up, levels)
    if sides is None:
        return None
    config |= sides
    norms = (value.shape[:1] for key, value in state_dict.items() if key.endswith((".block.0.weight", ".norm.weight")))
    if any(width % 32 for norm in norms for width in norm):
        return Inferred(SR3UNet, config, missing=("norm_groups",))
    return Inferred(SR3UNet, config | {"norm_groups": 32}, {"norm_groups": "the implementation's default"})


def _attended(config: Mapping[str, Any], levels: int) -> tuple[set[int], set[int]]:
    """Levels with attention on the way down and on the way up, which differ where a side is odd."""
    smallest = config["image_size"] >> levels - 1
    down = {level for level in range(levels) if config["image_size"] >> level in config["attn_res"]}
    return down, {level for level in range(levels) if smallest << levels - 1 - level in config["attn_res"]}


def _sides(down: set[int], up: set[int], levels: int) -> dict[str, Any] | None:
    """A size and its sides that give attention at these levels; None where there are none."""
    last = levels - 1
    if down == up:
        size = max(128, 2**last)
        return {"image_size": size, "attn_res": tuple(size >> level for level in sorted(down))}
    if (last in down) != (last in up):
        return None
    size = 2 ** (last + 2) - 1  # odd at every level on the way down, even at every level but the last on the way up
    return {"image_size": size, "attn_res": (*(size >> level for level in down), *(3 << last - level for level in up))}


def rename_keys(state_dict: StateDict) -> StateDict:
    """The network's own keys for a file of the whole diffusion, without its tables of the noise levels."""
    prefix = "denoise_fn."
    if not any(key.startswith(prefix + "noise_level_mlp.") for key in state_dict):
        return state_dict
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if not _SCHEDULE.fullmatch(key)}
