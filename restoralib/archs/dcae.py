"""DC-AE: a deep compression autoencoder, whose latents have 1/32 to 1/128 of an image's side.

Chen et al., Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models, ICLR 2025, arXiv:2410.10733; the
autoencoder of SANA (arXiv:2410.10629). Published checkpoints load in both layouts, that of diffusers' AutoencoderDC, whose
constructor arguments these are, and the original one of mit-han-lab/efficientvit. `encode` and `decode` work on images in
[-1, 1] whose sides are multiples of `factor`; `forward` takes and gives [0, 1] and any size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.glumb_conv import GLUMBConv
from restoralib.blocks.linear_attention import LinearState, read_linear_state, update_linear_state
from restoralib.blocks.norm import RMSNorm2d
from restoralib.ops.pad import pad_to_multiple

_ALL = (slice(None), slice(None))
_NORMS: Mapping[str, Callable[[int], nn.Module]] = {"rms_norm": RMSNorm2d, "batch_norm": nn.BatchNorm2d}
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "mish": nn.Mish,
}


def mean_of_groups(x: Tensor, channels: int) -> Tensor:
    """The mean of neighbouring channels, so many that `channels` are left: (b, c, h, w) -> (b, channels, h, w)."""
    return rearrange(x, "b (c group) h w -> b c group h w", c=channels).mean(2)


def repeated(x: Tensor, channels: int) -> Tensor:
    """Each channel so often that there are `channels` of them: (b, c, h, w) -> (b, channels, h, w)."""
    return x.repeat_interleave(channels // x.shape[1], 1)


class ResBlock(nn.Module):
    """3x3 convolution, activation, 3x3 convolution, norm, added to the input.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, norm_type: str = "rms_norm", act_fn: str = "silu") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = _NORMS[norm_type](channels)
        self.act = _ACTIVATIONS[act_fn]()

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.norm(self.conv2(self.act(self.conv1(x))))
        return x + residual


class QKVAggregation(nn.Module):
    """Queries, keys and values of a larger neighbourhood: depthwise k x k, then 1x1 within each third of a head.

    Shapes: (b, 3 c, h, w) -> (b, 3 c, h, w).
    """

    def __init__(self, channels: int, heads: int, kernel_size: int) -> None:
        super().__init__()
        self.proj_in = nn.Conv2d(
            3 * channels, 3 * channels, kernel_size, padding=kernel_size // 2, groups=3 * channels, bias=False
        )
        self.proj_out = nn.Conv2d(3 * channels, 3 * channels, 1, groups=3 * heads, bias=False)

    def forward(self, qkv: Tensor) -> Tensor:
        return self.proj_out(self.proj_in(qkv))


