"""Steadiness from frame to frame: a recurrent blend that acts where the input did not change, and a measure of flicker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.images import to_picture

_WINDOW = 11
# Of the mean squared change, in units of what noise alone makes it: below the first all is still, above the second all moves.
# White noise in windows of 11x11 and three channels stays below the second by four standard deviations. Wider bounds leave
# trails: of a photograph under noise of sigma 25 that moves by 4 pixels a frame, the restored frames lose 0.4 dB at 0.7 by
# these, and 2 dB by 1.3 and 2; of one that stands still they gain 1.4 and 1.5 dB.
_STILL, _MOVING = 1.1, 1.3
_FLOOR = (1 / 255) ** 2  # what rounding and compression do


class Steady:
    """Blends each restored frame with the restored frame before it, where the input did not change.

    restored'(t) = restored(t) + strength * m * (restored'(t - 1) - restored(t)), with m between 0 (moved) and 1 (still) at each
    pixel. m compares the squared difference of the two input frames, averaged over 11x11 pixels and all channels, with twice
    the variance of the newer frame's noise, which the median of its diagonal Haar details tells. Cuts and what moves are left
    alone.

    A still pixel's changes shrink to (1 - strength) / sqrt(1 + strength) of what they were, if they are independent; a slow
    change lags behind by strength / (1 - strength) frames.

    Args:
        strength: in [0, 1); 0 leaves frames as they are.

    Raises:
        ValueError: the strength is outside.
    """

    def __init__(self, strength: float = 0.7) -> None:
        if not 0 <= strength < 1:
            raise ValueError(f"blend should be at least 0 and below 1, got {strength!r}")
        self.strength = strength
        self.image: Tensor | None = None
        self.restored: Tensor | None = None

    def __call__(self, image: Tensor, restored: Tensor) -> Tensor:
        """The blended frame.

        Args:
            image: the input frame, (c, h, w) in [0, 1].
            restored: (c, s h, s w). A frame of another size than the one before begins anew.
        """
        before, past = self.image, self.restored
        if before is not None and past is not None and before.shape == image.shape and past.shape == restored.shape:
            stillness = _stillness(before.to(image), image)
            if restored.shape[-2:] != image.shape[-2:]:
                size = (restored.shape[-2], restored.shape[-1])
                stillness = F.interpolate(stillness[None], size, mode="bilinear", align_corners=False)[0]
            restored = torch.lerp(restored, past.to(restored), self.strength * stillness)
        self.image, self.restored = image, restored
        return restored

    def state(self) -> dict[str, Tensor]:
        """What has to be kept to go on elsewhere; empty before the first frame."""
        return {} if self.image is None or self.restored is None else {"image": self.image, "restored": self.restored}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`."""
        self.image, self.restored = state.get("image"), state.get("restored")


def _stillness(before: Tensor, image: Tensor) -> Tensor:
    """(1, h, w) in [0, 1]."""
    change = (image - before).square().mean(0, keepdim=True)[None]
    change = F.avg_pool2d(change, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)[0]
    ratio = change / (2 * _noise_variance(image) + _FLOOR)
    return ((_MOVING - ratio) / (_MOVING - _STILL)).clamp(0, 1)


def _noise_variance(image: Tensor) -> Tensor:
    """Of white noise in (c, h, w), by the median of diagonal Haar details (Donoho and Johnstone 1994); 0 for tiny images."""
    height, width = (side - side % 2 for side in image.shape[-2:])
    if not height or not width:
        return image.new_zeros(())
    a, b = image[:, 0:height:2, 0:width:2], image[:, 0:height:2, 1:width:2]
    c, d = image[:, 1:height:2, 0:width:2], image[:, 1:height:2, 1:width:2]
    details = ((a - b - c + d) / 2).abs().flatten(1)
    return (details.median(1).values / 0.6745).square().mean()


def flicker(
    restored: Iterable[Any],
    degraded: Iterable[Any],
    *,
    reference: Iterable[Any] | None = None,
    threshold: float = 2 / 255,
) -> float:
    """How much more the restored frames change than the input where nothing moves; negative where they are steadier.

    Over all pairs of neighbouring frames: the mean of |restored(t) - restored(t - 1)| over still pixels, less that of
    |degraded(t) - degraded(t - 1)|. A pixel is still where no channel of the reference changes by more than the threshold.

    Args:
        restored: frames of any kind that `restore` takes, all of one size; read once, two at a time.
        degraded: the input's, as many; a restored side may be a multiple of theirs.
        reference: what tells stillness, of the input's size: the clean frames where these are known, since noise changes
            everywhere; None for the input itself.
        threshold: largest change of a still pixel, in [0, 1].

    Raises:
        ValueError: there are fewer than two frames or other numbers of them, or nothing is still.
    """
    totals, pairs = torch.zeros(2, dtype=torch.float64), 0
    still = 0.0

    def triples() -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        others = [degraded] if reference is None else [degraded, reference]
        for frames in zip(restored, *others, strict=True):
            colors = [to_picture(frame).color for frame in frames]
            yield colors[0], colors[1], colors[-1]

    for old, new in pairwise(triples()):
        pairs += 1
        mask = ((new[2] - old[2]).abs().amax(0, keepdim=True) <= threshold).double()
        for number in (0, 1):
            change = (new[number] - old[number]).abs().mean(0, keepdim=True)
            weight = F.interpolate(mask[None], (change.shape[-2], change.shape[-1]))[0]
            if weight.any():
                totals[number] += (change * weight).sum() / weight.sum() * mask.sum()
        still += float(mask.sum())
    if not pairs:
        raise ValueError("flicker is between frames; give at least two")
    if not still:
        raise ValueError(f"no pixel is still within {threshold:.4g}; give clean frames as reference, or a larger threshold")
    return float((totals[0] - totals[1]) / still)
