"""ConditionalNAFNet of Refusion: the noise in an image on its way from degraded to clean, by NAFNet that knows the time.

Luo et al., Refusion: Enabling Large-Size Realistic Image Restoration with Latent-Space Diffusion Models, CVPR Workshops 2023,
arXiv:2304.08291. The checkpoints of Algolzw/image-restoration-sde load unchanged. It is one step of IR-SDE's diffusion: state,
degraded image and time in, noise out. Images are RGB in [0, 1], or the latents of the authors' autoencoder; any size, padded
inside with zeros at the right and at the bottom.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.channel_attention import SCA
from restoralib.blocks.embedding import SinusoidalMLP, times_of
from restoralib.blocks.gates import SimpleGate
from restoralib.blocks.norm import GainLayerNorm
from restoralib.blocks.upsample import PixelShuffleDirect
from restoralib.ops.pad import pad_to_multiple


class ConditionalNAFBlock(nn.Module):
    """NAFNet's block, in which the time scales and shifts what both layer norms give.

    Args:
        channels: channels in and out.
        time_channels: features of the time, even, for a gate halves them.
        dw_expand: width of the depthwise convolution, as a multiple of `channels`.
        ffn_expand: width of the feed-forward, likewise.

    Shapes: (b, channels, h, w) and (b, time_channels) -> (b, channels, h, w).
    """

    def __init__(self, channels: int, time_channels: int, dw_expand: int = 2, ffn_expand: int = 2) -> None:
        super().__init__()
        dw_width, ffn_width = dw_expand * channels, ffn_expand * channels
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.mlp = nn.Sequential(SimpleGate(), nn.Linear(time_channels // 2, 4 * channels))
        self.conv1 = nn.Conv2d(channels, dw_width, 1)
        self.conv2 = nn.Conv2d(dw_width, dw_width, 3, padding=1, groups=dw_width)
        self.conv3 = nn.Conv2d(dw_width // 2, channels, 1)
        self.sca = SCA(dw_width // 2)
        self.sg = SimpleGate()
        self.conv4 = nn.Conv2d(channels, ffn_width, 1)
        self.conv5 = nn.Conv2d(ffn_width // 2, channels, 1)
        self.norm1 = GainLayerNorm(channels)
        self.norm2 = GainLayerNorm(channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift1, scale1, shift2, scale2 = self.mlp(time)[..., None, None].chunk(4, dim=1)
        branch: Tensor = self.conv2(self.conv1(self.norm1(x) * (scale1 + 1) + shift1))
        x = x + self.conv3(self.sca(self.sg(branch))) * self.beta
        branch = self.conv4(self.norm2(x) * (scale2 + 1) + shift2)
        return x + self.conv5(self.sg(branch)) * self.gamma


class TimedBlocks(nn.Sequential):
    """Blocks one after the other, each given the time.

    Shapes: (b, c, h, w) and (b, time_channels) -> (b, c, h, w).
    """

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        for block in self:
            x = block(x, time)
        return x


class ConditionalNAFNet(nn.Module):
    """NAFNet on the state minus the degraded image, beside the degraded image; the input is not added to the result.

    Args:
        img_channel: channels of the state, of the degraded image and of the result.
        width: channels of the first level, even and at least 4; every level doubles them.
        middle_blk_num: blocks of the deepest level.
        enc_blk_nums: blocks of every level on the way down.
        dec_blk_nums: blocks of every level on the way up, the deepest first.
        upscale: without effect, as in the authors' code: a small image is enlarged before.

    Shapes: (b, img_channel, h, w), (b, img_channel, h, w) and (b,), one value or a number -> (b, img_channel, h, w), any
        height and width.

    Raises:
        ValueError: enc_blk_nums and dec_blk_nums differ in length, or width is odd; in `forward`, image and condition differ
            in shape, or times do not fit them.
    """

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 16,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (),
        dec_blk_nums: Sequence[int] = (),
        upscale: int = 1,
    ) -> None:
        super().__init__()
        if width < 4 or width % 2:
            raise ValueError(f"width should be even and at least 4, got {width}: times are embedded in width channels")
        self.spec = spec(
            img_channel=img_channel,
            width=width,
            middle_blk_num=middle_blk_num,
            enc_blk_nums=enc_blk_nums,
            dec_blk_nums=dec_blk_nums,
            upscale=upscale,
        )
        time = 4 * width
        self.time_mlp = SinusoidalMLP(
            width, nn.Linear(width, 2 * time), SimpleGate(), nn.Linear(time, time), sine_first=True, endpoint=True
        )
        self.intro = nn.Conv2d(2 * img_channel, width, 3, padding=1)
        self.ending = nn.Conv2d(width, img_channel, 3, padding=1)
        self.encoders = nn.ModuleList()
        self.decoders = nn.ModuleList()
        self.middle_blks = TimedBlocks()
        self.ups = nn.ModuleList()
        self.downs = nn.ModuleList()

        def blocks(channels: int, depth: int) -> TimedBlocks:
            return TimedBlocks(*(ConditionalNAFBlock(channels, time) for _ in range(depth)))

        channels = width
        for depth in enc_blk_nums:
            self.encoders.append(blocks(channels, depth))
            self.downs.append(nn.Conv2d(channels, 2 * channels, 2, stride=2))
            channels *= 2
        self.middle_blks.extend(blocks(channels, middle_blk_num))
        for depth in dec_blk_nums:
            self.ups.append(PixelShuffleDirect(channels, 2, channels // 2, kernel_size=1, bias=False))
            channels //= 2
            self.decoders.append(blocks(channels, depth))

    def forward(self, image: Tensor, condition: Tensor, time: Tensor | float) -> Tensor:
        if image.shape != condition.shape:
            shapes = f"{tuple(image.shape)} and {tuple(condition.shape)}"
            raise ValueError(f"image and condition should be of one shape, got {shapes}")
        height, width = image.shape[-2:]
        x = pad_to_multiple(torch.cat((image - condition, condition), dim=1), self.spec.multiple, mode="constant")
        t = self.time_mlp(times_of(image, time))
        x = self.intro(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x, t)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x, t)
        for decoder, up in zip(self.decoders, self.ups, strict=True):
            x = decoder(up(x) + skips.pop(), t)
        return self.ending(x)[..., :height, :width]


VARIANTS: dict[str, Variant] = {
    "refusion": Variant(
        ConditionalNAFNet,
        {"img_channel": 3, "width": 64, "middle_blk_num": 1, "enc_blk_nums": [1, 1, 1, 28], "dec_blk_nums": [1, 1, 1, 1]},
    )
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `ConditionalNAFNet(**config)`.

    Raises:
        ValueError: enc_blk_nums and dec_blk_nums differ in length.
    """
    encoder, decoder = config.get("enc_blk_nums", ()), config.get("dec_blk_nums", ())
    if len(encoder) != len(decoder):
        raise ValueError(f"enc_blk_nums and dec_blk_nums should have as many entries, got {len(encoder)} and {len(decoder)}")
    channels = config.get("img_channel", 3)
    return NetSpec(
        in_channels=channels,
        out_channels=channels,
        multiple=2 ** len(encoder),
        halo=None,
        global_ops=("SCA",),
        unrecorded=("upscale",),
        role="denoiser",
        inputs=("image", "condition", "time"),
    )


