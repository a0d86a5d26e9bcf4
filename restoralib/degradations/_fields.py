"""What procedural layers are made of: smooth random fields, warps and lines."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

_SAMPLES = 1 << 19  # points that are splatted at once


def axes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (h, 1) and columns (1, w) of an image's pixels, as numbers of its type."""
    height, width = image.shape[-2:]
    return (
        torch.arange(height, device=image.device, dtype=image.dtype)[:, None],
        torch.arange(width, device=image.device, dtype=image.dtype)[None],
    )


def per_channel(values: float | tuple[float, ...], image: Tensor) -> Tensor:
    """One number, or one a channel, as (c, 1, 1); three for a grey image are averaged.

    Raises:
        ValueError: there are neither one nor three numbers.
    """
    numbers = values if isinstance(values, tuple) else (float(values),)
    if len(numbers) not in (1, 3):
        raise ValueError(f"expected one number or one for each of R, G, B, got {values}")
    if len(numbers) == 3 and image.shape[1] == 1:
        numbers = (sum(numbers) / 3,)
    return torch.tensor(numbers, dtype=image.dtype, device=image.device)[:, None, None]


def to_light(image: Tensor, gamma: float) -> Tensor:
    """Linear light of values in a gamma, image^gamma; negative ones are nothing."""
    return image if gamma == 1 else image.clamp(min=0) ** gamma


def from_light(light: Tensor, gamma: float) -> Tensor:
    """The inverse of `to_light`; black has the gradient 0, where the root's would be infinite."""
    if gamma == 1:
        return light
    lit = light > 0
    return torch.where(lit, torch.where(lit, light, 1) ** (1 / gamma), 0)


def layer_like(layer: Tensor, image: Tensor) -> Tensor:
    """A layer of one channel or the image's, (h, w), (c, h, w) or (b, c, h, w), as four axes in the image's type.

    Raises:
        ValueError: it does not fit the image.
    """
    grown = layer[(None,) * (4 - layer.ndim)] if layer.ndim in (2, 3) else layer
    fits = grown.ndim == 4 and all(size in (1, wanted) for size, wanted in zip(grown.shape[:2], image.shape[:2], strict=True))
    if not fits or grown.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f"a layer should have the image's height and width and one channel or the image's, "
            f"got {tuple(layer.shape)} for an image {tuple(image.shape)}"
        )
    return grown.to(image)


def smooth_noise(height: int, width: int, cells: float, generator: torch.Generator) -> Tensor:
    """A random surface (1, 1, h, w) in about [0, 1], on the CPU, with hills of the longer side's length / cells."""
    longer = max(height, width)
    rows, columns = (max(1, round(cells * side / longer)) + 1 for side in (height, width))
    grid = torch.rand(1, 1, rows, columns, generator=generator)
    return functional.interpolate(grid, (height, width), mode="bicubic", align_corners=True)


def fractal_noise(
    height: int, width: int, cells: float, octaves: int, generator: torch.Generator, persistence: float = 0.5
) -> Tensor:
    """A cloudy random field (1, 1, h, w) that spans [0, 1]: smooth noises, each with twice the cells of the one before."""
    total = torch.zeros(1, 1, height, width)
    for octave in range(octaves):
        total += persistence**octave * smooth_noise(height, width, cells * 2**octave, generator)
    return stretch(total)


def stretch(field: Tensor) -> Tensor:
    """Fields (b, c, h, w) spread over [0, 1], each by itself; a constant one becomes 1/2."""
    low, high = field.amin((1, 2, 3), keepdim=True), field.amax((1, 2, 3), keepdim=True)
    span = high - low
    return torch.where(span > 1e-6, (field - low) / span.clamp(min=1e-6), torch.full_like(field, 0.5))


def sample(image: Tensor, rows: Tensor, columns: Tensor, *, border: Literal["replicate", "reflect"] = "replicate") -> Tensor:
    """Values between the pixels, bilinearly.

    Args:
        image: (b, c, h, w).
        rows: where, in pixels from the first row's centre, (h', w') or (b, h', w'), or what broadcasts with columns to it.
        columns: likewise, from the first column's.
        border: what lies outside.

    Returns:
        (b, c, h', w').
    """
    height, width = image.shape[-2:]
    # Pixel centres lie at half steps in grid_sample's measure, which also works where a side is one pixel.
    where = torch.broadcast_tensors((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1)  # type: ignore[no-untyped-call]
    grid = torch.stack(where, -1)
    grid = grid.expand(image.shape[0], *grid.shape[-3:]).to(image)
    mode = "border" if border == "replicate" else "reflection"
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode=mode, align_corners=False)


