"""Weights as a safetensors file that `load_model` recognises with nothing left to guess."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn


def write_weights(
    net: nn.Module,
    path: Path,
    *,
    arch: str,
    config: Mapping[str, Any],
    half: bool = False,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write the state dict with the architecture and its constructor arguments as metadata.

    Args:
        net: the network.
        path: the `.safetensors` file to write.
        arch: name of the architecture in `restoralib.archs`.
        config: constructor arguments.
        half: store as float16, which halves the file; loading gives float32 again.
        about: further metadata.

    Raises:
        ValueError: weights overflow in float16.
        OSError: the file cannot be written, for the disk is full, say; what was there before stays as it was.
    """
    state: dict[str, Tensor] = {}
    for key, value in net.state_dict().items():
        value = (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous()
        # The format has no shared tensors: weights that a network knows by two names are written twice.
        shared = any(value.data_ptr() == other.data_ptr() for other in state.values() if value.numel())
        state[key] = value.clone() if shared else value
    if half and not all(torch.isfinite(value).all() for value in state.values()):
        raise ValueError("weights overflow in float16; export them with half=False")
    told = {"arch": arch, "class": type(net).__name__, "config": json.dumps(dict(config))}
    try:
        save_file(state, path, metadata={**(about or {}), **told})
    except SafetensorError as error:
        # The package has errors of its own for everything, with the number of the system's in the text.
        full = f"os error {errno.ENOSPC}" in str(error)
        reason, number = ("the disk is full", errno.ENOSPC) if full else (str(error), errno.EIO)
        kept = "; the file that was there before is still there" if path.exists() else ""
        raise OSError(number, f"cannot write {path} ({reason}){kept}") from error
