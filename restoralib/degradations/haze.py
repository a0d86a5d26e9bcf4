"""Haze: light scattered on its way, and air that shines instead.

Koschmieder's law as He, Sun and Tang (CVPR 2009) write it: I = J t + A (1 - t) with t = exp(-beta d). Ranges of RESIDE (Li et
al., arXiv:1712.04143) and of RealRestorer's released synthesis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from restoralib.degradations._fields import (
    axes,
    fractal_noise,
    layer_like,
    per_channel,
    smooth_noise,
    stretch,
)
from restoralib.degradations.degradation import Degradation, check_image, draw_seed, seeded, uniform
from restoralib.degradations.filters import gaussian_blur, pad_border
from restoralib.degradations.levels import check_level
from restoralib.ops.precision import full_precision


def transmission(depth: Tensor, beta: float) -> Tensor:
    """The share of light that arrives, exp(-beta depth): 1 where the air is clear or the depth nothing.

    Raises:
        ValueError: beta is negative.
    """
    check_level(beta, "beta")
    return torch.exp(-beta * depth)


def haze(image: Tensor, depth: Tensor, beta: float = 1.2, airlight: float | tuple[float, ...] = 0.9) -> Tensor:
    """Haze over a scene of known depth, J t + A (1 - t).

    Args:
        image: J, (b, c, h, w).
        depth: d, not negative, in the unit that beta has the inverse of; (h, w), (1, h, w) or (b, 1, h, w).
        beta: scattering coefficient; 0 leaves the image as it is.
        airlight: A, one number or one a channel.

    Returns:
        The hazy image, in [0, 1] where image and airlight are.

    Raises:
        ValueError: the depth has another size, airlight another count, or beta is negative.
    """
    scene = full_precision(check_image(image))
    return veil(scene, transmission(layer_like(depth, scene), beta), airlight).to(image.dtype)


def veil(image: Tensor, through: Tensor, airlight: float | tuple[float, ...]) -> Tensor:
    """J t + A (1 - t) for a given transmission map, (b, c, h, w) or (b, 1, h, w)."""
    return image * through + per_channel(airlight, image) * (1 - through)


def depth_proxy(
    image: Tensor, seed: int = 0, *, slope: float = 0.6, cue: float = 0.25, relief: float = 0.15, radius: float = 0.02
) -> Tensor:
    """A guess at the depth of a scene, where none was measured: near 0, far 1.

    No network is asked, so this is a stand-in, not an estimate: a ground that recedes towards a horizon in the upper half,
    the colour attenuation prior of Zhu, Mai and Shao (TIP 2015: what is bright and pale is far), and smooth random relief; all
    made to follow the image's edges by a guided filter (He, Sun and Tang, TPAMI 2013).

    Args:
        image: (b, c, h, w) in [0, 1].
        seed: of the horizon and the relief, which all images of a batch share.
        slope: weight of the ground.
        cue: weight of brightness and paleness.
        relief: weight of the relief.
        radius: of the guided filter, as a share of the longer side.

    Returns:
        (b, 1, h, w) in [0, 1], each image's own range stretched to it.
    """
    scene = full_precision(check_image(image))
    height, width = scene.shape[-2:]
    generator = seeded(seed)
    horizon = uniform(0.1, 0.4, generator)
    tilt = uniform(-0.1, 0.1, generator)
    surface = smooth_noise(height, width, 3, generator).to(scene)
    rows, columns = axes(scene)
    down = (rows + 0.5) / height + tilt * ((columns + 0.5) / width - 0.5)
    # A plane under the camera lies at a distance of 1 / (rows below the horizon); 0.25 keeps the nearest from taking all.
    ground = 0.25 / (0.25 + (down - horizon).clamp(min=0))
    value, low = scene.amax(1, keepdim=True), scene.amin(1, keepdim=True)
    saturation = (value - low) / value.clamp(min=1e-3)
    distance = 0.121779 + 0.959710 * value - 0.780245 * saturation
    guess = slope * ground + cue * distance + relief * surface
    luma = scene.mean(1, keepdim=True)
    return stretch(_guided(luma, guess, max(1, round(radius * max(height, width)))))


def _guided(guide: Tensor, values: Tensor, radius: int, epsilon: float = 1e-3) -> Tensor:
    """The guided filter: in every window the values become a linear function of the guide.

    Gain and offset vary slowly, so wide windows are counted on a coarser grid (He and Sun, arXiv:1505.00996).
    """
    height, width = guide.shape[-2:]
    step = max(1, radius // 4)
    grid = -(-height // step), -(-width // step)
    small, coarse = (functional.interpolate(maps, grid, mode="area") for maps in (guide, values))
    reach = max(1, radius // step)
    mean_guide, mean_values = _box(small, reach), _box(coarse, reach)
    variance = _box(small * small, reach) - mean_guide**2
    covariance = _box(small * coarse, reach) - mean_guide * mean_values
    gain = covariance / (variance + epsilon)
    lines = torch.cat([_box(gain, reach), _box(mean_values - gain * mean_guide, reach)], 1)
    lines = functional.interpolate(lines, (height, width), mode="bilinear", align_corners=False)
    return lines[:, :1] * guide + lines[:, 1:]


def _box(maps: Tensor, radius: int) -> Tensor:
    """Means of windows of 2 radius + 1 pixels, mirrored at the border."""
    maps = pad_border(maps, (radius,) * 4, "reflect")
    side = 2 * radius + 1
    return functional.avg_pool2d(functional.avg_pool2d(maps, (side, 1), 1), (1, side), 1)


@dataclass(frozen=True)
class Haze(Degradation):
    """Haze with a depth made from the image and a seed, by `depth_proxy`.

    Args:
        beta: scattering coefficient for a depth of 0 to 1.
        airlight: colour of the air, one number or R, G, B.
        exponent: bends the depth, d ** exponent; more leaves the foreground clearer.
        smooth: sigma in pixels by which the transmission is blurred.
        floor: least transmission.
        seed: of the depth proxy.
    """

    beta: float = 1.2
    airlight: float | tuple[float, ...] = 0.9
    exponent: float = 1.0
    smooth: float = 1.0
    floor: float = 0.05
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        scene = full_precision(check_image(image))
        through = transmission(depth_proxy(scene, self.seed) ** self.exponent, self.beta)
        through = gaussian_blur(through, self.smooth).clamp(self.floor, 1)
        return veil(scene, through, self.airlight).clamp(0, 1).to(image.dtype)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        beta: tuple[float, float] = (0.6, 1.8),
        airlight: tuple[float, float] | None = None,
        exponent: tuple[float, float] = (1.0, 2.0),
    ) -> Self:
        """Draw haze.

        Args:
            generator: source of all randomness, on the CPU.
            beta: range of the scattering coefficient, RESIDE's and RealRestorer's.
            airlight: range of a grey airlight; RESIDE takes (0.7, 1.0). None is RealRestorer's: 0.78 to 0.95, rising
                with beta, with a little colour.
            exponent: range of the depth's exponent, RealRestorer's.
        """
        thickness = uniform(*beta, generator)
        if airlight is None:
            level = 0.78 + (0.95 - 0.78) * min(max((thickness - 0.3) / (3.0 - 0.3), 0.0), 1.0)
            tint = (torch.randn(3, generator=generator, dtype=torch.float64) * 0.01).tolist()
            air = tuple(min(max(level + shift, 0.0), 1.0) for shift in tint)
        else:
            air = (uniform(*airlight, generator),)
        return cls(beta=thickness, airlight=air, exponent=uniform(*exponent, generator), seed=draw_seed(generator))


@dataclass(frozen=True)
class Fog(Degradation):
    """Drifting fog: a cloudy texture laid over the image as light on light, 1 - (1 - J)(1 - alpha F).

    Args:
        alpha: how thick; 0 leaves the image as it is.
        cells: clouds along the longer side.
        seed: of the texture, which all images of a batch share.
    """

    alpha: float = 0.4
    cells: float = 2.5
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        scene = full_precision(check_image(image))
        cloud = fractal_noise(scene.shape[-2], scene.shape[-1], self.cells, 6, seeded(self.seed)).to(scene)
        # Smoothstep gathers the fog into banks with clear air between them.
        cloud = 0.35 + 0.65 * cloud**2 * (3 - 2 * cloud)
        return (1 - (1 - scene) * (1 - self.alpha * cloud)).clamp(0, 1).to(image.dtype)

    @classmethod
    def draw(
        cls, generator: torch.Generator, *, alpha: tuple[float, float] = (0.25, 0.6), cells: tuple[float, float] = (1.5, 4.0)
    ) -> Self:
        """Draw fog.

        Args:
            generator: source of all randomness, on the CPU.
            alpha: range of the thickness, RealRestorer's for its fog textures.
            cells: range of the count of clouds along the longer side.
        """
        return cls(alpha=uniform(*alpha, generator), cells=uniform(*cells, generator), seed=draw_seed(generator))