class MultiscaleLinearAttention(nn.Module):
    """ReLU linear attention of EfficientViT (arXiv:2205.14756) over all pixels, added to the input.

    Queries, keys and values of one pixel and those of its neighbourhoods lie one behind the other and are cut into heads
    only then: the first head takes its query, key and value from the first 3 d of all channels. So the letters in `to_q`,
    `to_k` and `to_v` name parts of the checkpoint only. Sums are float32 at least.

    An image in parts: `update` gives the sums over a part added to those before, `read` what a part sees of them.

    Args:
        channels: channels in and out.
        head_dim: features of each head.
        scales: sides of the neighbourhoods, odd numbers; none for the pixel alone.
        norm_type: "rms_norm" or "batch_norm", of what is added.

    Shapes: (b, channels, h, w) -> (b, channels, h, w).
    """

    def __init__(self, channels: int, head_dim: int = 32, scales: Sequence[int] = (5,), norm_type: str = "rms_norm") -> None:
        super().__init__()
        heads = channels // head_dim
        inner = heads * head_dim
        self.head_dim = head_dim
        self.reach = max((scale // 2 for scale in scales), default=0)
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_k = nn.Linear(channels, inner, bias=False)
        self.to_v = nn.Linear(channels, inner, bias=False)
        self.to_qkv_multiscale = nn.ModuleList(QKVAggregation(inner, heads, scale) for scale in scales)
        self.to_out = nn.Linear(inner * (1 + len(scales)), channels, bias=False)
        self.norm_out = _NORMS[norm_type](channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._heads(x)
        return self._add(x, read_linear_state(q, update_linear_state(k, v)))

    def update(
        self, x: Tensor, state: LinearState | None = None, core: tuple[slice, slice] = (slice(None),) * 2
    ) -> LinearState:
        """The sums with a part in them; of the part, only the rows and columns of `core` are counted."""
        _, k, v = self._heads(x, core)
        return update_linear_state(k, v, state)

    def read(self, x: Tensor, state: LinearState) -> Tensor:
        """The output for a part that sees what is in the sums."""
        return self._add(x, read_linear_state(self._heads(x)[0], state))

    def _heads(self, x: Tensor, core: tuple[slice, slice] = _ALL) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (b, heads, n, d)."""
        weight = torch.cat((self.to_q.weight, self.to_k.weight, self.to_v.weight))
        qkv = F.conv2d(x, weight[:, :, None, None])
        qkv = torch.cat([qkv, *(aggregate(qkv) for aggregate in self.to_qkv_multiscale)], 1)[..., core[0], core[1]]
        q, k, v = rearrange(qkv, "b (heads three d) h w -> three b heads (h w) d", three=3, d=self.head_dim)
        return q, k, v

    def _add(self, x: Tensor, seen: Tensor) -> Tensor:
        seen = rearrange(seen, "b heads (h w) d -> b (heads d) h w", h=x.shape[-2])
        return x + self.norm_out(F.conv2d(seen, self.to_out.weight[:, :, None, None]))


class EfficientViTBlock(nn.Module):
    """Linear attention over all pixels, then a gated feed-forward network with a 3x3 convolution.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, head_dim: int = 32, scales: Sequence[int] = (5,), norm_type: str = "rms_norm") -> None:
        super().__init__()
        self.attn = MultiscaleLinearAttention(channels, head_dim, scales, norm_type)
        self.conv_out = GLUMBConv(channels, channels, 4, "rms_norm")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.attn(x))


class Downsample(nn.Module):
    """Halves the sides: a convolution plus, as a shortcut without weights, the pixels as channels, averaged in groups.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h / 2, w / 2).
    """

    def __init__(self, in_channels: int, out_channels: int, unshuffle: bool, shortcut: bool = True) -> None:
        super().__init__()
        self.unshuffle, self.shortcut, self.out_channels = unshuffle, shortcut, out_channels
        self.conv = nn.Conv2d(in_channels, out_channels // 4 if unshuffle else out_channels, 3, 1 if unshuffle else 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.pixel_unshuffle(self.conv(x), 2) if self.unshuffle else self.conv(x)
        return y + mean_of_groups(F.pixel_unshuffle(x, 2), self.out_channels) if self.shortcut else y


class Upsample(nn.Module):
    """Doubles the sides: a convolution plus, as a shortcut without weights, repeated channels as pixels.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, 2 h, 2 w).
    """

    def __init__(self, in_channels: int, out_channels: int, shuffle: bool, shortcut: bool = True) -> None:
        super().__init__()
        self.shuffle, self.shortcut, self.out_channels = shuffle, shortcut, out_channels
        self.conv = nn.Conv2d(in_channels, 4 * out_channels if shuffle else out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x if self.shuffle else F.interpolate(x, scale_factor=2.0, mode="nearest"))
        y = F.pixel_shuffle(y, 2) if self.shuffle else y
        return y + F.pixel_shuffle(repeated(x, 4 * self.out_channels), 2) if self.shortcut else y


@dataclass(frozen=True)
class Stage:
    """Blocks at one resolution.

    Args:
        block: "ResBlock" or "EfficientViTBlock".
        width: channels.
        depth: number of blocks.
        scales: sides of the neighbourhoods that the attention aggregates.
        norm: "rms_norm" or "batch_norm".
        act: activation of residual blocks.
    """

    block: str
    width: int
    depth: int
    scales: tuple[int, ...] = ()
    norm: str = "rms_norm"
    act: str = "silu"

    def blocks(self, head_dim: int) -> list[nn.Module]:
        """The blocks."""
        if self.block == "ResBlock":
            return [ResBlock(self.width, self.norm, self.act) for _ in range(self.depth)]
        return [EfficientViTBlock(self.width, head_dim, self.scales, self.norm) for _ in range(self.depth)]


@dataclass(frozen=True)
class Layer:
    """One step of an encoder or a decoder, for going through an image in parts.

    Args:
        run: the step.
        reach: how many pixels of its input it looks beyond a pixel's own place.
        scale: pixels that it gives for each that it takes, along an axis: 1, 2 or 1/2.
        attention: the step itself, where it sees the whole image by sums over all pixels.
    """

    run: Callable[[Tensor], Tensor]
    reach: int = 1
    scale: Fraction = Fraction(1)
    attention: MultiscaleLinearAttention | None = None


def _layers(modules: Iterable[nn.Module]) -> Iterator[Layer]:
    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _layers(module)
        elif isinstance(module, EfficientViTBlock):
            yield Layer(module.attn, module.attn.reach, attention=module.attn)
            yield Layer(module.conv_out)
        elif isinstance(module, (Downsample, Upsample)):
            yield Layer(module, scale=Fraction(1, 2) if isinstance(module, Downsample) else Fraction(2))
        else:
            yield Layer(module, 2 if isinstance(module, ResBlock) else 1)


class Encoder(nn.Module):
    """From an image in [-1, 1] to its latent.

    Shapes: (b, in_channels, h, w) -> (b, latent_channels, h / factor, w / factor).
    """

    def __init__(
        self,
        in_channels: int,
        latent_channels: int,
        head_dim: int,
        stages: Sequence[Stage],
        unshuffle: bool,
        out_shortcut: bool,
    ) -> None:
        super().__init__()
        if stages[0].depth:
            self.conv_in: nn.Module = nn.Conv2d(in_channels, stages[0].width, 3, padding=1)
        else:
            self.conv_in = Downsample(in_channels, stages[1].width, unshuffle, shortcut=False)
        self.down_blocks = nn.ModuleList()
        for stage, below in zip(stages, (*stages[1:], None), strict=True):
            blocks = stage.blocks(head_dim)
            if stage.depth and below is not None:
                blocks.append(Downsample(stage.width, below.width, unshuffle))
            self.down_blocks.append(nn.Sequential(*blocks))
        self.conv_out = nn.Conv2d(stages[-1].width, latent_channels, 3, padding=1)
        self.latent_channels, self.out_shortcut = latent_channels, out_shortcut

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for stage in self.down_blocks:
            x = stage(x)
        return self.head(x)

    def head(self, x: Tensor) -> Tensor:
        """The last convolution, and its shortcut."""
        y: Tensor = self.conv_out(x)
        return y + mean_of_groups(x, self.latent_channels) if self.out_shortcut else y

    def layers(self) -> list[Layer]:
        """The steps of `forward`."""
        return [*_layers([self.conv_in, *self.down_blocks]), Layer(self.head)]


class Decoder(nn.Module):
    """From a latent to an image in [-1, 1], which is not clamped.

    Shapes: (b, latent_channels, h, w) -> (b, out_channels, factor h, factor w).
    """

    def __init__(
        self,
        out_channels: int,
        latent_channels: int,
        head_dim: int,
        stages: Sequence[Stage],
        shuffle: bool,
        in_shortcut: bool,
        conv_act_fn: str,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(latent_channels, stages[-1].width, 3, padding=1)
        self.up_blocks = nn.ModuleList()
        for stage, below in zip(stages, (*stages[1:], None), strict=True):
            blocks = stage.blocks(head_dim)
            if stage.depth and below is not None:
                blocks.insert(0, Upsample(below.width, stage.width, shuffle))
            self.up_blocks.append(nn.Sequential(*blocks))
        width = (stages[0] if stages[0].depth else stages[1]).width
        self.norm_out = RMSNorm2d(width)
        self.conv_act = _ACTIVATIONS[conv_act_fn]()
        if stages[0].depth:
            self.conv_out: nn.Module = nn.Conv2d(width, out_channels, 3, padding=1)
        else:
            self.conv_out = Upsample(width, out_channels, shuffle, shortcut=False)
        self.width, self.in_shortcut = stages[-1].width, in_shortcut

    def forward(self, z: Tensor) -> Tensor:
        x = self.head(z)
        for stage in reversed(self.up_blocks):
            x = stage(x)
        return self.tail(x)

    def head(self, z: Tensor) -> Tensor:
        """The first convolution, and its shortcut."""
        x: Tensor = self.conv_in(z)
        return x + repeated(z, self.width) if self.in_shortcut else x

    def tail(self, x: Tensor) -> Tensor:
        """The last norm, activation and convolution."""
        return self.conv_out(self.conv_act(self.norm_out(x)))

    def layers(self) -> list[Layer]:
        """The steps of `forward`."""
        (last,) = _layers([self.conv_out])
        return [Layer(self.head), *_layers(reversed(self.up_blocks)), replace(last, run=self.tail)]


class DCAE(nn.Module):
    """The autoencoder, with the constructor arguments and state-dict keys of diffusers' AutoencoderDC.

    All tuples have one entry a stage, from the image to the latent; a single name stands for all stages. A first stage of
    depth 0 halves the image while it is read.

    Args:
        in_channels: channels of the image.
        latent_channels: channels of the latent.
        attention_head_dim: features of each head in the attention.
        encoder_block_types: "ResBlock" or "EfficientViTBlock", one a stage.
        decoder_block_types: the decoder's.
        encoder_block_out_channels: widths.
        decoder_block_out_channels: the decoder's.
        encoder_layers_per_block: blocks of each stage.
        decoder_layers_per_block: the decoder's.
        encoder_qkv_multiscales: sides of the neighbourhoods that the attention aggregates, of each stage.
        decoder_qkv_multiscales: the decoder's.
        upsample_block_type: "pixel_shuffle" or "interpolate".
        downsample_block_type: "pixel_unshuffle" or "conv".
        decoder_norm_types: "rms_norm" or "batch_norm".
        decoder_act_fns: activations of the residual blocks, "silu", "relu", "gelu" or "mish".
        encoder_out_shortcut: means of channels are added to the latent.
        decoder_in_shortcut: the repeated latent is added to the decoder's first features.
        decoder_conv_act_fn: activation before the last convolution.
        scaling_factor: what a diffusion multiplies latents with, to give them unit variance. It is kept as an attribute
            and never applied here.

    Shapes: `forward` (b, c, h, w) -> (b, c, h, w), any height and width; `encode` (b, c, h, w) -> (b, latent_channels,
    h / factor, w / factor); `decode` back.

    Raises:
        ValueError: an argument makes no network; from `encode` and `decode`, a wrong size or number of channels.
    """

    def __init__(
        self,
        in_channels: int = 3,
        latent_channels: int = 32,
        attention_head_dim: int = 32,
        encoder_block_types: str | Sequence[str] = "ResBlock",
        decoder_block_types: str | Sequence[str] = "ResBlock",
        encoder_block_out_channels: Sequence[int] = (128, 256, 512, 512, 1024, 1024),
        decoder_block_out_channels: Sequence[int] = (128, 256, 512, 512, 1024, 1024),
        encoder_layers_per_block: Sequence[int] = (2, 2, 2, 3, 3, 3),
        decoder_layers_per_block: Sequence[int] = (3, 3, 3, 3, 3, 3),
        encoder_qkv_multiscales: Sequence[Sequence[int]] = ((), (), (), (5,), (5,), (5,)),
        decoder_qkv_multiscales: Sequence[Sequence[int]] = ((), (), (), (5,), (5,), (5,)),
        upsample_block_type: str = "pixel_shuffle",
        downsample_block_type: str = "pixel_unshuffle",
        decoder_norm_types: str | Sequence[str] = "rms_norm",
        decoder_act_fns: str | Sequence[str] = "silu",
        encoder_out_shortcut: bool = True,
        decoder_in_shortcut: bool = True,
        decoder_conv_act_fn: str = "relu",
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        encoder = _stages(
            "encoder",
            encoder_block_types,
            encoder_block_out_channels,
            encoder_layers_per_block,
            encoder_qkv_multiscales,
        )
        decoder = _stages(
            "decoder",
            decoder_block_types,
            decoder_block_out_channels,
            decoder_layers_per_block,
            decoder_qkv_multiscales,
            decoder_norm_types,
            decoder_act_fns,
        )
        if len(encoder) != len(decoder):
            raise ValueError(f"encoder and decoder should have as many stages, got {len(encoder)} and {len(decoder)}")
        if min(in_channels, latent_channels, attention_head_dim) < 1:
            raise ValueError(
                "in_channels, latent_channels and attention_head_dim should be positive, "
                f"got {in_channels}, {latent_channels} and {attention_head_dim}"
            )
        attending = [stage.width for stage in encoder + decoder if stage.block == "EfficientViTBlock"]
        if attending and min(attending) < attention_head_dim:
            raise ValueError(f"stages with attention should have {attention_head_dim} channels or more, got {min(attending)}")
        for half, wanted, width in (
            ("encoder", encoder_out_shortcut, encoder[-1].width),
            ("decoder", decoder_in_shortcut, decoder[-1].width),
        ):
            if wanted and width % latent_channels:
                raise ValueError(
                    f"the {half}'s shortcut puts its last {width} channels into {latent_channels} groups of one size; "
                    "choose another latent_channels, or leave the shortcut out"
                )
        if downsample_block_type == "pixel_unshuffle" and any(stage.width % 4 for stage in encoder[1:]):
            raise ValueError(
                "pixel_unshuffle makes four channels of one: the encoder's widths after the first should be multiples of 4, "
                f"got {tuple(encoder_block_out_channels)}"
            )
        _check_names("decoder_conv_act_fn", [decoder_conv_act_fn], _ACTIVATIONS)
        _check_names("upsample_block_type", [upsample_block_type], ("pixel_shuffle", "interpolate"))
        _check_names("downsample_block_type", [downsample_block_type], ("pixel_unshuffle", "conv"))

        self.encoder = Encoder(
            in_channels,
            latent_channels,
            attention_head_dim,
            encoder,
            downsample_block_type == "pixel_unshuffle",
            encoder_out_shortcut,
        )
        self.decoder = Decoder(
            in_channels,
            latent_channels,
            attention_head_dim,
            decoder,
            upsample_block_type == "pixel_shuffle",
            decoder_in_shortcut,
            decoder_conv_act_fn,
        )
        self.factor = 2 ** (len(encoder) - 1)
        self.channels = latent_channels
        self.image_channels = in_channels
        self.scaling_factor = scaling_factor
        self.spec = spec(
            in_channels=in_channels,
            encoder_block_types=encoder_block_types,
            decoder_block_types=decoder_block_types,
            encoder_block_out_channels=encoder_block_out_channels,
            encoder_layers_per_block=encoder_layers_per_block,
            decoder_layers_per_block=decoder_layers_per_block,
            upsample_block_type=upsample_block_type,
            downsample_block_type=downsample_block_type,
        )

    def encode(self, image: Tensor) -> Tensor:
        """The latent of an image in [-1, 1], not scaled."""
        if image.ndim != 4 or image.shape[1] != self.image_channels or any(side % self.factor for side in image.shape[-2:]):
            raise ValueError(
                f"encode expects (b, {self.image_channels}, h, w) with sides that are multiples of {self.factor}, "
                f"got {tuple(image.shape)}; pad the image"
            )
        return self.encoder(image)

    def decode(self, latent: Tensor) -> Tensor:
        """The image, about [-1, 1], of a latent that is not scaled."""
        if latent.ndim != 4 or latent.shape[1] != self.channels:
            raise ValueError(f"decode expects a latent (b, {self.channels}, h, w), got {tuple(latent.shape)}")
        return self.decoder(latent)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = pad_to_multiple(image, self.factor, "replicate")
        x = self.decoder(self.encoder(2 * x - 1))
        return ((x + 1) / 2)[..., :height, :width]


def _each(names: str | Sequence[str], stages: int) -> tuple[str, ...]:
    return (names,) * stages if isinstance(names, str) else tuple(names)


def _check_names(argument: str, names: Sequence[str], known: Iterable[str], stages: int | None = None) -> None:
    if stages is not None and len(names) != stages:
        raise ValueError(f"{argument} should have {stages} entries, one a stage, got {len(names)}")
    for name in names:
        if name not in known:
            raise ValueError(f"{argument} should be {' or '.join(known)}, got {name!r}")


def _stages(
    half: str,
    blocks: str | Sequence[str],
    widths: Sequence[int],
    depths: Sequence[int],
    scales: Sequence[Sequence[int]],
    norms: str | Sequence[str] = "rms_norm",
    acts: str | Sequence[str] = "silu",
) -> list[Stage]:
    """The stages of the encoder or the decoder.

    Raises:
        ValueError: they make none.
    """
    count = len(widths)
    if count < 2 or len(depths) != count or len(scales) != count:
        raise ValueError(
            f"the {half}'s widths, layers and scales should have one entry a stage, and two at least, "
            f"got {count}, {len(depths)} and {len(scales)}"
        )
    blocks, norms, acts = _each(blocks, count), _each(norms, count), _each(acts, count)
    _check_names(f"{half}_block_types", blocks, ("ResBlock", "EfficientViTBlock"), count)
    _check_names(f"{half}_norm_types", norms, _NORMS, count)
    _check_names(f"{half}_act_fns", acts, _ACTIVATIONS, count)
    if min(widths) < 1 or min(depths) < 0:
        raise ValueError(f"the {half}'s widths should be positive and its layers not negative, got {widths} and {depths}")
    if 0 in depths[1:-1] or not any(depths):
        raise ValueError(f"only the first and the last stage may be empty, got {half}_layers_per_block={depths}")
    if any(scale < 1 or scale % 2 == 0 for stage in scales for scale in stage):
        raise ValueError(f"{half}_qkv_multiscales should be odd numbers, got {scales}")
    first = 0 if depths[0] else 1
    if any(4 * above % below for above, below in pairwise(widths[first:])):
        raise ValueError(f"four times the width of a stage should be a multiple of the {half}'s next, got {widths}")
    parts = zip(blocks, widths, depths, map(tuple, scales), norms, acts, strict=True)
    return [Stage(*part) for part in parts]


_DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "encoder_block_types": "ResBlock",
    "decoder_block_types": "ResBlock",
    "encoder_block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3),
    "decoder_layers_per_block": (3, 3, 3, 3, 3, 3),
    "upsample_block_type": "pixel_shuffle",
    "downsample_block_type": "pixel_unshuffle",
}


def _config(
    widths: Sequence[int], latent: int, encoder: Sequence[int], decoder: Sequence[int], scaling: float, sana: bool = False
) -> dict[str, Any]:
    """A published configuration: three stages of residual blocks, the others of attention."""
    attending = len(widths) - 3
    blocks = ("ResBlock",) * 3 + ("EfficientViTBlock",) * attending
    scales = ((),) * 3 + ((5,) if sana else (),) * attending
    return {
        "in_channels": 3,
        "latent_channels": latent,
        "attention_head_dim": 32,
        "encoder_block_types": blocks,
        "decoder_block_types": blocks,
        "encoder_block_out_channels": widths,
        "decoder_block_out_channels": widths,
        "encoder_layers_per_block": encoder,
        "decoder_layers_per_block": decoder,
        "encoder_qkv_multiscales": scales,
        "decoder_qkv_multiscales": scales,
        "upsample_block_type": "interpolate" if sana else "pixel_shuffle",
        "downsample_block_type": "conv" if sana else "pixel_unshuffle",
        "decoder_norm_types": "rms_norm" if sana else ("batch_norm",) * 3 + ("rms_norm",) * attending,
        "decoder_act_fns": "silu" if sana else ("relu",) * 3 + ("silu",) * attending,
        "scaling_factor": scaling,
    }


def _imagenet(latent: int, scaling: float) -> dict[str, Any]:
    deep = (2048,) * {32: 0, 128: 1, 512: 2}[latent]
    layers = (2,) * (3 + len(deep))
    return _config((128, 256, 512, 512, 1024, 1024, *deep), latent, (0, 4, 8, *layers), (0, 5, 10, *layers), scaling)


_SANA = _config((128, 256, 512, 512, 1024, 1024), 32, (2, 2, 2, 3, 3, 3), (3,) * 6, 0.41407, sana=True)

VARIANTS: dict[str, Variant] = {
    "dc_ae_f32c32_sana_1_0": Variant(DCAE, _SANA),
    "dc_ae_f32c32_sana_1_1": Variant(DCAE, _SANA),
    "dc_ae_f32c32_in_1_0": Variant(DCAE, _imagenet(32, 0.3189)),
    "dc_ae_f32c32_mix_1_0": Variant(DCAE, _imagenet(32, 0.4552)),
    "dc_ae_f64c128_in_1_0": Variant(DCAE, _imagenet(128, 0.2889)),
    "dc_ae_f64c128_mix_1_0": Variant(DCAE, _imagenet(128, 0.4538)),
    "dc_ae_f128c512_in_1_0": Variant(DCAE, _imagenet(512, 0.4883)),
    "dc_ae_f128c512_mix_1_0": Variant(DCAE, _imagenet(512, 0.3620)),
}


def spec(**config: Any) -> NetSpec:
    """The needs of the network with these constructor arguments: any size, on a grid of `factor` pixels."""
    config = _DEFAULTS | config
    channels, stages = config["in_channels"], len(config["encoder_block_out_channels"])
    down, up = config["encoder_layers_per_block"], config["decoder_layers_per_block"]
    blocks = (*_each(config["encoder_block_types"], stages), *_each(config["decoder_block_types"], stages))
    attends = any(depth and block == "EfficientViTBlock" for block, depth in zip(blocks, (*down, *up), strict=True))
    unshuffle, shuffle = config["downsample_block_type"] == "pixel_unshuffle", config["upsample_block_type"] == "pixel_shuffle"
    return NetSpec(
        in_channels=channels,
        out_channels=channels,
        multiple=2 ** (stages - 1),
        halo=None if attends else _halo(down, up, unshuffle, shuffle),
        global_ops=("linear attention",) if attends else (),
        unrecorded=(
            "attention_head_dim",
            "decoder_act_fns",
            "encoder_out_shortcut",
            "decoder_in_shortcut",
            "decoder_conv_act_fn",
            "scaling_factor",
        ),
        role="autoencoder",
    )


def _halo(down: Sequence[int], up: Sequence[int], unshuffle: bool, shuffle: bool) -> int:
    """The area that an output pixel depends on, followed from the output to the input without attention."""
    halo, factor = 0, 2 ** (len(down) - 1)

    def enlarge(first: int, last: int) -> tuple[int, int]:
        """What an `Upsample` needs for pixels first to last."""
        if shuffle:
            return first // 2 - 1, last // 2 + 1
        return (first - 1) // 2, (last + 1) // 2

    def reduce(first: int, last: int) -> tuple[int, int]:
        """What a `Downsample` needs."""
        return 2 * first - 1, 2 * last + (2 if unshuffle else 1)

    for pixel in range(factor):
        first = last = pixel
        first, last = (first - 1, last + 1) if up[0] else enlarge(first, last)
        for i, depth in enumerate(up):
            first, last = first - 2 * depth, last + 2 * depth
            if depth and i < len(up) - 1:
                first, last = enlarge(first, last)
        first, last = first - 2, last + 2  # the first convolution of the decoder and the last of the encoder
        for i, depth in reversed([*enumerate(down)]):
            if depth and i < len(down) - 1:
                first, last = reduce(first, last)
            first, last = first - 2 * depth, last + 2 * depth
        first, last = (first - 1, last + 1) if down[0] else reduce(first, last)
        halo = max(halo, pixel - first, last - pixel)
    return halo


_CONV = r"conv\.(weight|bias)"
_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_GLU = rf"conv_out\.(conv_(inverted|depth)\.(weight|bias)|conv_point\.weight|norm\.{_NORM})"
_ATTENTION = rf"attn\.(to_[qkv]\.weight|to_qkv_multiscale\.\d+\.proj_(in|out)\.weight|to_out\.weight|norm_out\.{_NORM})"
_KEY = re.compile(
    r"encoder\.conv_(in|out)\.(conv\.)?(weight|bias)|decoder\.conv_(in|out)\.(conv\.)?(weight|bias)|decoder\.norm_out\.(weight|bias)"
    rf"|(encoder\.down|decoder\.up)_blocks\.\d+\.\d+\.({_CONV}|conv1\.(weight|bias)|conv2\.weight|norm\.{_NORM}|{_ATTENTION}|{_GLU})"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict in either layout; None if it is no DC-AE's.

    No weight tells the activations, which go with the norms in all published models, and the scaling factor.
    """
    state_dict = rename_keys(state_dict)
    ends = ("encoder.conv_out.weight", "decoder.conv_in.weight", "decoder.norm_out.weight")
    if not all(key in state_dict for key in ends) or not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    if any(value.ndim != _ndim(key) for key, value in state_dict.items()):
        return None
    latent, deepest = state_dict["encoder.conv_out.weight"].shape[:2]
    encoder = _infer_half(state_dict, "encoder.down_blocks", deepest)
    decoder = _infer_half(state_dict, "decoder.up_blocks", state_dict["decoder.conv_in.weight"].shape[0])
    if encoder is None or decoder is None or len(encoder["widths"]) != len(decoder["widths"]):
        return None
    image = state_dict.get("encoder.conv_in.weight", state_dict.get("encoder.conv_in.conv.weight"))
    if image is None:
        return None
    down = [*_resampling(state_dict, r"encoder\.down_blocks\.", encoder["widths"][1:])]
    up = [*_resampling(state_dict, r"decoder\.up_blocks\.", decoder["widths"])]
    if "encoder.conv_in.conv.weight" in state_dict:
        down.append((len(state_dict["encoder.conv_in.conv.weight"]), encoder["widths"][1]))
    if "decoder.conv_out.conv.weight" in state_dict:
        up.append((len(state_dict["decoder.conv_out.conv.weight"]), image.shape[1]))
    norms = decoder["norms"]
    acts = tuple("relu" if norm == "batch_norm" else "silu" for norm in norms)
    head_dims = {value.shape[1] for key, value in state_dict.items() if key.endswith("proj_out.weight")}
    config: dict[str, Any] = {
        "in_channels": image.shape[1],
        "latent_channels": latent,
        "attention_head_dim": head_dims.pop() if head_dims else 32,
        "encoder_block_types": encoder["blocks"],
        "decoder_block_types": decoder["blocks"],
        "encoder_block_out_channels": encoder["widths"],
        "decoder_block_out_channels": decoder["widths"],
        "encoder_layers_per_block": encoder["depths"],
        "decoder_layers_per_block": decoder["depths"],
        "encoder_qkv_multiscales": encoder["scales"],
        "decoder_qkv_multiscales": decoder["scales"],
        "upsample_block_type": "pixel_shuffle" if any(conv == 4 * out for conv, out in up) else "interpolate",
        "downsample_block_type": "pixel_unshuffle" if any(4 * conv == out for conv, out in down) else "conv",
        "decoder_norm_types": norms[0] if len(set(norms)) == 1 else norms,
        "decoder_act_fns": acts[0] if len(set(acts)) == 1 else acts,
    }
    same = [name for name, variant in VARIANTS.items() if config.items() <= variant.config.items()]
    factors = {name: VARIANTS[name].config["scaling_factor"] for name in same}
    others = {factor: name for name, factor in factors.items() if factor != factors[same[0]]}
    why = f"as in {same[0]}, whose layers these are" if same else "the default"
    why += "".join(f"; {factor} in {name}" for factor, name in others.items())
    assumed = {"decoder_act_fns": "SiLU beside RMS norm and ReLU beside batch norm, as in all published models"}
    assumed["scaling_factor"] = why
    if "EfficientViTBlock" in (*encoder["blocks"], *decoder["blocks"]) and not any(
        key.endswith("proj_out.weight") for key in state_dict
    ):
        assumed["attention_head_dim"] = "as in all published models"
    return Inferred(DCAE, config | {"scaling_factor": next(iter(factors.values()), 1.0)}, assumed)


def _ndim(key: str) -> int:
    if key.endswith("num_batches_tracked"):
        return 0
    if not key.endswith(".weight") or re.search(r"\.norm(_out)?\.weight$", key):
        return 1
    return 2 if re.search(r"\.to_(q|k|v|out)\.weight$", key) else 4


def _infer_half(state_dict: StateDict, prefix: str, deepest: int) -> dict[str, Any] | None:
    """Arguments of the encoder or the decoder, by short names; None where its stages do not fit together."""
    layers: dict[int, dict[int, str]] = {}  # stage -> layer -> what it is
    for key in state_dict:
        if key.startswith(prefix + "."):
            stage, layer, rest = key.removeprefix(prefix + ".").split(".", 2)
            kind = "resample" if rest.startswith("conv.") else "ResBlock" if rest == "conv1.weight" else "EfficientViTBlock"
            known = layers.setdefault(int(stage), {})
            if int(layer) not in known or kind != "EfficientViTBlock":
                known[int(layer)] = kind
    if not layers:
        return None
    deep = max(layers)
    count = deep + 1 + ("resample" in layers[deep].values())  # resampling leads to a last stage that is empty
    if count < 2 or any(i not in layers for i in range(1, count - 1)):
        return None
    found: dict[str, list[Any]] = {"widths": [], "depths": [], "blocks": [], "scales": [], "norms": []}
    for i in range(count):
        kinds = [(layer, kind) for layer, kind in layers.get(i, {}).items() if kind != "resample"]
        first, block = kinds[0] if kinds else (0, "ResBlock")
        at = f"{prefix}.{i}.{first}."
        width, norm = 0, None
        scales: list[int] = []
        if kinds:
            out, norm = ("attn.to_out", "attn.norm_out") if block == "EfficientViTBlock" else ("conv1", "norm")
            if f"{at}{out}.weight" not in state_dict:
                return None
            width = len(state_dict[f"{at}{out}.weight"])
            norm = "batch_norm" if f"{at}{norm}.running_mean" in state_dict else "rms_norm"
            while (aggregate := f"{at}attn.to_qkv_multiscale.{len(scales)}.proj_in.weight") in state_dict:
                scales.append(state_dict[aggregate].shape[-1])
        for name, value in zip(found, (width, len(kinds), block, tuple(scales), norm), strict=True):
            found[name].append(value)
    # Empty stages: the last has the width of what leads there; that of the first is not used.
    widths, norms = found["widths"], found["norms"]
    widths[-1] = widths[-1] or deepest
    widths[0] = widths[0] or widths[1] // 2
    norms[0], norms[-1] = norms[0] or norms[1], norms[-1] or norms[-2]
    return {name: tuple(values) for name, values in found.items()}


def _resampling(state_dict: StateDict, prefix: str, outputs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The channels that each resampling's convolution gives, and those that the resampling gives."""
    for key, weight in state_dict.items():
        if match := re.fullmatch(prefix + r"(\d+)\.\d+\.conv\.weight", key):
            yield len(weight), outputs[int(match[1])]


_RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"encoder\.project_in\.conv\.", r"encoder.conv_in."),
        (r"encoder\.project_out\.(main\.)?op_list\.0\.conv\.", r"encoder.conv_out."),
        (r"decoder\.project_in\.(main\.)?conv\.", r"decoder.conv_in."),
        (r"decoder\.project_out\.op_list\.0\.", r"decoder.norm_out."),
        (r"decoder\.project_out\.op_list\.2\.conv\.", r"decoder.conv_out."),
        (r"encoder\.stages\.(\d+)\.op_list\.(\d+)\.", r"encoder.down_blocks.\1.\2."),
        (r"decoder\.stages\.(\d+)\.op_list\.(\d+)\.", r"decoder.up_blocks.\1.\2."),
        (r"\.main\.conv1\.conv\.", r".conv1."),
        (r"\.main\.conv2\.conv\.", r".conv2."),
        (r"\.main\.conv2\.norm\.", r".norm."),
        (r"(\.\d+)\.main\.conv\.(conv\.)?(weight|bias)$", r"\1.conv.\3"),
        (r"\.context_module\.main\.aggreg\.(\d+)\.0\.", r".attn.to_qkv_multiscale.\1.proj_in."),
        (r"\.context_module\.main\.aggreg\.(\d+)\.1\.", r".attn.to_qkv_multiscale.\1.proj_out."),
        (r"\.context_module\.main\.proj\.conv\.", r".attn.to_out."),
        (r"\.context_module\.main\.proj\.norm\.", r".attn.norm_out."),
        (r"\.local_module\.main\.(inverted|depth|point)_conv\.conv\.", r".conv_out.conv_\1."),
        (r"\.local_module\.main\.point_conv\.norm\.", r".conv_out.norm."),
    )
]


def rename_keys(state_dict: StateDict) -> StateDict:
    """The network's own keys for a state dict in the original layout, in which 1x1 convolutions stand for linear layers."""
    if not any(key.startswith("encoder.project_in.") for key in state_dict):
        return state_dict
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        for pattern, replacement in _RENAMED:
            key = pattern.sub(replacement, key)
        if key.endswith(".context_module.main.qkv.conv.weight"):
            stem = key.removesuffix("context_module.main.qkv.conv.weight")
            for letter, part in zip("qkv", _linear(value).tensor_split(3), strict=True):
                renamed[f"{stem}attn.to_{letter}.weight"] = part
        else:
            renamed[key] = _linear(value) if key.endswith(".attn.to_out.weight") else value
    return renamed


def _linear(weight: Tensor) -> Tensor:
    """A linear layer's weight for that of a 1x1 convolution; others as they are, and refused later."""
    return weight[:, :, 0, 0] if weight.shape[2:] == (1, 1) else weight
