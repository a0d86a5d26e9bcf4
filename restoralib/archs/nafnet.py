"""NAFNet and its ancestors Baseline and PlainNet: denoising and deblurring by a U-Net of plain blocks.

Chen et al., Simple Baselines for Image Restoration, ECCV 2022, arXiv:2204.04676. The checkpoints of megvii-research/NAFNet
load unchanged. Images are RGB in [0, 1] of any size: they are padded inside with zeros at the right and at the bottom.

NAFNetLocal and BaselineLocal take local means where the plain nets take the mean of the image (TLC, arXiv:2112.04491). They
have the same weights and serve images larger than the training patches: GoPro's weights lose 0.6 dB without.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.channel_attention import SCA, ChannelAttention
from restoralib.blocks.naf import NAFBlock
from restoralib.blocks.norm import LayerNorm2d
from restoralib.blocks.tlc import LocalMean
from restoralib.blocks.upsample import PixelShuffleDirect
from restoralib.ops.pad import pad_to_multiple


class PlainBlock(nn.Module):
    """A depthwise convolution between 1x1 convolutions, then a feed-forward, both with ReLU and both residual (Fig. 3a).

    The paper gives no code: what it shares with Baseline's block has the same names, `beta` and `gamma` included.

    Args:
        channels: channels in and out.
        dw_expand: width of the depthwise convolution, as a multiple of `channels`.
        ffn_expand: width of the feed-forward, likewise.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, dw_expand: int = 1, ffn_expand: int = 2) -> None:
        super().__init__()
        dw_width, ffn_width = dw_expand * channels, ffn_expand * channels
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.conv1 = nn.Conv2d(channels, dw_width, 1)
        self.conv2 = nn.Conv2d(dw_width, dw_width, 3, padding=1, groups=dw_width)
        self.conv3 = nn.Conv2d(dw_width, channels, 1)
        self.conv4 = nn.Conv2d(channels, ffn_width, 1)
        self.conv5 = nn.Conv2d(ffn_width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.conv3(self.conv2(self.conv1(x)).relu())
        x = x + branch * self.beta
        branch = self.conv5(self.conv4(x).relu())
        return x + branch * self.gamma


class BaselineBlock(nn.Module):
    """PlainBlock with layer norms, GELU and channel attention (Fig. 3b).

    Args:
        channels: channels in and out.
        dw_expand: width of the depthwise convolution, as a multiple of `channels`.
        ffn_expand: width of the feed-forward, likewise.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, dw_expand: int = 1, ffn_expand: int = 2) -> None:
        super().__init__()
        dw_width, ffn_width = dw_expand * channels, ffn_expand * channels
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.conv1 = nn.Conv2d(channels, dw_width, 1)
        self.conv2 = nn.Conv2d(dw_width, dw_width, 3, padding=1, groups=dw_width)
        self.conv3 = nn.Conv2d(dw_width, channels, 1)
        self.se = ChannelAttention(dw_width, reduction=2)
        self.gelu = nn.GELU()
        self.conv4 = nn.Conv2d(channels, ffn_width, 1)
        self.conv5 = nn.Conv2d(ffn_width, channels, 1)
        self.norm1 = LayerNorm2d(channels)
        self.norm2 = LayerNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.gelu(self.conv2(self.conv1(self.norm1(x))))
        x = x + self.conv3(self.se(branch)) * self.beta
        branch = self.conv5(self.gelu(self.conv4(self.norm2(x))))
        return x + branch * self.gamma


class _UNet(nn.Module):
    """The U shape of all these nets: blocks at every level; strided convolutions lead down, pixel shuffles up."""

    def __init__(
        self,
        block: type[nn.Module],
        img_channel: int,
        width: int,
        middle_blk_num: int,
        enc_blk_nums: Sequence[int],
        dec_blk_nums: Sequence[int],
        **expand: int,
    ) -> None:
        super().__init__()
        self.spec = spec(
            type(self),
            img_channel=img_channel,
            width=width,
            middle_blk_num=middle_blk_num,
            enc_blk_nums=list(enc_blk_nums),
            dec_blk_nums=list(dec_blk_nums),
            **expand,
        )
        self.intro = nn.Conv2d(img_channel, width, 3, padding=1)
        self.ending = nn.Conv2d(width, img_channel, 3, padding=1)
        self.encoders = nn.ModuleList()
        self.decoders = nn.ModuleList()
        self.middle_blks = nn.Sequential()
        self.ups = nn.ModuleList()
        self.downs = nn.ModuleList()
        for depth in enc_blk_nums:
            self.encoders.append(nn.Sequential(*(block(width, **expand) for _ in range(depth))))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, stride=2))
            width *= 2
        self.middle_blks.extend(block(width, **expand) for _ in range(middle_blk_num))
        for depth in dec_blk_nums:
            self.ups.append(PixelShuffleDirect(width, 2, width // 2, kernel_size=1, bias=False))
            width //= 2
            self.decoders.append(nn.Sequential(*(block(width, **expand) for _ in range(depth))))

    def forward(self, image: Tensor) -> Tensor:
        return self.run(image, lambda blocks, x: blocks(x))

    def run(self, image: Tensor, call: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """The network, whose levels of blocks are called by `call(blocks, x)` in the order of the flow."""
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, self.spec.multiple, mode="constant")
        x = self.intro(padded)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = call(encoder, x)
            skips.append(x)
            x = down(x)
        x = call(self.middle_blks, x)
        for decoder, up in zip(self.decoders, self.ups, strict=True):
            x = call(decoder, up(x) + skips.pop())
        restored: Tensor = self.ending(x) + padded
        return restored[..., :height, :width]

    def _use_local_means(self, train_size: Sequence[int], fast_imp: bool) -> None:
        """Put local means in place of the image's, with windows of 1.5 times the maps that training patches make."""
        sides = train_size[-2:]
        if len(sides) < 2 or min(sides) < 1:
            raise ValueError(f"train_size should end with the height and the width of the training patches, got {train_size}")
        stages = [*enumerate([*self.encoders, self.middle_blks]), *enumerate(reversed(self.decoders))]
        for level, stage in stages:
            maps = [(side + -side % self.spec.multiple) >> level for side in sides]
            height, width = (at_level * int(1.5 * side) // side for at_level, side in zip(maps, sides, strict=True))
            rows, columns = (max(1, 5 * at_level // side) for at_level, side in zip(maps, sides, strict=True))
            for attention in stage.modules():
                if isinstance(attention, SCA | ChannelAttention):
                    attention[0] = LocalMean((height, width), (rows, columns) if fast_imp else None)


class PlainNet(_UNet):
    """Baseline without layer norms and channel attention, and with ReLU; the start of the paper's ablation, never published.

    Args:
        img_channel: channels of the image.
        width: channels of the first level; every level doubles them.
        middle_blk_num: blocks of the deepest level.
        enc_blk_nums: blocks of every level on the way down.
        dec_blk_nums: blocks of every level on the way up, the deepest first.
        dw_expand: width of the depthwise convolutions, as a multiple of the channels.
        ffn_expand: width of the feed-forwards, likewise.

    Shapes: (b, c, h, w) -> (b, c, h, w), any height and width.

    Raises:
        ValueError: enc_blk_nums and dec_blk_nums differ in length.
    """

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 16,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (),
        dec_blk_nums: Sequence[int] = (),
        dw_expand: int = 1,
        ffn_expand: int = 2,
    ) -> None:
        expand = {"dw_expand": dw_expand, "ffn_expand": ffn_expand}
        super().__init__(PlainBlock, img_channel, width, middle_blk_num, enc_blk_nums, dec_blk_nums, **expand)


class Baseline(_UNet):
    """The paper's simple baseline: GELU and squeeze-and-excitation. Arguments are those of PlainNet."""

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 16,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (),
        dec_blk_nums: Sequence[int] = (),
        dw_expand: int = 1,
        ffn_expand: int = 2,
    ) -> None:
        expand = {"dw_expand": dw_expand, "ffn_expand": ffn_expand}
        super().__init__(BaselineBlock, img_channel, width, middle_blk_num, enc_blk_nums, dec_blk_nums, **expand)


class BaselineLocal(Baseline):
    """Baseline with local means; images no larger than 1.5 times the training patches are treated as by Baseline.

    Args:
        img_channel, width, middle_blk_num, enc_blk_nums, dec_blk_nums, dw_expand, ffn_expand: as for PlainNet.
        train_size: shape of the training batches, of which the last two entries count: height and width of the patches.
        fast_imp: the authors' approximation on subsampled maps, which no published configuration uses.
    """

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 16,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (),
        dec_blk_nums: Sequence[int] = (),
        dw_expand: int = 1,
        ffn_expand: int = 2,
        train_size: Sequence[int] = (1, 3, 256, 256),
        fast_imp: bool = False,
    ) -> None:
        super().__init__(img_channel, width, middle_blk_num, enc_blk_nums, dec_blk_nums, dw_expand, ffn_expand)
        self._use_local_means(train_size, fast_imp)


class NAFNet(_UNet):
    """Baseline without nonlinear activations: gates and simplified channel attention. Arguments are those of PlainNet."""

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 16,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (),
        dec_blk_nums: Sequence[int] = (),
    ) -> None:
        super().__init__(NAFBlock, img_channel, width, middle_blk_num, enc_blk_nums, dec_blk_nums)


