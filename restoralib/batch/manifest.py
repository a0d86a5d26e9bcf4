"""What was done: a line of JSON for every image, in hidden files beside the results.

A run that was stopped goes by these lines and by the results that are there. Every process of a cluster writes a file of its
own, and all of them are read.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

MANIFEST = ".restoralib.jsonl"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A line of a manifest.

    Args:
        input: the resolved path of the image.
        output: the name of its result in the folder.
        status: whether there is one.
        seconds: of reading, restoring (a share of a call for several) and writing.
        error: why there is none.
        size: bytes of the input.
        mtime_ns: when the input was changed last, in nanoseconds.
    """

    input: str
    output: str
    status: Literal["restored", "failed"]
    seconds: float
    error: str | None = None
    size: int | None = None
    mtime_ns: int | None = None


class Manifest:
    """A file that takes lines from several threads.

    Args:
        folder: of the results.
        rank, world: which process of how many writes it.
    """

    def __init__(self, folder: Path, rank: int = 0, world: int = 1) -> None:
        name = MANIFEST if world == 1 else f".restoralib.{rank + 1}-of-{world}.jsonl"
        self.path = folder / name
        self._lock = threading.Lock()
        self._ends: bool | None = None  # whether the file ends with a whole line

    def add(self, entry: Entry) -> None:
        """Append a line. What cannot be written, on a full disk for one, is told once: results count without their lines."""
        # Names that are no text stay what they are by escapes.
        line = json.dumps(asdict(entry), ensure_ascii=True)
        with self._lock:
            try:
                if (self.path.is_symlink() or self.path.exists()) and not _own(self.path):
                    raise OSError("it is a link, or no file, and might lead out of the folder")
                if self._ends is None:
                    self._ends = _ends_with_a_line(self.path)
                with self.path.open("ab") as file:
                    file.write((b"" if self._ends else b"\n") + line.encode("ascii") + b"\n")
                self._ends = True
            except OSError as error:
                if self._ends is not False:
                    logger.warning("cannot write to %s (%s); what is done is told by the results alone", self.path, error)
                self._ends = False


def read_manifests(folder: Path) -> dict[Path, Entry]:
    """The last line of every result in a folder that was restored, by its resolved path."""
    entries: dict[Path, Entry] = {}
    try:
        files = sorted(filter(_own, folder.glob(".restoralib*.jsonl")))
    except OSError:
        return {}
    home = folder.resolve()
    for file in files:
        for line in file.read_bytes().splitlines():
            entry = _parse(line)
            if entry and entry.status == "restored":
                entries[home / entry.output] = entry
    return entries


def read_entries(folder: str | os.PathLike[str]) -> list[Entry]:
    """All lines of a folder's manifests, failures as well."""
    files = sorted(filter(_own, Path(folder).glob(".restoralib*.jsonl")))
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    return [entry for entry in map(_parse, lines) if entry]


def _own(file: Path) -> bool:
    """Whether a manifest is a file of the folder itself: a link would lead out of it, and a pipe would wait."""
    return file.is_file() and not file.is_symlink()


def _parse(line: bytes) -> Entry | None:
    """A line's entry; None for one that a killed process left unfinished, or that is none."""
    try:
        values: Any = json.loads(line)
        entry = Entry(**{field.name: values[field.name] for field in fields(Entry) if field.name in values})
    except (ValueError, TypeError, KeyError):
        return None
    plain = isinstance(entry.input, str) and isinstance(entry.output, str) and Path(entry.output).name == entry.output
    return entry if plain else None


def _ends_with_a_line(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, 2)
            return file.read() == b"\n"
    except (FileNotFoundError, OSError):
        return True  # there is none, or it is empty
