"""MPRNet: deraining, deblurring and denoising in three stages, the first two on patches of the image.

Zamir et al., Multi-Stage Progressive Image Restoration, CVPR 2021, arXiv:2102.02808. The authors' checkpoints load unchanged.
Images are RGB in [0, 1] of any size: they are padded inside by reflection at the right and at the bottom to multiples of 8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.channel_attention import CALayer
from restoralib.ops.pad import pad_to_multiple


class CAB(nn.Module):
    """Channel-attention block: two convolutions and channel attention, added to the input (Fig. 3a).

    Args:
        channels: channels in and out.
        kernel_size: of the convolutions.
        reduction: of the channel attention.
        bias: whether the convolutions have biases.
        act: the activation between them, the same object in every block of a network.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, kernel_size: int, reduction: int, bias: bool, act: nn.Module) -> None:
        super().__init__()
        # The mean is that of the patch which comes in, not of the image: no reduction that `restore(exact=True)` gathers.
        self.CA = CALayer(channels, reduction, bias, pool=nn.AdaptiveAvgPool2d(1))
        self.body = nn.Sequential(
            _conv(channels, channels, kernel_size, bias), act, _conv(channels, channels, kernel_size, bias)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.CA(self.body(x))


class Downsample(nn.Module):
    """Half the size, bilinearly, and a 1x1 convolution."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        # Bilinear interpolation of an even side to its half is the mean of pairs.
        self.down = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, out_channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x)


class Upsample(nn.Module):
    """Twice the size, bilinearly, and a 1x1 convolution."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        bilinear = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.up = nn.Sequential(bilinear, nn.Conv2d(channels, out_channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x)


class Encoder(nn.Module):
    """Three levels of two blocks each; a second stage's adds what the first one's encoder and decoder gave (CSFF, Fig. 3c).

    Args:
        widths: channels of each level.
        block: makes a block of so many channels.
        csff: whether it is a second stage's.
        bias: whether the 1x1 convolutions of CSFF have biases.

    Shapes: (b, c, h, w), a multiple of 4 high and wide -> one map for each level, at 1, 1/2 and 1/4 of the size.
    """

    def __init__(self, widths: Sequence[int], block: Callable[[int], CAB], csff: bool, bias: bool) -> None:
        super().__init__()
        for level, width in enumerate(widths, 1):
            self.add_module(f"encoder_level{level}", nn.Sequential(block(width), block(width)))
        for level in (1, 2):
            self.add_module(f"down{level}{level + 1}", Downsample(widths[level - 1], widths[level]))
        for side in ("enc", "dec") if csff else ():
            for level, width in enumerate(widths, 1):
                self.add_module(f"csff_{side}{level}", nn.Conv2d(width, width, 1, bias=bias))

    def forward(self, x: Tensor, encoded: Sequence[Tensor] = (), decoded: Sequence[Tensor] = ()) -> list[Tensor]:
        levels = []
        for level in (1, 2, 3):
            if level > 1:
                x = self.get_submodule(f"down{level - 1}{level}")(x)
            x = self.get_submodule(f"encoder_level{level}")(x)
            if encoded:
                x = x + self.get_submodule(f"csff_enc{level}")(encoded[level - 1])
                x = x + self.get_submodule(f"csff_dec{level}")(decoded[level - 1])
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """The way back up: two blocks a level, the encoder's maps of the finer levels through a block of their own.

    Args:
        widths: channels of each level.
        block: makes a block of so many channels.

    Shapes: the maps of an encoder -> maps of the same shapes.
    """

    def __init__(self, widths: Sequence[int], block: Callable[[int], CAB]) -> None:
        super().__init__()
        for level, width in enumerate(widths, 1):
            self.add_module(f"decoder_level{level}", nn.Sequential(block(width), block(width)))
        for level in (1, 2):
            self.add_module(f"skip_attn{level}", block(widths[level - 1]))
        for level in (1, 2):
            self.add_module(f"up{level + 1}{level}", Upsample(widths[level], widths[level - 1]))

    def forward(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        x = self.get_submodule("decoder_level3")(encoded[2])
        levels = [x]
        for level in (2, 1):
            x = self.get_submodule(f"up{level + 1}{level}")(x) + self.get_submodule(f"skip_attn{level}")(encoded[level - 1])
            x = self.get_submodule(f"decoder_level{level}")(x)
            levels.insert(0, x)
        return levels


class ORB(nn.Module):
    """Original-resolution block: many blocks and a convolution, added to the input (Fig. 3b).

    Args:
        channels: channels in and out.
        num_cab: blocks.
        block: makes a block of so many channels.
        kernel_size: of the convolution, which never has a bias.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, num_cab: int, block: Callable[[int], CAB], kernel_size: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(block(channels) for _ in range(num_cab)), _conv(channels, channels, kernel_size, False))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ORSNet(nn.Module):
    """Stage 3: blocks at full resolution; after each, one level of stage 2 is added, enlarged, the finest first.

    Args:
        widths: channels of stage 2's levels.
        channels: channels in and out.
        num_cab: channel-attention blocks of each block.
        block: makes a block of so many channels.
        kernel_size: of the convolution that ends a block.
        bias: whether the 1x1 convolutions to `channels` have biases.

    Shapes: (b, channels, h, w) -> (b, channels, h, w).
    """

    def __init__(
        self, widths: Sequence[int], channels: int, num_cab: int, block: Callable[[int], CAB], kernel_size: int, bias: bool
    ) -> None:
        super().__init__()
        for level in (1, 2, 3):
            self.add_module(f"orb{level}", ORB(channels, num_cab, block, kernel_size))
        for side in ("enc", "dec"):
            self.add_module(f"up_{side}1", Upsample(widths[1], widths[0]))
        for side in ("enc", "dec"):
            self.add_module(f"up_{side}2", nn.Sequential(Upsample(widths[2], widths[1]), Upsample(widths[1], widths[0])))
        for side in ("enc", "dec"):
            for level in (1, 2, 3):
                self.add_module(f"conv_{side}{level}", nn.Conv2d(widths[0], channels, 1, bias=bias))

    def forward(self, x: Tensor, encoded: Sequence[Tensor], decoded: Sequence[Tensor]) -> Tensor:
        for level in (1, 2, 3):
            x = self.get_submodule(f"orb{level}")(x)
            for side, levels in (("enc", encoded), ("dec", decoded)):
                features = levels[level - 1]
                if level > 1:
                    features = self.get_submodule(f"up_{side}{level - 1}")(features)
                x = x + self.get_submodule(f"conv_{side}{level}")(features)
        return x


class SAM(nn.Module):
    """Supervised attention: a stage's image, and its features weighed by what that image shows (Fig. 4).

    Args:
        channels: of the features.
        bias: whether the 1x1 convolutions have biases.

    Shapes: features (b, channels, h, w), the degraded image -> features (b, channels, h, w), the stage's image (b, 3, h, w).
    """

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=bias)
        self.conv2 = nn.Conv2d(channels, 3, 1, bias=bias)
        self.conv3 = nn.Conv2d(3, channels, 1, bias=bias)

    def forward(self, features: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        restored = self.conv2(features) + image
        mask = self.conv3(restored).sigmoid()
        return self.conv1(features) * mask + features, restored


class MPRNet(nn.Module):
    """The network of Fig. 2, with the authors' constructor arguments and state-dict keys.

    Stage 1 encodes the four quarters of the image and decodes its top and bottom half, stage 2 encodes the halves and decodes
    the whole, stage 3 works on the whole. One PReLU serves all blocks, and every block has a key of it.

    Args:
        in_c: channels of the image, 3 or 1; the first two stages' images have 3 always.
        out_c: channels of the result.
        n_feat: width of the first two stages' finest level.
        scale_unetfeats: what each coarser level has more.
        scale_orsnetfeats: what stage 3 has more than `n_feat`.
        num_cab: channel-attention blocks in each of stage 3's blocks.
        kernel_size: of the convolutions, odd.
        reduction: of the channel attention.
        bias: whether the convolutions have biases; those that change the size or end a block of stage 3 never do.

    Shapes: (b, in_c, h, w) -> (b, out_c, h, w), any height and width; in training mode a list of the images of stage 3, which
        is the result, stage 2 and stage 1.

    Raises:
        ValueError: the arguments make no network.
    """

    def __init__(
        self,
        in_c: int = 3,
        out_c: int = 3,
        n_feat: int = 80,
        scale_unetfeats: int = 48,
        scale_orsnetfeats: int = 32,
        num_cab: int = 8,
        kernel_size: int = 3,
        reduction: int = 4,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if in_c not in (1, 3):
            raise ValueError(f"in_c should be 3 or 1, got {in_c}: the image is added to the stages' three channels")
        if in_c != out_c and 1 not in (in_c, out_c):
            raise ValueError(f"out_c should be in_c = {in_c} or 1, got {out_c}: the image is added to the result")
        if min(scale_unetfeats, scale_orsnetfeats, num_cab) < 0:
            sizes = f"got {scale_unetfeats}, {scale_orsnetfeats} and {num_cab}"
            raise ValueError(f"scale_unetfeats, scale_orsnetfeats and num_cab should be at least 0, {sizes}")
        if not 1 <= reduction <= n_feat:
            raise ValueError(f"reduction should be from 1 to n_feat = {n_feat}, got {reduction}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size should be odd, got {kernel_size}")
        act = nn.PReLU()

        def block(channels: int) -> CAB:
            return CAB(channels, kernel_size, reduction, bias, act)

        def shallow() -> nn.Sequential:
            return nn.Sequential(_conv(in_c, n_feat, kernel_size, bias), block(n_feat))

        widths = [n_feat + level * scale_unetfeats for level in range(3)]
        full = n_feat + scale_orsnetfeats
        self.shallow_feat1 = shallow()
        self.shallow_feat2 = shallow()
        self.shallow_feat3 = shallow()
        self.stage1_encoder = Encoder(widths, block, False, bias)
        self.stage1_decoder = Decoder(widths, block)
        self.stage2_encoder = Encoder(widths, block, True, bias)
        self.stage2_decoder = Decoder(widths, block)
        self.stage3_orsnet = ORSNet(widths, full, num_cab, block, kernel_size, bias)
        self.sam12 = SAM(n_feat, bias)
        self.sam23 = SAM(n_feat, bias)
        self.concat12 = _conv(2 * n_feat, n_feat, kernel_size, bias)
        self.concat23 = _conv(2 * n_feat, full, kernel_size, bias)
        self.tail = _conv(full, out_c, kernel_size, bias)
        self.spec = spec(
            in_c=in_c,
            out_c=out_c,
            n_feat=n_feat,
            scale_unetfeats=scale_unetfeats,
            scale_orsnetfeats=scale_orsnetfeats,
            num_cab=num_cab,
            kernel_size=kernel_size,
            reduction=reduction,
            bias=bias,
        )

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, 8)
        halves = _split(padded, -2)
        quarters = _split(halves, -1)

        encoded = [_join(level, -1) for level in self.stage1_encoder(self.shallow_feat1(quarters))]
        decoded = self.stage1_decoder(encoded)
        features, stage1 = self.sam12(decoded[0], halves)

        x = self.concat12(torch.cat((self.shallow_feat2(halves), features), 1))
        encoded = [_join(level, -2) for level in self.stage2_encoder(x, encoded, decoded)]
        decoded = self.stage2_decoder(encoded)
        features, stage2 = self.sam23(decoded[0], padded)

        x = self.concat23(torch.cat((self.shallow_feat3(padded), features), 1))
        stage3 = self.tail(self.stage3_orsnet(x, encoded, decoded)) + padded

        if not self.training:
            return stage3[..., :height, :width]
        return [stage[..., :height, :width] for stage in (stage3, stage2, _join(stage1, -2))]


def _conv(channels: int, out_channels: int, kernel_size: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)


def _split(x: Tensor, axis: int) -> Tensor:
    """Both halves along an axis, one behind the other in the batch, where they are run together."""
    half = x.shape[axis] // 2
    return torch.cat((x.narrow(axis, 0, half), x.narrow(axis, half, half)))


def _join(x: Tensor, axis: int) -> Tensor:
    """The inverse of `_split`."""
    half = x.shape[0] // 2
    return torch.cat((x.narrow(0, 0, half), x.narrow(0, half, half)), axis)


_DEFAULTS: dict[str, Any] = {
    "in_c": 3,
    "out_c": 3,
    "n_feat": 80,
    "scale_unetfeats": 48,
    "scale_orsnetfeats": 32,
    "num_cab": 8,
    "kernel_size": 3,
    "reduction": 4,
    "bias": False,
}

VARIANTS: dict[str, Variant] = {
    "mprnet_deraining": Variant(
        MPRNet, _DEFAULTS | {"n_feat": 40, "scale_unetfeats": 20, "scale_orsnetfeats": 16}, ("derain",)
    ),
    "mprnet_deblurring": Variant(MPRNet, _DEFAULTS | {"n_feat": 96}, ("deblur",)),
    "mprnet_denoising": Variant(MPRNet, _DEFAULTS, ("denoise_real",)),
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `MPRNet(**config)`."""
    config = _DEFAULTS | config
    in_channels, out_channels = config["in_c"], max(config["in_c"], config["out_c"])  # their sum broadcasts
    return NetSpec(
        in_channels=in_channels,
        out_channels=out_channels,
        multiple=8,
        halo=None,
        # Where the halves and quarters meet depends on the image's size, and there the patches see zeros, not each other.
        global_ops=("channel attention", "halves and quarters"),
        tasks=tuple(task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks),
        color="gray" if out_channels == 1 else "rgb",
    )


_KEY = re.compile(
    r"(shallow_feat[123]\.0|stage2_encoder\.csff_(enc|dec)[123]|stage3_orsnet\.conv_(enc|dec)[123]|sam(12|23)\.conv[123]"
    r"|concat12|concat23|tail)\.(weight|bias)"
    r"|(stage[12]_encoder\.down(12|23)\.down\.1|stage[12]_decoder\.up(21|32)\.up\.1"
    r"|stage3_orsnet\.(orb[123]\.body\.\d+|up_(enc|dec)(1|2\.[01])\.up\.1))\.weight"
    r"|(shallow_feat[123]\.1|stage[12]_encoder\.encoder_level[123]\.[01]|stage[12]_decoder\.(decoder_level[123]\.[01]|skip_attn[12])"
    r"|stage3_orsnet\.orb[123]\.body\.\d+)\.((CA\.conv_du\.[02]|body\.[02])\.(weight|bias)|body\.1\.weight)"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no MPRNet's.

    Of `reduction` the weights only keep the rounded widths: it is 4, or else the smallest number that gives them.
    """
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    try:
        n_feat, in_c, kernel_size, _ = state_dict["shallow_feat1.0.weight"].shape
        out_c, full, *_ = state_dict["tail.weight"].shape
        second, *_ = state_dict["stage1_encoder.down12.down.1.weight"].shape
        bottlenecks = [value.shape[:2] for key, value in state_dict.items() if key.endswith(".CA.conv_du.0.weight")]
        # channels // reduction == width
        least = max(channels // (width + 1) + 1 for width, channels in bottlenecks)
        most = min(channels // width for width, channels in bottlenecks)
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    if least > most or second < n_feat or full < n_feat:
        return None
    config = {
        "in_c": in_c,
        "out_c": out_c,
        "n_feat": n_feat,
        "scale_unetfeats": second - n_feat,
        "scale_orsnetfeats": full - n_feat,
        "num_cab": sum(key.startswith("stage3_orsnet.orb1.") and key.endswith(".CA.conv_du.0.weight") for key in state_dict),
        "kernel_size": kernel_size,
        "reduction": 4 if least <= 4 <= most else least,
        "bias": "tail.bias" in state_dict,
    }
    return Inferred(MPRNet, config)
