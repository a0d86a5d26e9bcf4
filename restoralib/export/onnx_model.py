"""An ONNX file as a model that `restore` takes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restoralib.archs.spec import NetSpec
from restoralib.export.description import Description, read_description
from restoralib.ops.pad import pad_to_multiple


def needs(package: str) -> Any:
    """Import a package of the extra `onnx`.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f'{package} is not installed; pip install "restoralib[onnx]"') from error


class OnnxModel:
    """A restorer from an ONNX file, run by ONNX Runtime: image in, restored image out, any height and width.

    `restore(image, OnnxModel("model.onnx"))`, or the path itself, restores photographs with it. An image whose size the graph
    does not take is extended at the bottom and at the right, and the result is cut. Copies and pickles open the file again.

    Args:
        path: a file that `export_onnx` or `quantize_onnx` wrote.
        spec: scale and needs, for a file of other make; its only input is taken to be the image, (1, c, h, w) in [0, 1].
        providers: ONNX Runtime's execution providers in order of preference; None for the CPU.
        threads: on the CPU; None for as many as torch uses.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ONNX file, its description is damaged, or it has none and no spec is given.
        ImportError: onnxruntime is not installed.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        spec: NetSpec | None = None,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        runtime = needs("onnxruntime")
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: there is no such file")
        self._arguments = {"spec": spec, "providers": providers, "threads": threads}
        chosen = list(providers) if providers else ["CPUExecutionProvider"]
        if absent := [name for name in chosen if name not in runtime.get_available_providers()]:
            available = ", ".join(runtime.get_available_providers())
            raise ValueError(f"ONNX Runtime has no {absent[0]} here; it has {available}")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3  # errors: it warns of what every graph with free sizes has
        try:
            self._session = runtime.InferenceSession(os.fspath(self.path), options, providers=chosen)
            metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:  # a parser on whatever the file holds
            reason = str(error).strip().partition("\n")[0][:120]
            raise ValueError(f"{self.path}: ONNX Runtime cannot open it ({reason}); export it again") from error
        try:
            self.description: Description | None = read_description(metadata)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None
        if self.description is None and spec is None:
            raise ValueError(
                f"{self.path} was not exported by restoralib; say its scale by OnnxModel(path, spec=NetSpec(scale=…))"
            )
        told = self.description.spec if self.description else NetSpec()
        self.spec: NetSpec = spec or told
        self.inputs = [given.name for given in self._session.get_inputs()]
        self._outputs = [given.name for given in self._session.get_outputs()]

    def __call__(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Restore (b, c, h, w), one image after the other; the result is in the image's type and where it is.

        Args:
            image: in [0, 1], of the spec's channels.
            noise: (b, spec.noise) for a network that takes any; drawn where it is left out.
        """
        if image.ndim != 4 or image.shape[1] != self.spec.in_channels:
            raise ValueError(f"expected an image (b, {self.spec.in_channels}, h, w), got {tuple(image.shape)}")
        height, width = image.shape[-2:]
        padded = self.fitted(image)
        if self.spec.noise and noise is None:
            noise = torch.randn(len(image), self.spec.noise)
        restored = []
        for number in range(len(image)):
            extra = () if noise is None else (noise[number : number + 1],)
            restored.append(self.run(padded[number : number + 1], *extra)[0])
        return torch.cat(restored)[..., : self.spec.scale * height, : self.spec.scale * width].to(image)

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the graph makes of its inputs as they are, one image: all its outputs, on the CPU."""
        if len(inputs) != len(self.inputs):
            raise ValueError(f"the graph takes {', '.join(self.inputs)}, got {len(inputs)} inputs")
        arrays = [x.detach().cpu() for x in inputs]
        given = {
            name: (x.float() if x.is_floating_point() else x).contiguous().numpy()
            for name, x in zip(self.inputs, arrays, strict=True)
        }
        return tuple(torch.from_numpy(array) for array in self._session.run(self._outputs, given))

    def __reduce__(self) -> Any:
        return _open, (self.path, self._arguments)

    def fitted(self, image: Tensor) -> Tensor:
        """The image, extended to a size that the graph takes."""
        if self.description is None:
            return pad_to_multiple(image, self.spec.multiple)
        sizes = self.description.sizes
        if sizes.only and tuple(image.shape[-2:]) != sizes.only:
            raise ValueError(f"{self.path} takes images of {sizes} alone, got {tuple(image.shape[-2:])}")
        least = -(-sizes.least // sizes.step) * sizes.step
        height, width = (least if side < least else sizes.step for side in image.shape[-2:])
        return image if sizes.only else pad_to_multiple(image, (height, width))


def _open(path: Path, arguments: dict[str, Any]) -> OnnxModel:
    return OnnxModel(path, **arguments)
