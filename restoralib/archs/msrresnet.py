"""MSRResNet: super-resolution by 2, 3 or 4, SRResNet without batch norm.

Wang et al., ESRGAN, ECCV Workshops 2018, arXiv:1809.00219, whose PSNR baseline it is. The checkpoints of BasicSR load
unchanged, those of its first releases through `rename_keys`. Images are RGB in [0, 1] of any size.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.residual import ResidualBlock


class MSRResNet(nn.Module):
    """Residual blocks on the small image, pixel shuffles, and the image enlarged bilinearly as base.

    Args:
        num_in_ch: channels of the image: one, or as many as `num_out_ch`.
        num_out_ch: channels of the result.
        num_feat: width of the net.
        num_block: residual blocks.
        upscale: 2, 3 or 4.

    Shapes: (b, num_in_ch, h, w) -> (b, num_out_ch, upscale h, upscale w).

    Raises:
        ValueError: an argument has another value than those named.
    """

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_block: int = 16, upscale: int = 4
    ) -> None:
        super().__init__()
        if upscale not in (2, 3, 4):
            raise ValueError(f"upscale should be 2, 3 or 4, got {upscale}")
        if num_in_ch not in (1, num_out_ch):
            raise ValueError(f"num_in_ch should be 1 or num_out_ch = {num_out_ch}, got {num_in_ch}: the image is added")
        self.spec = spec(num_in_ch=num_in_ch, num_out_ch=num_out_ch, num_block=num_block, upscale=upscale)
        factor = 3 if upscale == 3 else 2
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        self.upconv1 = nn.Conv2d(num_feat, factor**2 * num_feat, 3, padding=1)
        self.upconv2 = nn.Conv2d(num_feat, factor**2 * num_feat, 3, padding=1) if upscale == 4 else None
        self.shuffle = nn.PixelShuffle(factor)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        self.lrelu = nn.LeakyReLU(0.1)
        with torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                    nn.init.kaiming_normal_(layer.weight).mul_(0.1)
                    nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        x = self.lrelu(self.conv_first(image))
        x = self.body(x)
        x = self.lrelu(self.shuffle(self.upconv1(x)))
        if self.upconv2 is not None:
            x = self.lrelu(self.shuffle(self.upconv2(x)))
        x = self.conv_last(self.lrelu(self.conv_hr(x)))
        base = F.interpolate(image, scale_factor=self.spec.scale, mode="bilinear", align_corners=False)
        restored: Tensor = x + base
        return restored


def spec(**config: Any) -> NetSpec:
    """What `MSRResNet(**config)` needs and does."""
    upscale = config.get("upscale", 4)
    return NetSpec(
        scale=upscale,
        in_channels=config.get("num_in_ch", 3),
        out_channels=config.get("num_out_ch", 3),
        # One for the first convolution, two a block, and two for all that follow: they look at pixels as small or smaller.
        halo=1 + 2 * config.get("num_block", 16) + 2,
        tasks=(f"sr{upscale}",),
    )


VARIANTS = {
    f"msrresnet_x{upscale}": Variant(
        MSRResNet,
        {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 16, "upscale": upscale},
        (f"sr{upscale}",),
    )
    for upscale in (2, 3, 4)
}

_KEYS = re.compile(r"(conv_first|body\.\d+\.conv[12]|upconv[12]|conv_hr|conv_last)\.(weight|bias)")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """Everything from shapes; the scale from the first upsampling convolution and whether there is a second."""
    state_dict = rename_keys(state_dict)
    if not state_dict or not all(_KEYS.fullmatch(key) for key in state_dict):
        return None
    try:
        num_feat, num_in_ch = state_dict["conv_first.weight"].shape[:2]
        num_out_ch = state_dict["conv_last.weight"].shape[0]
        stages = (state_dict["upconv1.weight"].shape[0] // num_feat, "upconv2.weight" in state_dict)
        upscale = {(4, False): 2, (9, False): 3, (4, True): 4}[stages]
    except (KeyError, ValueError, IndexError, ZeroDivisionError):
        return None
    config = {
        "num_in_ch": num_in_ch,
        "num_out_ch": num_out_ch,
        "num_feat": num_feat,
        "num_block": len({key.split(".")[1] for key in state_dict if key.startswith("body.")}),
        "upscale": upscale,
    }
    return Inferred(MSRResNet, config)


def rename_keys(state_dict: StateDict) -> StateDict:
    """Keys of BasicSR's first releases as its later ones have them."""
    if not any(key.startswith("recon_trunk.") for key in state_dict):
        return state_dict
    return {key.replace("recon_trunk.", "body.").replace("HRconv.", "conv_hr."): state_dict[key] for key in state_dict}
