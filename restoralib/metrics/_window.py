"""Means over sliding windows, where the windows fit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_COLUMNS = 48  # outputs of one product: long enough for a fast one, short enough to waste little on zeros


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


def _slide_last(x: Tensor, weights: tuple[float, ...]) -> Tensor:
    """As products with band matrices, which take a fifth of the time that a convolution in float64 does."""
    length = x.shape[-1] - len(weights) + 1
    whole, rest = divmod(length, _COLUMNS)
    parts = []
    if whole:
        columns = x.unfold(-1, _COLUMNS + len(weights) - 1, _COLUMNS)
        parts.append((columns[..., :whole, :] @ constant(_band(weights, _COLUMNS), x)).flatten(-2))
    if rest:
        parts.append(x[..., whole * _COLUMNS :] @ constant(_band(weights, rest), x))
    return torch.cat(parts, -1)


def slide(x: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Weighted means over square windows, separably: (..., h, w) -> (..., h - taps + 1, w - taps + 1)."""
    return _slide_last(_slide_last(x, weights).mT, weights).mT
