"""Moire: a screen's cells, each with bars of three colours in black frames, seen by a sensor of another grid.

The screen is drawn on a fine raster, blurred by the lens and by the area over which a pixel of the sensor gathers, and looked
at through a homography by a sensor with a mosaic. The picture is brought back into the screen's frame by the inverse
homography, so that the pair stays aligned.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from restoralib.evaluation.generators.bayer import fill_in, take_mosaic
from restoralib.evaluation.generators.convolution import convolve
from restoralib.evaluation.generators.spoilt import Rng, Spoilt, between
from restoralib.evaluation.generators.srgb import from_light, to_light

FINE = 6
"""Samples of the raster along a pixel of the screen: two a bar."""
Matrix = np.ndarray[Any, np.dtype[np.float64]]


def homography(corners: Matrix, seen: Matrix) -> Matrix:
    """The homography (3, 3) that moves four points (x, y), (4, 2), to four others."""
    rows = []
    for (x, y), (u, v) in zip(corners, seen, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, -u])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y, -v])
    last: Matrix = np.linalg.svd(np.array(rows))[2][-1]
    return last.reshape(3, 3)


def through(picture: Tensor, matrix: Matrix, size: tuple[int, int], mode: str) -> Tensor:
    """What lies in a picture (3, h, w) under each pixel of a grid of another size, whose points the matrix moves there."""
    height, width = picture.shape[-2:]
    x = (torch.arange(size[1], dtype=torch.float64) + 0.5)[None].expand(size)
    y = (torch.arange(size[0], dtype=torch.float64) + 0.5)[:, None].expand(size)
    u, v, depth = (float(row[0]) * x + float(row[1]) * y + float(row[2]) for row in matrix)
    grid = torch.stack([2 * u / depth / width - 1, 2 * v / depth / height - 1], -1)[None].to(picture)
    return functional.grid_sample(picture[None], grid, mode=mode, padding_mode="border", align_corners=False)[0]


def screen(light: Tensor, *, frame: float, reverse: bool, upright: bool) -> Tensor:
    """The light of a screen on a raster with `FINE` samples a pixel, on average as bright as the image.

    Args:
        light: of the screen's pixels, (3, h, w).
        frame: share of a bar's width and height that is black.
        reverse: blue, green, red instead of red, green, blue.
        upright: the bars stand side by side; else they lie above each other.

    Returns:
        (3, FINE h, FINE w).
    """
    at = (torch.arange(FINE * 32, dtype=light.dtype) + 0.5) / 32  # finer still, for parts of samples that are black
    bars = [((at / (FINE / 3) - bar - 0.5).abs() <= (1 - frame) / 2).to(light) for bar in range(3)]
    across = torch.stack([bar.reshape(FINE, 32).mean(1) for bar in bars])
    along = ((at / FINE - 0.5).abs() <= (1 - frame) / 2).to(light).reshape(FINE, 32).mean(1)
    cells = torch.einsum("cx,y->cyx", across.flip(0) if reverse else across, along)
    cells = cells if upright else cells.transpose(1, 2)
    cells = cells / cells.mean((1, 2), keepdim=True)
    large = light.repeat_interleave(FINE, 1).repeat_interleave(FINE, 2)
    return large * cells.repeat(1, *light.shape[-2:])


def gathered(raster: Tensor, lens: float, aperture: float) -> Tensor:
    """The raster blurred by a lens, a Gaussian of this sigma, and by a square of this side, both in samples: (3, h, w)."""
    reach = math.ceil(3 * lens + aperture / 2)
    at = torch.arange(-reach, reach + 1, dtype=raster.dtype)
    gauss = torch.exp(-(at**2) / (2 * lens**2))
    box = (aperture / 2 + 0.5 - at.abs()).clamp(0, 1)
    profile = functional.conv1d(gauss[None, None], box[None, None], padding=reach)[0, 0]
    profile = profile / profile.sum()
    edged = functional.pad(raster[None], (reach,) * 4, mode="replicate")[0]
    return convolve(edged, torch.outer(profile, profile))


def moire(clean: Tensor, rng: Rng, level: float | None = None) -> Spoilt:
    """A photograph of a screen that shows the image.

    Args:
        clean: (3, h, w), both sides at least 3.
        rng: source of all randomness.
        level: pixels of the sensor along one of the screen; None draws 0.93 to 1.1 or 1.85 to 2.15, where the two grids beat.
    """
    height, width = clean.shape[-2:]
    drawn = between(rng, 0.93, 1.1) if rng.integers(2) else between(rng, 1.85, 2.15)
    zoom = drawn if level is None else level
    # The lens in pixels of the screen, the aperture in those of the sensor: lenses over pixels gather from less than all.
    lens, aperture = between(rng, 0.15, 0.3), between(rng, 0.5, 0.9)
    frame, reverse, upright = between(rng, 0.1, 0.3), bool(rng.integers(2)), bool(rng.integers(2))
    turn = between(rng, -0.07, 0.07)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    seen = (corners - corners.mean(0)) @ rotation.T * zoom * (1 + rng.uniform(-0.04, 0.04, (4, 2)))
    seen -= seen.min(0) - 4
    columns, rows = (math.ceil(side) + 4 for side in seen.max(0))
    there = homography(corners, seen)
    raster = screen(to_light(clean).float(), frame=frame, reverse=reverse, upright=upright)
    raster = gathered(raster, lens * FINE, aperture / zoom * FINE)
    from_sensor = np.diag([FINE, FINE, 1.0]) @ np.linalg.inv(there)
    caught = through(raster, from_sensor, (rows, columns), "bilinear").double()
    picture = from_light(fill_in(take_mosaic(caught.clamp(0, 1))))
    image = through(picture, there, (height, width), "bicubic")
    return Spoilt(image, {"zoom": zoom, "turn": turn, "lens": lens, "aperture": aperture})
