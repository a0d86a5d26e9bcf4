"""Generators of test images that share nothing with those of training: `restoralib.degradations` makes training's.

Whoever measures a network on what made its training pairs measures how well it has learnt that generator. So these have other
models of formation, other parameters and other random numbers (NumPy's), and use nothing of `degradations`.

| task | here | in training |
| --- | --- | --- |
| denoise | sigma 15, 25, 50, rounded to 8 bits | sigma 5 to 50, or photons |
| denoise_real | photons counted behind a mosaic, Malvar's demosaicking, rows | Brooks' unprocessing, Gaussian noise |
| jpeg | Pillow's files, chroma whole, or reduced one or both ways | Pillow's files, chroma reduced both ways |
| deblur | an Ornstein-Uhlenbeck walk, counted on a fine grid, on values | inertial walks, pans and lines on light, Gaussians |
| defocus | apertures with blades | discs |
| derain | sheets of smeared noise | single lines of random depth, splashes, a veil |
| dehaze | an invented corridor with hills, coloured scattering, a glow; on light or values | a depth that follows the image |
| low_light | sRGB's curve, stops, counted photons | gamma curves, a lamp, Brooks' camera |
| demoire | a drawn raster of framed cells, blurred, through a homography | stripes in closed form, lens distortion |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from restoralib.evaluation.generators.blur import defocus, motion
from restoralib.evaluation.generators.haze import haze
from restoralib.evaluation.generators.jpeg import jpeg
from restoralib.evaluation.generators.low_light import low_light
from restoralib.evaluation.generators.moire import moire
from restoralib.evaluation.generators.noise import gaussian, sensor
from restoralib.evaluation.generators.rain import rain
from restoralib.evaluation.generators.spoilt import Rng, Spoilt

GENERATORS: Mapping[str, Callable[[Tensor, Rng, float | None], Spoilt]] = {
    "denoise": gaussian,
    "denoise_real": sensor,
    "jpeg": jpeg,
    "deblur": motion,
    "defocus": defocus,
    "derain": rain,
    "dehaze": haze,
    "low_light": low_light,
    "demoire": moire,
}
"""Task -> (clean image (3, h, w) in [0, 1] and float64, source of randomness, level or None) -> degraded image."""

__all__ = ["GENERATORS", "Spoilt"]
