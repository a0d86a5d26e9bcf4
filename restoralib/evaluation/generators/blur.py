"""Blur that is the same everywhere: a hand's walk while the shutter is open, and a lens with blades that is out of focus."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from restoralib.evaluation.generators.convolution import convolve
from restoralib.evaluation.generators.spoilt import Rng, Spoilt, between

FINE = 8
"""Parts of a pixel, along each side, in which kernels are drawn."""
NOISE = 1 / 255
"""Standard deviation of the white noise that follows the blur."""


def walk_kernel(rng: Rng, span: float, *, steps: int = 4000) -> Tensor:
    """A hand's walk: velocities of an Ornstein-Uhlenbeck process and a drift, added up, and counted on a fine grid.

    Args:
        rng: source of all randomness.
        span: the longer side of the walk's frame, in pixels.
        steps: places of the walk, all exposed for the same time.

    Returns:
        (k, k) with sum one, k odd, its centre of gravity in the middle.
    """
    memory = math.exp(-1 / (steps * between(rng, 0.05, 0.4)))  # the time over which the hand forgets its velocity
    pushes = rng.normal(0, math.sqrt(1 - memory**2), (steps, 2))
    pushes[0] = rng.normal(0, 1, 2)  # it moves already
    velocity = np.empty_like(pushes)
    last = np.zeros(2)
    for step, push in enumerate(pushes):
        last = memory * last + push
        velocity[step] = last
    places = np.cumsum(velocity + rng.normal(0, 0.6, 2), axis=0)
    places *= span / np.ptp(places, axis=0).max()
    places -= places.mean(0)
    radius = math.ceil(float(np.abs(places).max()) + 0.5)
    side = 2 * radius + 1
    edges = np.linspace(-side / 2, side / 2, side * FINE + 1)
    fine, _, _ = np.histogram2d(places[:, 0], places[:, 1], bins=(edges, edges))
    kernel = fine.reshape(side, FINE, side, FINE).sum((1, 3))
    return torch.from_numpy(kernel / kernel.sum())


def blade_kernel(radius: float, blades: int, turn: float, roundness: float) -> Tensor:
    """The kernel of an aperture with blades: a polygon whose sides bulge towards the circle around it.

    Args:
        radius: of the circle, in pixels.
        blades: sides of the polygon.
        turn: of the polygon, in radians.
        roundness: 0 is the polygon, 1 the circle.

    Returns:
        (k, k) with sum one, k odd.
    """
    reach = math.ceil(radius + 0.5)
    side = 2 * reach + 1
    at = (np.arange(side * FINE) + 0.5) / FINE - side / 2
    rows, columns = at[:, None], at[None]
    sector = 2 * math.pi / blades
    within = np.mod(np.arctan2(rows, columns) + turn, sector) - sector / 2
    edge = radius * ((1 - roundness) * math.cos(sector / 2) / np.cos(within) + roundness)
    kernel = (np.hypot(rows, columns) <= edge).astype(np.float64).reshape(side, FINE, side, FINE).sum((1, 3))
    return torch.from_numpy(kernel / kernel.sum())


def blurred(clean: Tensor, kernel: Tensor, rng: Rng) -> Tensor:
    """Convolve the values, mirrored at the border, and add a little noise: (3, h, w) -> the same."""
    radius = kernel.shape[0] // 2
    mirrored = torch.from_numpy(np.pad(clean.numpy(), ((0, 0), (radius, radius), (radius, radius)), mode="symmetric"))
    return convolve(mirrored, kernel) + torch.from_numpy(rng.normal(0, NOISE, tuple(clean.shape)))


def motion(clean: Tensor, rng: Rng, level: float | None = None) -> Spoilt:
    """The blur of a hand that moves.

    On the values and not on light, as the sets with one kernel an image have it (Levin et al., CVPR 2009).

    Args:
        clean: (3, h, w).
        rng: source of all randomness.
        level: span of the walk in pixels; None draws 5 to 25.
    """
    span = between(rng, 5, 25) if level is None else level
    kernel = walk_kernel(rng, span)
    return Spoilt(blurred(clean, kernel, rng), {"span": span}, kernel)


def defocus(clean: Tensor, rng: Rng, level: float | None = None) -> Spoilt:
    """The blur of a lens that is out of focus, with an aperture of five to nine blades.

    Args:
        clean: (3, h, w).
        rng: source of all randomness.
        level: radius in pixels; None draws 1.5 to 5.
    """
    radius = between(rng, 1.5, 5) if level is None else level
    blades, turn, roundness = int(rng.integers(5, 10)), between(rng, 0, 2 * math.pi), between(rng, 0, 0.5)
    kernel = blade_kernel(radius, blades, turn, roundness)
    return Spoilt(blurred(clean, kernel, rng), {"radius": radius, "blades": float(blades)}, kernel)
