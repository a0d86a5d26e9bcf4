"""SRVGGNetCompact, Real-ESRGAN's small network: super-resolution of photographs and of animation, fast enough for video.

Wang et al., Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data, ICCV Workshops 2021,
arXiv:2107.10833, whose repository added it later. Its checkpoints load unchanged; the strength of denoising of the general
model is an interpolation of two of them, `restoralib.checkpoints.interpolate_weights`. Images are RGB in [0, 1] of any size.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant

_ACTIVATIONS = ("relu", "prelu", "leakyrelu")


class SRVGGNetCompact(nn.Module):
    """A row of 3x3 convolutions on the small image, one pixel shuffle, and the image enlarged to nearest neighbours as base.

    Args:
        num_in_ch: channels of the image: one, or as many as `num_out_ch`.
        num_out_ch: channels of the result.
        num_feat: width of the net.
        num_conv: convolutions between the first and the last.
        upscale: any whole factor.
        act_type: "prelu", "relu" or "leakyrelu" (slope 0.1); the weights tell only whether there are slopes.

    Shapes: (b, num_in_ch, h, w) -> (b, num_out_ch, upscale h, upscale w), any height and width.

    Raises:
        ValueError: an argument has another value than those named.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_conv: int = 16,
        upscale: int = 4,
        act_type: Literal["relu", "prelu", "leakyrelu"] = "prelu",
    ) -> None:
        super().__init__()
        if act_type not in _ACTIVATIONS:
            raise ValueError(f"act_type should be one of {', '.join(_ACTIVATIONS)}, got {act_type!r}")
        if num_in_ch not in (1, num_out_ch):
            raise ValueError(f"num_in_ch should be 1 or num_out_ch = {num_out_ch}, got {num_in_ch}: the image is added")
        if num_in_ch < 1 or num_feat < 1:
            raise ValueError(f"num_in_ch and num_feat should be at least 1, got {num_in_ch} and {num_feat}")
        if upscale < 1 or num_conv < 0:
            raise ValueError(f"upscale should be at least 1 and num_conv at least 0, got {upscale} and {num_conv}")

        def activation() -> nn.Module:
            if act_type == "prelu":
                return nn.PReLU(num_feat)
            return nn.ReLU(inplace=True) if act_type == "relu" else nn.LeakyReLU(0.1, inplace=True)

        self.body = nn.ModuleList([nn.Conv2d(num_in_ch, num_feat, 3, padding=1), activation()])
        for _ in range(num_conv):
            self.body.extend([nn.Conv2d(num_feat, num_feat, 3, padding=1), activation()])
        self.body.append(nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, padding=1))
        self.upsampler = nn.PixelShuffle(upscale)
        self.spec = spec(num_in_ch, num_out_ch, num_feat, num_conv, upscale, act_type)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for layer in self.body:
            x = layer(x)
        base = F.interpolate(image, scale_factor=self.spec.scale, mode="nearest")
        restored: Tensor = self.upsampler(x) + base
        return restored


def spec(
    num_in_ch: int = 3,
    num_out_ch: int = 3,
    num_feat: int = 64,
    num_conv: int = 16,
    upscale: int = 4,
    act_type: str = "prelu",
) -> NetSpec:
    """What a caller must know of `SRVGGNetCompact(num_in_ch, …)`."""
    config: dict[str, Any] = {
        "num_in_ch": num_in_ch,
        "num_out_ch": num_out_ch,
        "num_feat": num_feat,
        "num_conv": num_conv,
        "upscale": upscale,
        "act_type": act_type,
    }
    tasks = [task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks]
    return NetSpec(
        scale=upscale,
        in_channels=num_in_ch,
        out_channels=num_out_ch,
        halo=num_conv + 2,
        tasks=tuple(dict.fromkeys(tasks)),
        unrecorded=() if act_type == "prelu" else ("act_type",),
        color="gray" if num_in_ch == num_out_ch == 1 else "rgb",
    )


def _variant(num_conv: int) -> Variant:
    config = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_conv": num_conv, "upscale": 4, "act_type": "prelu"}
    return Variant(SRVGGNetCompact, config, ("sr4",))


VARIANTS: dict[str, Variant] = {
    "realesr_animevideov3": _variant(16),
    "realesr_general_x4v3": _variant(32),
    "realesr_general_wdn_x4v3": _variant(32),
}


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no SRVGGNetCompact's.

    `act_type` is missing where there are no slopes. One channel in may be added to several out: then `upscale` is the largest
    that the last convolution allows.
    """
    slopes = "body.1.weight" in state_dict
    last = 2 * sum(key.endswith(".bias") for key in state_dict) - 2
    names = {f"body.{i}.{part}" for i in range(0, last + 1, 2) for part in ("weight", "bias")}
    names |= {f"body.{i}.weight" for i in range(1, last, 2)} if slopes else set()
    if last < 2 or state_dict.keys() != names:
        return None
    first, shuffled = state_dict["body.0.weight"].shape, state_dict[f"body.{last}.weight"].shape
    if len(first) != 4 or len(shuffled) != 4 or not first[1] or (slopes and state_dict["body.1.weight"].ndim != 1):
        return None
    num_in_ch, pixels = first[1], shuffled[0]
    upscale = math.isqrt(pixels // num_in_ch)
    if num_in_ch == 1:
        upscale = next((scale for scale in range(min(upscale, 64), 0, -1) if pixels % scale**2 == 0), 0)
    if not upscale or pixels % (num_in_ch * upscale**2):
        return None
    config: dict[str, Any] = {
        "num_in_ch": num_in_ch,
        "num_out_ch": pixels // upscale**2,
        "num_feat": first[0],
        "num_conv": last // 2 - 1,
        "upscale": upscale,
    }
    if slopes:
        return Inferred(SRVGGNetCompact, config | {"act_type": "prelu"})
    return Inferred(SRVGGNetCompact, config, missing=("act_type",))
