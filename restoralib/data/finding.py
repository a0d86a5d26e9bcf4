"""How the files of a set are found and paired: where each variant of a layout keeps them, and how names tell partners."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from restoralib.data.entry import Entry, ImageFile, Problem
from restoralib.data.reading import DatasetError, image_files

Files = dict[str, list[Path]]


@dataclass(frozen=True)
class Request:
    """What the caller asked of a layout.

    Args:
        root: the set's folder or file.
        split: a key of the layout's splits.
        scale: the super-resolution factor, 1 for none.
        image_column: of a table, the column of images.
        task_column: of a table, the column of tasks.
        clean: a folder of clean images that lies elsewhere.
    """

    root: Path
    split: str = "test"
    scale: int = 1
    image_column: str | None = None
    task_column: str | None = None
    clean: Path | None = None


@dataclass(frozen=True)
class Found:
    """The entries of a set, what is wrong with it, and which variant of its layout it has."""

    entries: Sequence[Entry]
    problems: Sequence[Problem] = ()
    variant: str = ""


@dataclass(frozen=True)
class Places:
    """Where one variant of a layout keeps its two sides.

    Folders are relative to the set's. In folders and stems {scale} and {split} are filled in, `*` stands for any text, and a
    difference in capitals is none. {name} in a stem is what partners have in common.

    Args:
        clean: folder of the clean images, or None.
        degraded: folder of the degraded images; None where they are to be made.
        clean_stem: names of the clean files, without suffix.
        degraded_stem: names of the degraded files.
        many: several degraded images share a clean one, and pairs are named after the degraded files.
        scenes: what a `*` in a folder stands for is a part of the name: SCENE-NAME.
        by_order: partners carry different names, and are told by their places in alphabetical order.
        splits: other words for {split} in this variant.
    """

    clean: str | None
    degraded: str | None = None
    clean_stem: str = "{name}"
    degraded_stem: str = "{name}"
    many: bool = False
    scenes: bool = True
    by_order: bool = False
    splits: Mapping[str, str] = field(default_factory=dict)

    def filled(self, request: Request) -> Places:
        """The same with scale and split put in."""
        split = self.splits.get(request.split, request.split)

        def fill(text: str) -> str:
            return text.replace("{scale}", str(request.scale)).replace("{split}", split)

        return replace(
            self,
            clean=None if self.clean is None else fill(self.clean),
            degraded=None if self.degraded is None else fill(self.degraded),
            clean_stem=fill(self.clean_stem),
            degraded_stem=fill(self.degraded_stem),
        )

    @property
    def scaled(self) -> bool:
        """Whether it is one for super-resolution only."""
        return any("{scale}" in text for text in (self.clean or "", self.degraded or "", self.clean_stem, self.degraded_stem))

    def __str__(self) -> str:
        sides = ((self.degraded, self.degraded_stem), (self.clean, self.clean_stem))
        return " + ".join(Path(folder, stem).as_posix() for folder, stem in sides if folder is not None)


def template(text: str) -> re.Pattern[str]:
    """The pattern of a template of names: {name} is its first group, `*` any text."""
    pattern = re.escape(text).replace(r"\{name\}", "(.+?)").replace(r"\*", ".*")
    return re.compile(pattern, re.IGNORECASE)


def folders(root: Path, pattern: str) -> list[Path]:
    """The folders under `root` that a relative pattern names, sorted; capitals make no difference."""
    if Path(pattern).is_absolute():
        return [Path(pattern)]
    found = [root]
    for part in Path(pattern).parts:
        wanted = template(part)
        found = [
            child
            for folder in found
            for child in sorted(folder.iterdir())
            if wanted.fullmatch(child.name) and child.is_dir() and not child.name.startswith(".")
        ]
    return found


def keyed(root: Path, pattern: str | None, stem: str = "{name}", *, scenes: bool = True) -> Files:
    """The image files of a pattern's folders by their keys: what {name} stands for, after what a folder's `*` stands for."""
    files: Files = {}
    if pattern is None:
        return files
    wanted = template(stem)
    for folder in folders(root, pattern):
        names = (
            []
            if "*" not in pattern
            else [
                actual
                for part, actual in zip(Path(pattern).parts, folder.relative_to(root).parts, strict=True)
                if scenes and "*" in part
            ]
        )
        for path in image_files(folder):
            if match := wanted.fullmatch(path.stem):
                files.setdefault("-".join([*names, match[1]]), []).append(path)
    return files


def find_pairs(request: Request, variants: Sequence[Places], *, names: Collection[str] = ()) -> Found:
    """Pair the files of the variant of which most is there.

    Args:
        request: what the caller asked.
        variants: in order of preference. The one with most pairs is taken; without any pair, the first with all that it asks
            for; without one, the first of which anything is there.
        names: of the pairs of the whole set, where they are known; those that are missing are reported one by one, unless the
            files carry other names altogether.

    Raises:
        DatasetError: no variant fits.
    """
    root = request.root
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder; pass the folder of the set")
    looked = [variant.filled(request) for variant in variants if request.scale > 1 or not variant.scaled]
    best: tuple[int, Places, Files, Files] | None = None
    for places in looked:
        clean = keyed(root, places.clean, places.clean_stem, scenes=places.scenes)
        degraded = keyed(root, places.degraded, places.degraded_stem, scenes=places.scenes)
        if places.by_order and len(clean) == len(degraded):
            clean = dict(zip(degraded, clean.values(), strict=True))
        if clean or degraded:
            whole = (clean or places.clean is None) and (degraded or places.degraded is None)
            rank = len(clean.keys() & degraded.keys()) + 1 if whole else 0
            if best is None or rank > best[0]:
                best = rank, places, clean, degraded
    if best is None:
        lines = "\n".join(f"  {places}" for places in looked)
        raise DatasetError(f"{root} holds none of the layouts that were looked for, each relative to it:\n{lines}")
    _, places, clean, degraded = best
    if places.by_order and len(clean) != len(degraded):
        sides = root / str(places.degraded), root / str(places.clean)
        raise DatasetError(
            f"{sides[0]} holds {len(degraded)} images and {sides[1]} {len(clean)}; they "
            "are paired in alphabetical order, which takes equal numbers: copy the missing ones"
        )
    entries, problems = pair(root, places, clean, degraded)
    return Found(entries, [*problems, *unnamed(entries, names)], str(places))


def find_own_pairs(request: Request) -> Found:
    """Pairs of one's own with the same names: two folders in one, or `request.clean` beside a folder of degraded images."""
    if request.clean is None:
        names = (("gt", "lq"), ("target", "input"), ("clean", "degraded"), ("high", "low"), ("sharp", "blur"), ("HR", "LR"))
        scaled = [Places(clean, degraded, degraded_stem="{name}x{scale}") for clean, degraded in names]
        return find_pairs(request, [*(Places(*sides) for sides in names), *scaled])
    if not request.clean.is_dir():
        raise DatasetError(f"{request.clean} is no folder; pass the folder of clean images")
    places = [Places(str(request.clean.resolve()), ".", degraded_stem=stem) for stem in ("{name}", "{name}x{scale}")]
    return find_pairs(request, places)


