"""Batches of items that are drawn by number, and patches that grow in the course of a training.

Item number n depends on the seed and on n alone: on no worker, no process and no batch. So one process with a batch of 16,
two with batches of 8, and one that accumulates two batches of 8 see the same items in every step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from restoralib.data.benchmark import Pair
from restoralib.data.cutblur import cut_blur
from restoralib.data.patches import mirrored_to, pair_generator, random_patch, random_patch_pair
from restoralib.data.photographs import random_integer, turn
from restoralib.data.training_pairs import Degrade, draw_pair, pair_item
from restoralib.ops.color import rgb_to_y
from restoralib.training.loop import Share

Draw = Callable[[int, int], Mapping[str, Tensor]]
"""An item by its number and the side of its patch."""

More = Callable[[Tensor, torch.Generator], Mapping[str, Tensor]]
"""What is drawn for an item beside its patches, from the clean patch and the item's generator."""


@dataclass(frozen=True)
class Stage:
    """A stretch of training with patches of one size.

    Args:
        start: its first step.
        patch: side of the network's input.
        batch: items to a step, or to what one process takes of it at once.
    """

    start: int
    patch: int
    batch: int


RESTORMER_STAGES = (
    Stage(0, 128, 64),
    Stage(92_000, 160, 40),
    Stage(156_000, 192, 32),
    Stage(204_000, 256, 16),
    Stage(240_000, 320, 8),
    Stage(276_000, 384, 8),
)
"""Restormer's progressive learning of 300,000 steps (arXiv:2111.09881, section 4); batches are those of all GPUs together."""


def scaled_stages(stages: Sequence[Stage], *, steps: tuple[int, int], patch: int, batch: int) -> tuple[Stage, ...]:
    """Stages for a shorter run, smaller patches or smaller batches, in the same proportions.

    Args:
        stages: of the whole training.
        steps: of the run and of the whole training.
        patch: of the first stage; those that follow are rounded to multiples of 8, where the first one is, too.
        batch: of the first stage; at least 1 in all.
    """
    unit = 8 if patch % 8 == 0 else 1
    return tuple(
        Stage(
            round(stage.start * steps[0] / steps[1]),
            max(1, round(patch * stage.patch / stages[0].patch / unit)) * unit,
            max(1, round(batch * stage.batch / stages[0].batch)),
        )
        for stage in stages
    )


