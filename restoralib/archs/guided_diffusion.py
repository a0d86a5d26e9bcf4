"""The U-Net of guided diffusion (ADM): the noise in a noisy image; the prior of DPS, ILVR, DDNM and I2SB.

Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, NeurIPS 2021, arXiv:2105.05233. The checkpoints of
openai/guided-diffusion load unchanged, also those of its upsamplers (six channels in: the noisy and the enlarged image), of the
FFHQ model of ILVR and DPS, and of what was fine-tuned from them. It is one step of a diffusion: noisy image in [-1, 1] and
time in, noise out, in the published models beside it the interpolation of the variance. Any size: sides that cannot be halved
often enough are padded inside by reflection at the right and at the bottom (the authors' code fails there); others are not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.embedding import TimeEmbedding, times_of
from restoralib.blocks.pixel_attention import AttentionBlock
from restoralib.blocks.resample import HalvingDownsample, NearestUpsample
from restoralib.blocks.timed_residual import TimedResBlock, TimedSequential
from restoralib.ops.pad import pad_to_multiple


@dataclass(frozen=True)
class UNetLayers:
    """What the networks in guided diffusion's arrangement are made of, each made by a function.

    Args:
        block: a residual block from so many channels to so many.
        attention: attention between so many channels; the second argument tells whether it stands in the decoder.
        halving: makes maps of so many channels half as high and wide.
        doubling: makes them twice as high and wide.
        sequence: puts layers one after the other.
    """

    block: Callable[[int, int], nn.Module]
    attention: Callable[[int, bool], nn.Module]
    halving: Callable[[int], nn.Module]
    doubling: Callable[[int], nn.Module]
    sequence: Callable[..., nn.Module] = TimedSequential

    def encoder(
        self, in_channels: int, widths: Sequence[int], num_res_blocks: int, attends: Sequence[bool]
    ) -> tuple[nn.ModuleList, list[int]]:
        """The encoder, num_res_blocks + 1 sequences a level, and the channels that each of them gives."""
        channels = widths[0]
        blocks = nn.ModuleList([self.sequence(nn.Conv2d(in_channels, channels, 3, padding=1))])
        skips = [channels]
        for level, width in enumerate(widths):
            if level:
                blocks.append(self.sequence(self.halving(channels)))
                skips.append(channels)
            for _ in range(num_res_blocks):
                layers = [self.block(channels, width)]
                if attends[level]:
                    layers.append(self.attention(width, False))
                blocks.append(self.sequence(*layers))
                channels = width
                skips.append(channels)
        return blocks, skips

    def middle(self, width: int) -> nn.Module:
        """Two residual blocks with attention between them."""
        return self.sequence(self.block(width, width), self.attention(width, False), self.block(width, width))

    def decoder(
        self, widths: Sequence[int], num_res_blocks: int, attends: Sequence[bool], skips: Sequence[int]
    ) -> nn.ModuleList:
        """The decoder, whose sequences take what those of the encoder gave, the last first."""
        blocks, rest, channels = nn.ModuleList(), [*skips], skips[-1]
        for level, width in reversed([*enumerate(widths)]):
            for index in range(num_res_blocks + 1):
                layers = [self.block(channels + rest.pop(), width)]
                if attends[level]:
                    layers.append(self.attention(width, True))
                if level and index == num_res_blocks:
                    layers.append(self.doubling(width))
                blocks.append(self.sequence(*layers))
                channels = width
        return blocks


def adm_layers(
    emb: int,
    *,
    dropout: float,
    conv_resample: bool,
    num_heads: int,
    num_head_channels: int,
    num_heads_upsample: int,
    use_scale_shift_norm: bool,
    resblock_updown: bool,
    use_new_attention_order: bool,
) -> UNetLayers:
    """The layers of guided diffusion, for an embedding of time of so many features; arguments as those of `GuidedUNet`."""

    def block(channels: int, width: int) -> TimedResBlock:
        return TimedResBlock(channels, emb, width, dropout, use_scale_shift_norm)

    def attention(width: int, decodes: bool) -> AttentionBlock:
        heads = num_heads if not decodes or num_heads_upsample == -1 else num_heads_upsample
        if num_head_channels != -1:
            heads = heads_of(width, num_head_channels)
        return AttentionBlock(width, heads, use_new_attention_order)

    def halving(width: int) -> nn.Module:
        if resblock_updown:
            return TimedResBlock(width, emb, width, dropout, use_scale_shift_norm, "down")
        return HalvingDownsample(width, use_conv=conv_resample)

    def doubling(width: int) -> nn.Module:
        if resblock_updown:
            return TimedResBlock(width, emb, width, dropout, use_scale_shift_norm, "up")
        return NearestUpsample(width, use_conv=conv_resample)

    return UNetLayers(block, attention, halving, doubling)


def heads_of(width: int, num_head_channels: int) -> int:
    """How many heads of a width there are.

    Raises:
        ValueError: they do not divide the channels.
    """
    if num_head_channels < 1 or width % num_head_channels:
        raise ValueError(f"num_head_channels should divide {width} channels, got {num_head_channels}")
    return width // num_head_channels


def level_widths(model_channels: int, channel_mult: Sequence[float], num_res_blocks: int) -> list[int]:
    """Channels of each level.

    Raises:
        ValueError: there is no level, a width is none that a norm of 32 groups can have, or there are less than no blocks.
    """
    widths = [int(factor * model_channels) for factor in channel_mult]
    if num_res_blocks < 0:
        raise ValueError(f"num_res_blocks should be at least 0, got {num_res_blocks}")
    if not widths or any(width < 32 or width % 32 for width in widths):
        raise ValueError(
            f"every level should be a multiple of 32 channels wide, got {widths} "
            f"from {model_channels} channels times {list(channel_mult)}"
        )
    return widths


class UNetBody(nn.Module):
    """What the U-Nets of guided diffusion, Palette and Stable Diffusion have in common: all but the embedding of time.

    At every level there are residual blocks, with attention behind them where the map has been halved to a factor of
    `attention_resolutions`; the decoder takes the result of every block of the encoder, its convolutions included. Subclasses
    put their embedding of 4 * model_channels features in first, then call `build`.
    """

    input_blocks: nn.ModuleList
    middle_block: nn.Module
    output_blocks: nn.ModuleList
    out: nn.Sequential

    def build(
        self,
        layers: UNetLayers,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        channel_mult: Sequence[float],
        use_checkpoint: bool,
    ) -> None:
        """Put the layers in; arguments as those of `GuidedUNet`."""
        widths = level_widths(model_channels, channel_mult, num_res_blocks)
        attends = [2**level in attention_resolutions for level in range(len(widths))]
        self.input_blocks, skips = layers.encoder(in_channels, widths, num_res_blocks, attends)
        self.middle_block = layers.middle(skips[-1])  # not widths[-1], where the encoder has no blocks
        self.output_blocks = layers.decoder(widths, num_res_blocks, attends, skips)
        conv = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.out = nn.Sequential(nn.GroupNorm(32, widths[0]), nn.SiLU(), conv)
        self.use_checkpoint = use_checkpoint
        self.each = num_res_blocks + 1
        self.levels = len(widths)
        self.multiple = 2 ** (self.levels - 1)

    def run(self, image: Tensor, emb: Tensor, extra: Callable[[int], tuple[Tensor, ...]] = lambda level: ()) -> Tensor:
        """Encoder, middle and decoder with skip connections.

        Args:
            image: the noisy image.
            emb: embedding of time, (b, 4 * model_channels).
            extra: what else the sequences of a level are given, the widest map being level 0.
        """
        height, width = image.shape[-2:]
        x = pad_to_multiple(image, self.multiple)
        skips = []
        for index, block in enumerate(self.input_blocks):
            x = self._step(block, x, emb, *extra(index // self.each))
            skips.append(x)
        x = self._step(self.middle_block, x, emb, *extra(self.levels - 1))
        for index, block in enumerate(self.output_blocks):
            x = self._step(block, torch.cat((x, skips.pop()), dim=1), emb, *extra(self.levels - 1 - index // self.each))
        return self.out(x)[..., :height, :width]

    def _step(self, block: nn.Module, x: Tensor, *more: Tensor) -> Tensor:
        if self.use_checkpoint and self.training:
            return checkpoint(block, x, *more, use_reentrant=False)
        return block(x, *more)


class GuidedUNet(UNetBody):
    """The authors' UNetModel, with their constructor arguments and state-dict keys.

    Args:
        image_size: side of the training images; the network is the same for all.
        in_channels: channels of the noisy image and of what is concatenated to it.
        model_channels: unit of the widths, even.
        out_channels: channels of the result, twice as many as the image's where the variance is learned.
        num_res_blocks: residual blocks of each level; the decoder has one more.
        attention_resolutions: factors of halving (1, 2, 4 …), not sides, at which there is attention. The middle always has it.
        dropout: in the residual blocks.
        channel_mult: width of each level in units of `model_channels`; whole multiples of 32 channels.
        conv_resample: 3x3 convolutions where the size changes; otherwise means and nearest neighbours alone.
        dims: 2, for images.
        num_classes: number of classes that the network is told, None for none.
        use_checkpoint: compute each block again in the backward pass of training, which saves memory for time.
        use_fp16: without effect; call `half()` or use autocast. Norms have float32 statistics in any case.
        num_heads: attention heads, where num_head_channels is -1.
        num_head_channels: width of a head, -1 for `num_heads` heads.
        num_heads_upsample: heads in the decoder, -1 for `num_heads`.
        use_scale_shift_norm: the embedding of time scales and shifts features instead of being added.
        resblock_updown: residual blocks where the size changes, whatever conv_resample says.
        use_new_attention_order: queries, keys and values are split before the heads are.

    Shapes: (b, in_channels, h, w), time (b,), one value or a number, and with num_classes a label (b,) -> (b, out_channels,
        h, w), any height and width.

    Raises:
        ValueError: the arguments make no network; in `forward`, a label is missing or not wanted, or times do not fit.
    """

    def __init__(
        self,
        image_size: int,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        dropout: float = 0.0,
        channel_mult: Sequence[float] = (1, 2, 4, 8),
        conv_resample: bool = True,
        dims: int = 2,
        num_classes: int | None = None,
        use_checkpoint: bool = False,
        use_fp16: bool = False,
        num_heads: int = 1,
        num_head_channels: int = -1,
        num_heads_upsample: int = -1,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        use_new_attention_order: bool = False,
    ) -> None:
        super().__init__()
        if dims != 2:
            raise ValueError(f"dims should be 2, for images, got {dims}")
        self.time_embed = TimeEmbedding(model_channels, 4 * model_channels)
        self.label_emb = None if num_classes is None else nn.Embedding(num_classes, 4 * model_channels)
        layers = adm_layers(
            4 * model_channels,
            dropout=dropout,
            conv_resample=conv_resample,
            num_heads=num_heads,
            num_head_channels=num_head_channels,
            num_heads_upsample=num_heads_upsample,
            use_scale_shift_norm=use_scale_shift_norm,
            resblock_updown=resblock_updown,
            use_new_attention_order=use_new_attention_order,
        )
        self.build(
            layers,
            in_channels=in_channels,
            model_channels=model_channels,
            out_channels=out_channels,
            num_res_blocks=num_res_blocks,
            attention_resolutions=attention_resolutions,
            channel_mult=channel_mult,
            use_checkpoint=use_checkpoint,
        )
        self.spec = spec(in_channels=in_channels, out_channels=out_channels, channel_mult=channel_mult, num_classes=num_classes)

    def forward(self, image: Tensor, time: Tensor | float, label: Tensor | None = None) -> Tensor:
        if (label is None) != (self.label_emb is None):
            lack = "needs a label for each image" if label is None else "takes no label"
            raise ValueError(f"a GuidedUNet with num_classes={self.label_emb and self.label_emb.num_embeddings} {lack}")
        emb: Tensor = self.time_embed(times_of(image, time))
        if self.label_emb is not None:
            emb = emb + self.label_emb(label)
        return self.run(image, emb)


def _variant(
    image_size: int, channels: int, blocks: int, attention: Sequence[int], mult: Sequence[float], **other: Any
) -> Variant:
    config = {
        "image_size": image_size,
        "in_channels": 3,
        "model_channels": channels,
        "out_channels": 6,
        "num_res_blocks": blocks,
        "attention_resolutions": tuple(attention),
        "dropout": 0.0,
        "channel_mult": tuple(mult),
        "num_classes": None,
        "num_heads": 4,
        "num_head_channels": 64,
        "use_scale_shift_norm": True,
        "resblock_updown": True,
        "use_new_attention_order": False,
    }
    return Variant(GuidedUNet, config | other)


_MULT = (1, 1, 2, 2, 4, 4)
VARIANTS: dict[str, Variant] = {
    "adm_imagenet64": _variant(
        64, 192, 3, (2, 4, 8), (1, 2, 3, 4), dropout=0.1, num_classes=1000, use_new_attention_order=True
    ),
    "adm_imagenet128": _variant(128, 256, 2, (4, 8, 16), (1, 1, 2, 3, 4), num_classes=1000, num_head_channels=-1),
    "adm_imagenet256": _variant(256, 256, 2, (8, 16, 32), _MULT, num_classes=1000),
    "adm_imagenet256_uncond": _variant(256, 256, 2, (8, 16, 32), _MULT),
    "adm_imagenet512": _variant(512, 256, 2, (16, 32, 64), (0.5, *_MULT), num_classes=1000),
    "adm_ffhq_10m": _variant(256, 128, 1, (16,), _MULT),
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `GuidedUNet(**config)`."""
    return NetSpec(
        in_channels=config.get("in_channels", 3),
        out_channels=config.get("out_channels", 6),
        multiple=2 ** (len(config.get("channel_mult", (1, 2, 4, 8))) - 1),
        halo=None,
        global_ops=("GroupNorm", "attention"),
        unrecorded=UNRECORDED,
        role="denoiser",
        inputs=("image", "time") if config.get("num_classes") is None else ("image", "time", "label"),
    )