def pair(root: Path, places: Places, clean: Files, degraded: Files) -> tuple[list[Entry], list[Problem]]:
    """Entries of the files that two sides have by their keys, and what is wrong with them; a missing partner stays an entry."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    keys = list(degraded if places.many else dict.fromkeys([*clean, *degraded]))
    for key in sorted(keys, key=natural):
        truth = ImageFile(clean[key][0]) if key in clean else None
        if truth is None and places.clean is not None:
            truth = ImageFile(_partner(root, places.clean, clean, key, degraded[key][0]))
        problems += _doubles(clean.get(key, []))
        files = degraded.get(key, [])
        if places.degraded is None:
            entries.append(Entry(key, None, truth))
        elif places.many:
            stems: Files = {}
            for file in sorted(files, key=lambda file: natural(file.stem)):
                stems.setdefault(file.stem, []).append(file)
            for stem, same in stems.items():
                problems += _doubles(same)
                entries.append(Entry(stem, ImageFile(same[0]), truth))
        else:
            problems += _doubles(files)
            file = files[0] if files else _partner(root, places.degraded, degraded, key, clean[key][0])
            entries.append(Entry(key, ImageFile(file), truth))
    if places.many:
        problems += [Problem(files[0], "has no degraded image") for key, files in clean.items() if key not in degraded]
    return entries, problems + faults(entries)


def faults(entries: Sequence[Entry]) -> list[Problem]:
    """What is visibly wrong with the files of entries, each file once."""
    sources = {source.path: source for entry in entries for source in entry.sources}
    return [Problem(path, reason) for path, source in sources.items() if (reason := source.fault())]


def _doubles(files: Sequence[Path]) -> list[Problem]:
    return [Problem(file, f"has the same name as {files[0].name}, which is used") for file in files[1:]]


def _partner(root: Path, pattern: str, present: Files, key: str, other: Path) -> Path:
    """Where the missing partner of a file should lie: as its neighbours do."""
    for known, (file, *_) in present.items():
        scene, _, last = known.rpartition("-") if "*" in pattern else ("", "", known)
        wanted_scene, _, wanted = key.rpartition("-") if "*" in pattern else ("", "", key)
        if last in file.stem:
            path = file.with_name(file.name.replace(last, wanted, 1))
            return Path(str(path).replace(scene, wanted_scene, 1)) if scene else path
    return root / pattern / other.name


def unnamed(entries: Sequence[Entry], names: Collection[str]) -> list[Problem]:
    """The known names that no entry has; nothing where most entries have other names, for then the whole set's files may."""
    present = {entry.name: entry.sources[0].path for entry in entries}
    known = [name for name in names if name in present]
    if len(known) * 2 <= len(present):
        return []
    file = present[known[0]]
    return [Problem(file.with_name(file.name.replace(known[0], name)), "is missing") for name in names if name not in present]


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts 2 before 10."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part)
