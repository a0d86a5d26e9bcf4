"""Rotary position embedding: features turned, pair by pair, by angles that grow with the position (arXiv:2104.09864)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from restoralib.ops.precision import at_least_float32


class Rotation(NamedTuple):
    """By how much each pair of features of each token is turned.

    Args:
        cos: cosines of the angles, (..., n, d / 2), broadcast against (..., heads, n, d / 2).
        sin: their sines.
    """

    cos: Tensor
    sin: Tensor


def rotary_angles(positions: Tensor, features: int, *, max_period: float = 10000.0) -> Rotation:
    """Angles of tokens that lie on several axes, such as row and column of a tile and within it.

    The pairs are shared evenly among the axes, the first ones getting what is left over. On each axis the frequencies fall
    geometrically from 1, as those of a sinusoidal embedding.

    Args:
        positions: (n, axes), or (n,) for one axis; of any real type.
        features: of a head, even; at least one pair for each axis.
        max_period: the frequencies of an axis of p pairs are max_period**(-i / p).

    Raises:
        ValueError: the features are odd, or fewer than two for an axis.
    """
    positions = positions if positions.ndim == 2 else positions[:, None]
    axes = positions.shape[1]
    if features % 2 or features < 2 * axes:
        raise ValueError(f"features should be even and at least {2 * axes} for {axes} axes, got {features}")
    positions = positions.to(at_least_float32(positions.dtype))
    angles = []
    for axis in range(axes):
        pairs = features // 2 // axes + (axis < features // 2 % axes)
        steps = torch.arange(pairs, dtype=positions.dtype, device=positions.device) / pairs
        angles.append(positions[:, axis, None] * torch.exp(-math.log(max_period) * steps))
    turned = torch.cat(angles, 1)
    return Rotation(turned.cos(), turned.sin())


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """The pairs (2i, 2i + 1) of the last axis of x, (..., n, d), turned by their angles; of the type of x."""
    first, second = x[..., 0::2], x[..., 1::2]
    cos, sin = rotation.cos.to(x.dtype), rotation.sin.to(x.dtype)
    return torch.stack((first * cos - second * sin, second * cos + first * sin), -1).flatten(-2)
