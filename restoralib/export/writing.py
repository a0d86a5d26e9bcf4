"""Files that appear when they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place at the end; after an error neither is changed.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}; make it first, or name another file")
    part = path.with_name(f".{path.stem}.part{path.suffix}")  # torch wants the extension
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