_KEYS = re.compile(
    r"(time_mlp\.[13]|intro|ending|downs\.\d+)\.(weight|bias)|ups\.\d+\.0\.weight"
    r"|(?P<block>(?P<stage>(encoders|decoders)\.\d+|middle_blks)\.\d+)"
    r"\.(beta|gamma|(mlp\.1|conv[1-5]|sca\.1)\.(weight|bias)|norm[12]\.g)"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """Everything from shapes and by counting."""
    matches = [_KEYS.fullmatch(key) for key in state_dict]
    blocks = {match["block"]: match["stage"] for match in matches if match and match["block"]}
    if not matches or not all(matches) or "time_mlp.1.weight" not in state_dict:
        return None
    try:
        width = state_dict["intro.weight"].shape[0]
        img_channel = state_dict["ending.weight"].shape[0]
    except (KeyError, IndexError):
        return None
    depths, levels = Counter(blocks.values()), range(sum(key.startswith("ups.") for key in state_dict))
    config = {
        "img_channel": img_channel,
        "width": width,
        "middle_blk_num": depths["middle_blks"],
        "enc_blk_nums": [depths[f"encoders.{level}"] for level in levels],
        "dec_blk_nums": [depths[f"decoders.{level}"] for level in levels],
    }
    return Inferred(ConditionalNAFNet, config)
