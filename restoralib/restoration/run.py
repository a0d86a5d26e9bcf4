"""Images through a network tile by tile: batches, blending, progress, and smaller tiles where memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from restoralib.ops.tile import Span, blend_weights
from restoralib.restoration.errors import Cancelled, OutOfMemory
from restoralib.restoration.exact import Exact
from restoralib.restoration.memory import by_smaller_tiles
from restoralib.restoration.network import Network
from restoralib.restoration.plan import Plan, plan_image

ProgressCallback = Callable[[int, int, str], Any]


@dataclass
class Progress:
    """Counts tiles for a callback.

    Args:
        callback: takes (done, total, stage), done = 0 before the first tile; ends the work where it returns False or raises.
        total: tiles in all.
        done: tiles so far.
    """

    callback: ProgressCallback | None = None
    total: int = 0
    done: int = 0

    def begin(self, total: int) -> None:
        """Announce the number of tiles; anew, where they have to become smaller."""
        self.done, self.total = 0, total
        self.advance(0)

    def advance(self, tiles: int, stage: str = "restore") -> None:
        """Count tiles that are done."""
        self.done += tiles
        if self.callback and self.callback(self.done, self.total, stage) is False:
            raise Cancelled(f"cancelled after {self.done} of {self.total} tiles")


@dataclass
class Runner:
    """How images go through a network.

    Args:
        network: what restores a tile.
        exact: the network's form for exact tiles, None for blended ones.
        overlap: pixels that tiles share at least; None for the plan's choice.
        batch: tiles in a call.
        ensemble: take the mean over the eight flips and turns of each image.
        seed: of the random numbers that the network draws; None to leave the generators alone.
        shrink: take smaller tiles where memory does not suffice.
        fit: take tiles as small as cover an image in the same number.
        progress: counts the tiles.
    """

    network: Network
    exact: Exact | None = None
    overlap: int | None = None
    batch: int = 1
    ensemble: bool = False
    seed: int | None = None
    shrink: bool = True
    fit: bool = False
    progress: Progress = field(default_factory=Progress)

    def run(self, images: Sequence[Tensor], tile: tuple[int, int]) -> list[Tensor]:
        """Restore images (b, c, h, w) of one size; where memory does not suffice, fewer in a call, then by smaller tiles.

        The result is that of one size of tile throughout.

        Raises:
            OutOfMemory: not even small tiles fit.
        """
        height, width = images[0].shape[-2:]
        tile = (min(tile[0], height), min(tile[1], width))

        def attempt(tile: tuple[int, int]) -> list[Tensor]:
            plans = [self._plan((height, width), tile), self._plan((width, height), (tile[1], tile[0]))]
            with seeded(self.seed, self.network.device):
                return self._restore(images, plans)

        self.batch = min(self.batch, len(images[0]) * len(self._plan((height, width), tile)))
        while True:
            single = self.batch == 1
            try:
                return by_smaller_tiles(attempt, tile, self.network.device, self._give_up, shrink=self.shrink and single)
            except OutOfMemory:
                if single:
                    raise
            self.batch //= 2

    def _give_up(self, tile: tuple[int, int], reason: str) -> OutOfMemory:
        remedy = "exact=False" if self.exact or not self.shrink else "another device"
        return OutOfMemory(
            f"tiles of {tile[0]} x {tile[1]} in {self.network.dtype} do not fit into the memory of {self.network.device}, and "
            f"smaller ones cannot be had ({reason}); free memory, try {remedy}, or take a smaller model"
        )

    def _plan(self, size: tuple[int, int], tile: tuple[int, int]) -> Plan:
        reach = self.exact.reach if self.exact else None
        return plan_image(size, tile, self.network.spec, overlap=self.overlap, reach=reach, fit=self.fit)

    def _restore(self, images: Sequence[Tensor], plans: Sequence[Plan]) -> list[Tensor]:
        kinds = range(8 if self.ensemble else 1)
        sweeps = 1 + (self.exact.reductions if self.exact else 0)
        self.progress.begin(sum(len(image) * len(plans[kind % 2]) * sweeps for image in images for kind in kinds))
        results = []
        for image in images:
            total = self._restore_tiles(image, plans[0])
            for kind in kinds[1:]:
                total += turn_back(self._restore_tiles(turn(image, kind), plans[kind % 2]), kind)
            results.append(total.div_(8) if self.ensemble else total)
        return results

    def _restore_tiles(self, images: Tensor, plan: Plan) -> Tensor:
        """Restore (b, c, h, w); images and result stay where they are, only tiles go to the network's device."""
        network, scale = self.exact.network if self.exact else self.network, self.network.spec.scale
        rows = _strips(plan.rows, scale, plan.margin, network.full)
        columns = _strips(plan.columns, scale, plan.margin, network.full)
        height, width = images.shape[-2:]
        restored: Tensor | None = None
        # Images with a noise or with sums of their own go one by one; the tiles of others share calls.
        alone = self.exact is not None or network.spec.noise > 0
        for group in [range(n, n + 1) for n in range(len(images))] if alone else [range(len(images))]:
            noise = network.draw_noise()  # one for all tiles: with others than their neighbours' they would show
            if self.exact:
                self.exact.gather(images[group.start, None], plan, self.progress.advance, noise)
            for tiles in plan.batches(self.batch, group):
                cuts = torch.stack([images[number, :, rows[row].cut, columns[column].cut] for number, row, column in tiles])
                results = network(cuts, noise)
                if restored is None:
                    shape = (len(images), results.shape[1], scale * height, scale * width)
                    restored = torch.zeros(shape, dtype=network.full, device=images.device)
                for (number, row, column), result in zip(tiles, results, strict=True):
                    weight = (rows[row].weight[:, None] * columns[column].weight).to(result.device)
                    restored[number, :, rows[row].place, columns[column].place] += (result * weight).to(restored.device)
                self.progress.advance(len(tiles))
        assert restored is not None
        return restored


@dataclass(frozen=True)
class _Strip:
    """A tile along one axis: where it is cut, where its result goes, and with which weight."""

    cut: slice
    place: slice
    weight: Tensor


def _strips(spans: Sequence[Span], scale: int, margin: int, dtype: torch.dtype) -> list[_Strip]:
    places = [(scale * start, scale * stop) for start, stop in spans]
    weights = blend_weights(places, scale * margin, dtype)
    return [_Strip(slice(*span), slice(*place), weight) for span, place, weight in zip(spans, places, weights, strict=True)]


def turn(image: Tensor, kind: int) -> Tensor:
    """One of the eight flips and quarter turns of (..., h, w); odd ones exchange the sides, 0 changes nothing."""
    if kind & 4:
        image = image.flip(-1)
    return image.rot90(kind & 3, (-2, -1))


def turn_back(image: Tensor, kind: int) -> Tensor:
    """Undo `turn`."""
    image = image.rot90(-(kind & 3), (-2, -1))
    return image.flip(-1) if kind & 4 else image


@contextmanager
def seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    """Seed the generators of the CPU and of a device, and give them their states back at the end."""
    if seed is None:
        yield
        return
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # Not torch.manual_seed, which seeds every device.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif mps is not None:
            torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)
