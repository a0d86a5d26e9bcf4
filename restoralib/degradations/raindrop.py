"""Drops on a window or a lens: small lenses that show the scene upside down, out of focus, where they hang.

I = (1 - M) J + M R, with a mask of soft edges M and the scene R as the drops refract it (the model of Qian et al., CVPR 2018,
arXiv:1711.10098, whose R is photographed; the refraction follows Roser, Kurz and Geiger, ACCV 2010, in that a drop sees a wide
part of the scene, turned about its centre).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations._fields import axes, layer_like, sample
from restoralib.degradations.degradation import Degradation, check_image, draw_seed, integer, seeded, uniform
from restoralib.degradations.filters import gaussian_blur
from restoralib.ops.precision import at_least_float32


def raindrop(
    image: Tensor, mask: Tensor, rows: Tensor, columns: Tensor, *, light: Tensor | None = None, sigma: float = 0.0
) -> Tensor:
    """Look through drops: (1 - M) J + M R, where M and M R may be blurred.

    Args:
        image: J, (b, c, h, w).
        mask: M in [0, 1], how much of a drop covers each pixel; (h, w), (1, h, w) or (b, 1, h, w). 0 leaves the image as it is.
        rows: row of the scene that each pixel shows where a drop covers it, (h, w) or (b, h, w).
        columns: column likewise.
        light: factor on what the drops show, shaped like the mask; their rims are dark and their glints bright.
        sigma: of the blur in pixels: drops are nearer than what the camera is focused on.

    Raises:
        ValueError: a map does not fit.
    """
    check_image(image)
    scene = image.to(at_least_float32(image.dtype))
    cover = layer_like(mask, scene)
    seen = sample(scene, rows, columns, border="reflect")
    if light is not None:
        seen = seen * layer_like(light, scene)
    # Out of focus, a drop's picture and its outline are blurred together.
    shown, cover = gaussian_blur(seen * cover, sigma), gaussian_blur(cover, sigma)
    return ((1 - cover) * scene + shown).clamp(0, 1).to(image.dtype)


@dataclass(frozen=True)
class Raindrops(Degradation):
    """Drops at random places. Lengths are shares of the longer side.

    Args:
        count: of the drops; 0 leaves the image as it is.
        radius: smallest and largest; small ones are more frequent.
        view: how many of its radii a drop shows of the scene, to either side.
        softness: blur of the drops, which are nearer than what the camera is focused on, as a share of their mean radius.
        rim: darkness of the rims, 0 to 1.
        glint: brightness of the light that the rims' upper side throws back.
        seed: of places and shapes, which all images of a batch share.
    """

    count: int = 40
    radius: tuple[float, float] = (0.01, 0.04)
    view: float = 4.0
    softness: float = 0.15
    rim: float = 0.5
    glint: float = 0.2
    seed: int = 0

    def maps(self, height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mask, rows, columns and light for `raindrop`, each (h, w), in the type and on the device of a tensor."""
        generator = seeded(self.seed)
        longer = max(height, width)
        rows, columns = axes(like.new_empty(height, width))
        mask = like.new_zeros(height, width)
        light = like.new_ones(height, width)
        source = [position.expand(height, width).clone() for position in (rows, columns)]
        for _ in range(self.count):
            center = uniform(0, height, generator) - 0.5, uniform(0, width, generator) - 0.5
            shape = torch.rand(8, generator=generator).tolist()
            # Many small drops, few large ones.
            size = (self.radius[0] + (self.radius[1] - self.radius[0]) * shape[0] ** 3) * longer
            reach = math.ceil(1.8 * size) + 1
            top, bottom = max(0, math.floor(center[0]) - reach), min(height, math.ceil(center[0]) + reach + 1)
            left, right = max(0, math.floor(center[1]) - reach), min(width, math.ceil(center[1]) + reach + 1)
            if top >= bottom or left >= right:
                continue
            window = slice(top, bottom), slice(left, right)
            down, across = rows[window[0]] - center[0], columns[:, window[1]] - center[1]
            distance = _outline(down, across, size, shape)
            # One pixel of the outline is shared, so that edges are smooth.
            cover = ((1 - distance) * size + 0.5).clamp(0, 1)
            inside = distance < 1 + 0.5 / size
            # A spherical cap bends most at its rim; it shows the scene turned about its centre.
            bend = self.view * (0.6 + 0.4 * distance.clamp(max=1) ** 2)
            for axis, (offset, middle) in enumerate(((down, center[0]), (across, center[1]))):
                source[axis][window] = torch.where(inside, middle - bend * offset, source[axis][window])
            edge = distance.clamp(0, 1) ** 6
            upper = torch.sigmoid(-6 * (down / size + 0.15 * across / size + 0.35))
            spot = torch.exp(-(((down / size + 0.45) / 0.16) ** 2 + ((across / size + 0.25) / 0.22) ** 2))
            shade = 1 - self.rim * edge * (0.35 + 0.65 * upper) + self.glint * (0.5 * edge * (1 - upper) + spot)
            light[window] = torch.where(inside, shade, light[window])
            mask[window] = torch.maximum(mask[window], cover)
        return mask, source[0], source[1], light

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        if self.count == 0:
            return image
        scene = image.to(at_least_float32(image.dtype))
        height, width = scene.shape[-2:]
        mask, rows, columns, light = self.maps(height, width, scene)
        sigma = self.softness * (0.75 * self.radius[0] + 0.25 * self.radius[1]) * max(height, width)
        return raindrop(scene, mask, rows, columns, light=light, sigma=sigma).to(image.dtype)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        count: tuple[int, int] = (15, 120),
        radius: tuple[float, float] = (0.02, 0.06),
        view: tuple[float, float] = (2.5, 6.0),
        softness: tuple[float, float] = (0.05, 0.4),
    ) -> Self:
        """Draw drops. No ranges are published; these give pictures as those of Qian et al.'s windows.

        Args:
            generator: source of all randomness, on the CPU.
            count: range of their count.
            radius: range of the largest one's radius, as a share of the longer side.
            view: range of the view, in radii.
            softness: range of the blur, in mean radii.
        """
        largest = uniform(*radius, generator)
        return cls(
            count=integer(*count, generator),
            radius=(largest * uniform(0.1, 0.3, generator), largest),
            view=uniform(*view, generator),
            softness=uniform(*softness, generator),
            rim=uniform(0.2, 0.7, generator),
            glint=uniform(0.0, 0.3, generator),
            seed=draw_seed(generator),
        )


def _outline(down: Tensor, across: Tensor, size: float, shape: list[float]) -> Tensor:
    """Distance from a drop's middle, 1 at its outline: heavier below, and uneven by a few waves."""
    angle = torch.atan2(down, across)
    uneven = 1 + sum(
        (0.10 * shape[2 * wave + 1] / (wave + 1)) * torch.cos((wave + 2) * angle + 2 * math.pi * shape[2 * wave + 2])
        for wave in range(3)
    )
    sag = 1 + 0.25 * shape[7] * torch.sigmoid(4 * down / size)
    stretched = torch.sqrt((down / sag) ** 2 + across**2)
    return stretched / (size * uneven)
