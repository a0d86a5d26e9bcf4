"""UNetDiscriminatorSN: Real-ESRGAN's discriminator, which judges every pixel.

Wang et al., Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data, ICCV Workshops 2021,
arXiv:2107.10833, sec. 3.3. The published checkpoints load unchanged, and through `rename_keys` those of networks whose
spectral norm is torch's parametrisation. Images are RGB in [0, 1]; height and width have to be multiples of 8.
"""

from __future__ import annotations

import re

import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.spectral_norm import SpectralNormConv2d


class UNetDiscriminatorSN(nn.Module):
    """A U-Net of spectrally normalised convolutions, three levels deep.

    Args:
        num_in_ch: channels of the image.
        num_feat: width at full size; every level below doubles it.
        skip_connection: add the encoder's features to the decoder's; no weight tells it.

    Shapes: (b, num_in_ch, h, w) -> (b, 1, h, w), a logit for every pixel; h and w are multiples of 8.

    Raises:
        ValueError: an argument is less than one, or `forward` got an image of another size.
    """

    def __init__(self, num_in_ch: int, num_feat: int = 64, skip_connection: bool = True) -> None:
        super().__init__()
        if num_in_ch < 1 or num_feat < 1:
            raise ValueError(f"num_in_ch and num_feat should be at least 1, got {num_in_ch} and {num_feat}")
        self.skip_connection = skip_connection
        self.conv0 = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        for level in (1, 2, 3):
            width = num_feat * 2**level
            self.add_module(f"conv{level}", SpectralNormConv2d(width // 2, width, 4, stride=2, padding=1))
        for level in (3, 2, 1):
            width = num_feat * 2**level
            self.add_module(f"conv{7 - level}", SpectralNormConv2d(width, width // 2, 3, padding=1))
        self.conv7 = SpectralNormConv2d(num_feat, num_feat, 3, padding=1)
        self.conv8 = SpectralNormConv2d(num_feat, num_feat, 3, padding=1)
        self.conv9 = nn.Conv2d(num_feat, 1, 3, padding=1)
        self.spec = spec(num_in_ch, num_feat, skip_connection)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if height % 8 or width % 8:
            raise ValueError(
                f"UNetDiscriminatorSN takes images with sides of multiples of 8 pixels, got {height}x{width}; crop or pad them"
            )
        x = _leaky(self.conv0(image))
        skips = []
        for level in (1, 2, 3):
            skips.append(x)
            x = _leaky(self.get_submodule(f"conv{level}")(x))
        for level in (3, 2, 1):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = _leaky(self.get_submodule(f"conv{7 - level}")(x))
            if self.skip_connection:
                x = x + skips.pop()
        x = _leaky(self.conv8(_leaky(self.conv7(x))))
        logits: Tensor = self.conv9(x)
        return logits


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


def spec(num_in_ch: int, num_feat: int = 64, skip_connection: bool = True) -> NetSpec:
    """What a caller must know of `UNetDiscriminatorSN(num_in_ch, …)`."""
    return NetSpec(
        in_channels=num_in_ch,
        out_channels=1,
        multiple=8,
        halo=32,
        unrecorded=("skip_connection",),
        role="discriminator",
    )


VARIANTS: dict[str, Variant] = {
    f"{name}_discriminator": Variant(UNetDiscriminatorSN, {"num_in_ch": 3, "num_feat": 64, "skip_connection": True})
    for name in ("realesrgan_x4plus", "realesrgan_x2plus", "realesrgan_x4plus_anime_6b")
}

_KEYS = re.compile(r"conv[09]\.(weight|bias)|conv[1-8]\.weight_(orig|u|v)")
_PARAMETRISED = {"original": "weight_orig", "0._u": "weight_u", "0._v": "weight_v"}


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no UNetDiscriminatorSN's."""
    state_dict = rename_keys(state_dict)
    if len(state_dict) != 28 or not all(_KEYS.fullmatch(key) for key in state_dict):
        return None
    first = state_dict["conv0.weight"]
    if first.ndim != 4:
        return None
    config = {"num_in_ch": first.shape[1], "num_feat": first.shape[0], "skip_connection": True}
    return Inferred(UNetDiscriminatorSN, config, assumed={"skip_connection": "Real-ESRGAN's discriminators have skips"})


def rename_keys(state_dict: StateDict) -> StateDict:
    """Keys of `torch.nn.utils.parametrizations.spectral_norm` as `torch.nn.utils.spectral_norm` has them.

    The vectors mean the same; in training, torch's parametrisation updates u before v.
    """
    pattern = re.compile(r"(conv[1-8])\.parametrizations\.weight\.(original|0\._[uv])")
    matches = {key: pattern.fullmatch(key) for key in state_dict}
    return {f"{m[1]}.{_PARAMETRISED[m[2]]}" if (m := matches[key]) else key: value for key, value in state_dict.items()}
