"""Networks without weights, kept: configurations that were published under several names are built once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from restoralib.checkpoints import skeleton

Net = TypeVar("Net", bound=nn.Module)
_MOST = 24  # networks that are kept, among them those of the random configurations
_kept: dict[tuple[type, str], nn.Module] = {}


def outline(cls: type[Net], config: Mapping[str, Any]) -> Net:
    """The network on the meta device, in the state that building leaves it in; to be read only."""
    key = (cls, repr(sorted(config.items())))
    if key not in _kept:
        while len(_kept) >= _MOST:
            del _kept[next(iter(_kept))]
        _kept[key] = skeleton(cls, config)
    return _kept[key]
