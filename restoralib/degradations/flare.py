"""Lens flare: a strong lamp's light that the lens scatters and throws back.

Added in linear light as Flare7K does (Dai et al., NeurIPS 2022, arXiv:2210.06570), whose parts of a flare these are: a glare
with shimmer around the lamp, streaks through it, and ghosts, images of the aperture, on the line through the picture's middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations._fields import axes, from_light, layer_like, per_channel, to_light
from restoralib.degradations.degradation import Degradation, check_image, draw_seed, integer, seeded, uniform
from restoralib.ops.precision import full_precision

_ANGLES = 4096  # samples of the rays around a lamp, sixty for the finest wave


def flare(image: Tensor, layer: Tensor, gamma: float = 2.2) -> Tensor:
    """Add a flare in linear light: (J^gamma + F^gamma)^(1 / gamma), clipped to [0, 1].

    Args:
        image: J, (b, c, h, w).
        layer: F as a photograph of the flare alone shows it, in the same gamma; one channel or the image's.
        gamma: of both; 1 adds the values as they are.

    Raises:
        ValueError: the layer does not fit.
    """
    scene = full_precision(check_image(image))
    light = to_light(scene, gamma) + to_light(layer_like(layer, scene), gamma)
    return from_light(light.clamp(0, 1), gamma).to(image.dtype)


@dataclass(frozen=True)
class Flare(Degradation):
    """A flare made of formulas, in the parts that Flare7K tells apart. Lengths are shares of the longer side.

    Args:
        position: of the lamp, (row, column) as shares of the sides; it may lie outside.
        power: of all of it; 0 leaves the image as it is.
        color: of the lamp, R, G, B.
        glare: radius of the glow around the lamp.
        shimmer: how much the glow is streaked by rays, 0 to 1.
        streaks: lines of light through the lamp.
        streak_angle: of the first, in degrees; the others divide the half turn evenly.
        streak_length: of them.
        ghosts: images of the aperture.
        blades: of the aperture, from which the ghosts have their corners; 0 for round ones.
        gamma: of the image.
        seed: of rays and ghosts, which all images of a batch share.
    """

    position: tuple[float, float] = (0.25, 0.3)
    power: float = 1.0
    color: tuple[float, ...] = (1.0, 0.95, 0.85)
    glare: float = 0.15
    shimmer: float = 0.3
    streaks: int = 2
    streak_angle: float = 20.0
    streak_length: float = 0.5
    ghosts: int = 6
    blades: int = 6
    gamma: float = 2.2
    seed: int = 0

    def light(self, image: Tensor) -> Tensor:
        """The flare's linear light over an image, (1, c, h, w); not clipped."""
        height, width = image.shape[-2:]
        longer = max(height, width)
        rows, columns = axes(image)
        lamp = self.position[0] * height - 0.5, self.position[1] * width - 0.5
        down, right = (rows - lamp[0]) / longer, (columns - lamp[1]) / longer
        generator = seeded(self.seed)
        tint = per_channel(self.color, image)
        light = (self._glare(down, right, generator) + self._streaks(down, right, generator))[None] * tint
        light = light + self._ghosts(image, lamp, longer, generator)
        return self.power * light[None]

    def _glare(self, down: Tensor, right: Tensor, generator: torch.Generator) -> Tensor:
        distance = torch.sqrt(down**2 + right**2)
        core = 2.5 * torch.exp(-((distance / (0.12 * self.glare + 1e-6)) ** 2))
        # Scattered light falls with about the square of the angle.
        halo = 0.9 / (1 + (distance / (0.3 * self.glare + 1e-6)) ** 2) * torch.exp(-distance / (2.5 * self.glare + 1e-6))
        # Rays: a few waves around the lamp of random frequency and phase, looked up by the angle.
        waves = torch.rand(12, 3, generator=generator, dtype=torch.float64)
        turns = torch.arange(_ANGLES + 1, dtype=torch.float64)[:, None] / _ANGLES * 2 * math.pi
        pace, phase = (7 + 60 * waves[:, 1] ** 2).round(), 2 * math.pi * waves[:, 0]
        table = ((0.4 + 0.6 * waves[:, 2]) * torch.cos(pace * turns + phase)).sum(1).to(down)
        where = torch.remainder(torch.atan2(down, right) / (2 * math.pi), 1) * _ANGLES
        below = where.floor().clamp(max=_ANGLES - 1)
        rays = torch.lerp(table[below.long()], table[below.long() + 1], where - below)
        # No rays in the lamp itself, where all angles meet.
        away = 1 - torch.exp(-((distance / (0.15 * self.glare + 1e-6)) ** 2))
        return core + halo * (1 + self.shimmer * away * (rays / 4)).clamp(min=0)

    def _streaks(self, down: Tensor, right: Tensor, generator: torch.Generator) -> Tensor:
        total = torch.zeros_like(down + right)
        for index in range(self.streaks):
            angle = math.radians(self.streak_angle + 180 * index / self.streaks)
            length = self.streak_length * uniform(0.6, 1.0, generator)
            thin = 0.0012 + 0.0025 * uniform(0, 1, generator)
            along = math.cos(angle) * right + math.sin(angle) * down
            across = (math.cos(angle) * down - math.sin(angle) * right).abs()
            fade = torch.exp(-along.abs() * 5 / (length + 1e-6))
            # The sharp ray and the wider gleam around it; both narrow as they fade.
            total += fade * (0.8 * torch.exp(-across / thin) + 0.12 * torch.exp(-across / (8 * thin)))
        return total

    def _ghosts(self, image: Tensor, lamp: tuple[float, float], longer: int, generator: torch.Generator) -> Tensor:
        height, width = image.shape[-2:]
        rows, columns = axes(image)
        middle = (height - 1) / 2, (width - 1) / 2
        total = image.new_zeros(image.shape[1], height, width)
        turn = uniform(0, math.pi, generator)
        for _ in range(self.ghosts):
            # Where on the line from the lamp (1) through the middle (0).
            place = uniform(-1.5, 0.7, generator)
            radius = uniform(0.01, 0.07, generator) * (0.5 + abs(place)) * longer
            strength = uniform(0.03, 0.2, generator)
            hue = torch.rand(3, generator=generator).tolist()
            rim = uniform(0.2, 1.0, generator)
            soft = uniform(0.04, 0.2, generator)
            center = [middle[axis] + place * (lamp[axis] - middle[axis]) for axis in range(2)]
            # Only where its soft edge has not faded; corners reach beyond the radius.
            far = radius * (1.25 + 12 * soft) + 1
            top, left = (max(0, math.floor(at - far)) for at in center)
            bottom, right = (max(0, math.ceil(at + far) + 1) for at in center)
            reach = _aperture(rows[top:bottom] - center[0], columns[:, left:right] - center[1], self.blades, turn)
            # Colours of a lens coating: the edge is dispersed, so each colour has a radius of its own.
            for channel, spread in enumerate((1.03, 1.0, 0.97) if image.shape[1] == 3 else (1.0,)):
                relative = reach / (radius * spread + 1e-6)
                body = torch.sigmoid((1 - relative) / soft) * (1 - rim + rim * relative.clamp(max=1) ** 2)
                shade = 0.35 + 0.65 * (hue[channel] if image.shape[1] == 3 else sum(hue) / 3)
                total[channel, top:bottom, left:right] += strength * shade * body
        return total

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        if self.power == 0:
            return image
        scene = full_precision(image)
        layer = from_light(self.light(scene), self.gamma)
        return flare(scene, layer, self.gamma).to(image.dtype)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        power: tuple[float, float] = (0.4, 1.2),
        gamma: tuple[float, float] = (1.8, 2.2),
    ) -> Self:
        """Draw a flare.

        Args:
            generator: source of all randomness, on the CPU.
            power: range of the light (ours).
            gamma: range of the gamma, Flare7K's.
        """
        warm = uniform(-1, 1, generator)
        return cls(
            position=(uniform(-0.05, 0.7, generator), uniform(-0.05, 1.05, generator)),
            power=uniform(*power, generator),
            color=(1 - 0.25 * max(-warm, 0), 0.95 - 0.1 * abs(warm), 1 - 0.4 * max(warm, 0)),
            glare=uniform(0.06, 0.3, generator),
            shimmer=uniform(0, 0.8, generator),
            streaks=integer(0, 4, generator),
            streak_angle=uniform(0, 180, generator),
            streak_length=uniform(0.2, 1.0, generator),
            ghosts=integer(0, 9, generator),
            blades=(0, 5, 6, 7, 8)[integer(0, 4, generator)],
            gamma=uniform(*gamma, generator),
            seed=draw_seed(generator),
        )


def _aperture(down: Tensor, right: Tensor, blades: int, turn: float) -> Tensor:
    """Distance from the middle in the measure whose circles are polygons with rounded corners."""
    round_distance = torch.sqrt(down**2 + right**2)
    if blades < 3:
        return round_distance
    sector = 2 * math.pi / blades
    angle = torch.remainder(torch.atan2(down, right) + turn, sector) - sector / 2
    return 0.85 * round_distance * torch.cos(angle) / math.cos(sector / 4) + 0.15 * round_distance
