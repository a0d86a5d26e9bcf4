"""Haze over a scene whose depth is invented: a ground, walls, and hills of a random spectrum."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from restoralib.evaluation.generators.spoilt import Rng, Spoilt, between
from restoralib.evaluation.generators.srgb import from_light, to_light


def hills(height: int, width: int, rng: Rng, power: float = 4.0) -> Tensor:
    """A random field (h, w) whose spectrum falls with a power of the frequency: mean 0, standard deviation 1, periodic."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / frequency ** (power / 2)
    field = np.fft.irfft2(spectrum, s=(height, width))
    return torch.from_numpy(field / max(float(field.std()), 1e-12))


def invented_depth(height: int, width: int, rng: Rng) -> Tensor:
    """Depth (h, w) from 0.1 to 1: the nearest of a ground, a ceiling and two walls of a corridor, and hills on it."""
    down = (torch.arange(height, dtype=torch.float64)[:, None] + 0.5) / height
    right = (torch.arange(width, dtype=torch.float64)[None] + 0.5) / width
    vanish_down, vanish_right = between(rng, 0.2, 0.7), between(rng, 0.1, 0.9)
    # A plane beside the eye is as far as its distance over the tangent at which it is seen.
    planes = [between(rng, 0.1, 0.25) / (down - vanish_down).clamp(min=1e-6) + 0 * right]
    if rng.integers(2):
        planes.append(between(rng, 0.1, 0.4) / (vanish_down - down).clamp(min=1e-6) + 0 * right)
        planes.append(between(rng, 0.1, 0.6) / (right - vanish_right).abs().clamp(min=1e-6) + 0 * down)
    depth = torch.stack(planes).amin(0).clamp(max=1) + 0.12 * hills(height, width, rng)
    return depth.clamp(0.1, 1)


def haze(clean: Tensor, rng: Rng, level: float | None = None) -> Spoilt:
    """Scattered light: J t + A (1 - t), t = exp(-b d) with more of b for blue, and A brighter towards one side.

    On light or on values, as likely as each other: the first is what air does, the second what sets of haze are made by.
    The depth knows nothing of the photograph.

    Args:
        clean: (3, h, w).
        rng: source of all randomness.
        level: optical depth of the farthest, b; None draws 0.6 to 2.2.
    """
    thickness = between(rng, 0.6, 2.2) if level is None else level
    height, width = clean.shape[-2:]
    depth = invented_depth(height, width, rng)
    bluish = between(rng, 0, 0.1)
    strengths = torch.tensor([1 - bluish, 1.0, 1 + bluish], dtype=torch.float64) * thickness
    through = torch.exp(-strengths[:, None, None] * depth)
    heading, slope = between(rng, 0, 2 * math.pi), between(rng, 0, 0.06)
    down = torch.linspace(-1, 1, height, dtype=torch.float64)[:, None]
    right = torch.linspace(-1, 1, width, dtype=torch.float64)[None]
    glow = between(rng, 0.75, 0.95) + slope * (math.sin(heading) * down + math.cos(heading) * right)
    tint = torch.from_numpy(rng.normal(0, 0.015, 3))[:, None, None]
    air = (glow + tint).clamp(0, 1)
    in_light = bool(rng.integers(2))
    if in_light:
        image = from_light(to_light(clean) * through + to_light(air) * (1 - through))
    else:
        image = clean * through + air * (1 - through)
    return Spoilt(image, {"thickness": thickness, "on": "light" if in_light else "values"})
