"""The KL autoencoder of latent diffusion (f8 in Stable Diffusion): images to latents an eighth as high and wide, and back.

Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, CVPR 2022, arXiv:2112.10752. Constructor arguments
and keys are those of diffusers' AutoencoderKL, whose checkpoints load unchanged; those in the layout of the authors
(`encoder.down.0.block.0…`), and old files of diffusers, load through `rename_keys`. `encode` and `decode` take and give images
in [-1, 1] with sides that are multiples of `factor`; the whole network takes and gives [0, 1] at any size, padded inside by
reflection at the right and at the bottom.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.norm_residual import NormResBlock
from restoralib.blocks.pixel_attention import one_head_attention
from restoralib.blocks.resample import CornerDownsample, NearestUpsample
from restoralib.ops.pad import pad_to_multiple

_ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
}
_DOWN = ("DownEncoderBlock2D", "AttnDownEncoderBlock2D")
_UP = ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")


class Attention(nn.Module):
    """Attention with one head between all pixels, under diffusers' names.

    Shapes: (b, channels, h, w) -> (b, channels, h, w).
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        return one_head_attention(x, self.group_norm, self.to_q, self.to_k, self.to_v, self.to_out[0])


class Level(nn.Module):
    """Residual blocks, each with attention behind it or none has, then a layer that changes the size, or none.

    Shapes: (b, channels, h, w) -> (b, width, h, w), or half or twice of h and w.
    """

    def __init__(self, channels: int, width: int, blocks: int, attends: bool, groups: int, activation: str) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(Attention(width, groups) for _ in range(blocks * attends))
        self.resnets = nn.ModuleList(_block(channels if i == 0 else width, width, groups, activation) for i in range(blocks))

    def run(self, x: Tensor) -> Tensor:
        """The blocks, without the change of the size."""
        for index, block in enumerate(self.resnets):
            x = block(x)
            if len(self.attentions):
                x = self.attentions[index](x)
        return x


class DownLevel(Level):
    """A level of the encoder."""

    def __init__(
        self, channels: int, width: int, blocks: int, attends: bool, groups: int, activation: str, halves: bool
    ) -> None:
        super().__init__(channels, width, blocks, attends, groups, activation)
        if halves:
            self.downsamplers = nn.ModuleList([CornerDownsample(width)])
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        x = self.run(x)
        return self.downsamplers[0](x) if self.halves else x


class UpLevel(Level):
    """A level of the decoder."""

    def __init__(
        self, channels: int, width: int, blocks: int, attends: bool, groups: int, activation: str, doubles: bool
    ) -> None:
        super().__init__(channels, width, blocks, attends, groups, activation)
        if doubles:
            self.upsamplers = nn.ModuleList([NearestUpsample(width)])
        self.doubles = doubles

    def forward(self, x: Tensor) -> Tensor:
        x = self.run(x)
        return self.upsamplers[0](x) if self.doubles else x


