"""What can be wrong with a checkpoint, and the words that say it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from restoralib.archs.spec import StateDict


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded."""


class UnknownCheckpoint(CheckpointError):
    """No architecture here has these weights."""


class MissingCheckpoint(UnknownCheckpoint, FileNotFoundError):
    """There is no such file."""


class AmbiguousCheckpoint(CheckpointError):
    """The file leaves something open that the caller has to say."""


class UnsafeCheckpoint(CheckpointError):
    """The file holds more than weights, and reading it could run code."""


class DamagedCheckpoint(CheckpointError):
    """The file is not what its format says: truncated, another kind of file, or absurd."""


class CheckpointWarning(UserWarning):
    """Something was assumed that no weight tells, or weights are not finite."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Begin the text of every CheckpointError with the path."""
    try:
        yield
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__


def difference(own: StateDict, given: StateDict) -> str:
    """The keys and shapes in which weights differ from those of a network; empty where they fit."""
    common = [key for key in own if key in given]
    findings = {
        "missing": [key for key in own if key not in given],
        "unexpected": [key for key in given if key not in own],
        "of another shape": [
            f"{key} is {_shape(given[key])} and should be {_shape(own[key])}"
            for key in common
            if _shape(own[key]) != _shape(given[key])
        ],
    }
    return "; ".join(f"{len(keys)} {kind}: {listing(keys)}" for kind, keys in findings.items() if keys)


def _shape(value: Tensor) -> str:
    return f"{tuple(value.shape)}{'' if value.is_floating_point() else ' of whole numbers'}"


def listing(names: Sequence[object], count: int = 10) -> str:
    """The first names and the number of the others; a file may have any number of names, of any length."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(clip(name) for name in names[:count]) + more


def clip(value: object, length: int = 120) -> str:
    """The beginning of a value's text."""
    text = str(value)
    return text if len(text) <= length else text[:length] + "…"
