"""Checkpoints: read a file without running code in it, recognise the architecture, build it, load it strictly.

A `.safetensors` file is data by design. A `.pth` file is a Python pickle: torch's restricted unpickler alone reads it, and what
asks for more is refused. Nothing is built from a file before its claims fit its size.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from restoralib.archs.spec import Inferred, NetSpec
from restoralib.checkpoints.building import build, load_weights, skeleton, with_arguments
from restoralib.checkpoints.errors import (
    AmbiguousCheckpoint,
    CheckpointError,
    CheckpointWarning,
    DamagedCheckpoint,
    MissingCheckpoint,
    UnknownCheckpoint,
    UnsafeCheckpoint,
    naming,
)
from restoralib.checkpoints.interpolation import interpolate_weights
from restoralib.checkpoints.reading import read_checkpoint
from restoralib.checkpoints.recognition import recognize, recorded
from restoralib.checkpoints.writing import write_weights

__all__ = [
    "AmbiguousCheckpoint",
    "CheckpointError",
    "CheckpointWarning",
    "DamagedCheckpoint",
    "MissingCheckpoint",
    "UnknownCheckpoint",
    "UnsafeCheckpoint",
    "build",
    "check_agreement",
    "interpolate_weights",
    "load_model",
    "load_weights",
    "naming",
    "read_checkpoint",
    "recognize",
    "recorded",
    "settle",
    "skeleton",
    "with_arguments",
    "write_weights",
]


def load_model(
    path: str | PathLike[str],
    *,
    arch: str | None = None,
    key: str | None = None,
    prefix: str | None = None,
    device: str | torch.device = "cpu",
    **unrecorded: Any,
) -> nn.Module:
    """Load a checkpoint; its weights tell the architecture and the constructor's arguments.

    Args:
        path: a `.safetensors`, `.pth`, `.pt` or `.ckpt` file.
        arch: name of an architecture ("nafnet") or of a class ("NAFNetLocal") where the weights fit more than one.
        key: which entry of the file holds the weights ("params"), where the preferred one (averaged weights) is not wanted.
        prefix: what the names of the wanted weights begin with, where the file holds several networks ("first_stage_model").
        device: where to put the network.
        unrecorded: constructor arguments that no weight tells, such as FSRCNN's `scale_factor`; `scale` is another name of it.
            Of others, too, the caller's value counts where the weights fit it.

    Returns:
        The network in eval mode, float32.

    Raises:
        UnknownCheckpoint: no architecture has these weights; the error names the nearest. A MissingCheckpoint is one, too.
        AmbiguousCheckpoint: an argument is needed that no weight tells; the error names it.
        UnsafeCheckpoint: the file could run code.
        DamagedCheckpoint: the file is truncated, of another kind, or makes absurd claims.
        ValueError: an argument contradicts the file; every CheckpointError is one, too.
        TypeError: the network has no such argument.

    Warns:
        CheckpointWarning: a conventional value stands in for what no weight tells, or weights are not finite.
    """
    state_dict, metadata = read_checkpoint(path, key=key, prefix=prefix)
    with naming(Path(path)):
        certain = recorded(metadata)
        if certain and arch not in (None, metadata["arch"], metadata["class"]):
            raise ValueError(f"{path} holds a {metadata['class']}, so arch={arch!r} cannot be; leave it out")
        told = certain or recognize(state_dict, arch=arch)
        given = _named(told.cls, unrecorded)
        if certain:
            check_agreement(certain, given)
        config = settle(told, given)
        try:
            return build(told.cls, config, state_dict).to(device)
        except CheckpointError as error:
            # Shapes often allow several values of an argument; it contradicts the file only where the weights do not fit.
            spec: Any = skeleton(told.cls, config).spec if isinstance(error, UnknownCheckpoint) else NetSpec()
            likely_first = sorted(given.items(), key=lambda item: item[0] in spec.unrecorded)
            check_agreement(told, dict(likely_first))
            raise


def check_agreement(told: Inferred, given: Mapping[str, Any]) -> None:
    """Check that arguments are those that a file tells.

    Raises:
        ValueError: one is another.
    """
    for argument, value in given.items():
        was = told.config.get(argument, value)
        if argument not in told.assumed and _as_list(value) != _as_list(was):
            raise ValueError(f"the file tells {argument}={was!r}, so {argument}={value!r} cannot be; leave it out")


def settle(told: Inferred, given: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments: what the caller gives, what the file tells, what a convention says.

    Raises:
        AmbiguousCheckpoint: an argument is missing.

    Warns:
        CheckpointWarning: a convention decides.
    """
    name = told.cls.__name__
    missing = [argument for argument in told.missing if argument not in given]
    if missing:
        call = ", ".join(f"{argument}=…" for argument in missing)
        raise AmbiguousCheckpoint(f"no weight of a {name} tells {' or '.join(missing)}; say it: load_model(path, {call})")
    for argument, reason in told.assumed.items():
        if argument not in given:
            value = told.config.get(argument, name)
            message = f"no weight tells {argument}; {argument}={value!r} is assumed ({reason}). Say it, to be sure"
            warnings.warn(message, CheckpointWarning, stacklevel=3)
    return {**told.config, **given}


def _named(cls: type[nn.Module], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names that the class has for them: `scale` is another name of its enlargement.

    Raises:
        TypeError: the class has no such argument.
    """
    parameters = inspect.signature(cls).parameters
    scale = next((own for own in ("scale", "scale_factor", "upscale", "up_scale") if own in parameters), "scale")
    named = {scale if argument == "scale" else argument: value for argument, value in given.items()}
    unknown = next((argument for argument in named if argument not in parameters), None)
    if unknown is not None:
        raise TypeError(f"{cls.__name__} has no argument {unknown}; its arguments are {', '.join(parameters)}")
    return named


def _as_list(value: Any) -> Any:
    return [_as_list(item) for item in value] if isinstance(value, (list, tuple)) else value