# Arguments that no weight tells; conv_resample is one, where residual blocks change the size.
UNRECORDED = (
    *("image_size", "dropout", "conv_resample", "use_checkpoint", "use_fp16"),
    *("num_heads", "num_head_channels", "num_heads_upsample", "use_new_attention_order"),
)
BODY_KEY = (
    r"(?:(?:input_blocks|output_blocks)\.\d+|middle_block)\.\d\."
    r"(?:(?:in_layers\.[02]|emb_layers\.1|out_layers\.[03]|skip_connection|norm|qkv|proj_out|conv|op)\.)?(?:weight|bias)"
    r"|out\.[02]\.(?:weight|bias)"
)
_KEY = re.compile(rf"time_embed\.[02]\.(?:weight|bias)|label_emb\.weight|{BODY_KEY}")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The layers tell all but the heads, which follow the published configuration with these layers, or else are 64 wide.

    Where 64 does not divide the channels that attend, `num_heads` is missing.
    """
    if not state_dict or not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    body = read_body(state_dict, "time_embed")
    if body is None:
        return None
    classes = state_dict["label_emb.weight"].shape if "label_emb.weight" in state_dict else (None,)
    config = {"image_size": 256, **body, "num_classes": next(iter(classes), None), "use_new_attention_order": False}
    name, published = published_with(body | {"num_classes": config["num_classes"]}, VARIANTS)
    reason = f"as in {name}, whose layers these are" if name else "as in most of the published models"
    assumed = {"use_new_attention_order": reason}
    if published.get("num_head_channels") == -1:
        return Inferred(GuidedUNet, config | published, assumed | {"num_heads": reason})
    if any(width % 64 for width in attended_widths(state_dict)):
        return Inferred(GuidedUNet, config, assumed, missing=("num_heads",))
    assumed["num_head_channels"] = f"{reason}; num_heads counts beside num_head_channels=-1"
    return Inferred(GuidedUNet, config | {"num_head_channels": 64} | published, assumed)


def published_with(layers: Mapping[str, Any], variants: Mapping[str, Variant]) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of the first published configuration with these layers; nothing where there is none."""
    for name, variant in variants.items():
        if all(layers[key] == value for key, value in variant.config.items() if key in layers):
            return name, dict(variant.config)
    return "", {}


