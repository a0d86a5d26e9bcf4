"""Pairs of which one side was photographed: brought to the same place and colours before anything is measured.

A photograph of a screen lies a pixel or so beside the picture that the screen shows, and has other colours, so that PSNR would
tell little of the moire. The truth is moved and recoloured; the degraded image stays what a camera gave.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_TAPS = 8  # of the windowed sinc, for which borders are cut


@dataclass(frozen=True)
class Alignment:
    """How a clean image has to be changed to lie on a photograph of it.

    Args:
        down: pixels that it moves down.
        right: pixels that it moves to the right.
        gain: factor of each channel, after moving.
        offset: what is added to each channel then.
    """

    down: float
    right: float
    gain: tuple[float, ...]
    offset: tuple[float, ...]


def find_shift(degraded: Tensor, clean: Tensor, reach: int = 4) -> tuple[float, float]:
    """How far a clean image lies beside a photograph of it: (down, right) in pixels that bring it there.

    The horizontal and vertical differences of the channels' mean are correlated at all whole shifts within reach; a parabola
    through the best and its neighbours gives the parts of a pixel. Stripes of moire have differences too, but not where the
    clean image has them.

    Args:
        degraded: (c, h, w).
        clean: of the same shape.
        reach: largest shift along either axis, in pixels.

    Raises:
        ValueError: the images differ in shape, or are too small for the reach.
    """
    if degraded.shape != clean.shape or degraded.ndim != 3:
        raise ValueError(f"expected two images (c, h, w) of one shape, got {tuple(degraded.shape)} and {tuple(clean.shape)}")
    if reach < 1 or min(degraded.shape[-2:]) < 4 * reach + 16:
        raise ValueError(f"images of {tuple(degraded.shape[-2:])} are too small for shifts of {reach} pixels")
    fixed, moving = (_differences(image.double().mean(0)) for image in (degraded, clean))
    inner = fixed[:, reach:-reach, reach:-reach]
    height, width = inner.shape[-2:]
    side = 2 * reach + 1
    scores = torch.zeros(side, side, dtype=torch.float64)
    for down in range(side):
        for right in range(side):
            # What is moved down by d comes from d rows above.
            top, left = 2 * reach - down, 2 * reach - right
            other = moving[:, top : top + height, left : left + width]
            scores[down, right] = (inner * other).sum() / (inner.norm() * other.norm()).clamp(min=1e-12)
    down, right = divmod(int(scores.argmax()), side)
    return down - reach + _peak(scores[:, right], down), right - reach + _peak(scores[down], right)


def moved(image: Tensor, down: float, right: float) -> Tensor:
    """An image (c, h, w) moved by parts of pixels, by a sinc in Lanczos's window of eight taps; borders go on outside."""
    for axis, shift in ((-2, down), (-1, right)):
        whole = math.floor(shift + 0.5)
        image = image.roll(whole, axis)
        part = shift - whole
        if abs(part) < 1e-9:
            continue
        at = torch.arange(-_TAPS // 2, _TAPS // 2 + 1, dtype=image.dtype) + part
        taps = torch.sinc(at) * torch.sinc(at / (_TAPS / 2 + 1))
        taps = (taps / taps.sum()).reshape((1, 1, -1, 1) if axis == -2 else (1, 1, 1, -1))
        half = _TAPS // 2
        padding = (0, 0, half, half) if axis == -2 else (half, half, 0, 0)
        image = functional.conv2d(functional.pad(image[:, None], padding, mode="replicate"), taps)[:, 0]
    return image


def find_alignment(degraded: Tensor, clean: Tensor, reach: int = 4) -> Alignment:
    """Shift by `find_shift`, then the line of each channel that takes the moved clean image to the photograph by least squares.

    The clean image is the one without stripes, so that the line is not flattened by them.

    Args:
        degraded: (c, h, w).
        clean: of the same shape.
        reach: largest shift, in pixels.

    Raises:
        ValueError: as of `find_shift`.
    """
    down, right = find_shift(degraded, clean, reach)
    border = reach + _TAPS // 2
    fixed = _cut(degraded.double(), border).flatten(1)
    other = _cut(moved(clean.double(), down, right), border).flatten(1)
    spread = other - other.mean(1, keepdim=True)
    gain = (spread * fixed).sum(1) / spread.square().sum(1).clamp(min=1e-12)
    offset = fixed.mean(1) - gain * other.mean(1)
    return Alignment(down, right, tuple(gain.tolist()), tuple(offset.tolist()))


def align(degraded: Tensor, clean: Tensor, reach: int = 4) -> tuple[Tensor, Tensor]:
    """A photograph and its clean image, which is moved and recoloured to lie on it; both without the border this takes.

    Args:
        degraded: (c, h, w) in [0, 1].
        clean: of the same shape.
        reach: largest shift, in pixels.

    Returns:
        Both, less reach and four pixels on each side; the photograph's pixels are the same, the clean ones clipped to [0, 1].

    Raises:
        ValueError: as of `find_shift`.
    """
    found = find_alignment(degraded, clean, reach)
    border = reach + _TAPS // 2
    there = _cut(moved(clean.double(), found.down, found.right), border)
    gain, offset = (torch.tensor(values, dtype=there.dtype)[:, None, None] for values in (found.gain, found.offset))
    return _cut(degraded, border).contiguous(), (gain * there + offset).clamp(0, 1).to(clean.dtype)


def _differences(image: Tensor) -> Tensor:
    """Central differences along both axes: (h, w) -> (2, h - 2, w - 2)."""
    down = image[2:, 1:-1] - image[:-2, 1:-1]
    right = image[1:-1, 2:] - image[1:-1, :-2]
    return torch.stack([down, right])


def _peak(scores: Tensor, best: int) -> float:
    """Where between the best of a row of scores and its neighbours a parabola has its peak, in places from the best."""
    if not 0 < best < len(scores) - 1:
        return 0.0
    before, middle, after = scores[best - 1 : best + 2].tolist()
    bend = before - 2 * middle + after
    return 0.0 if bend >= 0 else (before - after) / (2 * bend)


def _cut(image: Tensor, border: int) -> Tensor:
    return image[..., border:-border, border:-border]
