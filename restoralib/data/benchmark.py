"""Benchmarks as sequences of named pairs, whatever the layout of their files, with what is missing told file by file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from torch import Tensor

from restoralib.data.adapting import Adapt, cut_to_scale
from restoralib.data.entry import Entry, Problem
from restoralib.data.finding import Request
from restoralib.data.layouts import LAYOUTS, Layout
from restoralib.data.reading import DatasetError, to_image

__all__ = ["LAYOUTS", "Benchmark", "DatasetError", "Layout", "Pair", "Problem", "get_layout", "open_benchmark"]

_SHOWN = 20  # Problems that a message spells out.


@dataclass(frozen=True)
class Pair:
    """A degraded image and its truth.

    Args:
        name: unique in the set, without suffix.
        degraded: (c, h, w), float32 in [0, 1]; None where it is to be made from the clean one.
        clean: (c, s*h, s*w); None where there is no truth.
        facts: what is known beside the pixels: a caption, a task, the scene.
    """

    name: str
    degraded: Tensor | None
    clean: Tensor | None
    facts: Mapping[str, str | float] = field(default_factory=dict)


class Benchmark(Sequence[Pair]):
    """Pairs of a set, each read when it is asked for; a slice is a smaller set.

    Asking for a pair one of whose files is missing or damaged raises DatasetError with the file's name. It can be pickled, as
    workers of a DataLoader need it.

    Args:
        name: of the set.
        entries: the pairs, unread.
        protocol: key of `restoralib.metrics.PROTOCOLS` by which its papers measure; None where no such protocol fits.
        scale: the super-resolution factor, 1 for none.
        tasks: what it is a benchmark of, by the names that `restore()` takes.
        problems: files that are missing or unusable at first sight.
        keep_gray: give grey images one channel instead of three equal ones.
        adapt: what the papers do to both images before they measure.
        variant: which of the layout's variants was found.
    """

    def __init__(
        self,
        name: str,
        entries: Sequence[Entry],
        *,
        protocol: str | None = None,
        scale: int = 1,
        tasks: Sequence[str] = (),
        problems: Sequence[Problem] = (),
        keep_gray: bool = False,
        adapt: Adapt | None = None,
        variant: str = "",
    ) -> None:
        self.name = name
        self.entries = tuple(entries)
        self.protocol = protocol
        self.scale = scale
        self.tasks = tuple(tasks)
        self.problems = tuple(problems)
        self.keep_gray = keep_gray
        self.adapt = adapt
        self.variant = variant
        self._places = {entry.name: place for place, entry in enumerate(self.entries)}
        if len(self._places) < len(self.entries):
            names = [entry.name for entry in self.entries]
            double = next(name for name in names if names.count(name) > 1)
            raise DatasetError(f"{name}: the name {double!r} stands for several pairs; give each its own")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all pairs, in order."""
        return tuple(self._places)

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, item: int | str) -> Pair: ...
    @overload
    def __getitem__(self, item: slice) -> Benchmark: ...
    def __getitem__(self, item: int | str | slice) -> Pair | Benchmark:
        """A pair by its place or its name, or a smaller set by a slice."""
        if isinstance(item, slice):
            return self._part(self.entries[item])
        if isinstance(item, str):
            if item not in self._places:
                near = difflib.get_close_matches(item, self.names, 3) or self.names[:3]
                raise KeyError(f"{self.name} has no pair {item!r}; did you mean {', '.join(near)}")
            item = self._places[item]
        return self._read(self.entries[item])

    def __iter__(self) -> Iterator[Pair]:
        return map(self._read, self.entries)

    def __repr__(self) -> str:
        return (
            f"Benchmark({self.name!r}, {len(self)} pairs, scale={self.scale}, protocol={self.protocol!r}, "
            f"{len(self.problems)} problems)"
        )

    def check(self) -> None:
        """Raise DatasetError with the list of problems, where there are any."""
        if self.problems:
            raise DatasetError(problem_list(self.name, self.problems), self.problems)

    def verify(self) -> tuple[Problem, ...]:
        """Read every pair, and give the problems that show then besides those known; slow, for it decodes everything."""
        found = list(self.problems)
        known = {problem.file for problem in found}
        for entry in self.entries:
            if not any(source.path in known for source in entry.sources):
                try:
                    self._read(entry)
                except DatasetError as error:
                    paths = [source.path for source in entry.sources]
                    path = next((path for path in paths if str(path) in str(error)), paths[0])
                    found.append(Problem(path, f"cannot be used: {error}"))
        return tuple(found)

    def _part(self, entries: Sequence[Entry]) -> Benchmark:
        return Benchmark(
            self.name,
            entries,
            protocol=self.protocol,
            scale=self.scale,
            tasks=self.tasks,
            keep_gray=self.keep_gray,
            adapt=self.adapt,
            variant=self.variant,
        )

    def _read(self, entry: Entry) -> Pair:
        degraded, clean = (
            None if source is None else to_image(source.read(), keep_gray=self.keep_gray)
            for source in (entry.degraded, entry.clean)
        )
        if self.adapt is not None:
            degraded, clean = self.adapt(degraded, clean)
        if clean is not None and self.scale > 1:
            if min(clean.shape[1:]) < self.scale:
                raise DatasetError(
                    f"{entry.sources[-1].path} has {tuple(clean.shape[1:])} pixels, less than the scale {self.scale}"
                )
            clean = cut_to_scale(clean, self.scale, degraded)
        if degraded is not None and clean is not None:
            wanted = tuple(side * self.scale for side in degraded.shape[1:])
            if wanted != tuple(clean.shape[1:]):
                raise DatasetError(
                    f"{self.name} {entry.name}: the degraded image is {tuple(degraded.shape[1:])} and the clean one "
                    f"{tuple(clean.shape[1:])}, which do not belong together at scale {self.scale}; "
                    f"see {' and '.join(str(source.path) for source in entry.sources)}"
                )
            if degraded.shape[0] != clean.shape[0]:  # One is grey, the other stored in colour.
                degraded, clean = degraded.expand(3, -1, -1), clean.expand(3, -1, -1)
        return Pair(entry.name, degraded, clean, entry.facts)