def read_body(state_dict: StateDict, embedding: str) -> dict[str, Any] | None:
    """What the layers of a `UNetBody` tell of the arguments of `GuidedUNet`; None where they are none.

    Args:
        state_dict: weights, all of whose keys are known ones.
        embedding: where the embedding of time lies.
    """
    try:
        channels = state_dict[f"{embedding}.0.weight"].shape[1]
        in_channels = state_dict["input_blocks.0.0.weight"].shape[1]
        out_channels = state_dict["out.2.weight"].shape[0]
        count = len({key.split(".")[1] for key in state_dict if key.startswith("output_blocks.")})
        firsts = [state_dict[f"output_blocks.{index}.0.out_layers.3.weight"].shape[0] for index in range(count)]
        modulation = state_dict["output_blocks.0.0.emb_layers.1.weight"].shape[0]
    except (KeyError, IndexError):
        return None
    # Levels end where the decoder doubles the map or, where no weight does it, where the encoder has a block without weights.
    ends = [i for i in range(count) if any(f"output_blocks.{i}.{n}.{part}" in state_dict for n in (1, 2) for part in _DOUBLING)]
    gaps = (i - 1 for i in range(1, count) if f"input_blocks.{i}.0.in_layers.0.weight" not in state_dict)
    each = next(iter(ends), next(gaps, count - 1)) + 1
    if not count or count % each or not channels or not firsts[0]:
        return None
    levels = count // each
    widths = firsts[::-each]
    updown = any(re.fullmatch(r"output_blocks\.\d+\.[12]\.in_layers\.0\.weight", key) for key in state_dict)
    attention = (f"output_blocks.{each * (levels - 1 - level)}.1.norm.weight" in state_dict for level in range(levels))
    return {
        "in_channels": in_channels,
        "model_channels": channels,
        "out_channels": out_channels,
        "num_res_blocks": each - 1,
        "attention_resolutions": tuple(2**level for level, attends in enumerate(attention) if attends),
        "channel_mult": tuple(_factor(width, channels) for width in widths),
        "conv_resample": updown or levels == 1 or bool(ends),
        "use_scale_shift_norm": modulation == 2 * firsts[0],
        "resblock_updown": updown,
    }


_DOUBLING = ("in_layers.0.weight", "conv.weight")


def attended_widths(state_dict: StateDict) -> set[int]:
    """The numbers of channels between which there is attention."""
    return {value.shape[1] for key, value in state_dict.items() if key.endswith(".qkv.weight") and value.ndim == 3}


def _factor(width: int, unit: int) -> float:
    """The factor with int(factor * unit) == width."""
    if width % unit == 0:
        return width // unit
    factor = width / unit
    return factor if int(factor * unit) == width else math.nextafter(factor, math.inf)
