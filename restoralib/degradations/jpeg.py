"""JPEG: the real codec, through Pillow, and a differentiable one that follows Real-ESRGAN's."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.degradation import Degradation, check_image, integer, uniform
from restoralib.degradations.levels import check_finite, for_each_image
from restoralib.ops.levels import nearest_levels
from restoralib.ops.precision import at_least_float32, full_precision

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
Plane = Literal["luma", "chroma"]

# ITU-T T.81 (the JPEG standard), tables K.1 and K.2: rows are vertical frequencies, columns horizontal ones.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# JFIF: BT.601 in full range.
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def quantisation_table(quality: int, plane: Plane = "luma") -> Tensor:
    """The table by which libjpeg divides the coefficients of a block, (8, 8), int32; columns are horizontal frequencies.

    The standard's table times s / 100, rounded, in 1..255, with s = 5000 / quality below 50 and 200 - 2 quality from there on.

    Raises:
        ValueError: the quality is not a whole number in 1..100, or the plane is unknown.
    """
    if plane not in ("luma", "chroma"):
        raise ValueError(f"unknown plane {plane!r}; choose luma or chroma")
    quality = _whole_quality(quality)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor(_LUMA if plane == "luma" else _CHROMA, dtype=torch.int32)
    return ((table * scale + 50) // 100).clamp(1, 255)


def jpeg(image: Tensor, quality: int, *, subsampling: Subsampling = "4:2:0") -> Tensor:
    """Compress and decompress by Pillow's JPEG codec, image by image; what OpenCV gives, too.

    Args:
        image: (b, c, h, w) in [0, 1], RGB or grey; rounded to 8 bits first.
        quality: 1..100.
        subsampling: of the colour: "4:2:0" halves it both ways, "4:2:2" across, "4:4:4" not.

    Returns:
        (b, c, h, w) in whole levels / 255, on the image's device, without gradient.

    Raises:
        ValueError: the quality is not a whole number in 1..100, the subsampling is unknown, or the image has NaN or sides
            beyond JPEG's 65,535 pixels.
        ImportError: Pillow is missing; the extra `io` has it.
    """
    check_image(image)
    quality = _whole_quality(quality)
    if subsampling not in ("4:4:4", "4:2:2", "4:2:0"):
        raise ValueError(f"unknown subsampling {subsampling!r}; choose 4:4:4, 4:2:2 or 4:2:0")
    check_finite(image, "JPEG")
    if max(image.shape[-2:]) > 65_535:
        raise ValueError(f"JPEG has sides of at most 65,535 pixels, got {tuple(image.shape[-2:])}; cut the image")
    try:
        import numpy as np
        from PIL import Image
    except ImportError as error:
        raise ImportError("JPEG needs Pillow; install restoralib[io], or use diff_jpeg, which needs nothing") from error
    levels = nearest_levels(image.detach()).to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    decoded = []
    for picture in levels:
        file = io.BytesIO()
        pillow = Image.fromarray(np.ascontiguousarray(picture if picture.shape[2] == 3 else picture[..., 0]))
        pillow.save(file, "JPEG", quality=quality, subsampling=subsampling)
        decoded.append(torch.from_numpy(np.array(Image.open(file))).reshape(picture.shape))
    result = torch.stack(decoded).permute(0, 3, 1, 2).contiguous().to(image.device)
    return result.to(at_least_float32(image.dtype)).div(255).to(image.dtype)


def diff_jpeg(image: Tensor, quality: float | Tensor, *, differentiable: bool = False) -> Tensor:
    """JPEG in tensor operations, as Real-ESRGAN's training has it (DiffJPEG).

    It is not libjpeg: the luma table is transposed, tables times the factor of the quality stay fractional, colour is halved by
    means and doubled by repeating, edges are filled with black to multiples of 16, and nothing is rounded to 8 bits. On the
    images of Set14 it lies 1.8 (quality 95) to 4.3 levels of 255 (quality 10) from `jpeg` on average.

    Args:
        image: (b, c, h, w) in [0, 1], RGB or grey (luma alone).
        quality: above 0, to 100; for all images or one for each, (b,). It may be fractional.
        differentiable: round by round(x) + (x - round(x))^3, whose gradient is not zero.

    Returns:
        (b, c, h, w) in [0, 1]. NaN spoils its block.

    Raises:
        ValueError: the quality lies outside, or its shape or the image's is another.

    Source: Shin and Song 2017, "JPEG-resistant adversarial images"; the settings of Real-ESRGAN (arXiv:2107.10833).
    """
    work = full_precision(check_image(image))
    c, h, w = image.shape[1:]
    good = (quality > 0) & (quality <= 100)
    if not bool(good.all() if isinstance(good, Tensor) else good):
        raise ValueError(f"quality should be above 0 and at most 100, got {quality}")
    factor = for_each_image(torch.as_tensor(quality, dtype=torch.float64), work, "quality")
    assert isinstance(factor, Tensor)
    factor = torch.where(factor < 50, 50 / factor, 2 - factor / 50).to(work)

    padded = torch.nn.functional.pad(255 * work, (0, -w % 16, 0, -h % 16))
    if c == 1:
        return _quantise(padded, "luma", factor, differentiable)[..., :h, :w].clamp(0, 255).div(255).to(image.dtype)
    ycbcr = torch.einsum("dc,bchw->bdhw", torch.tensor(_TO_YCBCR, dtype=torch.float64).to(padded), padded)
    y = _quantise(ycbcr[:, :1], "luma", factor, differentiable)
    color = torch.nn.functional.avg_pool2d(ycbcr[:, 1:], 2)  # Its zero is the 128 of the files.
    color = _quantise(color + 128, "chroma", factor, differentiable) - 128
    color = torch.nn.functional.interpolate(color, scale_factor=2.0, mode="nearest")
    rgb = torch.einsum("dc,bchw->bdhw", torch.tensor(_TO_RGB, dtype=torch.float64).to(padded), torch.cat((y, color), 1))
    return rgb[..., :h, :w].clamp(0, 255).div(255).to(image.dtype)


@dataclass(frozen=True)
class JPEG(Degradation):
    """Compression by the real codec: `jpeg`.

    Args:
        quality: 1..100.
        subsampling: of the colour.
    """

    quality: int = 40
    subsampling: Subsampling = "4:2:0"

    def __call__(self, image: Tensor) -> Tensor:
        return jpeg(image, self.quality, subsampling=self.subsampling)

    @classmethod
    def draw(cls, generator: torch.Generator, *, quality: tuple[int, int] = (10, 40)) -> Self:
        """Draw the quality from a range, both ends included. BSRGAN's is 30..95."""
        return cls(integer(*quality, generator))


