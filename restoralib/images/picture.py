"""The one form that an image has inside, and the way to it and back from arrays and tensors.

Integers become float in [0, 1] by their largest value and come back by clamping and `torch.round`, half to even.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restoralib.ops.precision import at_least_float32

LEVELS = {torch.bool: 1, torch.uint8: 255, torch.uint16: 65535}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # of eight bits there are no sums
_DEPTHS = {torch.bool: 1, torch.uint8: 8, torch.uint16: 16}
_OF_DEPTH = {depth: dtype for dtype, depth in _DEPTHS.items()}
# Noise takes a float image out of [0, 1]; one that leaves it by so much probably, or certainly, has another range.
_SUSPECT, _OVERSHOOT = 0.5, 1.5

Array = np.ndarray[Any, Any]


class ImageError(ValueError):
    """An image, or a file that should be one, cannot be used; the message says why and what to do."""


@dataclass
class Picture:
    """One image at the door of the library.

    Args:
        color: (c, h, w), float32 in [0, 1] (float64 where the source is), upright; c is 1 or 3. A batch of tensors keeps its
            leading axis, and tensors for special networks may have more channels. It may share the source's memory.
        alpha: (1, h, w), opacity in [0, 1]; the colour is not multiplied by it.
        depth: bits a channel of the source: 1, 8 or 16, and 32 for floating point.
        mode: the source's mode by Pillow's names, where it came from a file or from Pillow.
        icc: colour profile, as stored.
        exif: EXIF block whose orientation is reset, for it is applied.
        xmp: XMP packet, likewise.
        dpi: pixels an inch, horizontal and vertical.
        format: the file's format by Pillow's names.
    """

    color: Tensor
    alpha: Tensor | None = None
    depth: int = 8
    mode: str | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str | None = None

    @property
    def channels(self) -> Tensor:
        """Colour with alpha behind it, where there is one."""
        return self.color if self.alpha is None else torch.cat((self.color, self.alpha), -3)


def tensor_to_picture(image: Tensor, kind: str = "tensor") -> Picture:
    """Take (h, w), (c, h, w) or (b, c, h, w); of two or four channels the last is alpha.

    Args:
        image: uint8, uint16, bool, or floating point in [0, 1].
        kind: what the messages call it.

    Raises:
        TypeError: the numbers are of another type, or the tensor is sparse, nested, quantised or without values.
        ImageError: the image is empty, not finite, or of another shape or range.
    """
    if image.is_nested or image.layout is not torch.strided or image.is_quantized or image.is_meta:
        form = "nested" if image.is_nested else "quantised" if image.is_quantized else "meta" if image.is_meta else image.layout
        raise TypeError(
            f"a {kind} should be dense and hold values, got one that is {form}; to_dense() or dequantize() gives such"
        )
    if image.dtype not in LEVELS and image.dtype not in _FLOATS:
        raise TypeError(
            f"images are uint8, uint16, bool or floating point, got {image.dtype}; convert the {kind} to one of these"
        )
    if image.ndim not in (2, 3, 4):
        raise ImageError(f"a tensor should have the shape (h, w), (c, h, w) or (b, c, h, w), got {tuple(image.shape)}")
    if image.numel() == 0:
        raise ImageError(f"the {kind} is empty, its shape is {tuple(image.shape)}; check where it was cut or loaded")
    channels = image.detach()[None] if image.ndim == 2 else image.detach()
    if image.dtype.is_floating_point:
        _check_range(channels, kind)
        channels = channels.to(at_least_float32(image.dtype))
    else:
        channels = channels.to(torch.float32).div_(LEVELS[image.dtype])
    depth = _DEPTHS.get(image.dtype, 32)
    if channels.shape[-3] in (2, 4):
        return Picture(channels[..., :-1, :, :], channels[..., -1:, :, :].clamp(0, 1), depth)
    return Picture(channels, None, depth)


def array_to_picture(array: Array, kind: str = "array") -> Picture:
    """Take (h, w) or (h, w, c), c from 1 to 4 with alpha last; types, ranges and errors as for `tensor_to_picture`."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise ImageError(
            f"an array should have the shape (h, w) or (h, w, c) with 1 to 4 channels, got {array.shape}; "
            "array.transpose(1, 2, 0) puts channels last"
        )
    _tensor_type(array.dtype)
    # A copy in native byte order: torch takes neither foreign byte orders, nor negative strides, nor read-only memory.
    tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    return tensor_to_picture(tensor if tensor.ndim == 2 else tensor.permute(2, 0, 1), kind)


def picture_to_tensor(picture: Picture, dtype: torch.dtype | None = None) -> Tensor:
    """(c, h, w) or (b, c, h, w) with alpha last, in the given type or that of the picture's depth."""
    dtype = dtype or _OF_DEPTH.get(picture.depth, torch.float32)
    channels = picture.channels.clamp(0, 1)
    return channels.to(dtype) if dtype.is_floating_point else channels.mul_(LEVELS[dtype]).round_().to(dtype)


def picture_to_array(picture: Picture, dtype: np.dtype[Any] | None = None) -> Array:
    """(h, w, c) with alpha last, in the given type or that of the picture's depth."""
    tensor = picture_to_tensor(picture, _tensor_type(dtype) if dtype else None)
    array = np.ascontiguousarray(tensor.movedim(-3, -1).cpu().numpy())
    return array.astype(dtype, copy=False) if dtype else array


def check_pixels(height: int, width: int, limit: int, name: str = "max_pixels") -> None:
    """Raise ImageError where an image has more pixels than allowed."""
    if height * width > limit:
        raise ImageError(f"{width} x {height} pixels are more than {limit}; pass {name}={height * width} to allow it")


def _tensor_type(dtype: np.dtype[Any]) -> torch.dtype:
    try:
        return torch.from_numpy(np.empty(0, dtype.newbyteorder("="))).dtype
    except TypeError:
        raise TypeError(f"images are uint8, uint16, bool or floating point, got {dtype}; convert the array") from None


def _check_range(x: Tensor, kind: str) -> None:
    low, high = (float(value) for value in x.aminmax())
    if not -float("inf") < low <= high < float("inf"):
        raise ImageError(f"the {kind} holds NaN or Inf; replace them, for instance with nan_to_num")
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ImageError(
            f"floating-point images lie in [0, 1], this {kind} spans {low:.4g} to {high:.4g}; divide it by its range"
        )
    if low < -_SUSPECT or high > 1 + _SUSPECT:
        warnings.warn(
            f"floating-point images lie in [0, 1], this {kind} spans {low:.4g} to {high:.4g}; what a model leaves outside is "
            "cut off. Map it to [0, 1] if that is not noise",
            stacklevel=2,
        )
