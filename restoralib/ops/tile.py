"""Tiles: a long axis cut into overlapping spans of equal length, and the weights that join their results again.

Everything here is about one axis. A plan for an image is the product of the plans of its two axes; so are the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Span = tuple[int, int]
Ramp = Literal["cosine", "linear"]


def plan_tiles(length: int, tile: int, overlap: int = 0, multiple: int = 1) -> list[Span]:
    """Cut an axis into spans (start, stop) of one length, with neighbours sharing at least `overlap` samples.

    All spans start on multiples of `multiple`. They are as few as possible and spread evenly: no sliver is left over and
    every overlap is about as large as it can be for nothing. Where the axis is not a whole number of multiples, the last span
    ends with the axis and is shorter by less than one multiple: it starts on the grid and a network pads it as it pads the
    whole axis.

    Args:
        length: samples of the axis.
        tile: length of a span; rounded down to whole multiples. An axis not longer than that is one span.
        overlap: samples that neighbours share at least.
        multiple: the grid of the starts.

    Raises:
        ValueError: a size is not positive, or the overlap leaves no step of one multiple.
    """
    if min(length, tile, multiple) < 1 or overlap < 0:
        raise ValueError(
            f"length, tile and multiple should be positive, got {length}, {tile} and {multiple}, overlap {overlap}"
        )
    if length <= tile:
        return [(0, length)]
    tile -= tile % multiple
    step = (tile - overlap) // multiple
    if step < 1:
        raise ValueError(f"tiles of {tile} with an overlap of {overlap} cannot advance by {multiple}; enlarge the tile")
    last = math.ceil((length - tile) / multiple)
    count = math.ceil(last / step)
    starts = [index * last // count * multiple for index in range(count + 1)]
    return [(start, min(start + tile, length)) for start in starts]


def blend_weights(
    spans: Sequence[Span], margin: int = 0, dtype: torch.dtype = torch.float32, *, ramp: Ramp = "cosine"
) -> list[Tensor]:
    """Weights of each span's samples, so that the weighted results of all spans add up to one picture.

    Between neighbours the weight passes from one to the other along a raised cosine or a straight line over their overlap, less
    the margin at either end: samples nearer than `margin` to a cut are not used at all. The weights of a sample sum to one.

    Args:
        spans: (start, stop), as `plan_tiles` gives them, sharing at least twice the margin.
        margin: samples beside a cut that are wrong for lack of context, such as the reach of a network.
        dtype: of the weights.
        ramp: "cosine" or "linear".

    Returns:
        One tensor (stop - start,) a span.

    Raises:
        ValueError: neighbours share less than twice the margin.
    """
    if any(stop - start < 2 * margin for (_, stop), (start, _) in pairwise(spans)):
        raise ValueError(
            f"neighbouring tiles should share at least {2 * margin} samples, twice the margin; enlarge the overlap"
        )
    weights = [torch.ones(stop - start, dtype=torch.float64) for start, stop in spans]
    for index, ((_, stop), (start, _)) in enumerate(pairwise(spans)):
        shared = stop - start
        # A ramp of no length divides by zero: infinities clamp to the step that is meant.
        share = ((torch.arange(shared) - margin + 0.5) / (shared - 2 * margin)).clamp(0, 1).double()
        rise = share if ramp == "linear" else torch.sin(share * (math.pi / 2)) ** 2
        weights[index][len(weights[index]) - shared :] *= 1 - rise
        weights[index + 1][:shared] *= rise
    # Where more than two spans meet, the products do not sum to one by themselves.
    total = torch.zeros(spans[-1][1], dtype=torch.float64)
    for (start, stop), weight in zip(spans, weights, strict=True):
        total[start:stop] += weight
    return [(weight / total[start:stop]).to(dtype) for (start, stop), weight in zip(spans, weights, strict=True)]


def core_spans(spans: Sequence[Span], multiple: int = 1) -> list[Span]:
    """Disjoint spans that cover the axis, each the middle of its tile: overlaps are cut in half, on multiples of `multiple`."""
    cuts = [(start + (stop - start) // 2 // multiple * multiple) for (_, stop), (start, _) in pairwise(spans)]
    return list(pairwise([spans[0][0], *cuts, spans[-1][1]]))
