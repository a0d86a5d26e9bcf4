"""Padding of images to the sizes that networks need."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

PadMode = Literal["reflect", "symmetric", "replicate", "constant"]
_MODES = ("reflect", "symmetric", "replicate", "constant")


def pad_to_multiple(image: Tensor, multiple: int | tuple[int, int], mode: PadMode = "reflect") -> Tensor:
    """Extend an image at the bottom and at the right, as little as makes its sides whole multiples.

    Crop back with `[..., :height, :width]`. An axis too short for the mode is replicated instead, so every size works.
    Differentiable; the image itself, not a copy, where it fits.

    Args:
        image: (..., h, w) of any type, with at least one pixel.
        multiple: of both sides, or (of the height, of the width).
        mode: "reflect" mirrors about the last pixel (needs fewer new pixels than the side has), "symmetric" about its outer
            edge, so that it is repeated (needs no more than the side has), "replicate" repeats the last pixel and "constant"
            adds zeros.

    Returns:
        (..., h + bottom, w + right).

    Raises:
        ValueError: a multiple is less than one, the mode is unknown or the image is empty.
    """
    multiples = multiple if isinstance(multiple, tuple) else (multiple, multiple)
    if min(multiples) < 1:
        raise ValueError(f"multiple should be at least 1, got {multiple}")
    if mode not in _MODES:
        raise ValueError(f"unknown mode {mode!r}; choose one of {', '.join(_MODES)}")
    if image.ndim < 2 or 0 in image.shape[-2:]:
        raise ValueError(f"pad_to_multiple expects (..., h, w) with at least one pixel, got shape {tuple(image.shape)}")
    for axis, step in zip((-2, -1), multiples, strict=True):
        if step > 1 and _is_symbolic(image.shape[axis]):
            image = _extend(image, axis, step, mode)
            continue
        count = -image.shape[axis] % step
        if count:
            image = torch.cat([image, *_margin(image, axis, count, mode)], axis)
    return image


def mirrored(places: Tensor, length: int) -> Tensor:
    """Which sample of a line stands at whole places that may lie outside: mirrored about its outer edges, ever again."""
    places = places % (2 * length)
    return torch.where(places < length, places, 2 * length - 1 - places)


def _is_symbolic(length: int) -> bool:
    """Whether an exported program is traced that has to serve all lengths; `is_exporting` came with torch 2.7."""
    return isinstance(length, torch.SymInt) and getattr(torch.compiler, "is_exporting", lambda: False)()


def _extend(image: Tensor, axis: int, step: int, mode: PadMode) -> Tensor:
    """What `pad_to_multiple` does along an axis, without asking for its length: every sample is looked up."""
    length = image.shape[axis]
    places = torch.arange((length + step - 1) // step * step, device=image.device)
    turned = {"reflect": 2 * length - 2, "symmetric": 2 * length - 1}.get(mode, 0) - places
    # Where the last sample would come from before the first, the axis is too short for the mode.
    beyond = torch.where(turned[-1:] >= 0, turned, length - 1)
    extended = image.index_select(axis, torch.where(places < length, places, beyond))
    if mode == "constant":
        inside = places < length
        extended = torch.where(inside if axis == -1 else inside[:, None], extended, 0)
    return extended


def _margin(image: Tensor, axis: int, count: int, mode: PadMode) -> list[Tensor]:
    """The `count` rows or columns that follow the image's end, as pieces to concatenate; they keep channels_last memory."""
    length = image.shape[axis]
    if mode == "reflect" and count < length:
        return [image.narrow(axis, length - 1 - count, count).flip(axis)]
    if mode == "symmetric" and count <= length:
        return [image.narrow(axis, length - count, count).flip(axis)]
    last = image.narrow(axis, length - 1, 1)
    return [torch.zeros_like(last) if mode == "constant" else last] * count