@dataclass(frozen=True)
class DiffJPEG(Degradation):
    """Compression in tensor operations: `diff_jpeg`.

    Args:
        quality: above 0, to 100, also fractional.
        differentiable: round so that the gradient is not zero.
    """

    quality: float = 40.0
    differentiable: bool = False

    def __call__(self, image: Tensor) -> Tensor:
        return diff_jpeg(image, self.quality, differentiable=self.differentiable)

    @classmethod
    def draw(cls, generator: torch.Generator, *, quality: tuple[float, float] = (30.0, 95.0)) -> Self:
        """Draw the quality from a range, Real-ESRGAN's by default."""
        return cls(uniform(*quality, generator))


def _whole_quality(quality: float) -> int:
    if not 1 <= quality <= 100 or quality != int(quality):
        raise ValueError(f"quality should be a whole number in 1..100, got {quality}")
    return int(quality)


@cache
def _cosines() -> Tensor:
    """The orthonormal DCT-II of 8 samples: rows are frequencies."""
    places = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos((2 * places + 1) * places[:, None] * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _quantise(planes: Tensor, plane: Plane, factor: Tensor, differentiable: bool) -> Tensor:
    """Transform blocks of 8x8, round their coefficients in units of the table, transform back: (b, c, h, w) in 0..255."""
    b, c, h, w = planes.shape
    cosines = _cosines().to(planes)
    table = torch.tensor(_LUMA if plane == "luma" else _CHROMA).to(planes).T  # Transposed, as the reference has it.
    table = table * factor[..., None]
    blocks = (planes - 128).reshape(b, c, h // 8, 8, w // 8, 8).transpose(3, 4)
    units = (cosines @ blocks @ cosines.T) / table[:, :, None]
    whole = units.round()
    if differentiable:
        whole = whole + (units - whole) ** 3
    blocks = cosines.T @ (whole * table[:, :, None]) @ cosines
    return blocks.transpose(3, 4).reshape(b, c, h, w) + 128
