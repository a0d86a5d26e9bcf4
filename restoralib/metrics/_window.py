"""Means over sliding windows, where the windows fit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_OUTPUTS = 24  # outputs of one product: long enough for a fast one, short enough to waste little on zeros


def gaussian(size: int, sigma: float) -> tuple[float, ...]:
    """Samples of a Gaussian at whole distances from its middle, which sum to one."""
    steps = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())


def uniform(size: int) -> tuple[float, ...]:
    """Equal weights that sum to one."""
    return (1 / size,) * size


@lru_cache(maxsize=64)
def _band(weights: tuple[float, ...], outputs: int) -> np.ndarray:
    """The matrix (outputs + taps - 1, outputs) whose columns hold the window, each a step further down.

    Kept as an array: a tensor made in inference mode would be of no use to a gradient later.
    """
    matrix = np.zeros((outputs + len(weights) - 1, outputs))
    for column in range(outputs):
        matrix[column : column + len(weights), column] = weights
    return matrix


def constant(array: np.ndarray, like: Tensor) -> Tensor:
    """The array as a tensor of the type and on the device of another."""
    return torch.from_numpy(array).to(like.dtype).to(like.device)


def _slide_along(x: Tensor, weights: tuple[float, ...], *, rows: bool) -> Tensor:
    """Down the rows or along the columns, as products with band matrices: many times faster than convolving in float64."""
    dim = -2 if rows else -1
    whole, rest = divmod(x.shape[dim] - len(weights) + 1, _OUTPUTS)
    parts = []
    if whole:
        band = constant(_band(weights, _OUTPUTS), x)
        spans = x.unfold(dim, _OUTPUTS + len(weights) - 1, _OUTPUTS)  # one axis more
        if rows:
            parts.append((band.mT @ spans.mT).flatten(-3, -2))
        else:  # as one product: matmul makes a thousand small ones of overlapping spans
            parts.append((spans.reshape(-1, spans.shape[-1]) @ band).view(*x.shape[:-1], whole * _OUTPUTS))
    if rest:
        band, last = constant(_band(weights, rest), x), x.narrow(dim, whole * _OUTPUTS, rest + len(weights) - 1)
        parts.append(band.mT @ last if rows else last @ band)
    return torch.cat(parts, dim)


def slide(x: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Weighted means over square windows, separably: (..., h, w) -> (..., h - taps + 1, w - taps + 1)."""
    return _slide_along(_slide_along(x, weights, rows=False), weights, rows=True)
