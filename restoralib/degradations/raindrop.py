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
from restoralib.ops.precision import full_precision

_TOGETHER = 16  # drops whose windows, all as large as the largest of them, are filled at once


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
    scene = full_precision(check_image(image))
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
        longer = max(height, width)
        draws = torch.rand(self.count, 10, generator=seeded(self.seed), dtype=torch.float64)
        # Many small drops, few large ones; the small ones lie on top.
        sizes = (self.radius[0] + (self.radius[1] - self.radius[0]) * draws[:, 0] ** 3) * longer
        draws, sizes = draws[sizes.argsort(descending=True)], sizes.sort(descending=True).values
        rows, columns = axes(like.new_empty(height, width))
        mask = like.new_zeros(height, width)
        light = like.new_ones(height, width)
        source = rows.expand(height, width).clone(), columns.expand(height, width).clone()
        for first in range(0, self.count, _TOGETHER):
            drops, size = draws[first : first + _TOGETHER], sizes[first : first + _TOGETHER]
            centers = drops[:, 1:3] * torch.tensor([height, width]) - 0.5
            reach = math.ceil(1.5 * float(size[0])) + 1
            places = [(int(row) - reach, int(column) - reach) for row, column in centers.round().tolist()]
            steps = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
            center = centers.to(like)[:, :, None, None]
            offset = (centers.round() - centers).to(like)[:, :, None, None]
            down, across = offset[:, 0] + steps[:, None], offset[:, 1] + steps
            radius = size.to(like)[:, None, None]
            distance = _outline(down, across, radius, drops[:, 3:].to(like))
            # One pixel of the outline is shared, so that edges are smooth.
            cover = ((1 - distance) * radius + 0.5).clamp(0, 1)
            # A spherical cap bends most at its rim; it shows the scene turned about its centre.
            bend = self.view * (0.6 + 0.4 * distance.clamp(max=1) ** 2)
            seen = center[:, 0] - bend * down, center[:, 1] - bend * across
            y, x = down / radius, across / radius
            edge, upper = distance.clamp(0, 1) ** 6, torch.sigmoid(-6 * (y + 0.15 * x + 0.35))
            spot = torch.exp(-(((y + 0.45) / 0.16) ** 2) - ((x + 0.25) / 0.22) ** 2)
            shade = 1 - self.rim * edge * (0.35 + 0.65 * upper) + self.glint * (0.5 * edge * (1 - upper) + spot)
            for index, (top, left) in enumerate(places):
                # The part of the drop's window that lies in the image, there and in the window.
                here = tuple(slice(max(at, 0), max(at + len(steps), 0)) for at in (top, left))
                there = index, slice(max(-top, 0), max(height - top, 0)), slice(max(-left, 0), max(width - left, 0))
                inside = cover[there] > 0
                for whole, part in ((source[0], seen[0]), (source[1], seen[1]), (light, shade)):
                    whole[here] = torch.where(inside, part[there], whole[here])
                mask[here] = torch.maximum(mask[here], cover[there])
        return mask, source[0], source[1], light

    def __call__(self, image: Tensor) -> Tensor:
        check_image(image)
        if self.count == 0:
            return image
        scene = full_precision(image)
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


def _outline(down: Tensor, across: Tensor, radius: Tensor, shape: Tensor) -> Tensor:
    """Distance from a drop's middle, 1 at its outline: heavier below, and uneven by three waves of `shape`, 7 numbers each."""
    angle = torch.atan2(down, across)
    numbers = shape[:, :, None, None]
    uneven = 1 + sum(
        0.10 / (wave + 1) * numbers[:, 2 * wave] * torch.cos((wave + 2) * angle + 2 * math.pi * numbers[:, 2 * wave + 1])
        for wave in range(3)
    )
    sag = 1 + 0.25 * numbers[:, 6] * torch.sigmoid(4 * down / radius)
    return torch.sqrt((down / sag) ** 2 + across**2) / (radius * uneven)
