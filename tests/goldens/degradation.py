"""Reads the files of goldens/degradations; their README says what is in them.

A runner takes a `Golden` and the name and parameters of one of its entries, applies restoralib's operator, and returns a tensor
laid out as the stored one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

Entry = Mapping[str, Any]


class Golden:
    """One NAME.json with its NAME.safetensors."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.stem = file.stem
        content = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        self.inputs: list[str] = content["inputs"]
        self.parameters: dict[str, Entry] = content["parameters"]
        self.facts: dict[str, Any] = content["facts"]
        self.tensors = load_file(file.with_suffix(".safetensors"))

    def image(self, name: str, layout: str | None = None) -> Tensor:
        """A tensor as (b, c, h, w) float64 in [0, 1]: HWC or HW, or NCHW as it is; 8-bit values are divided by 255."""
        tensor = self.tensors[name]
        tensor = tensor.double() / 255 if tensor.dtype == torch.uint8 else tensor.double()
        return tensor if tensor.ndim == 4 or layout == "NCHW" else from_hwc(tensor)

    def kernel(self, entry: Entry) -> Tensor:
        """The kernel that an entry names, of the file that it names."""
        return load_file(self.file.with_name(entry["kernel_file"]))[entry["kernel"]].double()


def from_hwc(array: Tensor) -> Tensor:
    """(1, c, h, w) of (h, w, c) or (h, w)."""
    return array[None, None] if array.ndim == 2 else array.permute(2, 0, 1)[None]


def like(image: Tensor, stored: Tensor) -> Tensor:
    """An image (1, c, h, w) in the layout of the stored tensor: (1, c, h, w), (h, w, c) or (h, w)."""
    if stored.ndim == 4:
        return image
    return image[0, 0] if stored.ndim == 2 else image[0].permute(1, 2, 0)


def check_close(ours: Tensor, stored: Tensor, entry: Entry, tolerance: float = 1e-5) -> float:
    """Assert equality to a tolerance relative to the largest absolute value, and give the error."""
    assert ours.shape == stored.shape, (tuple(ours.shape), tuple(stored.shape))
    error = float((ours.double() - stored.double()).abs().max() / stored.double().abs().max())
    assert error <= tolerance, f"{error:.2e} > {tolerance:.0e}: {dict(entry)}"
    return error


# A check takes (ours, stored, entry), asserts and returns the error.
Check = Callable[[Tensor, Tensor, Entry], float]
Runner = Callable[[Golden, str, Entry], Tensor]
