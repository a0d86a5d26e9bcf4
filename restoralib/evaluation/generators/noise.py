"""Noise: Gaussian on the values, and that of a sensor on linear light."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from restoralib.evaluation.generators.bayer import fill_in, mosaic_places, take_mosaic
from restoralib.evaluation.generators.spoilt import Rng, Spoilt, between, by_factor
from restoralib.evaluation.generators.srgb import from_light, to_light

SIGMAS = (15.0, 25.0, 50.0)


def gaussian(clean: Tensor, rng: Rng, level: float | None = None) -> Spoilt:
    """White Gaussian noise, as the tables of denoising have it.

    Args:
        clean: (3, h, w).
        rng: source of all randomness.
        level: standard deviation, of 255; None draws 15, 25 or 50.
    """
    sigma = float(rng.choice(SIGMAS)) if level is None else level
    return Spoilt(clean + torch.from_numpy(rng.normal(0, sigma / 255, tuple(clean.shape))), {"sigma": sigma})


def expose(light: Tensor, rng: Rng, electrons: float, read: float, banding: float, bits: int) -> Tensor:
    """What a sensor counts: photons by Poisson's law, noise of reading out, offsets of rows, whole numbers.

    Args:
        light: on each pixel, where 1 fills it; any sign of less than nothing is nothing.
        rng: source of all randomness.
        electrons: that fill a pixel.
        read: standard deviation of the noise of reading out, in electrons.
        banding: standard deviation of the offsets of rows, in electrons.
        bits: of the converter.

    Returns:
        The light as it was measured, of the same shape, at most 1; below 0 where noise has it so.
    """
    counts = rng.poisson((light.clamp(0, 1) * electrons).numpy()).astype(np.float64)
    counts += rng.normal(0, read, counts.shape) + rng.normal(0, banding, (*counts.shape[:-1], 1))
    steps = 2**bits - 1
    return torch.from_numpy(np.round(counts / electrons * steps) / steps).clamp(max=1)


def sensor(clean: Tensor, rng: Rng, level: float | None = None) -> Spoilt:
    """The noise of a camera: photons counted behind a mosaic, in light without the gains of white balance; then developed.

    Poisson and Gaussian noise of a sensor as Foi et al. (TIP 2008) model it, with the counting itself drawn; Malvar's filters,
    which fill in the mosaic, give it its grain. The reference of real pairs is a mean of many shots by the same camera, which
    has the faults of the filling in as the noisy one has; so only what the noise changes is added to the photograph.

    Args:
        clean: (3, h, w), both sides at least 3.
        rng: source of all randomness.
        level: electrons that fill a pixel, fewer for more noise; None draws 80 to 2000.
    """
    electrons = by_factor(rng, 80, 2000) if level is None else level
    read, banding = between(rng, 1, 4), between(rng, 0, 0.5)
    gains = torch.tensor([between(rng, 1.5, 2.2), 1.0, between(rng, 1.3, 1.9)], dtype=torch.float64)
    raw = take_mosaic(to_light(clean) / gains[:, None, None])
    places = mosaic_places(*raw.shape)
    measured = expose(raw, rng, electrons, read, banding, bits=12)

    def developed(mosaic: Tensor) -> Tensor:
        return from_light(fill_in(mosaic * gains[places]))

    noisy = clean + developed(measured) - developed(raw)
    return Spoilt(noisy, {"electrons": electrons, "read": read, "banding": banding})
