"""Pairs for training: drawn from clean photographs, or random patches of stored pairs. For `torch.utils.data.DataLoader`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from restoralib.data.benchmark import Benchmark, Pair
from restoralib.data.patches import check_size, pair_generator, random_patch, random_patch_pair
from restoralib.data.photographs import random_integer, turn
from restoralib.data.reading import IMAGE_SUFFIXES, DatasetError, image_files, read_pixels, to_image
from restoralib.degradations import Chain, Degradation, Downsample, RoundToLevels, record
from restoralib.degradations.degradation import check_reduction

Degrade = Degradation | Callable[[torch.Generator], Degradation] | int
Photographs = str | os.PathLike[str] | Sequence[Path] | Mapping[str, Tensor] | Benchmark


class DrawnPair(NamedTuple):
    """A degraded patch, its clean one, and what was done: `degradation(clean[None])[0]` gives the degraded one again.

    Where the degradation states a target of its own (Real-ESRGAN's is sharpened), the clean patch is that.
    """

    degraded: Tensor
    clean: Tensor
    degradation: Degradation


def draw_pair(
    image: Tensor, degrade: Degrade, generator: torch.Generator, *, size: int | None = None, turned: bool = True
) -> DrawnPair:
    """Draw a patch of a clean image, and degrade it.

    Args:
        image: (c, h, w) in [0, 1].
        degrade: what draws a degradation from a generator: `Rain.draw`, or `partial(RealESRGANDegradation.draw, scale=4)`; a
            degradation, whose parameters and seed are then always the same; or a whole number, by which the patch is reduced
            by MATLAB's bicubic kernel and rounded to 8 bits.
        generator: source of all randomness.
        size: side of the clean patch; None for the whole image.
        turned: draw one of the eight flips and quarter turns, too.

    Raises:
        ValueError: the side is no multiple of the reduction, or that is below 1.
    """
    if isinstance(degrade, int):
        check_reduction(degrade)
    clean = image if size is None else random_patch(image, size, generator)
    if turned:
        clean = turn(clean, random_integer(8, generator)).contiguous()
    if isinstance(degrade, int) and (clean.shape[-2] % degrade or clean.shape[-1] % degrade):
        raise ValueError(
            f"sides of {tuple(clean.shape[-2:])} are no multiple of {degrade}; choose a size that is one, or cut the image"
        )
    degradation = degradation_of(degrade, generator)
    degraded = degradation(clean[None])[0]
    target = getattr(degradation, "target", None)
    return DrawnPair(degraded, clean if target is None else target(clean[None])[0], degradation)


def degradation_of(degrade: Degrade, generator: torch.Generator) -> Degradation:
    """The degradation that is meant: a given one, a drawn one, or the reduction by a whole number."""
    if isinstance(degrade, Degradation):
        return degrade
    if isinstance(degrade, int):
        return Chain((Downsample(float(degrade)), RoundToLevels(255)))
    return degrade(generator)


class CleanPairs(Dataset[dict[str, Any]]):
    """Random pairs from clean photographs.

    A pair depends on the seed and on its number alone: on no worker, no order and no epoch. So let `length` be the number of
    pairs of the whole run, or take another seed for every epoch; else every epoch shows the same pairs.

    Items are dictionaries that the DataLoader collates: `degraded` and `clean` as tensors, `name` of the photograph, `caption`
    (empty), and `record`, the degradation as JSON. `rebuild(json.loads(record))(clean[None])` gives the degraded patch again,
    where the clean one is not a target of its own.

    Args:
        photographs: a folder, image files, name -> (c, h, w) uint8 as `read_photographs` gives them, or a benchmark. Those in
            memory are some times faster.
        degrade: as for `draw_pair`.
        size: side of the clean patch, smaller images being mirrored; None for whole images.
        length: number of pairs; None for one of each photograph.
        seed: of all pairs.
        turned: flip and turn them at random.
        keep_gray: give grey photographs one channel instead of three equal ones.

    Raises:
        DatasetError: there is no photograph.
        ValueError: the size or the reduction is below 1.
    """

    def __init__(
        self,
        photographs: Photographs,
        degrade: Degrade,
        *,
        size: int | None = 256,
        length: int | None = None,
        seed: int = 0,
        turned: bool = True,
        keep_gray: bool = False,
    ) -> None:
        check_size(size)
        if isinstance(degrade, int):
            check_reduction(degrade)
        self.sources: list[tuple[str, Path | Tensor]] = []
        self.benchmark = photographs if isinstance(photographs, Benchmark) else None
        if isinstance(photographs, str | os.PathLike):
            folder = Path(photographs)
            if not folder.is_dir():
                raise DatasetError(f"{folder} is no folder; pass a folder of clean images")
            photographs = image_files(folder)
            if not photographs:
                raise DatasetError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        if isinstance(photographs, Mapping):
            self.sources += photographs.items()
        elif not isinstance(photographs, Benchmark):
            self.sources += [(Path(path).stem, Path(path)) for path in photographs]
        self.count = len(photographs)
        if self.count == 0:
            raise DatasetError("there are no photographs to draw pairs from")
        self.degrade = degrade
        self.size = size
        self.length = self.count if length is None else length
        self.seed = seed
        self.turned = turned
        self.keep_gray = keep_gray

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.length:
            raise IndexError(f"there are {self.length} pairs, not one of number {index}")
        name, pixels = self._photograph(index % self.count)
        generator = pair_generator(self.seed, index)
        if self.size is not None:  # Cut before the pixels become floating point: a photograph is much larger than a patch.
            pixels = random_patch(pixels, self.size, generator)
        image = to_image(pixels, keep_gray=self.keep_gray)
        pair = draw_pair(image, self.degrade, generator, turned=self.turned)
        done = json.dumps(record(pair.degradation))
        return {"degraded": pair.degraded, "clean": pair.clean, "name": name, "caption": "", "record": done}

    def _photograph(self, place: int) -> tuple[str, Tensor]:
        if self.benchmark is not None:
            pair = self.benchmark[place]
            if pair.clean is None:
                raise DatasetError(f"{self.benchmark.name} has no clean image of {pair.name}")
            return pair.name, pair.clean
        name, source = self.sources[place]
        pixels = source if isinstance(source, Tensor) else read_pixels(source)
        return name, to_image(pixels, keep_gray=True) if pixels.dtype == torch.uint16 else pixels


class StoredPairs(Dataset[dict[str, Any]]):
    """Random patches of stored pairs: paired folders, a CSV, or a benchmark's training split.

    What was said of `CleanPairs` of seeds, epochs and items holds here, too; `caption` is the pair's, `record` holds its facts.

    Args:
        pairs: `open_benchmark("pairs", ...)`, or any sequence of `Pair`.
        size: side of the degraded patch; None for whole images.
        length: number of patches; None for one of each pair.
        seed: of all patches.
        turned: flip and turn both sides alike, at random.

    Raises:
        DatasetError: there are no pairs.
        ValueError: the size is below 1.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        size: int | None = 256,
        length: int | None = None,
        seed: int = 0,
        turned: bool = True,
    ) -> None:
        check_size(size)
        if len(pairs) == 0:
            raise DatasetError("there are no pairs to take patches of")
        self.pairs = pairs
        self.size = size
        self.length = len(pairs) if length is None else length
        self.seed = seed
        self.turned = turned

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.length:
            raise IndexError(f"there are {self.length} patches, not one of number {index}")
        pair = self.pairs[index % len(self.pairs)]
        return pair_item(pair, self.size, pair_generator(self.seed, index), turned=self.turned)


def pair_item(pair: Pair, size: int | None, generator: torch.Generator, *, turned: bool = True) -> dict[str, Any]:
    """A patch of a stored pair as an item for the DataLoader.

    Args:
        pair: with both its images.
        size: side of the degraded patch; None for whole images.
        generator: source of all randomness.
        turned: flip and turn both sides alike.

    Raises:
        DatasetError: the pair lacks one image.
    """
    degraded, clean = pair.degraded, pair.clean
    if degraded is None or clean is None:
        raise DatasetError(
            f"{pair.name} has no {'degraded' if degraded is None else 'clean'} image; CleanPairs makes the former"
        )
    if size is not None:
        degraded, clean = random_patch_pair(degraded, clean, size, generator, turned=turned)
    elif turned:
        kind = random_integer(8, generator)
        degraded, clean = turn(degraded, kind), turn(clean, kind)
    facts = dict(pair.facts)
    return {
        "degraded": degraded.contiguous(),
        "clean": clean.contiguous(),
        "name": pair.name,
        "caption": str(facts.get("caption", "")),
        "record": json.dumps(facts),
    }
