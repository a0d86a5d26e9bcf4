"""Low light: darkening by exposure and contrast, uneven light by Retinex, and the noise that comes with few photons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.camera import add_shot_read_noise
from restoralib.degradations.degradation import Degradation, check_image, draw_seed, seeded, uniform
from restoralib.degradations.levels import check_level
from restoralib.ops.precision import full_precision


def low_light(image: Tensor, alpha: float, gamma: float) -> Tensor:
    """Darken: alpha J^gamma.

    Args:
        image: (b, c, h, w) in [0, 1]; values below zero count as zero.
        alpha: what becomes of white.
        gamma: above 1 darkens the middle tones more than white.

    Returns:
        (b, c, h, w), not clipped. NaN passes through.

    Raises:
        ValueError: alpha or gamma is negative, or the image has another shape.
    """
    work = full_precision(check_image(image))
    check_level(alpha, "alpha")
    check_level(gamma, "gamma")
    return (alpha * work.clamp(min=0) ** gamma).to(image.dtype)


def relight(reflectance: Tensor, illumination: Tensor) -> Tensor:
    """Retinex: the image R L of what things reflect and how they are lit.

    Args:
        reflectance: (b, c, h, w) in [0, 1].
        illumination: (b, c, h, w), (b, 1, h, w) or with one for the batch, zero or more.

    Returns:
        (b, c, h, w), not clipped.

    Raises:
        ValueError: the illumination has another size.

    Source: Land and McCann 1971; Wei et al. 2018 (arXiv:1808.04560) for its use in low light.
    """
    b, c, h, w = check_image(reflectance).shape
    if illumination.shape not in {(n, k, h, w) for n in (1, b) for k in (1, c)}:
        raise ValueError(f"expected an illumination of shape ({b}, 1, {h}, {w}), got {tuple(illumination.shape)}")
    return reflectance * illumination.to(reflectance)


def lamp(height: int, width: int, *, center: tuple[float, float], radius: float, ambient: float) -> Tensor:
    """Illumination by one soft light: ambient + (1 - ambient) exp(-r^2 / 2), r the distance in radii.

    Args:
        height: of the image.
        width: of the image.
        center: of the light, (vertical, horizontal) in parts of height and width; it may lie outside 0..1.
        radius: in parts of the diagonal.
        ambient: light far from it, in parts of that in its middle.

    Returns:
        (1, 1, h, w), at most 1.

    Raises:
        ValueError: the radius is not positive or the ambient light lies outside 0..1.
    """
    if not radius > 0 or not 0 <= ambient <= 1:
        raise ValueError(f"expected a positive radius and ambient light in 0..1, got {radius} and {ambient}")
    y = torch.arange(height)[:, None] + 0.5 - center[0] * height
    x = torch.arange(width) + 0.5 - center[1] * width
    squared = (y**2 + x**2) / (radius * math.hypot(height, width)) ** 2
    return (ambient + (1 - ambient) * torch.exp(-squared / 2))[None, None]


@dataclass(frozen=True)
class LowLight(Degradation):
    """A dark and noisy photograph: `low_light`, then `add_shot_read_noise`.

    Args:
        alpha: what becomes of white.
        gamma: contrast, above 1 darkens the middle tones more.
        read: standard deviation of the noise of reading out, in [0, 1].
        shot: standard deviation of the photons' noise at white, in [0, 1].
        seed: of the noise.
    """

    alpha: float = 0.9
    gamma: float = 3.0
    read: float = 0.01
    shot: float = 0.02
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        dark = low_light(image, self.alpha, self.gamma)
        return add_shot_read_noise(dark, self.read, self.shot, generator=seeded(self.seed))

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        alpha: tuple[float, float] = (0.3, 0.8),
        gamma: tuple[float, float] = (2.0, 5.0),
        read: tuple[float, float] = (0.0, 0.02),
        shot: tuple[float, float] = (0.0, 0.04),
    ) -> Self:
        """Draw all four from ranges. That of gamma is the papers'; the others are ours, around the figures that they print."""
        return cls(
            uniform(*alpha, generator),
            uniform(*gamma, generator),
            uniform(*read, generator),
            uniform(*shot, generator),
            draw_seed(generator),
        )


@dataclass(frozen=True)
class UnevenLight(Degradation):
    """A scene lit by one soft lamp alone: `relight` by `lamp`, then `add_shot_read_noise`.

    Args:
        exposure: of the brightest place.
        center: of the light, (vertical, horizontal) in parts of height and width.
        radius: of the light, in parts of the diagonal.
        ambient: light far from it, in parts of that in its middle.
        read: standard deviation of the noise of reading out, in [0, 1].
        shot: standard deviation of the photons' noise at white, in [0, 1].
        seed: of the noise.
    """

    exposure: float = 0.5
    center: tuple[float, float] = (0.5, 0.5)
    radius: float = 0.3
    ambient: float = 0.1
    read: float = 0.01
    shot: float = 0.02
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        h, w = check_image(image).shape[-2:]
        check_level(self.exposure, "exposure")
        light = self.exposure * lamp(h, w, center=self.center, radius=self.radius, ambient=self.ambient)
        dark = relight(full_precision(image), light.to(image.device)).to(image.dtype)
        return add_shot_read_noise(dark, self.read, self.shot, generator=seeded(self.seed))

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        exposure: tuple[float, float] = (0.3, 0.7),
        radius: tuple[float, float] = (0.2, 0.5),
        ambient: tuple[float, float] = (0.1, 0.4),
        read: tuple[float, float] = (0.0, 0.02),
        shot: tuple[float, float] = (0.0, 0.04),
    ) -> Self:
        """Draw the numbers from ranges of ours, and the place of the light anywhere in the image."""
        return cls(
            uniform(*exposure, generator),
            (uniform(0, 1, generator), uniform(0, 1, generator)),
            uniform(*radius, generator),
            uniform(*ambient, generator),
            uniform(*read, generator),
            uniform(*shot, generator),
            draw_seed(generator),
        )
