"""ONNX files with 8-bit numbers: smaller, and faster where the processor multiplies bytes."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from restoralib.archs.spec import NetSpec
from restoralib.export.description import Description
from restoralib.export.onnx_model import OnnxModel, needs
from restoralib.export.writing import replacing
from restoralib.images import read_image, to_picture
from restoralib.ops.color import rgb_to_y

Calibration = Literal["minmax", "percentile", "entropy"]
_METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
_PRODUCTS = ("Conv", "MatMul", "Gemm", "ConvTranspose")
_BLACK, _RANGE = 16 / 255, 219 / 255  # of BT.601's luma


def quantize_onnx(
    path: str | PathLike[str],
    images: Iterable[Any],
    out: str | PathLike[str],
    *,
    method: Calibration = "minmax",
    keep_ends: bool = True,
    reduce_range: bool = True,
    side: int = 256,
) -> Description:
    """Write an ONNX file whose convolutions and matrix products are of 8-bit numbers.

    Static quantisation by ONNX Runtime, in QDQ form: weights get a scale for each output channel, activations one that is
    found on the images (Jacob et al. 2018, arXiv:1712.05877). All other operations stay in float32.

    Args:
        path: a file that `export_onnx` wrote, of a network that restores images.
        images: what the network will get, such as noisy photographs for a denoiser; a dozen do. Paths, PIL images, arrays or
            tensors, as for `restore`.
        out: the file to write.
        method: how the ranges are found: "minmax" keeps all values, "percentile" and "entropy" cut rare ones off.
        keep_ends: leave the first and the last product in float32, between which and the image nothing hides rounding.
        reduce_range: weights of 7 bits. Processors without VNNI instructions add pairs of products in 16 bits, which overflow
            with 8.
        side: pixels of the piece of each image that is looked at, at most; it is cut from the middle.

    Returns:
        What the file says of itself.

    Raises:
        ValueError: there are no images, the file is not of restoralib or of 8 bits already, or has nothing to quantise.
        FileNotFoundError: there is no such file.
        ImportError: onnx or onnxruntime are not installed.
    """
    if method not in _METHODS:
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(_METHODS)}")
    if not isinstance(side, int) or side < 1:
        raise ValueError(f"side should be a whole number of pixels, got {side!r}")
    onnx, model = needs("onnx"), OnnxModel(path)
    if model.description is None:
        raise ValueError(f"{model.path} was not exported by restoralib; export the network again by export_onnx")
    if model.description.quantized != "float32":
        raise ValueError(f"{model.path} holds {model.description.quantized} already; quantise the file that it was made of")
    if model.spec.role != "restorer" or model.spec.noise:
        raise ValueError(f"only graphs from image to image are quantised, and {model.description.cls} takes other inputs")
    given = [model.fitted(piece) for image in images for piece in _pieces(image, model.spec, side)]
    if not given:
        raise ValueError("there are no images; pass some that are such as the network will get")
    described = dataclasses.replace(model.description, quantized="int8")
    with tempfile.TemporaryDirectory() as folder, replacing(Path(out)) as part, _quiet():
        ready = Path(folder) / "ready.onnx"
        tools, preparation = needs("onnxruntime.quantization"), needs("onnxruntime.quantization.shape_inference")
        # Folds constants, so that all weights are seen as such.
        preparation.quant_pre_process(model.path, ready, skip_symbolic_shape=True)
        kept = _ends(onnx.load(ready, load_external_data=False)) if keep_ends else []
        tools.quantize_static(
            ready,
            part,
            _reader(tools, model, given),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=list(_PRODUCTS),
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            calibrate_method=getattr(tools.CalibrationMethod, _METHODS[method]),
        )
        graph = onnx.load(part)
        if not any(node.op_type == "QuantizeLinear" for node in graph.graph.node):
            raise ValueError(f"{model.path} has no product but the first and the last; pass keep_ends=False")
        del graph.metadata_props[:]
        onnx.helper.set_model_props(graph, described.to_metadata())
        onnx.save(graph, part)
    return described


def _pieces(image: Any, spec: NetSpec, side: int) -> Iterator[Tensor]:
    """The middles of images, (1, c, h, w) each, with the channels that the graph takes."""
    picture = read_image(image) if isinstance(image, str | os.PathLike) else to_picture(image)
    color = picture.color if picture.color.ndim == 4 else picture.color[None]
    height, width = color.shape[-2:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    color = color[..., top : top + side, left : left + side].float()
    channels = color.shape[1]
    if spec.color == "y":
        color = rgb_to_y(color) if channels == 3 else _BLACK + _RANGE * color
    elif channels == 1:
        color = color.expand(-1, spec.in_channels, -1, -1)
    elif spec.in_channels == 1:
        color = color.flatten(0, 1)[:, None]
    if color.shape[1] != spec.in_channels:
        raise ValueError(f"the network takes {spec.in_channels} channels, an image has {channels}")
    yield from torch.split(color, 1)


def _reader(tools: Any, model: OnnxModel, images: list[Tensor]) -> Any:
    """The images as ONNX Runtime's calibration wants them."""

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.rest, None)
            return None if image is None else {model.inputs[0]: image.contiguous().numpy()}

    return Reader()


def _ends(graph: Any) -> list[str]:
    """Names of the first and of the last product of a graph; its nodes stand in the order of the flow."""
    products = [node.name for node in graph.graph.node if node.op_type in _PRODUCTS]
    return [products[0], products[-1]] if products else []


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that ONNX Runtime's tool writes to the root logger."""
    logger = logging.getLogger()
    disabled = logger.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.inference_mode():
            yield
    finally:
        logging.disable(disabled)