class Middle(nn.Module):
    """Two residual blocks, with attention between them or not.

    Shapes: (b, channels, h, w) -> (b, channels, h, w).
    """

    def __init__(self, channels: int, attends: bool, groups: int, activation: str) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(Attention(channels, groups) for _ in range(attends))
        self.resnets = nn.ModuleList(_block(channels, channels, groups, activation) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class Encoder(nn.Module):
    """Levels from the widest map to the smallest, then the middle.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h / factor, w / factor).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        blocks: int,
        attends: Sequence[bool],
        middle_attends: bool,
        groups: int,
        activation: str,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        last = len(widths) - 1
        pairs = pairwise([widths[0], *widths])
        self.down_blocks = nn.ModuleList(
            DownLevel(channels, width, blocks, attends[level], groups, activation, level < last)
            for level, (channels, width) in enumerate(pairs)
        )
        self.mid_block = Middle(widths[-1], middle_attends, groups, activation)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_act = nn.SiLU()  # whatever the other activations are, as the reference has it
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(self.conv_act(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """The middle, then levels from the smallest map to the widest, one block more in each than the encoder has.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, factor h, factor w).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        blocks: int,
        attends: Sequence[bool],
        middle_attends: bool,
        groups: int,
        activation: str,
    ) -> None:
        super().__init__()
        narrowing = [*reversed(widths)]
        self.conv_in = nn.Conv2d(in_channels, narrowing[0], 3, padding=1)
        last = len(widths) - 1
        pairs = pairwise([narrowing[0], *narrowing])
        self.up_blocks = nn.ModuleList(
            UpLevel(channels, width, blocks + 1, attends[level], groups, activation, level < last)
            for level, (channels, width) in enumerate(pairs)
        )
        self.mid_block = Middle(narrowing[0], middle_attends, groups, activation)
        self.conv_norm_out = nn.GroupNorm(groups, narrowing[-1], eps=1e-6)
        self.conv_act = nn.SiLU()
        self.conv_out = nn.Conv2d(narrowing[-1], out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(self.conv_act(self.conv_norm_out(x)))


class KLAutoencoder(nn.Module):
    """diffusers' AutoencoderKL, with its constructor arguments and keys.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the decoded image.
        down_block_types: of each level of the encoder, "DownEncoderBlock2D" or, with attention, "AttnDownEncoderBlock2D".
        up_block_types: of each level of the decoder, the smallest map first, "UpDecoderBlock2D" or "AttnUpDecoderBlock2D".
        block_out_channels: width of each level, the largest map first; multiples of `norm_num_groups`.
        layers_per_block: residual blocks of a level of the encoder; the decoder has one more.
        act_fn: "silu" ("swish"), "mish", "gelu" or "relu", in the residual blocks.
        latent_channels: channels of a latent.
        norm_num_groups: groups of the norms.
        sample_size: side of the training images; the network is the same for all.
        scaling_factor: what a diffusion multiplies latents by to give them unit variance; neither `encode` nor `decode` does.
        shift_factor, latents_mean, latents_std: what else a diffusion does to latents; kept as attributes, never applied here.
        force_upcast: without effect; norms have float32 statistics in any case.
        use_quant_conv: a 1x1 convolution behind the encoder.
        use_post_quant_conv: a 1x1 convolution in front of the decoder.
        mid_block_add_attention: attention between the middle's blocks.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h, w), any height and width.

    Raises:
        ValueError: the arguments make no network; in `encode`, the sides are no multiples of `factor`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        down_block_types: Sequence[str] = ("DownEncoderBlock2D",),
        up_block_types: Sequence[str] = ("UpDecoderBlock2D",),
        block_out_channels: Sequence[int] = (64,),
        layers_per_block: int = 1,
        act_fn: str = "silu",
        latent_channels: int = 4,
        norm_num_groups: int = 32,
        sample_size: int = 32,
        scaling_factor: float = 0.18215,
        shift_factor: float | None = None,
        latents_mean: Sequence[float] | None = None,
        latents_std: Sequence[float] | None = None,
        force_upcast: bool = True,
        use_quant_conv: bool = True,
        use_post_quant_conv: bool = True,
        mid_block_add_attention: bool = True,
    ) -> None:
        super().__init__()
        levels = len(block_out_channels)
        if not levels or not levels == len(down_block_types) == len(up_block_types):
            raise ValueError(
                "block_out_channels, down_block_types and up_block_types should name the same levels, "
                f"got {levels}, {len(down_block_types)} and {len(up_block_types)}"
            )
        for kinds, known in ((down_block_types, _DOWN), (up_block_types, _UP)):
            unknown = next((kind for kind in kinds if kind not in known), None)
            if unknown is not None:
                raise ValueError(f"unknown kind of level {unknown!r}; choose {' or '.join(known)}")
        if act_fn not in _ACTIVATIONS:
            raise ValueError(f"unknown act_fn {act_fn!r}; choose one of {', '.join(_ACTIVATIONS)}")
        check_widths(block_out_channels, norm_num_groups)
        if min(layers_per_block, latent_channels, in_channels, out_channels) < 1:
            raise ValueError("layers_per_block, latent_channels, in_channels and out_channels should be at least 1")
        shared = (mid_block_add_attention, norm_num_groups, act_fn)
        attends_down = [kind == _DOWN[1] for kind in down_block_types]
        attends_up = [kind == _UP[1] for kind in up_block_types]
        moments = 2 * latent_channels
        self.encoder = Encoder(in_channels, moments, block_out_channels, layers_per_block, attends_down, *shared)
        self.decoder = Decoder(latent_channels, out_channels, block_out_channels, layers_per_block, attends_up, *shared)
        self.quant_conv = nn.Conv2d(moments, moments, 1) if use_quant_conv else nn.Identity()
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1) if use_post_quant_conv else nn.Identity()
        self.factor = 2 ** (levels - 1)
        self.channels = latent_channels
        self.scaling_factor = scaling_factor
        self.shift_factor = shift_factor
        self.latents_mean = latents_mean
        self.latents_std = latents_std
        self.spec = spec(in_channels=in_channels, out_channels=out_channels, block_out_channels=block_out_channels)

    def moments(self, image: Tensor) -> Tensor:
        """Mean and logarithm of the variance of latents, not clamped.

        Args:
            image: (b, in_channels, h, w) in [-1, 1], sides multiples of `factor`.

        Returns:
            (b, 2 latent_channels, h / factor, w / factor), the mean first.
        """
        check_sides(image, self.factor)
        return self.quant_conv(self.encoder(image))

    def encode(self, image: Tensor) -> Tensor:
        """The mean of the latents, (b, latent_channels, h / factor, w / factor), of images in [-1, 1]."""
        return self.moments(image).chunk(2, dim=1)[0]

    def decode(self, latent: Tensor) -> Tensor:
        """The image in [-1, 1], not clamped, of a latent (b, latent_channels, h, w)."""
        check_latent(latent, self.channels)
        return self.decoder(self.post_quant_conv(latent))

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = pad_to_multiple(2 * image - 1, self.factor)
        return (self.decode(self.encode(padded))[..., :height, :width] + 1) / 2


def sample_latent(moments: Tensor, noise: Tensor) -> Tensor:
    """A latent drawn from the normal distribution that an encoder tells: mean + exp(log-variance / 2) noise.

    Args:
        moments: (b, 2 c, h, w), mean and logarithm of the variance, which is clamped to [-30, 20].
        noise: standard normal, (b, c, h, w).
    """
    mean, log_variance = moments.chunk(2, dim=1)
    return mean + (log_variance.clamp(-30, 20) / 2).exp() * noise


def check_widths(widths: Sequence[int], groups: int) -> None:
    """Refuse widths that no norm can have.

    Raises:
        ValueError: a width is no positive multiple of the groups.
    """
    if groups < 1 or any(width < 1 or width % groups for width in widths):
        raise ValueError(f"every level should be a multiple of {groups} channels wide, got {list(widths)}")


def check_latent(latent: Tensor, channels: int) -> None:
    """Refuse what is no latent of an autoencoder.

    Raises:
        ValueError: it has another shape than (b, channels, h, w).
    """
    if latent.ndim != 4 or latent.shape[1] != channels:
        raise ValueError(
            f"this autoencoder decodes latents (b, {channels}, h, w), got {tuple(latent.shape)}; it takes those of its own "
            "encoder only"
        )


def check_sides(image: Tensor, factor: int) -> None:
    """Refuse images that an autoencoder cannot halve often enough.

    Raises:
        ValueError: a side is no multiple of the factor.
    """
    height, width = image.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(
            f"an image to encode should have sides that are multiples of {factor}, got {height}x{width}; pad it first, "
            f"for example by restoralib.ops.pad.pad_to_multiple(image, {factor})"
        )


def _block(channels: int, width: int, groups: int, activation: str) -> NormResBlock:
    return NormResBlock(channels, width, groups, activation=_ACTIVATIONS[activation]())


VARIANTS: dict[str, Variant] = {
    "kl_f8": Variant(
        KLAutoencoder,
        {
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": (_DOWN[0],) * 4,
            "up_block_types": (_UP[0],) * 4,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 4,
            "norm_num_groups": 32,
            "sample_size": 512,
            "scaling_factor": 0.18215,
        },
    )
}


# Arguments that no weight tells. Groups are 32 in everything that was published.
UNRECORDED = (
    *("act_fn", "norm_num_groups", "sample_size", "scaling_factor", "shift_factor", "latents_mean", "latents_std"),
    "force_upcast",
)


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `KLAutoencoder(**config)`."""
    return NetSpec(
        in_channels=config.get("in_channels", 3),
        out_channels=config.get("out_channels", 3),
        multiple=2 ** (len(config.get("block_out_channels", (64,))) - 1),
        halo=None,
        global_ops=("GroupNorm", "attention"),
        unrecorded=UNRECORDED,
        role="autoencoder",
    )


_RES = r"(?:norm[12]|conv[12]|conv_shortcut)"
_ATTENTION = r"attentions\.\d+\.(?:group_norm|to_[qkv]|to_out\.0)"
_KEY = re.compile(
    rf"(?:encoder\.down_blocks\.\d+\.(?:resnets\.\d+\.{_RES}|{_ATTENTION}|downsamplers\.0\.conv)"
    rf"|decoder\.up_blocks\.\d+\.(?:resnets\.\d+\.{_RES}|{_ATTENTION}|upsamplers\.0\.conv)"
    rf"|(?:encoder|decoder)\.(?:conv_in|conv_out|conv_norm_out|mid_block\.resnets\.[01]\.{_RES}|mid_block\.{_ATTENTION})"
    r"|(?:post_)?quant_conv)\.(?:weight|bias)"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """All but the scale of latents, for which Stable Diffusion's is assumed, and the groups, 32 where they divide."""
    state_dict = rename_keys(state_dict)
    if not state_dict or not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    levels = _count(state_dict, r"encoder\.down_blocks\.(\d+)\.")
    try:
        in_channels = state_dict["encoder.conv_in.weight"].shape[1]
        out_channels = state_dict["decoder.conv_out.weight"].shape[0]
        latent_channels = state_dict["decoder.conv_in.weight"].shape[1]
        widths = [state_dict[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"].shape[0] for level in range(levels)]
    except (KeyError, IndexError):
        return None
    if not widths or not all(widths):
        return None
    groups = next(groups for groups in (32, 16, 8, 4, 2, 1) if all(width % groups == 0 for width in widths))
    down = [f"encoder.down_blocks.{level}.attentions.0.to_q.weight" in state_dict for level in range(levels)]
    up = [f"decoder.up_blocks.{level}.attentions.0.to_q.weight" in state_dict for level in range(levels)]
    config = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "down_block_types": tuple(_DOWN[attends] for attends in down),
        "up_block_types": tuple(_UP[attends] for attends in up),
        "block_out_channels": tuple(widths),
        "layers_per_block": _count(state_dict, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "latent_channels": latent_channels,
        "norm_num_groups": groups,
        "scaling_factor": 0.18215,
        "use_quant_conv": "quant_conv.weight" in state_dict,
        "use_post_quant_conv": "post_quant_conv.weight" in state_dict,
        "mid_block_add_attention": "encoder.mid_block.attentions.0.to_q.weight" in state_dict,
    }
    assumed = {"scaling_factor": "Stable Diffusion's, while SDXL's layers, which are the same, have 0.13025"}
    if groups != 32:
        assumed["norm_num_groups"] = "the most that divide all widths, 32 or fewer"
    return Inferred(KLAutoencoder, config, assumed)


def _count(state_dict: StateDict, pattern: str) -> int:
    """How many different numbers stand in the keys that begin like a pattern."""
    return len({found[1] for key in state_dict if (found := re.match(pattern, key))})


_ORIGINAL = (
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets."),
    (r"\.down\.(\d+)\.attn\.", r".down_blocks.\1.attentions."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.block\.", r".up_blocks.\1.resnets."),
    (r"\.up\.(\d+)\.attn\.", r".up_blocks.\1.attentions."),
    (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
)
_ATTENTION_NAMES = (
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.(?:q|query)\.", r"\1.to_q."),
    (r"(\.attentions\.\d+)\.(?:k|key)\.", r"\1.to_k."),
    (r"(\.attentions\.\d+)\.(?:v|value)\.", r"\1.to_v."),
    (r"(\.attentions\.\d+)\.(?:proj_out|proj_attn)\.", r"\1.to_out.0."),
)


def rename_keys(state_dict: StateDict) -> StateDict:
    """Keys of latent diffusion's own files, and of diffusers' old ones, as diffusers has them now; others as they are.

    The authors count the decoder's levels from the widest map, and their attention has 1x1 convolutions.
    """
    original = "encoder.mid.block_1.norm1.weight" in state_dict
    old = any(key.endswith((".query.weight", ".proj_attn.weight")) for key in state_dict)
    if not original and not old:
        return state_dict
    last = _count(state_dict, r"decoder\.up\.(\d+)\.") - 1
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        for pattern, new in (*_ORIGINAL, *_ATTENTION_NAMES):
            key = re.sub(pattern, new, key, count=1)
        if original:
            key = re.sub(r"\.up_blocks\.(\d+)\.", lambda found: f".up_blocks.{last - int(found[1])}.", key)
        if re.search(r"\.attentions\.\d+\.to_", key) and value.ndim == 4 and value.shape[2:] == (1, 1):
            value = value[:, :, 0, 0]
        renamed[key] = value
    return renamed if len(renamed) == len(state_dict) else state_dict
