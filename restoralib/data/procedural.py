"""Procedural images: training data that owes nothing to any photograph.

Natural images are, to their second and higher statistics, objects of all sizes that hide each other: the dead leaves model,
with sizes drawn by a power law of exponent 3, has their spectra, their scale invariance and their sparse gradients. Restorers
that are trained on such images do well on photographs. An image here is a background, leaves over it, sometimes thin lines and
rows of signs like script, and a light that changes slowly over all.

Sources: A. B. Lee, D. Mumford and J. Huang, "Occlusion models for natural images", IJCV 2001; R. Achddou, Y. Gousseau and
S. Ladjal, "Synthetic images as a regularity prior for image restoration neural networks", SSVM 2021; P. C. Madhusudana,
S.-J. Lee and H. R. Sheikh, "Revisiting dead leaves model: training with synthetic data", IEEE SPL 2021; colours: D. L.
Ruderman, T. W. Cronin and C.-C. Chiao, "Statistics of cone responses to natural images", JOSA A 1998.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restoralib.degradations._fields import fractal_noise, lines

Array = np.ndarray[Any, np.dtype[np.float32]]

_BASES = {"field": 0.4, "plain": 0.25, "pattern": 0.2, "flat": 0.15}
_SHAPES = {"ellipse": 0.5, "polygon": 0.4, "strip": 0.1}


def procedural_image(seed: int, number: int, height: int = 256, width: int = 256) -> Tensor:
    """A procedural image, clean and in focus or nearly so.

    Args:
        seed: of a set of images.
        number: of the image in the set, from 0; the image depends on both numbers and the size alone.
        height: of the image, 16 pixels or more.
        width: of the image, 16 pixels or more.

    Returns:
        (3, h, w), uint8, sRGB.

    Raises:
        ValueError: the image is too small, or a number is negative.
    """
    if min(height, width) < 16 or min(seed, number) < 0:
        raise ValueError(
            f"expected a height and width of 16 pixels or more and numbers from 0, got {height}x{width}, seed {seed}, "
            f"number {number}"
        )
    draw = np.random.Generator(np.random.PCG64([seed, number]))
    # The fields that are shared with the degradations draw from torch.
    torch_draw = torch.Generator().manual_seed(int(draw.integers(2**62)))
    palette = _Palette(draw)
    canvas = _base(height, width, palette, draw)
    if draw.random() < 0.95:
        _leaves(canvas, palette, draw)
    if draw.random() < 0.3:
        _thin_lines(canvas, palette, draw)
    if draw.random() < 0.2:
        _script(canvas, palette, draw)
    if draw.random() < 0.7:
        field = fractal_noise(height, width, float(draw.uniform(1, 3)), 2, torch_draw)[0, 0].numpy()
        canvas *= np.exp(draw.uniform(0.1, 0.9) * (field[..., None] - 0.5))
    return torch.from_numpy(np.rint(_to_srgb(canvas) * 255).astype(np.uint8).transpose(2, 0, 1).copy())


def noise_field(height: int, width: int, exponent: float, draw: np.random.Generator) -> Array:
    """A Gaussian random field whose amplitude spectrum falls as 1 / frequency^exponent: (h, w), mean 0, deviation 1.

    Args:
        height: of the field.
        width: of the field.
        exponent: 0 is white noise, 1 is as photographs have it, 2 is clouds.
        draw: source of randomness.
    """
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(draw.standard_normal((height, width), np.float32)) / frequency**exponent
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (height, width)).astype(np.float32)
    return field / max(float(field.std()), 1e-6)


class _Palette:
    """Colours of a scene, as linear RGB.

    Logarithms of natural colours vary most in lightness, less from yellow to blue, least from red to green, and the three ways
    are uncorrelated; some objects are of any colour at all.
    """

    def __init__(self, draw: np.random.Generator) -> None:
        self.axes = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]], np.float32) / np.sqrt([[3], [6], [2]]).astype(np.float32)
        self.spread = np.array([draw.uniform(0.8, 2.1), draw.uniform(0.05, 0.4), draw.uniform(0.02, 0.2)], np.float32)
        self.mean = np.array([draw.uniform(-4.0, -1.9), draw.normal(0.05, 0.25), draw.normal(0, 0.1)], np.float32)
        self.vivid = draw.uniform(0, 0.2)
        self.gray = draw.random() < 0.05

    def colors(self, count: int, draw: np.random.Generator) -> Array:
        """Colours (count, 3)."""
        scores = self.mean + self.spread * draw.standard_normal((count, 3), np.float32)
        vivid = draw.random(count) < self.vivid
        scores[vivid, 1:] = 0.8 * draw.standard_normal((int(vivid.sum()), 2), np.float32)
        if self.gray:
            scores[:, 1:] = 0
        colors: Array = np.exp(scores @ self.axes)
        return np.minimum(colors, 1.0)


def _to_srgb(linear: Array) -> Array:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


def _choose(shares: dict[str, float], draw: np.random.Generator) -> str:
    return str(draw.choice(list(shares), p=list(shares.values())))


def _plane(height: int, width: int, draw: np.random.Generator) -> Array:
    """A ramp in a random direction, (h, w), about -1 to 1."""
    angle = draw.uniform(0, 2 * math.pi)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None]
    return np.float32(math.sin(angle)) * rows + np.float32(math.cos(angle)) * columns


def _base(height: int, width: int, palette: _Palette, draw: np.random.Generator) -> Array:
    """The background, (h, w, 3)."""
    kind = _choose(_BASES, draw)
    low, high = palette.colors(2, draw)
    if kind == "flat":
        return np.broadcast_to(low, (height, width, 3)).copy()
    if kind == "field":
        # Each way of the colours has a field of its own, as in photographs.
        exponent = draw.uniform(0.9, 1.9)
        scores = np.stack([noise_field(height, width, exponent, draw) for _ in range(1 if palette.gray else 3)], -1)
        spread = palette.spread[: scores.shape[-1]] * draw.uniform(0.2, 0.8)
        return np.minimum(low * np.exp(scores * spread @ palette.axes[: scores.shape[-1]]), 1).astype(np.float32)
    weight = _plane(height, width, draw) / 2.8 + 0.5 if kind == "plain" else _pattern(height, width, draw)
    return low + np.clip(weight, 0, 1)[..., None] * (high - low)


def _pattern(height: int, width: int, draw: np.random.Generator) -> Array:
    """A grating, stripes or checks, (h, w), 0 to 1, of periods from 3 pixels on."""
    period = math.exp(draw.uniform(math.log(3), math.log(max(4, min(height, width) / 3))))
    angle = draw.uniform(0, math.pi)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    along = (np.float32(math.cos(angle)) * columns + np.float32(math.sin(angle)) * rows) * np.float32(2 * math.pi / period)
    if draw.random() < 0.5:  # bent, as on cloth
        along += np.float32(draw.uniform(1, 6)) * noise_field(height, width, 2.0, draw)
    wave = np.sin(along)
    if draw.random() < 0.3:
        across = (np.float32(math.cos(angle)) * rows - np.float32(math.sin(angle)) * columns) * np.float32(2 * math.pi / period)
        wave = wave * np.sin(across)
    # A steep wave has edges about a pixel wide, which is what a lens leaves of stripes.
    steepness = 1.0 if draw.random() < 0.5 else period / 4
    return (0.5 + 0.5 * np.clip(wave * steepness, -1, 1)).astype(np.float32)


def _textures(height: int, width: int, draw: np.random.Generator) -> list[Array]:
    """Some fields with mean 0 of which leaves take their share, (h, w) each."""
    fields = []
    for _ in range(3):
        if draw.random() < 0.65:
            fields.append(noise_field(height, width, draw.uniform(0.7, 1.7), draw))
        else:
            fields.append(2 * _pattern(height, width, draw) - 1)
    return fields


def _leaves(canvas: Array, palette: _Palette, draw: np.random.Generator) -> None:
    """Paint dead leaves over a canvas, the farthest first."""
    height, width = canvas.shape[:2]
    largest = min(height, width) * draw.uniform(0.2, 0.7)
    smallest = min(math.exp(draw.uniform(math.log(2.5), math.log(20))), largest / 2)
    # Sizes of density r^-3 cover alike in every octave; the mean of r^2 follows from the bounds.
    low, high = smallest**-2, largest**-2
    covered = draw.uniform(1.0, 4.0)
    count = round(covered * height * width * (low - high) / (2 * math.pi * math.log(largest / smallest)))
    count = max(4, min(count, height * width // 64))
    radii = (low - draw.random(count) * (low - high)) ** -0.5
    centres = draw.random((count, 2)) * [height, width]
    colors = palette.colors(count, draw)
    shapes = draw.choice(list(_SHAPES), size=count, p=list(_SHAPES.values()))
    angles = draw.uniform(0, math.pi, count)
    flatness = draw.uniform(0.35, 1, count)
    corners = draw.integers(3, 8, count)
    textured = draw.random(count) < draw.uniform(0.3, 0.9)
    contrast = draw.uniform(0.03, 0.5, count)
    shade = draw.normal(0, 0.35, count)
    turns = draw.uniform(0, 2 * math.pi, count)
    # Most scenes are sharp; in some, what is far is out of focus.
    softness = 1 + (np.linspace(draw.uniform(0, 8), 0, count) if draw.random() < 0.3 else np.zeros(count))
    textures = _textures(height, width, draw)
    offsets = draw.random((count, 2))
    which = draw.integers(len(textures), size=count)
    for k in range(count):
        radius, soft = float(radii[k]), float(softness[k])
        reach = radius + soft
        (row, column) = centres[k]
        top, bottom = max(0, int(row - reach)), min(height, int(row + reach) + 2)
        left, right = max(0, int(column - reach)), min(width, int(column + reach) + 2)
        if bottom <= top or right <= left:
            continue
        y = np.arange(top - row, bottom - row, dtype=np.float32)[: bottom - top, None]
        x = np.arange(left - column, right - column, dtype=np.float32)[None, : right - left]
        sine, cosine = math.sin(angles[k]), math.cos(angles[k])
        u, v = cosine * x + sine * y, cosine * y - sine * x
        distance = _distance(shapes[k], u, v, radius, float(flatness[k]), int(corners[k]))
        alpha = np.clip(0.5 - distance / soft, 0, 1)[..., None]
        paint = colors[k]
        if radius > 4:
            light = (math.cos(turns[k]) * x + math.sin(turns[k]) * y) * (shade[k] / radius)
            if textured[k]:
                rows = int(offsets[k, 0] * (height - (bottom - top) + 1))
                columns = int(offsets[k, 1] * (width - (right - left) + 1))
                piece = textures[which[k]][rows : rows + bottom - top, columns : columns + right - left]
                light = light + contrast[k] * piece
            paint = paint * np.exp(light)[..., None]
        window = canvas[top:bottom, left:right]
        window += alpha * (paint - window)


def _distance(shape: str, u: Any, v: Any, radius: float, flatness: float, corners: int) -> Any:
    """About how far points lie outside of a shape in its own axes, in pixels; negative inside."""
    if shape == "ellipse":
        # The distance to a level line is the level by its slope, so that edges are alike all around.
        return (np.hypot(u, v / flatness) - radius) * flatness ** (0.5 if flatness > 0.6 else 0.8)
    if shape == "strip":
        return np.maximum(np.abs(u) - radius, np.abs(v) - max(0.6, 0.12 * radius * flatness))
    inside = radius * (0.5 + 0.5 * flatness) * math.cos(math.pi / corners)
    sides = [2 * math.pi * side / corners for side in range(corners)]
    distance = np.full(np.broadcast_shapes(u.shape, v.shape), -np.inf, np.float32)
    for number, angle in enumerate(sides):
        reach = inside * (1 if number % 2 else flatness)
        np.maximum(distance, math.cos(angle) * u + math.sin(angle) * v - np.float32(reach), out=distance)
    return distance


def _stroke(canvas: Array, starts: Array, ends: Array, thickness: Array, color: Array) -> None:
    """Paint straight strokes of one colour; starts and ends (n, 2) in pixels, thickness (n,)."""
    height, width = canvas.shape[:2]
    first, last, thick = (torch.from_numpy(array) for array in (starts, ends, thickness))
    drawn = lines(height, width, first, last, thick, torch.ones(len(thickness)))
    canvas += drawn.clamp(0, 1).numpy()[..., None] * (color - canvas)


def _thin_lines(canvas: Array, palette: _Palette, draw: np.random.Generator) -> None:
    """Some twigs or wires over the whole image."""
    height, width = canvas.shape[:2]
    for color in palette.colors(int(draw.integers(1, 4)), draw):
        count = int(draw.integers(1, 13))
        starts = draw.random((count, 2), np.float32) * np.array([height, width], np.float32)
        # From one direction for all, as of wires, to any.
        angle = draw.uniform(0, math.pi) + draw.uniform(0, 1) * draw.standard_normal(count)
        length = max(height, width) * draw.uniform(0.1, 1.5, count)
        ends = starts + (np.stack([np.sin(angle), np.cos(angle)], 1) * length[:, None]).astype(np.float32)
        _stroke(canvas, starts, ends, draw.uniform(0.6, 3, count).astype(np.float32), color)


def _script(canvas: Array, palette: _Palette, draw: np.random.Generator) -> None:
    """Rows of signs like script: each sign joins some points of a 3x3 raster, and comes again as letters do."""
    height, width = canvas.shape[:2]
    size = math.exp(draw.uniform(math.log(5), math.log(min(32, min(height, width) / 3))))
    letters = draw.integers(0, 3, (14, int(draw.integers(3, 5)), 2, 2)).astype(np.float32) / 2
    advance, leading = 0.85 * size, 1.8 * size
    rows, columns = max(1, int(height / leading)), max(1, int(width / advance))
    first, count = int(draw.integers(rows)), int(draw.integers(1, 7))
    cells = [
        (row * leading + 0.4 * size, column * advance + 0.2 * size)
        for row in range(first, min(rows, first + count))
        for column in range(columns)
        if draw.random() > 0.18  # a gap between words
    ]
    if not cells:
        return
    corners = np.array(cells, np.float32)[:, None, None]
    signs = letters[draw.integers(len(letters), size=len(cells))] * np.array([size, 0.6 * size], np.float32) + corners
    strokes = signs.reshape(-1, 2, 2)
    thickness = np.full(len(strokes), max(0.7, size * draw.uniform(0.07, 0.16)), np.float32)
    _stroke(canvas, strokes[:, 0].copy(), strokes[:, 1].copy(), thickness, palette.colors(1, draw)[0])
