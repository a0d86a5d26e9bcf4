"""The state of a run as a file: there whole or not at all, and refused in words where it is of another network."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn


class StateError(ValueError):
    """A file of a run's state cannot be used; the message says why and what helps."""


def save_atomically(value: object, path: Path) -> None:
    """Write with torch.save so that the file is there whole or not at all.

    Raises:
        OSError: it cannot be written, for the disk is full, say; what was there before stays as it was.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        _discard(temporary)
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):  # torch's writer hides the reason in its own error
            cause = cause.__cause__ or cause.__context__
        number = cause.errno if isinstance(cause, OSError) else None
        reason = "the disk is full" if number == errno.ENOSPC else str(cause or error).partition("\n")[0]
        kept = "; the state that was saved before is still there" if path.exists() else ""
        raise OSError(
            number or errno.EIO,
            f"cannot save {path} ({reason}){kept}. Make room, and start the run again to go on from the last state",
        ) from error


def _discard(temporary: Path) -> None:
    # A directory that cannot be written to cannot be cleaned either; the first error tells more.
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def load_state(path: Path) -> dict[str, Any] | None:
    """The state of a run: "step", and "parts" by the names of the networks; None where there is no file.

    Raises:
        StateError: the file is damaged or holds something else.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch.load raises nearly anything on damaged files.
        reason = str(error).partition("\n")[0]
        raise StateError(f"{path} cannot be read as the state of a run ({reason}); delete it to begin anew") from error
    if isinstance(state, dict) and {"net", "average", "optimizer", "step"} <= state.keys():
        state = {"step": state.pop("step"), "parts": {"net": state}}  # the layout of runs with one network, until 0.6
    if not isinstance(state, dict) or not {"step", "parts"} <= state.keys():
        raise StateError(f"{path} holds no state of a run; delete it, or name another file, to begin anew")
    return state


def check_fit(path: Path, parts: Mapping[str, Any], nets: Mapping[str, nn.Module]) -> None:
    """Refuse the state of other networks than those that are trained.

    Raises:
        StateError: names, keys or shapes differ; the message tells the first difference.
    """
    remedy = "name another file for the state, or delete it to begin anew"
    if parts.keys() != nets.keys():
        raise StateError(f"{path} is the state of {', '.join(parts)}, this run trains {', '.join(nets)}; {remedy}")
    for name, net in nets.items():
        saved, own = parts[name]["net"], net.state_dict()
        for key in [*saved, *own]:
            there, here = (tuple(side[key].shape) if key in side else None for side in (saved, own))
            if there != here:
                found = f"has {key} {there}" if there is not None else f"has no {key}"
                wants = f"has {here}" if here is not None else "has none"
                raise StateError(f"{path} is of another network: it {found}, the one that is trained {wants}; {remedy}")
