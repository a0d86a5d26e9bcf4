"""Rain: bright streaks over the scene, and the veil of those too far to be seen one by one.

Composition by addition (Yang et al., CVPR 2017, whose Rain100L has streaks of one direction and Rain100H of five) or as light
on light ("screen"). Ranges of RealRestorer's released synthesis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations._fields import layer_like, lines
from restoralib.degradations.degradation import Degradation, check_image, choice, draw_seed, seeded, uniform
from restoralib.degradations.filters import gaussian_blur
from restoralib.degradations.haze import depth_proxy, transmission, veil
from restoralib.ops.precision import full_precision

RainMode = Literal["additive", "screen"]
RainKind = Literal["light", "heavy", "realrestorer"]


def rain(image: Tensor, layer: Tensor, mode: RainMode = "additive") -> Tensor:
    """Lay streaks over an image.

    Args:
        image: J, (b, c, h, w).
        layer: S, light of the streaks in [0, 1]; (h, w), (1, h, w), (b, 1, h, w) or the image's shape.
        mode: "additive" is J + S, clipped to [0, 1]; "screen" is 1 - (1 - J)(1 - S), which never clips.

    Raises:
        ValueError: the mode is unknown or the layer does not fit.
    """
    scene = full_precision(check_image(image))
    light = layer_like(layer, scene)
    if mode == "additive":
        return (scene + light).clamp(0, 1).to(image.dtype)
    if mode == "screen":
        return (1 - (1 - scene) * (1 - light)).to(image.dtype)
    raise ValueError(f"mode should be 'additive' or 'screen', got {mode!r}")


def rain_layer(
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    density: float = 10_000,
    directions: tuple[float, ...] = (90.0,),
    length: float = 100.0,
    thickness: float = 2.5,
    brightness: float = 0.8,
    depth: float = 4.0,
    scatter: float = 1.5,
    splash: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Streaks of rain on black, anti-aliased, all drawn at once.

    Drops fall everywhere between the camera and `depth` times the nearest distance, so most are far: shorter and thinner by
    their distance. A streak thinner than a pixel is as much fainter.

    Args:
        height: of the layer.
        width: of the layer.
        generator: source of all randomness, on the CPU.
        density: streaks and splashes a million pixels.
        directions: in degrees, 90 falls straight down and less leans towards the right; each streak takes one of them.
        length: of the nearest streaks, in pixels.
        thickness: likewise.
        brightness: of the streaks.
        depth: of the rain; 1 makes all streaks alike.
        scatter: standard deviation of a streak's own direction, in degrees.
        splash: share of the drops that are seen where they burst, in the lower two thirds.
        device: where the layer is drawn.

    Returns:
        (1, 1, h, w) in [0, 1].
    """
    margin = math.ceil(length)  # Streaks that start outside reach in.
    area = (height + 2 * margin) * (width + 2 * margin)
    count = round(density * area / 1e6 * (1 - splash))
    draws = torch.rand(count, 6, generator=generator, dtype=torch.float64)
    lean = torch.randn(count, generator=generator, dtype=torch.float64) * scatter
    # The number of drops at a distance grows with its square: z^3 is uniform.
    near = (1 + draws[:, 0] * (depth**3 - 1)) ** (-1 / 3)
    which = (draws[:, 1] * len(directions)).long().clamp(max=len(directions) - 1)
    angle = torch.deg2rad(torch.tensor(directions, dtype=torch.float64)[which] + lean)
    middle = torch.stack([draws[:, 2] * (height + 2 * margin), draws[:, 3] * (width + 2 * margin)], 1) - margin - 0.5
    half = torch.stack([angle.sin(), angle.cos()], 1) * (length * near * (0.5 + draws[:, 4]) / 2)[:, None]
    starts, ends = middle - half, middle + half
    # A drop is smeared over its streak, which so lets most of the scene through.
    widths, lights = thickness * near, brightness * (0.15 + 0.5 * draws[:, 5] ** 2)

    bursts = round(density * height * width / 1e6 * splash)
    if bursts:
        more = _splashes(height, width, bursts, brightness, generator)
        starts, ends, widths, lights = (torch.cat(pair) for pair in zip((starts, ends, widths, lights), more, strict=True))
    starts, ends, widths, lights = (values.to(device, torch.float32) for values in (starts, ends, widths, lights))
    layer = lines(height, width, starts, ends, widths, lights, taper=0.7)
    return gaussian_blur(layer[None, None], 0.4).clamp(0, 1)