class NAFNetLocal(NAFNet):
    """NAFNet with local means; images no larger than 1.5 times the training patches are treated as by NAFNet.

    Args:
        img_channel, width, middle_blk_num, enc_blk_nums, dec_blk_nums: as for PlainNet.
        train_size: shape of the training batches, of which the last two entries count: height and width of the patches.
        fast_imp: the authors' approximation on subsampled maps, which no published configuration uses.
    """

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 16,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (),
        dec_blk_nums: Sequence[int] = (),
        train_size: Sequence[int] = (1, 3, 256, 256),
        fast_imp: bool = False,
    ) -> None:
        super().__init__(img_channel, width, middle_blk_num, enc_blk_nums, dec_blk_nums)
        self._use_local_means(train_size, fast_imp)


def spec(cls: type[nn.Module] = NAFNet, **config: Any) -> NetSpec:
    """What `cls(**config)` needs and does.

    Raises:
        ValueError: enc_blk_nums and dec_blk_nums differ in length.
    """
    encoder, decoder = config.get("enc_blk_nums", ()), config.get("dec_blk_nums", ())
    if len(encoder) != len(decoder):
        raise ValueError(f"enc_blk_nums and dec_blk_nums should have as many entries, got {len(encoder)} and {len(decoder)}")
    multiple = 2 ** len(encoder)
    halo: int | None = None
    global_ops: tuple[str, ...] = ("SCA",)
    unrecorded: tuple[str, ...] = ()
    if issubclass(cls, PlainNet):
        # 3x3 convolutions: one in each block, on pixels of its level, one at either end; then the grid of the deepest level.
        depths = [*map(sum, zip(encoder, reversed(decoder), strict=True)), config.get("middle_blk_num", 1)]
        halo = sum(depth << level for level, depth in enumerate(depths)) + 2 + multiple - 1
        global_ops = ()
    elif issubclass(cls, NAFNetLocal | BaselineLocal):
        global_ops, unrecorded = ("TLC",), ("train_size", "fast_imp")
    published = (v for v in VARIANTS.values() if v.cls is cls and all(config.get(k) == v.config[k] for k in v.config))
    channels = config.get("img_channel", 3)
    return NetSpec(
        in_channels=channels,
        out_channels=channels,
        multiple=multiple,
        halo=halo,
        global_ops=global_ops,
        tasks=tuple(dict.fromkeys(task for variant in published for task in variant.tasks)),
        unrecorded=unrecorded,
    )


