"""What a photograph shows of its degradations, measured without anything learned.

A blur multiplies the spectrum of a photograph: a motion's in one direction, a disk's in rings. Noise adds a floor to it, which
is flat or, behind a camera's mosaic, is not; a screen's stripes add peaks, most of all between the colours. Haze lifts the
darkest pixels of a neighbourhood (the dark channel of He, Sun and Tang, CVPR 2009), and takes saturation and contrast with it,
more so far away; darkness shows in the brightest. JPEG leaves steps every eight pixels, rain bright lines, whose slopes are
askew.

Images are RGB in [0, 1], (b, 3, h, w) of any size. Every measure is of the whole image, and a larger one is more precise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE, HOP = 32, 24
"""Side of the windows of the spectra, and how far one is from the next, in pixels."""

SPECTRA = (7, SIDE, SIDE // 2 + 1)
"""Shape of the spectra of an image: maps, frequencies down from -16 to 15 and across from 0 to 16, of 32."""

CELL, CELL_MAPS = 8, 9
"""Side of a cell in pixels, and how many maps are made of cells."""

MEASURES = 416
"""How many single numbers are measured."""

_QUANTISATION = 1e-7  # power per pixel, below that of the rounding to 8 bits


def spectra(image: Tensor) -> Tensor:
    """Spectra of three opponent colours, from windows of 32x32 that overlap: (b, 7, 32, 17).

    Three maps are the mean over the windows of the logarithm of the power, which is that of a typical window; three the
    logarithm of the mean, in which strong edges count; the last one how the logarithm varies from window to window in luma.
    White noise of variance v has the power v at every frequency.
    """
    maps = opponents(_grown(image, SIDE))
    windows = maps.unfold(2, SIDE, HOP).unfold(3, SIDE, HOP)
    window, across, down = _tables(windows)
    windows = (windows - windows.mean((-2, -1), keepdim=True)) * window
    half = SIDE // 2 + 1
    rows = (windows.reshape(-1, SIDE) @ across).view(-1, SIDE, 2 * half)
    both = (rows.transpose(1, 2).reshape(-1, SIDE) @ down).view(-1, 2, half, 2, SIDE)
    real, imaginary = both[:, 0, :, 0] - both[:, 1, :, 1], both[:, 0, :, 1] + both[:, 1, :, 0]
    power = (real.square() + imaginary.square()).transpose(1, 2).reshape(*windows.shape[:-1], half) + _QUANTISATION
    logs = power.log()
    mean = logs.mean((2, 3))
    spread = (logs[:, :1] - mean[:, :1, None, None]).square().mean((2, 3)).sqrt()
    return torch.cat([mean, power.mean((2, 3)).log(), spread], 1)


def _tables(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A window of unit energy, and cosines beside sines of the frequencies across and down."""
    at = torch.arange(SIDE, device=like.device, dtype=like.dtype)
    hann = (math.pi * (at + 0.5) / SIDE).sin().square()
    hann = hann / hann.square().sum().sqrt()
    across = 2 * math.pi / SIDE * torch.outer(at, at[: SIDE // 2 + 1])
    down = 2 * math.pi / SIDE * torch.outer(at, at - SIDE // 2)
    return torch.outer(hann, hann), torch.cat([across.cos(), across.sin()], 1), torch.cat([down.cos(), down.sin()], 1)


def opponents(image: Tensor) -> Tensor:
    """Luma, red against blue, and both against green; the two colours have unit norm."""
    red, green, blue = image.unbind(1)
    return torch.stack([(red + green + blue) / 3, (red - blue) / math.sqrt(2), (red + blue - 2 * green) / math.sqrt(6)], 1)


def cells(image: Tensor) -> Tensor:
    """Maps of cells of 8x8 pixels: (b, 9, h / 8, w / 8), rounded up.

    Mean red, green and blue; the darkest and the brightest value; the logarithms of the variance of luma, and of the energy of
    the finest detail in luma and in both opponent colours, brought to about 0 to 1.
    """
    height, width = image.shape[-2:]
    image = F.pad(image, (0, -width % CELL, 0, -height % CELL), mode="replicate")
    dark = -F.max_pool2d(-image.amin(1, keepdim=True), CELL)
    bright = F.max_pool2d(image.amax(1, keepdim=True), CELL)
    maps = opponents(image)
    luma = maps[:, :1]
    variance = (_cell_means(luma.square()) - _cell_means(luma).square()).clamp_min(0)
    # The second difference along both axes, which white noise passes with its own variance.
    fine = image.new_tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6
    detail = F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), fine.expand(3, 1, 3, 3), groups=3)
    energy = _cell_means(detail.square())
    logs = [(variance + 1e-5).log() / 8 + 1, (energy + 1e-6).log() / 8 + 1]
    return torch.cat([_cell_means(image), dark, bright, *logs], 1)


def _cell_means(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps, CELL)


def measures(image: Tensor, maps: Tensor) -> Tensor:
    """Single numbers, (b, 416): of the cells' levels, of the image's texture, and of steps every eight pixels.

    Args:
        image: (b, 3, h, w).
        maps: its `cells`.
    """
    return torch.cat([_levels(maps), _textures(image), _phases(image)], 1)


def _levels(maps: Tensor) -> Tensor:
    """Of cells: how many are above each of 15 levels, where in the image, which go together, and noise against brightness."""
    color, dark, bright = maps[:, :3], maps[:, 3:4], maps[:, 4:5]
    highest = color.amax(1, keepdim=True)
    saturation = (highest - color.amin(1, keepdim=True)) / (highest + 0.02)
    luma = color.mean(1, keepdim=True)
    seen = torch.cat([luma, maps[:, 3:], saturation], 1)
    # The darkest and the brightest of five cells along each axis, for skies are large.
    around = torch.cat([-F.max_pool2d(-dark, 5, 1, 2), F.max_pool2d(bright, 5, 1, 2)], 1)
    shares = _shares(torch.cat([seen[:, :5], around, saturation], 1), 15)
    return torch.cat([shares, _moments(seen), _correlations(seen), *_noise_curves(luma, seen[:, 4:7])], 1)


def _shares(maps: Tensor, steps: int) -> Tensor:
    """The share of places above each of some levels, softly: (b, c, h, w) -> (b, c steps)."""
    levels = torch.linspace(0, 1, steps + 2, device=maps.device, dtype=maps.dtype)[1:-1]
    return torch.stack([((maps - level) * (2 * steps)).sigmoid().mean((2, 3)) for level in levels], -1).flatten(1)


def _moments(maps: Tensor) -> Tensor:
    """Where in the image values are large: the lowest four frequencies down and three across of a cosine transform."""
    waves = []
    for length, number in ((maps.shape[2], 4), (maps.shape[3], 3)):
        at = (torch.arange(length, device=maps.device, dtype=maps.dtype) + 0.5) / length * math.pi
        waves.append(torch.stack([(k * at).cos() for k in range(number)]) / length)
    return torch.einsum("kh,bchw,lw->bckl", waves[0], maps, waves[1]).flatten(1)


def _correlations(maps: Tensor) -> Tensor:
    """Correlations of each two maps over the image."""
    maps = maps - maps.mean((2, 3), keepdim=True)
    both = torch.einsum("bchw,bdhw->bcd", maps, maps) / (maps.shape[2] * maps.shape[3])
    own = both.diagonal(dim1=1, dim2=2)
    rows, columns = torch.triu_indices(maps.shape[1], maps.shape[1], 1, device=maps.device)
    return (both / (own[:, :, None] * own[:, None] + 1e-8).sqrt())[:, rows, columns]


def _noise_curves(luma: Tensor, energies: Tensor) -> Iterator[Tensor]:
    """Mean and soft minimum of the detail's energies where luma is near each of six levels."""
    for level in (0.05, 0.15, 0.3, 0.5, 0.7, 0.9):
        weight = (-((luma - level) / 0.1).square()).exp() + 1e-4
        total = weight.sum((2, 3))
        yield (weight * energies).sum((2, 3)) / total
        yield -((weight * (-8 * energies).exp()).sum((2, 3)) / total).log() / 8


def _textures(image: Tensor) -> Tensor:
    """Differences of neighbours at four scales: logarithms of their size, skewness, and logarithm of the kurtosis."""
    across = image.new_tensor([[0.0, 0.0, 0.0], [-0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    along = image.new_tensor([[0.0, 0.0, 1.0], [0.0, -2.0, 0.0], [1.0, 0.0, 0.0]])
    bank = torch.stack([across, across.T, along, along.flip(-1)])[:, None]
    maps, found = opponents(_grown(image, SIDE)), []
    for scale in range(4):
        for part, filters in ((maps[:, :1], bank), (maps[:, 1:], bank[:2]))[: 2 if scale < 3 else 1]:
            batch, channels = part.shape[:2]
            slopes = F.conv2d(part.flatten(0, 1)[:, None], filters).reshape(batch, channels * len(filters), -1)
            squares = slopes.square()
            variance = squares.mean(2) + 1e-7
            skewness = ((squares * slopes).mean(2) / variance**1.5).clamp(-8, 8)
            kurtosis = squares.square().mean(2) / variance.square()
            found += [variance.log() / 2, (slopes.abs().mean(2) + 3e-4).log(), skewness, (kurtosis + 1).log()]
        maps = _grown(F.avg_pool2d(maps, 2), 4)
    return torch.cat(found, 1)


def _phases(image: Tensor) -> Tensor:
    """Steps between neighbours beyond those beside them, by their place of eight, sorted: largest two, smallest, median."""
    maps, found = opponents(_grown(image, SIDE)), []
    for lines in (maps, maps.transpose(2, 3)):
        steps = (lines[..., 1:] - lines[..., :-1]).abs()
        beyond = (steps[..., 1:-1] - (steps[..., :-2] + steps[..., 2:]) / 2).mean(2)
        whole = beyond[..., : beyond.shape[-1] // 8 * 8]
        beyond = whole.reshape(*whole.shape[:-1], -1, 8).mean(-2)
        ordered = (beyond / (steps.mean((2, 3))[..., None] + 1e-3)).sort(-1).values
        found += [ordered[..., -1], ordered[..., -2], ordered[..., 0], ordered[..., 3]]
    return torch.cat(found, 1)


def _grown(image: Tensor, side: int) -> Tensor:
    """An image that is at least `side` high and wide, by its last pixels again."""
    return F.pad(image, (0, max(0, side - image.shape[-1]), 0, max(0, side - image.shape[-2])), mode="replicate")
