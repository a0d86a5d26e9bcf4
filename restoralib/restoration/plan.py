"""How an image is cut: the side of the tiles, what neighbours share, and what of that is not used."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, SupportsIndex

import torch

from restoralib.archs.spec import NetSpec
from restoralib.ops.tile import Span, plan_tiles

TileSize = Literal["auto"] | int | tuple[int, int] | None

SMALLEST = 32
# Pixels shared where a network looks too far for exact tiles, a quarter of a small tile at most. More changes nothing: what
# differs from the whole image is the means over the tiles.
_OVERLAP = 32
# Tiles of this side stay in a CPU's cache, those of 320 better still, by a third. But smaller ones are farther from the whole
# image: the bundled denoiser's, at sigma 50 on photographs of CBSD68, 46 to 59 dB with 384 and 44 to 56 dB with 320. Either is
# nearer to the clean image than the whole, by up to 0.3 dB. Images up to _WHOLE pixels are not worth cutting.
_CPU_SIDE, _WHOLE = 384, 512 * 512
_GPU_SIDE = 1024
_CPU_CALL = 64 * 64  # pixels of several small images in a call
_MOST = 256  # images in a call
# Of a large restoration network in float32, with room to spare; some were measured to take more.
_BYTES_PER_PIXEL = 16 * 1024
_GRID = 64


@dataclass(frozen=True)
class Plan:
    """The tiles of one image.

    Args:
        rows: spans along the height.
        columns: spans along the width.
        margin: pixels beside a cut that are not used.
    """

    rows: list[Span]
    columns: list[Span]
    margin: int

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def batches(self, size: int, images: Iterable[int] = (0,)) -> Iterator[list[tuple[int, int, int]]]:
        """Numbers of image, row and column of up to `size` tiles of equal shape."""

        def shape(tile: tuple[int, int, int]) -> tuple[int, ...]:
            return tuple(stop - start for start, stop in (self.rows[tile[1]], self.columns[tile[2]]))

        tiles = sorted(itertools.product(images, range(len(self.rows)), range(len(self.columns))), key=shape, reverse=True)
        for _, alike in itertools.groupby(tiles, key=shape):
            group = list(alike)
            yield from (group[start : start + size] for start in range(0, len(group), size))


def plan_image(
    size: tuple[int, int],
    tile: tuple[int, int],
    spec: NetSpec,
    *,
    overlap: int | None = None,
    reach: int | None = None,
    fit: bool = False,
) -> Plan:
    """Cut an image of the given (height, width).

    A network that looks no further than a quarter of a tile gets tiles that share twice that and use what is right, so that the
    result is that of the whole image. For others, tiles share a little and blend over it.

    Args:
        size: of the image.
        tile: (height, width) of a tile; not larger than the image counts as the image's.
        spec: the network's needs.
        overlap: pixels that neighbours share at least.
        reach: how far the network looks, where the result has to be exact; None to go by the spec.
        fit: take tiles as small as cover the image in the same number: what they share is then done twice as little as can be.

    Raises:
        ValueError: the tiles are too small for the overlap, or for the network.
    """
    tile = (min(tile[0], size[0]), min(tile[1], size[1]))
    smallest = min((side for side, length in zip(tile, size, strict=True) if side < length), default=0)
    margin = reach
    if margin is None:
        margin = spec.halo if spec.halo is not None and 4 * spec.halo <= smallest else 0
    # With this, a cut on the grid has the margin on either side.
    shared = 2 * math.ceil(margin / spec.multiple) * spec.multiple
    if reach is not None and 0 < smallest < shared + spec.multiple:
        raise ValueError(
            f"exact=True needs tiles of at least {shared + spec.multiple}, for the network looks {reach} pixels far, "
            f"got {smallest}; pass larger tiles, or tile=None"
        )
    if overlap is not None and overlap < 0:
        raise ValueError(f"overlap should not be negative, got {overlap}")
    # The smallest tiles have to advance by one multiple, whatever they then share.
    room = max(0, smallest - smallest % spec.multiple - spec.multiple)
    shared = max(shared or min(_OVERLAP, smallest // 4, room), overlap or 0)
    rows, columns = (
        plan_tiles(length, _least_side(length, side, shared, spec.multiple) if fit else side, shared, spec.multiple)
        if side < length
        else [(0, length)]
        for length, side in zip(size, tile, strict=True)
    )
    return Plan(rows, columns, margin)


def _least_side(length: int, side: int, shared: int, multiple: int) -> int:
    """The shortest tiles, in steps of the grid and of 8 pixels, that cover an axis in as many as tiles of `side` do."""
    count = len(plan_tiles(length, side, shared, multiple))
    step = math.lcm(multiple, 8)
    shortest = math.ceil((length + (count - 1) * shared) / count / step) * step
    # The starts lie on the grid, so that a step may be shorter than the tile less what is shared.
    candidates = range(max(shortest, shared // multiple * multiple + multiple), side, step)
    return next((each for each in candidates if len(plan_tiles(length, each, shared, multiple)) == count), side)


def choose_tile(
    size: tuple[int, int],
    tile: TileSize,
    spec: NetSpec,
    device: torch.device,
    batch: int,
    bytes_per_pixel: float = 0,
    reach: int = 0,
) -> tuple[int, int]:
    """The (height, width) of tiles for what the caller asked.

    Args:
        size: of the image.
        tile: what was asked.
        spec: the network's needs.
        device: where it runs.
        batch: tiles in a call.
        bytes_per_pixel: what the network takes for each input pixel, where that is known to be much.
        reach: pixels that exact tiles lose on either side; "auto" makes them large enough to be worth it.

    Raises:
        ValueError: the tile is no size, or less than the network's `multiple`.
    """
    if tile is None:
        return size
    if tile == "auto":
        side = max(_auto_side(spec, device, batch, bytes_per_pixel), 4 * reach // _GRID * _GRID)
        whole = max(side * side, _WHOLE // spec.scale if device.type == "cpu" else 0)
        return size if size[0] * size[1] <= whole else (side, side)
    if isinstance(tile, SupportsIndex):
        tile = (operator.index(tile), operator.index(tile))
    if not isinstance(tile, tuple | list) or len(tile) != 2 or min(tile) < spec.multiple:
        raise ValueError(f"tile should be 'auto', None, a side or (height, width) of at least {spec.multiple}, got {tile}")
    return tile


def choose_batch(size: tuple[int, int], spec: NetSpec, device: torch.device, bytes_per_pixel: float = 0) -> int:
    """How many whole images of a size go through a network in one call.

    On a CPU a call pays where images are so small that its fixed costs show; larger calls leave the cache. The bundled NAFNet
    takes, on one core and with an image in a call as 1, for images of 16x16 0.2 in calls of 16, of 32x32 0.6 in calls of 4, of
    48x48 0.7 in calls of 2, and from 64x64 the same in all. A GPU takes as many pixels as are a tile of its own.

    Args:
        size: (height, width) of the images.
        spec: the network's needs.
        device: where it runs.
        bytes_per_pixel: what the network takes for each input pixel, where that is known to be much.
    """
    pixels = size[0] * size[1]
    if device.type == "cpu":
        return max(1, min(_MOST, round(_CPU_CALL / pixels)))
    return max(1, min(_MOST, _auto_side(spec, device, 1, bytes_per_pixel) ** 2 // pixels))


def _auto_side(spec: NetSpec, device: torch.device, batch: int, bytes_per_pixel: float) -> int:
    pixels = _free_memory(device) / 2 / (max(_BYTES_PER_PIXEL * spec.scale, bytes_per_pixel) * batch)
    largest = _CPU_SIDE / math.sqrt(spec.scale) if device.type == "cpu" else _GPU_SIDE
    return max(2 * _GRID, int(min(math.sqrt(pixels), largest)) // _GRID * _GRID)


def _free_memory(device: torch.device) -> float:
    """Bytes; infinite where nobody tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return math.inf
