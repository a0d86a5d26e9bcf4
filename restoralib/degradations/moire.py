"""Moire: a screen's stripes of red, green and blue beat with the mosaic of the camera that photographs it.

The chain of Liu, Shu and Wu (LCDMoire, arXiv:1911.02498) and of Yuan et al. (AIM 2019): a screen shows the image in sub-pixels,
the camera looks at it from an angle, samples it with its own mosaic, and fills in the missing colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations._fields import axes, from_light, sample, to_light
from restoralib.degradations.camera import demosaic
from restoralib.degradations.degradation import Degradation, check_image, choice, uniform
from restoralib.ops.precision import full_precision


def moire_screen(image: Tensor, enlarge: int = 3) -> Tensor:
    """The image as a screen with stripes of sub-pixels shows it: enlarged by repetition, red lit only in the columns 0, 3, 6,
    ..., green in 1, 4, ... and blue in 2, 5, ....

    Args:
        image: (b, 3, h, w).
        enlarge: samples a pixel along both axes; 3 gives each colour one stripe a pixel.

    Returns:
        (b, 3, enlarge h, enlarge w), a third as bright.

    Raises:
        ValueError: the image is not RGB or the factor not positive.
    """
    check_image(image)
    if image.shape[1] != 3:
        raise ValueError(f"a screen has red, green and blue stripes and needs RGB, got {image.shape[1]} channel; repeat it")
    if enlarge < 1:
        raise ValueError(f"enlarge should be at least 1, got {enlarge}")
    fine = image.repeat_interleave(enlarge, -2).repeat_interleave(enlarge, -1)
    columns = torch.arange(fine.shape[-1], device=image.device) % 3
    return fine * (columns == torch.arange(3, device=image.device)[:, None])[:, None]


def moire_camera(
    screen: Tensor,
    angle: float = 0.06,
    zoom: float = 0.83,
    *,
    center: tuple[float, float] | None = None,
    decimate: int = 3,
    gain: float = 3.0,
) -> Tensor:
    """A camera without mosaic looks at a screen: turn, zoom, sample at points, and brighten.

    The point (y, x) of the picture shows the screen's column (cos(a)(x - cx) - sin(a)(y - cy)) / zoom + cx and row
    (sin(a)(x - cx) + cos(a)(y - cy)) / zoom + cy, bilinearly, black where that is outside.

    Args:
        screen: (b, c, h, w), by `moire_screen`.
        angle: in radians.
        zoom: above 1 comes nearer.
        center: row and column that stay in place; by default the middle.
        decimate: keep each so many-th pixel of the turned screen.
        gain: makes up for the light that the stripes take; the result is not clipped.

    Returns:
        (b, c, ceil(h / decimate), ceil(w / decimate)).
    """
    height, width = screen.shape[-2:]
    middle_row, middle_column = center or ((height - 1) / 2, (width - 1) / 2)
    rows, columns = axes(screen.double())
    down, right = rows[::decimate] - middle_row, columns[:, ::decimate] - middle_column
    source_columns = (math.cos(angle) * right - math.sin(angle) * down) / zoom + middle_column
    source_rows = (math.sin(angle) * right + math.cos(angle) * down) / zoom + middle_row
    # Whole positions on the border may be missed by a rounding error.
    slack = 1e-9 * max(height, width)
    inside = (source_rows >= -slack) & (source_rows <= height - 1 + slack)
    inside &= (source_columns >= -slack) & (source_columns <= width - 1 + slack)
    seen = sample(full_precision(screen), source_rows, source_columns) * inside
    return (gain * seen).to(screen.dtype)


def _share(distance: Tensor, half: float, sigma: float) -> Tensor:
    """The part of a Gaussian that falls on a bar of twice `half`, whose middle lies at a distance."""
    scale = 1 / (sigma * math.sqrt(2))
    return (torch.erf((distance + half) * scale) - torch.erf((distance - half) * scale)) / 2


@dataclass(frozen=True)
class Moire(Degradation):
    """A photograph of a screen that shows the image, brought back into the image's frame so that the pair stays aligned.

    In linear light: the screen's stripes, the camera's perspective and lens, its optics, its mosaic, the filling in; then the
    picture is warped back. Geometry is relative to the image's size, so that equal numbers give equal patterns at one size.

    Args:
        angle: of the camera about its axis, in radians.
        zoom: camera pixels a screen pixel.
        tilt: perspective, change of the zoom from the middle to the (lower, right) border.
        distortion: of the lens, change of the zoom from the middle to the corners.
        optics: sigma of the camera's blur in sub-pixels, of which a screen pixel has three; less blur, more moire.
        strength: 0 leaves the image as it is, 1 is the whole effect.
        gamma: of screen and camera.
    """

    angle: float = 0.05
    zoom: float = 1.1
    tilt: tuple[float, float] = (0.03, 0.03)
    distortion: float = 0.01
    optics: float = 1.0
    strength: float = 1.0
    gamma: float = 2.2

    def __call__(self, image: Tensor) -> Tensor:
        scene = full_precision(check_image(image)).clamp(0, 1)
        color = scene.expand(-1, 3, -1, -1)
        captured = from_light(self._capture(to_light(color, self.gamma)).clamp(0, 1), self.gamma)
        captured = captured if image.shape[1] == 3 else captured.mean(1, keepdim=True)
        return torch.lerp(scene, captured, self.strength).clamp(0, 1).to(image.dtype)

    def _capture(self, light: Tensor) -> Tensor:
        height, width = light.shape[-2:]
        # The camera's frame is as much larger than the image as it has pixels a screen pixel, and a margin for the turn.
        reach = 1.05 * (1 + sum(abs(t) for t in self.tilt) + abs(self.distortion)) * self.zoom
        turn = abs(math.cos(self.angle)), abs(math.sin(self.angle))
        frame = (
            math.ceil(reach * (height * turn[0] + width * turn[1])) + 8,
            math.ceil(reach * (width * turn[0] + height * turn[1])) + 8,
        )
        picture = demosaic(self._record(light, frame)[:, None].expand(-1, 3, -1, -1))
        rows, columns = axes(light)
        down, right = self._to_camera(rows - (height - 1) / 2, columns - (width - 1) / 2, height, width)
        return sample(picture, down + (frame[0] - 1) / 2, right + (frame[1] - 1) / 2)

    def _record(self, light: Tensor, frame: tuple[int, int]) -> Tensor:
        """What a camera's RGGB mosaic of the frame's size records of the screen, (b, h', w').

        Each pixel sees one colour, so only that colour's stripes are summed: those of the screen pixels around the place where
        it looks, by the share of the blur that falls on them. It is `moire_screen`, blurred and brightened, at that place.
        """
        height, width = light.shape[-2:]
        rows, columns = axes(light.new_empty(frame))
        down, right = self._to_screen(rows - (frame[0] - 1) / 2, columns - (frame[1] - 1) / 2, height, width)
        down, right = down + (height - 1) / 2, right + (width - 1) / 2
        color = (rows % 2 + columns % 2).long()
        row, column = down.round(), right.round()
        # In sub-pixels from the nearest pixel's middle row, and from the middle of its stripe of that colour.
        off_down, off_right = 3 * (down - row), 3 * (right - column) + 1 - color
        sigma = max(self.optics, 0.1)
        around = range(-max(1, math.ceil(sigma - 1 / 6)), max(1, math.ceil(sigma - 1 / 6)) + 1)
        pixels = light.flatten(1)
        total = light.new_zeros(len(light), *frame)
        for step_down in around:
            tall = _share(off_down - 3 * step_down, 1.5, sigma)
            places = color * height + (row + step_down).clamp(0, height - 1).long()
            for step_right in around:
                weight = 3 * tall * _share(off_right - 3 * step_right, 0.5, sigma)
                places_right = (column + step_right).clamp(0, width - 1).long()
                total = total + weight * pixels[:, places * width + places_right]
        return total

    def _to_screen(self, down: Tensor, right: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Where on the screen, in its pixels from the middle, a point of the picture lies."""
        half = max(height, width) / 2
        cosine, sine = math.cos(self.angle) / self.zoom, math.sin(self.angle) / self.zoom
        down, right = cosine * down + sine * right, cosine * right - sine * down
        depth = 1 + (self.tilt[0] * down + self.tilt[1] * right) / half
        bulge = 1 + self.distortion * (down**2 + right**2) / (2 * half**2)
        return down / depth * bulge, right / depth * bulge

    def _to_camera(self, down: Tensor, right: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The inverse of `_to_screen`, by fixed-point steps: perspective and distortion are small changes."""
        cosine, sine = math.cos(self.angle) * self.zoom, math.sin(self.angle) * self.zoom
        guess = cosine * down - sine * right, cosine * right + sine * down
        for _ in range(12):
            reached = self._to_screen(*guess, height, width)
            off_down, off_right = down - reached[0], right - reached[1]
            guess = guess[0] + cosine * off_down - sine * off_right, guess[1] + cosine * off_right + sine * off_down
        return guess

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        angle: tuple[float, float] = (-0.15, 0.15),
        detuning: tuple[float, float] = (-0.08, 0.08),
        tilt: tuple[float, float] = (-0.1, 0.1),
        optics: tuple[float, float] = (0.7, 1.1),
        strength: tuple[float, float] = (0.4, 1.0),
    ) -> Self:
        """Draw a screen photograph. No ranges are published; these give patterns as those of photographed screens.

        Args:
            generator: source of all randomness, on the CPU.
            angle: range of the camera's turn, in radians.
            detuning: range of the zoom's relative distance from one or two camera pixels a screen pixel, where the screen
                beats slowly with the camera's pixels or with their colours.
            tilt: range of the perspective along either axis.
            optics: range of the blur, in sub-pixels.
            strength: range of the strength.
        """
        return cls(
            angle=uniform(*angle, generator),
            zoom=choice((1.0, 2.0), generator) * (1 + uniform(*detuning, generator)),
            tilt=(uniform(*tilt, generator), uniform(*tilt, generator)),
            distortion=uniform(-0.03, 0.03, generator),
            optics=uniform(*optics, generator),
            strength=uniform(*strength, generator),
        )
