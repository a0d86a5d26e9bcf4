"""Weights as a safetensors file that `load_model` reads back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from restoralib.archs import ARCHITECTURES
from restoralib.checkpoints import CheckpointError, CheckpointWarning, recognize, skeleton, write_weights
from restoralib.export.description import Description, Sizes, describe, spec_of
from restoralib.export.writing import replacing


def export_safetensors(
    model: nn.Module,
    path: str | PathLike[str],
    *,
    config: Mapping[str, Any] | None = None,
    half: bool = False,
    name: str | None = None,
    licence: str | None = None,
) -> Description:
    """Write a network's weights with all that `load_model` needs to build it again, and a description for people.

    Args:
        model: a network of restoralib.
        path: the `.safetensors` file to write.
        config: the constructor's arguments; None to take those with which `load_model` or `create_model` built it, or those
            that the weights tell.
        half: store as float16, which halves the file; loading gives float32 again.
        name: of the model; that of its class, if it is left out.
        licence: SPDX identifier of the weights' licence.

    Returns:
        What the file says of itself.

    Raises:
        ValueError: arguments are not told, or not the network's; weights overflow in float16; the file is no `.safetensors`.
        TypeError: the model is no network of restoralib.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"the file should end in .safetensors, got {Path(path).name}")
    spec, cls = spec_of(model), type(model)
    arch = next((arch for arch, entry in ARCHITECTURES.items() if cls in entry.classes), None)
    if arch is None:
        raise TypeError(f"load_model knows no {cls.__name__}; export a network of restoralib.archs")
    arguments = dict(config if config is not None else getattr(model, "built_with", None) or _told(model))
    built = skeleton(cls, arguments)
    if built.spec != spec or [*built.state_dict()] != [*model.state_dict()]:
        raise ValueError(f"the network was not built with {arguments}; pass its constructor's arguments as config")
    described = describe(model, Sizes(), name, licence)
    about = {key: text for key, text in described.to_metadata().items() if key not in ("class", "only", "least")}
    with replacing(Path(path)) as part:
        write_weights(model, part, arch=arch, config=arguments, half=half, about=about)
    return described


def _told(model: nn.Module) -> dict[str, Any]:
    """The arguments that the weights alone tell.

    Raises:
        ValueError: they leave some open.
    """
    cls = type(model).__name__
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CheckpointWarning)
            told = recognize(model.state_dict(), arch=cls)
    except CheckpointError as error:
        raise ValueError(f"the weights do not tell how this {cls} was built ({error}); pass config") from error
    open_ = [*told.missing, *told.assumed]
    if open_:
        raise ValueError(f"no weight of a {cls} tells {' or '.join(open_)}; pass the constructor's arguments as config")
    return told.config
