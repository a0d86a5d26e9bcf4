"""Networks as ONNX files, which many runtimes run."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from restoralib.archs.spec import NetSpec
from restoralib.export.description import Description, Sizes, describe, spec_of
from restoralib.export.onnx_model import OnnxModel, needs
from restoralib.export.tracing import NotExportable, check_sizes, first_line, names_of, trace
from restoralib.export.writing import replacing

OPSET = 18
_LARGEST = 2**31 - 2**24  # bytes of weights that one protobuf file holds, with room for the graph


def export_onnx(
    model: nn.Module,
    path: str | PathLike[str],
    *,
    name: str | None = None,
    licence: str | None = None,
    opset: int = OPSET,
    check: bool = True,
    traced: tuple[ExportedProgram, Sizes] | None = None,
) -> Description:
    """Write a network as an ONNX file with free height and width.

    The inputs have the names of `spec.inputs`, first "image", (1, c, height, width), float32; the first output is "restored".
    What `Description.to_metadata` tells (scale, multiple, tasks, range, name, licence) is in the file's metadata. Weights of
    2 GB and more lie in a file of their own, `<path>.data`.

    Args:
        model: a network of restoralib; a module with a `spec`.
        path: the file to write.
        name: of the model; that of its class, if it is left out.
        licence: SPDX identifier of the weights' licence.
        opset: version of the ONNX operators, 18 or later.
        check: run it with ONNX Runtime at another size, and compare with the network.
        traced: what `trace` gave for the network, where it was traced already.

    Returns:
        What the file says of itself, the sizes that it takes among it.

    Raises:
        NotExportable: there is no ONNX for what the network does, or the file's result is not the network's.
        TypeError: the model is no network of restoralib.
        ValueError: the opset is too old.
        ImportError: onnx, onnxscript or onnxruntime are not installed.
    """
    if opset < OPSET:
        raise ValueError(f"opset should be at least {OPSET}, got {opset}")
    for package in ("onnx", "onnxscript", "onnxruntime") if check else ("onnx", "onnxscript"):
        needs(package)
    program, sizes = traced or trace(model, check=False)  # the file is compared
    described = describe(model, sizes, name, licence)
    target = Path(path)
    try:
        graph = _translate(program, spec_of(model), sizes, opset)
    except Exception as error:  # whatever the translation trips over is the finding
        raise NotExportable(f"{type(model).__name__} has no ONNX: {first_line(_root(error))}") from error
    graph.model.metadata_props.update(described.to_metadata())
    size = sum(x.numel() * x.element_size() for x in model.state_dict().values())
    if size >= _LARGEST:
        graph.save(str(target), external_data=True)  # two files, the second named in the first: no swap at the end
        return described
    with replacing(target) as part:
        graph.save(str(part), external_data=False)
        if check:
            check_sizes(OnnxModel(part).run, model, sizes, count=1)
    return described


def _root(error: Exception) -> BaseException:
    """What an error began with; those of torch.onnx only name its steps."""
    found: BaseException = error
    while found.__cause__ is not None:
        found = found.__cause__
    return found


def _translate(program: ExportedProgram, spec: NetSpec, sizes: Sizes, opset: int) -> Any:
    inputs = names_of(spec)
    # A side that is a multiple of something has no name of its own in the graph.
    named = {2: "height", 3: "width"} if sizes.step == 1 and not sizes.only else None
    count = len(program.graph_signature.user_outputs)
    outputs = ["restored", *(f"output{number}" for number in range(1, count))]
    return torch.onnx.export(
        program,
        dynamo=True,
        opset_version=opset,
        input_names=inputs,
        output_names=outputs,
        dynamic_shapes=((named, *[None] * (len(inputs) - 1)),) if named else None,
        verbose=False,
    )
