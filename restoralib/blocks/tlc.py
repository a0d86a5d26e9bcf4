"""Test-time local converter: a mean over a window around each pixel in place of the mean over the image.

Chu et al., Improving Image Restoration by Revisiting Global Information Aggregation, ECCV 2022, arXiv:2112.04491.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.ops.precision import at_least_float32


class LocalMean(nn.Module):
    """Mean over a window around each pixel; over the image, where the window covers it.

    Windows stay inside the image: pixels nearer to the border than half a window share the mean of the outermost window.

    Args:
        window: height and width of the window in pixels.
        max_strides: None for exact means. Otherwise the authors' `fast_imp`, which is another function: means of every r-th
            pixel without the first, r being the largest of 5, 4, 3 and 2 that divides the side, and at most this (for the
            height, for the width).

    Shapes: (b, c, h, w) -> (b, c, h, w), or one in place of a side that the window covers.
    """

    def __init__(self, window: tuple[int, int], max_strides: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.window = window
        self.max_strides = max_strides

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.window[0] >= height and self.window[1] >= width:
            return x.mean((2, 3), keepdim=True)
        sampled, strides = x.to(at_least_float32(x.dtype)), (1, 1)
        if self.max_strides:
            rows, columns = _sampling(height, self.max_strides[0]), _sampling(width, self.max_strides[1])
            sampled, strides = sampled[:, :, rows, columns], (rows.step, columns.step)
        mean = box_mean(sampled, max(self.window[0] // strides[0], 1), axis=2)
        mean = box_mean(mean, max(self.window[1] // strides[1], 1), axis=3)
        padding: list[int] = []
        for axis, stride in ((3, strides[1]), (2, strides[0])):
            covered = mean.shape[axis] == 1
            if stride > 1 and not covered:
                mean = mean.repeat_interleave(stride, axis)
            missing = 0 if covered else x.shape[axis] - mean.shape[axis]
            padding += [missing // 2, missing - missing // 2]
        return F.pad(mean, padding, mode="replicate").to(x.dtype)

    def extra_repr(self) -> str:
        return f"window={self.window}" + (f", max_strides={self.max_strides}" if self.max_strides else "")


def _sampling(side: int, max_stride: int) -> slice:
    """The pixels that `fast_imp` looks at along a side."""
    stride = min(max_stride, next(r for r in (5, 4, 3, 2, 1) if side % r == 0))
    return slice(stride if stride < side else 0, None, stride)


def box_mean(x: Tensor, size: int, axis: int) -> Tensor:
    """Means of every `size` neighbours along an axis; of all, where there are no more.

    Sums of 1, 2, 4, … neighbours are doubled, never cumulated: float32 keeps its precision on any length, the memory format
    stays, and no more than two maps are alive beside `x`.

    Shapes: (…, l, …) -> (…, max(l - size, 0) + 1, …).
    """
    if size >= x.shape[axis]:
        return x.mean(axis, keepdim=True)
    sums, width = x, 1
    for bit in f"{size:b}"[1:]:
        sums = _add_shifted(sums, sums, width, axis)
        width *= 2
        if bit == "1":
            sums = _add_shifted(sums, x, width, axis)
            width += 1
    return sums / size


def _add_shifted(first: Tensor, second: Tensor, shift: int, axis: int) -> Tensor:
    """first[i] + second[i + shift], as far as `second` goes."""
    length = second.shape[axis] - shift
    return first.narrow(axis, 0, length) + second.narrow(axis, shift, length)