def _splashes(
    height: int, width: int, count: int, brightness: float, generator: torch.Generator, rays: int = 4
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Crowns of bursting drops, each of a few short rays that fan upwards; lower in the picture is nearer and larger."""
    draws = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    spread = torch.rand(count, rays, 3, generator=generator, dtype=torch.float64)
    down = 1 / 3 + 2 / 3 * draws[:, 0]
    origin = torch.stack([down * height, draws[:, 1] * width], 1)[:, None] - 0.5
    angle = math.pi * (-0.9 + 0.8 * (torch.arange(rays) + spread[..., 0]) / rays)
    direction = torch.stack([angle.sin(), angle.cos()], 2)
    size = (down * 5)[:, None, None]
    starts = origin + direction * size * 0.3 * spread[..., 1:2]
    ends = starts + direction * size * (0.3 + 0.7 * spread[..., 2:3])
    widths = (0.4 + 0.5 * down)[:, None].expand(-1, rays)
    lights = torch.full((count, rays), brightness * 0.7, dtype=torch.float64)
    return starts.flatten(0, 1), ends.flatten(0, 1), widths.flatten(), lights.flatten()


@dataclass(frozen=True)
class Rain(Degradation):
    """Streaks by `rain_layer`, and a veil of far rain that grows with the depth that `depth_proxy` guesses.

    Args:
        mode: how the streaks are laid over, "additive" or "screen".
        directions: of the streaks in degrees, 90 straight down.
        density: streaks a million pixels; 0 leaves only the veil.
        length: of the nearest streaks, in pixels.
        thickness: likewise.
        brightness: of the streaks.
        depth: of the rain; 1 makes all streaks alike.
        splash: share of the drops that burst in view.
        veil: scattering coefficient of the far rain; 0 for none.
        seed: of the streaks and the depth; the images of a batch have streaks of their own, the first of them a lone image's.
    """

    mode: RainMode = "additive"
    directions: tuple[float, ...] = (90.0,)
    density: float = 10_000
    length: float = 100.0
    thickness: float = 2.5
    brightness: float = 0.8
    depth: float = 4.0
    splash: float = 0.0
    veil: float = 0.0
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        scene = full_precision(check_image(image))
        if self.veil:
            scene = veil(scene, transmission(depth_proxy(scene, self.seed), self.veil), 0.8)
        generator = seeded(self.seed)
        layers = [
            rain_layer(
                scene.shape[-2],
                scene.shape[-1],
                generator,
                density=self.density,
                directions=self.directions,
                length=self.length,
                thickness=self.thickness,
                brightness=self.brightness,
                depth=self.depth,
                splash=self.splash,
                device=scene.device,
            )
            for _ in range(len(scene))
        ]
        return rain(scene, torch.cat(layers), self.mode).clamp(0, 1).to(image.dtype)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        kind: RainKind | None = None,
        density: tuple[float, float] = (8_000, 15_000),
        direction: tuple[float, float] = (75.0, 105.0),
        brightness: tuple[float, float] = (0.7, 0.95),
        splash: tuple[float, float] = (0.02, 0.07),
    ) -> Self:
        """Draw rain.

        Args:
            generator: source of all randomness, on the CPU.
            kind: "light" has one direction, as Rain100L; "heavy" five, added, as Rain100H; "realrestorer" one direction,
                splashes and a veil, as light on light. None draws one of the three. The data sets' own streaks were not
                published as numbers; lengths and thicknesses are ours.
            density: range of the streaks a million pixels, RealRestorer's for an image of its size.
            direction: range of the directions, RealRestorer's.
            brightness: range of the brightness, RealRestorer's.
            splash: range of the share of splashes, RealRestorer's; only of its kind.
        """
        kinds: tuple[RainKind, ...] = ("light", "heavy", "realrestorer")
        kind = choice(kinds, generator) if kind is None else kind
        if kind not in kinds:
            raise ValueError(f"unknown kind of rain {kind!r}; choose one of {', '.join(kinds)}")
        common = {
            "density": uniform(*density, generator) * (0.4 if kind == "light" else 1.0),
            "length": uniform(60, 160, generator),
            "thickness": uniform(1.5, 3.5, generator),
            "brightness": uniform(*brightness, generator),
        }
        count = 5 if kind == "heavy" else 1
        directions = tuple(uniform(*direction, generator) for _ in range(count))
        if kind == "realrestorer":
            common |= {"splash": uniform(*splash, generator), "veil": uniform(0.2, 0.8, generator)}
        return cls(
            mode="screen" if kind == "realrestorer" else "additive", directions=directions, seed=draw_seed(generator), **common
        )