def _variant(cls: type[nn.Module], width: int, layout: str, tasks: tuple[str, ...], **expand: int) -> Variant:
    enc, middle, dec = {"sidd": ([2, 2, 4, 8], 12, [2, 2, 2, 2]), "gopro": ([1, 1, 1, 28], 1, [1, 1, 1, 1])}[layout]
    config = {"img_channel": 3, "width": width, "middle_blk_num": middle, "enc_blk_nums": enc, "dec_blk_nums": dec}
    return Variant(cls, config | expand, tasks)


VARIANTS = {
    "nafnet_sidd_width32": _variant(NAFNet, 32, "sidd", ("denoise_real",)),
    "nafnet_sidd_width64": _variant(NAFNet, 64, "sidd", ("denoise_real",)),
    "nafnet_gopro_width32": _variant(NAFNetLocal, 32, "gopro", ("deblur",)),
    "nafnet_gopro_width64": _variant(NAFNetLocal, 64, "gopro", ("deblur",)),
    "nafnet_reds_width64": _variant(NAFNetLocal, 64, "gopro", ("deblur", "jpeg")),
    "baseline_sidd_width32": _variant(Baseline, 32, "sidd", ("denoise_real",), dw_expand=1, ffn_expand=2),
    "baseline_sidd_width64": _variant(Baseline, 64, "sidd", ("denoise_real",), dw_expand=2, ffn_expand=2),
    "baseline_gopro_width32": _variant(BaselineLocal, 32, "gopro", ("deblur",), dw_expand=1, ffn_expand=2),
    "baseline_gopro_width64": _variant(BaselineLocal, 64, "gopro", ("deblur",), dw_expand=2, ffn_expand=2),
    "plainnet_width32": _variant(PlainNet, 32, "sidd", (), dw_expand=1, ffn_expand=2),
}