def problem_list(name: str, problems: Sequence[Problem]) -> str:
    """What is wrong with a set, one file a line."""
    lines = [f"  {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  and {len(problems) - _SHOWN} more")
    return "\n".join([f"{name} has {len(problems)} problem{'s' * (len(problems) > 1)}:", *lines])


def get_layout(name: str) -> Layout:
    """The layout of a name; capitals, hyphens and underscores make no difference, and B100 is BSD100.

    Raises:
        ValueError: there is none; the error names the nearest.
    """
    plain = _plain(name)
    names = {_plain(key): key for key in LAYOUTS} | {_plain(alias): key for alias, key in _ALIASES.items()}
    if plain not in names:
        near = [names[match] for match in difflib.get_close_matches(plain, names, 3)]
        words = ", ".join(dict.fromkeys(near or LAYOUTS))
        raise ValueError(f"unknown layout {name!r}; {'did you mean' if near else 'choose one of'} {words}")
    return LAYOUTS[names[plain]]


def open_benchmark(
    layout: str,
    path: str | os.PathLike[str],
    *,
    scale: int | None = None,
    split: str | None = None,
    clean: str | os.PathLike[str] | None = None,
    keep_gray: bool | None = None,
    image_column: str | None = None,
    task_column: str | None = None,
    strict: bool = False,
) -> Benchmark:
    """Open a benchmark that lies on disk. Nothing is downloaded.

    Args:
        layout: a name of `LAYOUTS`: a benchmark's, or "folder", "pairs", "csv".
        path: the set's folder, or its file.
        scale: the super-resolution factor. Clean images are cut to a multiple of it; where the set holds reduced images for it,
            they are the degraded ones, and otherwise those are None.
        split: "test", "train" or "validation", where the layout has several; None takes the first that it lists.
        clean: for "pairs", the folder of clean images; `path` is that of the degraded ones then. None looks for both in `path`.
        keep_gray: give grey images one channel instead of three equal ones; None does so where the papers score raw grey.
        image_column: for tables (RealIR-Bench), the column of images; None finds it by its type.
        task_column: for tables, the column of tasks; None looks for one, and for the task in the file names.
        strict: raise DatasetError where anything is missing, instead of listing it under `problems`.

    Raises:
        ValueError: the layout is unknown, or has no such split, scale or option.
        DatasetError: nothing of the layout is found there; with `strict`, something is missing.
    """
    plan = get_layout(layout)
    root = Path(path)
    if not root.exists():
        raise DatasetError(f"{root} does not exist; the current directory is {Path.cwd()}")
    if split is not None and split not in plan.splits:
        raise ValueError(f"{plan.name} has the splits {', '.join(plan.splits)}, not {split!r}")
    if scale is not None and (isinstance(scale, bool) or not isinstance(scale, int) or scale < 1):
        raise ValueError(f"scale should be a whole number from 1, got {scale!r}")
    if scale is not None and scale > 1 and not plan.scaled:
        raise ValueError(f"{plan.name} is no set for super-resolution; leave scale={scale} out")
    if (image_column or task_column) and not plan.tabular:
        raise ValueError(f"{plan.name} has no columns; image_column and task_column are for tables, such as realir_bench")
    if clean is not None and plan.name != "pairs":
        raise ValueError(f"{plan.name} has its clean images in its own folder; clean= is for the layout pairs")
    split = split or next(iter(plan.splits))
    request = Request(root, split, scale or 1, image_column, task_column, None if clean is None else Path(clean))
    found = plan.find(request)
    tasks = plan.tasks
    if plan.scaled and request.scale > 1:
        tasks = (f"sr{request.scale}",)
    elif stated := {str(entry.facts["task"]) for entry in found.entries if "task" in entry.facts}:
        tasks = tuple(sorted(stated))
    protocol = plan.protocol if request.scale > 1 or not plan.plain_protocol else plan.plain_protocol
    benchmark = Benchmark(
        plan.name,
        found.entries,
        protocol=protocol if any(entry.clean for entry in found.entries) else None,
        scale=request.scale,
        tasks=tasks,
        problems=[*found.problems, *plan.count_problems(request, len(found.entries))],
        keep_gray=plan.keep_gray or protocol == "classic-luma" if keep_gray is None else keep_gray,
        adapt=plan.adapt,
        variant=found.variant,
    )
    if strict:
        benchmark.check()
    return benchmark


_ALIASES = {"b100": "bsd100"}


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