def splat(rows: Tensor, columns: Tensor, weights: Tensor, height: int, width: int) -> Tensor:
    """Points of given weights on a raster (h, w), each shared among its four neighbours bilinearly; those outside are lost."""
    # A border around the raster takes what falls outside, so that no point needs a test of its own.
    rows, columns = rows.clamp(-1, height), columns.clamp(-1, width)
    top, left = rows.floor(), columns.floor()
    stride = width + 3
    corner = (top.long() + 1) * stride + left.long() + 1
    below = weights * (rows - top)
    above, right = weights - below, columns - left
    # Whole numbers add up to the same in any order, in which a GPU adds.
    unit = 2.0**24
    canvas = torch.zeros((height + 3) * stride, dtype=torch.int64, device=weights.device)
    above, below = above * unit, below * unit
    for step, share in ((0, above), (stride, below)):
        beside = share * right
        canvas.index_add_(0, (corner + step).flatten(), (share - beside).round().long().flatten())
        canvas.index_add_(0, (corner + step + 1).flatten(), beside.round().long().flatten())
    return (canvas.view(height + 3, stride)[1 : height + 1, 1 : width + 1] / unit).to(weights.dtype)


def lines(
    height: int, width: int, starts: Tensor, ends: Tensor, thickness: Tensor, brightness: Tensor, *, taper: float = 0.0
) -> Tensor:
    """Anti-aliased straight lines, added up: (h, w).

    Many points along each line are shared among the pixels around them, all lines at once. A line thinner than a pixel is
    as much weaker.

    Args:
        height: of the raster.
        width: of the raster.
        starts: rows and columns, (n, 2), in pixels.
        ends: likewise.
        thickness: in pixels, (n,).
        brightness: of a pixel that a line covers, (n,).
        taper: how much of its brightness a line loses towards its ends, 0 to 1.
    """
    total = torch.zeros(height, width, dtype=starts.dtype, device=starts.device)
    low, high = torch.minimum(starts, ends) - thickness[:, None], torch.maximum(starts, ends) + thickness[:, None]
    size = torch.tensor([height, width], dtype=starts.dtype, device=starts.device)
    seen = ((high > -1) & (low < size)).all(1)
    starts, ends, thickness, brightness = starts[seen], ends[seen], thickness[seen], brightness[seen]
    lengths = (ends - starts).norm(dim=1)
    # Lines of like lengths together: all lines of a group get as many points as its longest needs.
    order = lengths.argsort(descending=True)
    begin = 0
    while begin < len(order):
        first = order[begin]
        along = max(2, math.ceil(2 * float(lengths[first])))
        count = max(1, min(_SAMPLES // along, (len(order) - begin + 3) // 4 + 64))
        group = order[begin : begin + count]
        # The bilinear share is itself about a pixel wide, which the spread makes up to the thickness.
        spread = torch.sqrt((thickness[group] ** 2 - 1).clamp(min=0))
        across = math.ceil(2 * float(spread.max())) + 1
        begin += count
        u = (torch.arange(along, dtype=starts.dtype, device=starts.device) + 0.5) / along
        v = ((torch.arange(across, dtype=starts.dtype, device=starts.device) + 0.5) / across - 0.5)[:, None]
        direction = ends[group] - starts[group]
        length = lengths[group].clamp(min=1e-6)
        normal = torch.stack([-direction[:, 1], direction[:, 0]], 1) / length[:, None]
        points = (
            starts[group][:, None, None]
            + u[:, None] * direction[:, None, None]
            + (v * spread[:, None, None])[..., None] * normal[:, None, None]
        )
        profile = 1 - taper * (2 * u - 1) ** 2
        weight = (brightness * thickness)[group] * length / (along * across)
        total += splat(points[..., 0], points[..., 1], weight[:, None, None] * profile.expand(across, -1), height, width)
    return total