# Every key of these nets, so that nets which only share parts (Refusion's, InstructIR) are not taken for them.
_KEYS = re.compile(
    r"(intro|ending|downs\.\d+)\.(weight|bias)|ups\.\d+\.0\.weight"
    r"|(?P<block>(?P<stage>(encoders|decoders)\.\d+|middle_blks)\.\d+)\.(beta|gamma|(conv[1-5]|norm[12]|sca\.1|se\.[13])\.(weight|bias))"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The class by the blocks' parts, the rest by counting and from shapes.

    Weights do not tell the plain classes from the Local ones: the layout of GoPro and REDS, one block at every level but 28 at
    the last before the middle, is taken for Local, as the authors run it; any other for plain.
    """
    matches = [_KEYS.fullmatch(key) for key in state_dict]
    blocks = {match["block"]: match["stage"] for match in matches if match and match["block"]}
    if not blocks or not all(matches):
        return None
    first_block = next(iter(blocks))
    try:
        width, img_channel = state_dict["intro.weight"].shape[:2]
        dw_width, channels = state_dict[f"{first_block}.conv1.weight"].shape[:2]
        ffn_width = state_dict[f"{first_block}.conv4.weight"].shape[0]
        expand = {"dw_expand": dw_width // channels, "ffn_expand": ffn_width // channels}
    except (KeyError, ValueError, IndexError, ZeroDivisionError):
        return None
    depths, levels = Counter(blocks.values()), range(sum(key.startswith("ups.") for key in state_dict))
    config: dict[str, Any] = {
        "img_channel": img_channel,
        "width": width,
        "middle_blk_num": depths["middle_blks"],
        "enc_blk_nums": [depths[f"encoders.{level}"] for level in levels],
        "dec_blk_nums": [depths[f"decoders.{level}"] for level in levels],
    }
    local = config["enc_blk_nums"] == [1, 1, 1, 28] and config["middle_blk_num"] == 1
    if f"{first_block}.sca.1.weight" in state_dict:
        cls: type[nn.Module] = NAFNetLocal if local else NAFNet
    elif f"{first_block}.se.1.weight" in state_dict:
        cls, config = BaselineLocal if local else Baseline, config | expand
    elif f"{first_block}.norm1.weight" not in state_dict:
        return Inferred(PlainNet, config | expand)
    else:
        return None
    if not local:
        return Inferred(cls, config)
    plain = cls.__name__.removesuffix("Local")
    reason = f"GoPro's and REDS's layout, run as {cls.__name__} with patches of 256x256; arch={plain!r} leaves local means out"
    return Inferred(cls, config | {"train_size": [1, 3, 256, 256]}, assumed={"train_size": reason})
