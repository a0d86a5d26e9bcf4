"""What a set consists of before anything is read: entries with the places of their two images, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from restoralib.data.reading import fault, read_pixels


@dataclass(frozen=True)
class Problem:
    """One file that is missing or cannot be used.

    Args:
        file: the file, or the folder where it should lie.
        reason: what is wrong, as the end of a sentence that begins with the file.
    """

    file: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.file} {self.reason}"


class Source(Protocol):
    """Where one image lies: in a file of its own, or as a part of a larger one."""

    @property
    def path(self) -> Path:
        """The file."""

    def read(self) -> Tensor:
        """The pixels, (c, h, w), of uint8, uint16 or floating point; DatasetError where that is impossible."""

    def fault(self) -> str | None:
        """What is wrong with it at first sight, or None."""


@dataclass(frozen=True)
class ImageFile:
    """An image in a file of its own."""

    path: Path

    def read(self) -> Tensor:
        """The file's pixels."""
        return read_pixels(self.path)

    def fault(self) -> str | None:
        """What its first and last bytes tell."""
        return fault(self.path)


@dataclass(frozen=True)
class Entry:
    """One pair, unread.

    Args:
        name: unique in the set.
        degraded: None where the image is to be made from the clean one.
        clean: None where no truth is published.
        facts: what is known beside the pixels.
    """

    name: str
    degraded: Source | None
    clean: Source | None
    facts: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Those of its two images that are stored."""
        return tuple(source for source in (self.degraded, self.clean) if source is not None)
