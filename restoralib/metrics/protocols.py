"""What papers do to an image before they measure it, by name: 8 bits, luma, border, and the version of SSIM.

The same pair of images has a PSNR of 24.8 or 29.6 dB and an SSIM of 0.65 or 0.84, all of them right by some table's protocol. A
figure without its protocol's name says little.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from restoralib.metrics._inputs import check_range, check_shapes, check_types, precision
from restoralib.metrics.psnr import psnr, psnr_b
from restoralib.metrics.ssim import ssim, ssim_matlab, ssim_pooled, ssim_skimage
from restoralib.ops.color import rgb_to_y
from restoralib.ops.levels import round_to_levels


def to_8_bits(image: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to multiples of 1/255, halves to even, as an 8-bit file stores it."""
    return round_to_levels(image)


def luma_8_bits(image: Tensor) -> Tensor:
    """Luma of BT.601 in limited range, rounded to 8 bits as MATLAB's `rgb2ycbcr` does on uint8; grey is its own luma.

    Halves go up, and 8-bit colours meet them exactly but for floating point.

    Shapes: (b, 3, h, w) or (b, 1, h, w) in [0, 1] -> (b, 1, h, w), multiples of 1/255.
    """
    y = luma(image)
    return (y * 255 + 0.5 + 1e-9).floor() / 255


def luma(image: Tensor) -> Tensor:
    """Luma of BT.601 in limited range, in float64; grey is its own luma.

    Shapes: (b, 3, h, w) or (b, 1, h, w) in [0, 1] -> (b, 1, h, w).

    Raises:
        ValueError: the image has neither one nor three channels.
    """
    image = image.to(precision(image))
    return image if image.ndim == 4 and image.shape[1] == 1 else rgb_to_y(image)


SSIM: dict[str, Callable[..., Tensor]] = {
    "gaussian": ssim,
    "matlab": ssim_matlab,
    "skimage": ssim_skimage,
    "pooled": ssim_pooled,
}


@dataclass(frozen=True)
class Protocol:
    """How one kind of table measures.

    Args:
        name: under which `PROTOCOLS` lists it.
        tables: where it is used.
        levels: what results are rounded to after they are clamped: 255 for 8 bits, None for no rounding.
        luma: "float": PSNR and SSIM of the unrounded luma; "8-bit": of the luma rounded as MATLAB does; None: of all channels.
        border: "scale": the super-resolution factor is left out on all sides; "none": nothing is.
        ssim: the version of SSIM, a key of `SSIM`.
        match_mean: the result is first multiplied by mean(target) / mean(result), which helps it by 2 to 4 dB.
    """

    name: str
    tables: str
    levels: int | None = 255
    luma: Literal["float", "8-bit"] | None = None
    border: Literal["scale", "none"] = "none"
    ssim: Literal["gaussian", "matlab", "skimage", "pooled"] = "gaussian"
    match_mean: bool = False

    def prepare(self, image: Tensor, target: Tensor, *, scale: int | None = None) -> tuple[Tensor, Tensor]:
        """What is compared: both images in float64, clamped, rounded, converted and cut as the protocol says.

        Args:
            image: the result, (b, c, h, w) in [0, 1], of three channels or grey.
            target: the reference, of the same shape.
            scale: the super-resolution factor, which protocols with a border need; 1 is no super-resolution and no border.

        Raises:
            ValueError: shapes differ or are not (b, c, h, w), the reference is far out of [0, 1], the scale is missing, or its
                border leaves nothing.
            TypeError: one image is of integers.
        """
        check_shapes(image, target)
        check_types(image, target)
        check_range(target)
        crop = 0
        if self.border == "scale":
            if scale is None or scale < 1:
                raise ValueError(f"{self.name} leaves a border of `scale` pixels out; pass scale, 1 for none, got {scale}")
            crop = scale if scale > 1 else 0
        height, width = image.shape[-2:]
        if 2 * crop >= min(height, width):
            raise ValueError(f"a border of {crop} pixels leaves nothing of {height}x{width}")
        image, target = image.to(precision(image)), target.to(precision(target))
        if self.match_mean:
            image = image * (target.mean((1, 2, 3), keepdim=True) / image.mean((1, 2, 3), keepdim=True).clamp(min=1e-12))
        sides = []
        for side in (image, target):
            side = round_to_levels(side, self.levels) if self.levels else side.clamp(0, 1)
            side = side[..., crop : height - crop, crop : width - crop]
            if self.luma:
                side = luma_8_bits(side) if self.luma == "8-bit" else luma(side)
            sides.append(side)
        return sides[0], sides[1]

    def psnr(self, image: Tensor, target: Tensor, *, scale: int | None = None) -> Tensor:
        """PSNR in dB as these tables print it, (b,); arguments as in `prepare`."""
        return psnr(*self.prepare(image, target, scale=scale))

    def similarity(self, image: Tensor, target: Tensor, *, scale: int | None = None) -> Tensor:
        """SSIM as these tables print it, (b,); arguments as in `prepare`."""
        return SSIM[self.ssim](*self.prepare(image, target, scale=scale))

    def psnr_b(self, image: Tensor, target: Tensor, *, scale: int | None = None) -> Tensor:
        """PSNR-B in dB of what these tables compare, (b,); arguments as in `prepare`."""
        return psnr_b(*self.prepare(image, target, scale=scale))


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("rgb", "denoising (CBSD68, Kodak24, McMaster, Urban100), LOL, DPDD, DIV2K in RGB without border"),
        Protocol("rgb-float", "UHDM; results compared as they are, clamped and not rounded", levels=None),
        Protocol("basicsr-rgb", "super-resolution in RGB (DIV2K)", border="scale"),
        Protocol("basicsr-y", "super-resolution by RGB networks, RealSR", luma="float", border="scale"),
        Protocol(
            "classic-luma", "super-resolution by luma networks, and the printed bicubic rows", luma="8-bit", border="scale"
        ),
        Protocol("matlab-y", "deraining: Rain100L, Rain100H, Test100, Test1200, Test2800", luma="8-bit"),
        Protocol("jpeg-y", "JPEG artifacts: Classic5, LIVE1 (with PSNR-B)", luma="8-bit"),
        Protocol("gopro", "deblurring: GoPro, HIDE; moire: TIP2018", ssim="matlab"),
        Protocol("sidd", "real noise: SIDD", levels=None, ssim="matlab"),
        Protocol("sots", "dehazing since DehazeFormer: SOTS", levels=None, ssim="pooled"),
        Protocol("skimage-rgb", "all-in-one restoration, FHDMi, LCDMoire", ssim="skimage"),
        Protocol("lol-gt-mean", "low light with matched mean: KinD, KinD++, LLFlow on LOL", match_mean=True),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        ValueError: there is none; the error names the nearest.
    """
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, 3)
        raise ValueError(
            f"unknown protocol {name!r}; {'did you mean' if near else 'choose one of'} {', '.join(near or PROTOCOLS)}"
        )
    return PROTOCOLS[name]
