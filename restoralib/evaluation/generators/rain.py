"""Rain: sheets of drops at several distances, each drop a splat of a slanted line."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from restoralib.evaluation.generators.convolution import convolve
from restoralib.evaluation.generators.spoilt import Rng, Spoilt, between


def streak(length: float, width: float, degrees: float) -> Tensor:
    """One streak with a peak of 1: a line that fades towards its ends, with a Gaussian across.

    Args:
        length: in pixels, at half of the peak.
        width: standard deviation across, in pixels.
        degrees: from straight down towards the right.

    Returns:
        (k, k), k odd.
    """
    reach = math.ceil(length / 2 + 3 * width)
    at = torch.arange(-reach, reach + 1, dtype=torch.float64)
    angle = math.radians(degrees)
    along = at[:, None] * math.cos(angle) + at[None] * math.sin(angle)
    across = at[None] * math.cos(angle) - at[:, None] * math.sin(angle)
    return torch.exp(-math.log(2) * (2 * along / length) ** 6 - across**2 / (2 * width**2))


def sheet(height: int, width: int, rng: Rng, *, drops: int, length: float, thickness: float, degrees: float) -> Tensor:
    """One distance's rain: drops at random places, of random light, each splatted as a streak of one shape: (h, w)."""
    shape = streak(length, thickness, degrees)
    reach = shape.shape[0] // 2
    # Drops outside reach in.
    size = height + 2 * reach, width + 2 * reach
    seeds = np.zeros(size)
    np.add.at(seeds, (rng.integers(size[0], size=drops), rng.integers(size[1], size=drops)), rng.uniform(0.3, 1, drops))
    return convolve(torch.from_numpy(seeds), shape)


def rain(clean: Tensor, rng: Rng, level: float | None = None) -> Spoilt:
    """Three to five sheets of rain, each shorter, thinner, fainter and denser than the one before it.

    Noise that is smeared along a direction and laid over is how the sets of Fu et al. (CVPR 2017) were made by an image editor.
    Laid over by addition or as light on light, as likely as each other; one direction with a little scatter between the sheets.

    Args:
        clean: (3, h, w).
        rng: source of all randomness.
        level: opacity of the nearest streaks; None draws 0.25 to 0.75.
    """
    opacity = between(rng, 0.25, 0.75) if level is None else level
    height, width = clean.shape[-2:]
    slant, length, dense = between(rng, -35, 35), between(rng, 25, 60), between(rng, 0.5, 2)
    sheets = int(rng.integers(3, 6))
    light = torch.zeros(height, width, dtype=torch.float64)
    for number in range(sheets):
        near = 1 / (1 + 0.7 * number)
        shape = {"length": length * near, "thickness": 1.1 * near, "degrees": slant + float(rng.normal(0, 2))}
        drops = round(dense * height * width / 1e6 * 900 / near**2)
        light += opacity * near**0.5 * sheet(height, width, rng, drops=drops, **shape)
    light = light.clamp(0, 1)
    added = bool(rng.integers(2))
    image = clean + light if added else 1 - (1 - clean) * (1 - light)
    return Spoilt(image, {"opacity": opacity, "slant": slant, "laid": "added" if added else "screen"})
