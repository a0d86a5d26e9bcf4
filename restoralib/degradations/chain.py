"""Degradations one after the other, and records of them as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.degradation import Degradation


@dataclass(frozen=True)
class Chain(Degradation):
    """Degradations one after the other.

    Args:
        steps: what is done, in order; none leaves the image as it is.
    """

    steps: tuple[Degradation, ...] = ()

    def __call__(self, image: Tensor) -> Tensor:
        for step in self.steps:
            image = step(image)
        return image

    @classmethod
    def draw(cls, generator: torch.Generator) -> Self:
        """The empty chain: what to chain is for a pipeline to draw."""
        return cls()


def record(degradation: Degradation) -> dict[str, Any]:
    """A degradation as plain data for JSON: its class's name under "kind", and its parameters.

    Raises:
        TypeError: a parameter is called kind, which would take the place of the class's name.
    """
    name = type(degradation).__name__
    names = [field.name for field in fields(degradation)]  # type: ignore[arg-type]
    if "kind" in names:
        raise TypeError(f"{name} has a field 'kind', under which its record keeps the class's name; call the field otherwise")
    return {"kind": name} | {field: _plain(getattr(degradation, field)) for field in names}


def rebuild(data: Mapping[str, Any], kinds: Mapping[str, type[Degradation]] | None = None) -> Degradation:
    """The degradation of a record.

    Args:
        data: what `record` gave, also after a way through JSON.
        kinds: the classes that may be named; None for all of the library, `DEGRADATIONS`.

    Raises:
        ValueError: it is no record, the kind is unknown, or its parameters are others.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"expected a record, a mapping with the class's name under 'kind', got {type(data).__name__}")
    if kinds is None:
        from restoralib.degradations import DEGRADATIONS

        kinds = DEGRADATIONS
    kind = str(data.get("kind"))
    if kind not in kinds:
        raise ValueError(f"unknown degradation {kind!r}; expected one of {', '.join(sorted(kinds))}")
    values = {name: _rich(value, kinds) for name, value in data.items() if name != "kind"}
    try:
        return kinds[kind](**values)
    except TypeError as error:
        raise ValueError(f"a record of {kind} has other parameters than {sorted(values)}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Degradation):
        return record(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _rich(value: Any, kinds: Mapping[str, type[Degradation]]) -> Any:
    if isinstance(value, Mapping):
        return rebuild(value, kinds)
    return tuple(_rich(item, kinds) for item in value) if isinstance(value, list) else value
