"""Low light: a shorter exposure by an inverted camera curve, with the photons' own noise."""

from __future__ import annotations

import torch
from torch import Tensor

from restoralib.evaluation.generators.noise import expose
from restoralib.evaluation.generators.spoilt import Rng, Spoilt, between, by_factor
from restoralib.evaluation.generators.srgb import from_light, to_light


def low_light(clean: Tensor, rng: Rng, level: float | None = None) -> Spoilt:
    """A photograph taken too short, by some stops.

    sRGB's curve is undone, the light reduced, a little less of red or of blue (lamps and dusk have their colours), its photons
    counted (each colour at every pixel), and encoded again.

    Args:
        clean: (3, h, w).
        rng: source of all randomness.
        level: stops; None draws 2 to 4.
    """
    stops = between(rng, 2, 4) if level is None else level
    electrons, read = by_factor(rng, 2000, 20000), between(rng, 1, 4)
    warmth = between(rng, -0.15, 0.15)
    balance = torch.tensor([1 + min(warmth, 0), 1.0, 1 - max(warmth, 0)], dtype=torch.float64)
    light = to_light(clean) * balance[:, None, None] * 2**-stops
    measured = expose(light, rng, electrons, read, banding=between(rng, 0, 0.3), bits=12)
    return Spoilt(from_light(measured), {"stops": stops, "electrons": electrons, "read": read})
