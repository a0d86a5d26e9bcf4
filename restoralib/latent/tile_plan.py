"""Plans of tiles on a latent: where they lie, in which order they come, and how much each counts where they overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from restoralib.blocks.rotary import Rotation, rotary_angles
from restoralib.ops.tile import Span, blend_weights, core_spans, plan_tiles

Order = Literal["raster", "serpentine"]
ORDERS = ("raster", "serpentine")


class Tile(NamedTuple):
    """One tile of a plan.

    Args:
        row: of the tile among the tiles.
        column: likewise.
        rows: from where to where it lies in the latent.
        columns: likewise.
    """

    row: int
    column: int
    rows: Span
    columns: Span

    @property
    def place(self) -> tuple[Any, slice, slice]:
        """Its part of a latent (b, c, h, w), as an index."""
        return ..., slice(*self.rows), slice(*self.columns)

    @property
    def grid(self) -> tuple[int, int]:
        """Its rows and columns."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


@dataclass(frozen=True)
class TilePlan:
    """Tiles of a latent and the order in which they come.

    Args:
        rows: the spans of the rows of tiles, from 0 to the height, in latent samples.
        columns: those of the columns of tiles.
        order: "raster", each row from left to right; "serpentine", every other row from right to left, so that each tile
            touches the one before it.

    Raises:
        ValueError: spans leave a gap, are empty, or do not advance; the order is unknown.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    order: Order = "raster"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"unknown order {self.order!r}; choose one of {', '.join(ORDERS)}")
        for name, spans in (("rows", self.rows), ("columns", self.columns)):
            advance = all(a[0] < b[0] <= a[1] < b[1] for a, b in pairwise(spans))
            if not spans or spans[0][0] != 0 or not advance or any(start >= stop for start, stop in spans):
                raise ValueError(f"{name} should be spans from 0 on that advance without gaps, got {list(spans)}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the latent."""
        return self.rows[-1][1], self.columns[-1][1]

    @property
    def disjoint(self) -> bool:
        """Whether no two tiles share a sample."""
        return all(a[1] == b[0] for spans in (self.rows, self.columns) for a, b in pairwise(spans))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[Tile]:
        for row, rows in enumerate(self.rows):
            columns = list(enumerate(self.columns))
            for column, span in columns[::-1] if self.backwards(row) else columns:
                yield Tile(row, column, rows, span)

    def backwards(self, row: int) -> bool:
        """Whether this row of tiles goes from right to left."""
        return self.order == "serpentine" and row % 2 == 1

    def core(self, multiple: int = 1) -> TilePlan:
        """The same tiles without what they share: overlaps are cut in half, on multiples of `multiple`."""
        return TilePlan(tuple(core_spans(self.rows, multiple)), tuple(core_spans(self.columns, multiple)), self.order)

    def scaled(self, factor: int) -> TilePlan:
        """The plan of a picture with `factor` samples for each of this one's."""
        rows, columns = (tuple((factor * a, factor * b) for a, b in spans) for spans in (self.rows, self.columns))
        return TilePlan(rows, columns, self.order)

    def reduced(self, factor: int) -> TilePlan:
        """The plan in tokens of `factor` samples.

        Raises:
            ValueError: a span does not consist of whole tokens.
        """
        if any(end % factor for spans in (self.rows, self.columns) for span in spans for end in span):
            raise ValueError(f"tiles should begin and end on multiples of {factor}, got {self.rows} and {self.columns}")
        rows, columns = (tuple((a // factor, b // factor) for a, b in spans) for spans in (self.rows, self.columns))
        return TilePlan(rows, columns, self.order)

    def weights(self, like: Tensor) -> list[Tensor]:
        """Of each tile in order, (rows, columns): straight ramps over the overlaps; over all tiles they sum to one."""
        down, across = (blend_weights(spans, dtype=torch.float64, ramp="linear") for spans in (self.rows, self.columns))
        return [(down[tile.row][:, None] * across[tile.column]).to(like) for tile in self]


def plan_latent(
    height: int, width: int, tile: int | tuple[int, int], overlap: int = 0, *, order: Order = "raster", multiple: int = 1
) -> TilePlan:
    """Cut a latent into tiles of one size, as few as they can be, evenly spread; they share `overlap` samples or more.

    Along an axis of L samples there are ceil((L - tile) / (tile - overlap)) + 1 of them.

    Args:
        height: of the latent.
        width: of the latent.
        tile: side, or (height, width), of a tile.
        overlap: samples that neighbours share at least.
        order: see `TilePlan`.
        multiple: samples along a token; all tiles consist of whole ones.

    Raises:
        ValueError: a tile holds no token or is not larger than its overlap; something is no multiple of a token.
    """
    sides = (tile, tile) if isinstance(tile, int) else tile
    for name, value in (("height", height), ("width", width), ("tile", sides[0]), ("tile", sides[1]), ("overlap", overlap)):
        if value % multiple:
            raise ValueError(f"{name} should be a multiple of {multiple}, the side of a token, got {value}")
    if min(sides) < multiple:
        raise ValueError(f"a tile holds at least one token of {multiple}x{multiple}, got {sides[0]}x{sides[1]}")
    rows, columns = (
        tuple(plan_tiles(length, side, overlap, multiple)) for length, side in zip((height, width), sides, strict=True)
    )
    return TilePlan(rows, columns, order)


def plan_pixels(
    height: int,
    width: int,
    tile: int | tuple[int, int] = 1024,
    overlap: int = 128,
    *,
    factor: int = 32,
    order: Order = "raster",
    multiple: int = 1,
) -> TilePlan:
    """The plan of the latent of an image, from sizes in pixels.

    Args:
        height: of the image; the latent is that of the image padded to whole multiples of `factor * multiple`.
        width: of the image.
        tile: side, or (height, width), of a tile in pixels.
        overlap: pixels that neighbours share at least.
        factor: pixels along a sample of the latent.
        order: see `TilePlan`.
        multiple: samples along a token.

    Raises:
        ValueError: tile or overlap is no multiple of a token's pixels, or as `plan_latent`.
    """
    token = factor * multiple
    sides = (tile, tile) if isinstance(tile, int) else tile
    for name, value in (("tile", sides[0]), ("tile", sides[1]), ("overlap", overlap)):
        if value % token:
            raise ValueError(f"{name} should be a multiple of {token} pixels, which are one token, got {value}")
    if min(sides) < token:
        raise ValueError(f"a tile holds at least one token of {token}x{token} pixels, got {sides[0]}x{sides[1]}")
    down, across = (-(-side // token) * multiple for side in (height, width))
    sides = (sides[0] // factor, sides[1] // factor)
    return plan_latent(down, across, sides, overlap // factor, order=order, multiple=multiple)


def tile_positions(tile: Tile) -> Tensor:
    """Where the tokens of a tile lie: (tile row, tile column, row within, column within), (n, 4), for `rotary_angles`."""
    down, across = (torch.arange(count) for count in tile.grid)
    within = torch.stack(torch.meshgrid(down, across, indexing="ij"), -1).flatten(0, 1)
    return torch.cat((torch.tensor([tile.row, tile.column]).expand(len(within), 2), within), 1)


def tile_rotation(tile: Tile, features: int) -> Rotation:
    """The rotation of a tile's tokens for heads of `features`, by `tile_positions`; networks have to be trained for it."""
    return rotary_angles(tile_positions(tile).double(), features)