@dataclass(frozen=True)
class Batches:
    """The source of batches for `train_together`: dictionaries of tensors on a device.

    Args:
        draw: makes an item.
        stages: by their first steps, the first at 0.
        device: where batches go.
        workers: processes that draw; 0 to draw in this one.

    Raises:
        ValueError: the stages are none, do not begin at 0 or are not in order.
    """

    draw: Draw
    stages: tuple[Stage, ...]
    device: torch.device | str = "cpu"
    workers: int = 0

    def __post_init__(self) -> None:
        starts = [stage.start for stage in self.stages]
        if not starts or starts[0] != 0 or starts != sorted(starts):
            raise ValueError(f"stages should begin at step 0 and be in order, got {starts}")
        if any(stage.batch < 1 or stage.patch < 1 for stage in self.stages):
            raise ValueError(f"batches and patches should be at least 1, got {self.stages}")

    def stage_at(self, step: int) -> Stage:
        """The stage that a step belongs to."""
        return [stage for stage in self.stages if stage.start <= step][-1]

    def __call__(self, step: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """Batches from a step on."""
        if self.workers:
            loader: Any = DataLoader(
                _Items(self.draw),
                batch_sampler=self._numbers(step, share),  # type: ignore[arg-type]
                num_workers=self.workers,
                collate_fn=_stacked,
                pin_memory=torch.device(self.device).type == "cuda",
            )
        else:
            loader = (_stacked([self.draw(*item) for item in items]) for items in self._numbers(step, share))
        for batch in loader:
            yield {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

    def _numbers(self, step: int, share: Share) -> Iterator[list[tuple[int, int]]]:
        """Numbers and sides of the items of each batch."""
        parts = share.world * share.accumulate
        first = parts * sum(self.stage_at(earlier).batch for earlier in range(step))
        for now in itertools.count(step):
            stage = self.stage_at(now)
            for part in range(share.accumulate):
                begin = first + (part * share.world + share.rank) * stage.batch
                yield [(number, stage.patch) for number in range(begin, begin + stage.batch)]
            first += parts * stage.batch


class _Items(Dataset[Mapping[str, Tensor]]):
    """Items by (number, side) for the DataLoader."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def __getitem__(self, item: tuple[int, int]) -> Mapping[str, Tensor]:
        return self.draw(*item)


def _stacked(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


@dataclass(frozen=True)
class CleanPatches:
    """Clean patches of photographs, flipped and turned: items with "clean", (3, patch, patch) in [0, 1].

    Args:
        photographs: (3, h, w) each, uint8.
        more: what else is drawn for an item, from its clean patch and its generator: times and noise of a diffusion.
        seed: of all items.
    """

    photographs: Sequence[Tensor]
    more: More | None = None
    seed: int = 0

    def __call__(self, number: int, patch: int) -> dict[str, Tensor]:
        generator = pair_generator(self.seed, number)
        photograph = self.photographs[random_integer(len(self.photographs), generator)]
        clean = turn(random_patch(photograph, patch, generator), random_integer(8, generator)).float() / 255
        return {"clean": clean.contiguous(), **(self.more(clean, generator) if self.more else {})}


@dataclass(frozen=True)
class DegradedPatches:
    """Patches of photographs, flipped and turned, with degraded ones: items with "degraded" and "clean".

    Args:
        photographs: (3, h, w) each, uint8.
        degrade: what makes the degraded patch, as `restoralib.data.draw_pair` takes it.
        scale: how many times smaller that is.
        color: "rgb", "y" for the luma, "gray" for the mean of the channels.
        around: side of the piece of the photograph that is degraded, of which the patch is cut afterwards; None for the patch.
        mix: probability of CutBlur.
        more: as for `CleanPatches`.
        seed: of all items.
    """

    photographs: Sequence[Tensor]
    degrade: Degrade
    scale: int = 1
    color: str = "rgb"
    around: int | None = None
    mix: float = 0.0
    more: More | None = None
    seed: int = 0

    def __call__(self, number: int, patch: int) -> dict[str, Tensor]:
        generator = pair_generator(self.seed, number)
        photograph = self.photographs[random_integer(len(self.photographs), generator)]
        side = max(self.around or 0, self.scale * patch)
        image = colored(random_patch(photograph, side, generator).float() / 255, self.color)
        degraded, clean, _ = draw_pair(image, self.degrade, generator)
        if side > self.scale * patch:
            degraded, clean = random_patch_pair(degraded, clean, patch, generator, turned=False)
        if self.mix and float(torch.rand((), generator=generator)) < self.mix:
            degraded = cut_blur(degraded, clean, generator)
        item = {"degraded": degraded.contiguous(), "clean": clean.contiguous()}
        return {**item, **(self.more(clean, generator) if self.more else {})}


@dataclass(frozen=True)
class StoredPatches:
    """Patches of stored pairs, flipped and turned: items with "degraded" and "clean".

    Args:
        pairs: with both images.
        seed: of all items.
    """

    pairs: Sequence[Pair]
    seed: int = 0

    def __call__(self, number: int, patch: int) -> dict[str, Tensor]:
        generator = pair_generator(self.seed, number)
        item = pair_item(self.pairs[random_integer(len(self.pairs), generator)], patch, generator)
        return {side: item[side] for side in ("degraded", "clean")}


def colored(image: Tensor, color: str) -> Tensor:
    """An RGB image as a network of this colour takes it."""
    if color == "rgb":
        return image
    return rgb_to_y(image) if color == "y" else image.mean(0, keepdim=True)


def held_out_pairs(
    photographs: Sequence[Tensor], degrade: Degrade, *, scale: int = 1, color: str = "rgb", side: int = 256, most: int = 16
) -> list[tuple[Tensor, Tensor]]:
    """Pairs (degraded, clean) to validate on: the same at every time, of the middle of the photographs.

    Args:
        photographs: those held out.
        degrade: as for `DegradedPatches`.
        scale: likewise.
        color: likewise.
        side: of the clean images, cut down to a multiple of the scale where a photograph has less.
        most: how many.
    """
    pairs = []
    for number, photograph in enumerate(itertools.islice(photographs, most)):
        image = mirrored_to(photograph, scale, scale)
        height, width = (min(side, length) // scale * scale for length in image.shape[-2:])
        top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
        image = colored(image[:, top : top + height, left : left + width].float() / 255, color)
        pair = draw_pair(image, degrade, pair_generator(-1, number), turned=False)
        pairs.append((pair.degraded, pair.clean))
    return pairs
