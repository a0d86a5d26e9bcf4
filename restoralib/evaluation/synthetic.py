"""Sets of pairs made from clean photographs by generators that training does not know, drawn from a seed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from torch import Tensor

from restoralib.data import DatasetError, Pair
from restoralib.data.reading import fault, image_files, read_pixels, to_image
from restoralib.evaluation.generators import GENERATORS
from restoralib.evaluation.results import Failure
from restoralib.metrics import to_8_bits

LEAST = 30
"""Pairs of a set, where fewer photographs give several crops each."""
SMALLEST = 32
"""Side in pixels below which a photograph is no use."""


@dataclass(frozen=True)
class SyntheticPair(Pair):
    """A pair whose degraded image was made, and what is known of it beside `facts`.

    Args:
        kernel: of a blur that is the same everywhere, (k, k) with sum one; None for all else.
    """

    kernel: Tensor | None = None


class SyntheticPairs(Sequence[Pair]):
    """Pairs of a task, each made when it is asked for; equal arguments give equal pairs.

    Pair n is a crop at a place drawn from (seed, n) of photograph n, or n less the number of photographs as often as it takes,
    spoilt by the task's generator in `restoralib.evaluation.generators` and rounded to 8 bits, as a file would hold it.

    Args:
        task: a key of `GENERATORS`.
        folders: of clean photographs; one, or several.
        level: strength that all pairs share, in the generator's measure (sigma of "denoise", quality of "jpeg", …); None
            draws it.
        count: pairs; None takes one a photograph, and 30 at least.
        size: longest side of a crop in pixels.
        seed: of crops and degradations.
        keep: remember pairs once they are made, for several models; 1.5 MB each at the usual size.

    Raises:
        ValueError: the task is unknown, or size or count is not positive.
        DatasetError: a folder is missing, or none holds a photograph.
    """

    def __init__(
        self,
        task: str,
        folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        level: float | None = None,
        count: int | None = None,
        size: int = 256,
        seed: int = 0,
        keep: bool = False,
    ) -> None:
        if task not in GENERATORS:
            raise ValueError(f"no generator makes pairs of {task!r}; choose one of {', '.join(GENERATORS)}")
        if size < SMALLEST or (count is not None and count < 1):
            raise ValueError(f"size should be {SMALLEST} or more and count 1 or more, got {size} and {count}")
        if seed < 0:
            raise ValueError(f"seed should be 0 or more, got {seed}")
        places = [Path(folders)] if isinstance(folders, str | os.PathLike) else [Path(folder) for folder in folders]
        files, problems = [], []
        for place in places:
            if not place.is_dir():
                raise DatasetError(f"{place} is no folder; pass folders of clean photographs")
            for file in image_files(place):
                reason = fault(file)
                if reason is None:
                    files.append(file)
                else:
                    problems.append(Failure(str(file), reason))
        if not files:
            bad = f"; of {len(problems)} image files none can be read, {problems[0]}" if problems else ""
            raise DatasetError(f"{', '.join(map(str, places))} holds no clean photograph{bad}")
        self.task, self.level, self.size, self.seed = task, level, size, seed
        self.files = tuple(files)
        self.problems = tuple(problems)
        self._kept: dict[int, SyntheticPair] | None = {} if keep else None
        self.names = tuple(
            f"{number:03d}_{files[number % len(files)].stem}" for number in range(count or max(LEAST, len(files)))
        )

    @property
    def name(self) -> str:
        """What tables call it: the task, and its level where that is fixed."""
        return f"synthetic-{self.task}" + ("" if self.level is None else f"-{self.level:g}")

    @property
    def told(self) -> str:
        """How the pairs come to be, for a reader of figures."""
        drawn = "drawn" if self.level is None else f"{self.level:g}"
        return (
            f"pairs of {self.task} made by restoralib.evaluation.generators from {len(self.files)} photographs: "
            f"strength {drawn}, crops of {self.size} pixels, seed {self.seed}"
        )

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, item: int) -> SyntheticPair: ...
    @overload
    def __getitem__(self, item: slice) -> list[SyntheticPair]: ...
    def __getitem__(self, item: int | slice) -> SyntheticPair | list[SyntheticPair]:
        """A pair by its place, or the pairs of a slice.

        Raises:
            DatasetError: the photograph cannot be read, or is too small.
        """
        if isinstance(item, slice):
            return [self[place] for place in range(*item.indices(len(self)))]
        place = range(len(self))[item]
        if self._kept is None:
            return self._make(place)
        if place not in self._kept:
            self._kept[place] = self._make(place)
        return self._kept[place]

    def _make(self, place: int) -> SyntheticPair:
        clean = self._crop(place)
        spoilt = GENERATORS[self.task](clean, np.random.default_rng((self.seed, place, 1)), self.level)
        degraded = to_8_bits(spoilt.image[None])[0].float()
        facts = {"task": self.task, **spoilt.facts}
        return SyntheticPair(self.names[place], degraded, clean.float(), facts, spoilt.kernel)

    def _crop(self, place: int) -> Tensor:
        """The clean image of a pair, (3, h, w), float64."""
        file = self.files[place % len(self.files)]
        image = to_8_bits(to_image(read_pixels(file))[None])[0]
        height, width = image.shape[-2:]
        if min(height, width) < SMALLEST:
            raise DatasetError(f"{file} has {height}x{width} pixels; both sides should be {SMALLEST} or more")
        rng = np.random.default_rng((self.seed, place, 0))
        tall, wide = min(height, self.size), min(width, self.size)
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        return image[:, top : top + tall, left : left + wide].contiguous()


def open_synthetic(path: str, **options: Any) -> SyntheticPairs | None:
    """The pairs that "synthetic-TASK:FOLDER" or "synthetic-TASK-LEVEL:FOLDER" names; None for other texts.

    Args:
        path: the text.
        options: further arguments of `SyntheticPairs`.

    Raises:
        ValueError, DatasetError: as of `SyntheticPairs`.
    """
    found = re.fullmatch(r"synthetic-([A-Za-z_]+)(?:-(\d+(?:\.\d+)?))?:(.+)", path, re.DOTALL)
    if found is None:
        return None
    task, level, folder = found.groups()
    return SyntheticPairs(task, folder, level=None if level is None else float(level), **options)
