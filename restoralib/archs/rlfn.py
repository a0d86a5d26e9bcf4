"""RLFN: fast super-resolution by 2 or 4, the runtime winner of NTIRE 2022.

Kong et al., Residual Local Feature Network for Efficient Super-Resolution, CVPR Workshops 2022, arXiv:2205.07514. The authors'
checkpoints load unchanged. Images are RGB in [0, 1] of any size; inside they lie in 0..255, and sides of less than 15 pixels
are padded at the right and at the bottom.
"""

from __future__ import annotations

import math
import re

import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.upsample import PixelShuffleDirect
from restoralib.ops.pad import pad_to_multiple

_RANGE = 255
_LEAST = 15  # pixels that ESA's strided convolution and its pool need


class ESA(nn.Module):
    """Enhanced spatial attention: a mask from few channels, which look far on a map of a sixth of the size.

    Liu et al. (arXiv:2009.11551), without the two convolutions that RLFN's paper takes out. The small map is stretched to the
    size of the image, so that its grid depends on that size.

    Args:
        channels: channels in and out.
        esa_channels: channels of the mask before the last convolution.

    Shapes: (b, c, h, w) -> (b, c, h, w), sides of at least 15.
    """

    def __init__(self, channels: int, esa_channels: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, esa_channels, 1)
        self.conv_f = nn.Conv2d(esa_channels, esa_channels, 1)
        self.conv2 = nn.Conv2d(esa_channels, esa_channels, 3, stride=2)
        self.conv3 = nn.Conv2d(esa_channels, esa_channels, 3, padding=1)
        self.conv4 = nn.Conv2d(esa_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv1(x)
        far = self.conv3(F.max_pool2d(self.conv2(features), 7, stride=3))
        far = F.interpolate(far, x.shape[-2:], mode="bilinear", align_corners=False)
        return x * self.conv4(far + self.conv_f(features)).sigmoid()


class RLFB(nn.Module):
    """Residual local feature block: three convolutions added to the input, a 1x1 convolution and ESA (Fig. 3).

    Args:
        channels: channels in and out.
        mid_channels: channels between the convolutions.
        esa_channels: channels of ESA's mask.

    Shapes: (b, c, h, w) -> (b, c, h, w), sides of at least 15.
    """

    def __init__(self, channels: int, mid_channels: int, esa_channels: int = 16) -> None:
        super().__init__()
        self.c1_r = nn.Conv2d(channels, mid_channels, 3, padding=1)
        self.c2_r = nn.Conv2d(mid_channels, mid_channels, 3, padding=1)
        self.c3_r = nn.Conv2d(mid_channels, channels, 3, padding=1)
        self.c5 = nn.Conv2d(channels, channels, 1)
        self.esa = ESA(channels, esa_channels)

    def forward(self, x: Tensor) -> Tensor:
        local = x
        for conv in (self.c1_r, self.c2_r, self.c3_r):
            local = F.leaky_relu(conv(local), 0.05, inplace=True)
        attended: Tensor = self.esa(self.c5(local + x))
        return attended


class RLFN(nn.Module):
    """Residual local feature blocks on the small image, a long skip around them, and one pixel shuffle (Fig. 2).

    Args:
        in_channels: channels of the image.
        out_channels: channels of the result.
        feature_channels: width of the net.
        upscale: any whole factor.
        mid_channels: width inside the blocks, None for `feature_channels`; the model of NTIRE 2022 has 48 beside 46.
        num_blocks: blocks; that model has 4.
        esa_channels: channels of the attention's masks.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, upscale h, upscale w), any height and width.

    Raises:
        ValueError: an argument is less than one.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        feature_channels: int = 52,
        upscale: int = 4,
        mid_channels: int | None = None,
        num_blocks: int = 6,
        esa_channels: int = 16,
    ) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "feature_channels": feature_channels}
        mid_channels = feature_channels if mid_channels is None else mid_channels
        sizes |= {"upscale": upscale, "mid_channels": mid_channels, "num_blocks": num_blocks, "esa_channels": esa_channels}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} should be at least 1, got {value}")
        self.num_blocks = num_blocks
        self.conv_1 = nn.Conv2d(in_channels, feature_channels, 3, padding=1)
        for i in range(num_blocks):
            self.add_module(f"block_{i + 1}", RLFB(feature_channels, mid_channels, esa_channels))
        self.conv_2 = nn.Conv2d(feature_channels, feature_channels, 3, padding=1)
        self.upsampler = PixelShuffleDirect(feature_channels, upscale, out_channels)
        self.spec = spec(in_channels, out_channels, feature_channels, upscale, mid_channels, num_blocks, esa_channels)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if height < _LEAST or width < _LEAST:
            image = pad_to_multiple(image, (_LEAST if height < _LEAST else 1, _LEAST if width < _LEAST else 1))
        shallow = x = self.conv_1(_RANGE * image)
        for i in range(self.num_blocks):
            x = self.get_submodule(f"block_{i + 1}")(x)
        restored: Tensor = self.upsampler(self.conv_2(x) + shallow) / _RANGE
        return restored[..., : self.spec.scale * height, : self.spec.scale * width]


def spec(
    in_channels: int = 3,
    out_channels: int = 3,
    feature_channels: int = 52,
    upscale: int = 4,
    mid_channels: int | None = None,
    num_blocks: int = 6,
    esa_channels: int = 16,
) -> NetSpec:
    """What a caller must know of `RLFN(in_channels, …)`."""
    config = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "feature_channels": feature_channels,
        "upscale": upscale,
        "mid_channels": mid_channels or feature_channels,
        "num_blocks": num_blocks,
        "esa_channels": esa_channels,
    }
    return NetSpec(
        scale=upscale,
        in_channels=in_channels,
        out_channels=out_channels,
        halo=None,
        global_ops=("ESA",),
        tasks=tuple(task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks),
        color="gray" if in_channels == out_channels == 1 else "rgb",
    )


def _variant(upscale: int, features: int, mid_channels: int, num_blocks: int = 6) -> Variant:
    config = {
        "in_channels": 3,
        "out_channels": 3,
        "feature_channels": features,
        "upscale": upscale,
        "mid_channels": mid_channels,
        "num_blocks": num_blocks,
        "esa_channels": 16,
    }
    return Variant(RLFN, config, (f"sr{upscale}",))


VARIANTS: dict[str, Variant] = {
    **{f"rlfn_x{upscale}": _variant(upscale, 52, 52) for upscale in (2, 4)},
    **{f"rlfn_s_x{upscale}": _variant(upscale, 48, 48) for upscale in (2, 4)},
    "rlfn_ntire_x4": _variant(4, 46, 48, num_blocks=4),
}

_KEYS = re.compile(
    r"(conv_[12]|block_\d+\.(c[123]_r|c5|esa\.(conv[1-4]|conv_f))|upsampler\.0)\.(weight|bias)",
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no RLFN's.

    There are as many channels out as in if a scale fits that, else the scale is the largest that the last convolution allows.
    """
    if not state_dict or not all(_KEYS.fullmatch(key) for key in state_dict):
        return None
    names = ("conv_1.weight", "upsampler.0.weight", "block_1.c1_r.weight", "block_1.esa.conv1.weight")
    weights = [state_dict[name] for name in names if name in state_dict and state_dict[name].ndim == 4]
    if len(weights) != len(names):
        return None
    feature_channels, in_channels = weights[0].shape[:2]
    pixels = len(weights[1])
    if not in_channels:
        return None
    upscale = math.isqrt(pixels // in_channels)
    if not upscale or pixels != in_channels * upscale**2:
        upscale = next((scale for scale in range(min(math.isqrt(pixels), 64), 0, -1) if pixels % scale**2 == 0), 0)
    if not upscale:
        return None
    config = {
        "in_channels": in_channels,
        "out_channels": pixels // upscale**2,
        "feature_channels": feature_channels,
        "upscale": upscale,
        "mid_channels": len(weights[2]),
        "num_blocks": len({key.split(".")[0] for key in state_dict if key.startswith("block_")}),
        "esa_channels": len(weights[3]),
    }
    return Inferred(RLFN, config)
