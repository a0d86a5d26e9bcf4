"""What was measured of the networks, as `restoralib capabilities --measure` stored it in `capabilities.json`."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("capabilities.json")
SAFE = 50.0
"""PSNR in dB against float32 from which on a half-precision type counts as safe."""


@dataclass(frozen=True)
class Capability:
    """What one network in one published configuration was found to do.

    Args:
        model: name of the configuration.
        cls: name of the class.
        weights: "bundled", or "random" where the package has none.
        bfloat16: PSNR in dB of the result under bfloat16 autocast against float32; None where it is not finite, or black.
        float16: the same for float16.
        bytes_per_pixel: by which the most memory that its tensors take at a time grows with each input pixel, in float32 and
            without gradients.
        tiles: how tiles relate to the whole image: "exact" where the receptive field is finite; "gathered" where
            `exact=True` reaches the same in several sweeps; "blended" where they only come near.
        reach: pixels that an output pixel sees to either side; for "gathered" tiles once the means are known, None for
            "blended" ones.
        tile_psnr: PSNR in dB of tiles of 128 against the whole image of 256x256, at the default overlap; None where they are
            exact, for networks that restore no image, and where random weights make the result black.
        compile: "one graph", or what torch.compile(fullgraph=True) says.
        recompiles: how often a compiled network was compiled again for three further sizes on its grid, with dynamic=True.
        export: sizes that an exported program takes: "any", "any from 32 pixels", "multiples of 8", or why there is none.
    """

    model: str
    cls: str
    weights: str
    bfloat16: float | None
    float16: float | None
    bytes_per_pixel: float
    tiles: str
    reach: int | None
    tile_psnr: float | None
    compile: str
    recompiles: int | None
    export: str

    @property
    def safe_dtypes(self) -> tuple[str, ...]:
        """The precisions in which its results stay `SAFE` dB near those of float32."""
        measured = {"bfloat16": self.bfloat16, "float16": self.float16}
        return ("float32", *(name for name, psnr in measured.items() if psnr is not None and psnr >= SAFE))


@functools.cache
def capabilities() -> Mapping[str, Capability]:
    """The stored measurements, by the name of the configuration."""
    return {name: Capability(model=name, **entry) for name, entry in _read()["networks"].items()}


def environment() -> Mapping[str, str]:
    """Where and when they were measured."""
    return _read()["environment"]


def multiply_adds(name: str) -> int | None:
    """Multiply-adds of a published configuration for an input of 256x256; None where they were not counted."""
    return _read()["multiply_adds"].get(name)


def in_billions(count: int) -> str:
    """Billions with a decimal, or two digits where that decimal would be zero."""
    return f"{count / 1e9:.1f}" if count >= 5e7 else f"{count / 1e9:.2g}"


@functools.cache
def bytes_per_pixel(cls: str) -> float | None:
    """The most that a published configuration of a class takes for each input pixel; None where none was measured."""
    return max((entry.bytes_per_pixel for entry in capabilities().values() if entry.cls == cls), default=None)


@functools.cache
def _read() -> dict[str, Any]:
    if not FILE.exists():
        return {"environment": {}, "multiply_adds": {}, "networks": {}}
    stored: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return stored
