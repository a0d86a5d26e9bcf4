"""Networks as programs of torch.export, which torch runs without the network's code."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from restoralib.export.description import Description, describe
from restoralib.export.tracing import trace
from restoralib.export.writing import replacing

ABOUT = "restoralib.json"


def export_program(
    model: nn.Module,
    path: str | PathLike[str],
    *,
    name: str | None = None,
    licence: str | None = None,
    check: bool = True,
) -> Description:
    """Write a network as a `.pt2` file for all sizes of image that it allows.

    `torch.export.load(path).module()` runs it; `torch._inductor.aoti_compile_and_package` compiles it for machines without
    Python. It takes one image a call, float32, (1, c, h, w), and gives a tuple that begins with the restored one. What
    `Description.to_metadata` tells is in the file, as JSON under "restoralib.json".

    Args:
        model: a network of restoralib; a module with a `spec`.
        path: the file to write.
        name: of the model; that of its class, if it is left out.
        licence: SPDX identifier of the weights' licence.
        check: run it at another size, and compare with the network.

    Returns:
        What the file says of itself, the sizes that it takes among it.

    Raises:
        NotExportable: torch cannot trace the network, or the program's result is not the network's.
        TypeError: the model is no network of restoralib.
    """
    program, sizes = trace(model, check=check)
    described = describe(model, sizes, name, licence)
    with replacing(Path(path)) as part:
        torch.export.save(program, part, extra_files={ABOUT: json.dumps(described.to_metadata())})
    return described
