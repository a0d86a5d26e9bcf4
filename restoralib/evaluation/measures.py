"""Measures by the names that a command line takes: what each compares, and what it needs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from torch import Tensor

from restoralib.metrics import DISTS, LPIPS, Protocol, ms_ssim, niqe, psnr, psnr_b, to_8_bits
from restoralib.metrics.protocols import SSIM
from restoralib.ops import round_to_levels

Weights = Mapping[str, str | os.PathLike[str]]
# (restored, target, protocol, scale) -> one figure; images are (1, c, h, w), the target None where none is needed.
Measuring = Callable[[Tensor, Tensor | None, Protocol, int], float]


@dataclass(frozen=True)
class Measure:
    """What is known of a measure.

    Args:
        name: by which it is asked for.
        title: as tables print it.
        luma: it is taken of the luma; else of all channels.
        larger: larger is better.
        digits: that tables print.
        target: it compares with a target; NIQE does not.
        network: whose features it compares, by the names of `blocks.features`; its weights have to be there.
    """

    name: str
    title: str
    luma: bool = False
    larger: bool = True
    digits: int = 4
    target: bool = True
    network: str | None = None


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("psnr", "PSNR", digits=2),
        Measure("ssim", "SSIM"),
        Measure("psnr_y", "PSNR-Y", luma=True, digits=2),
        Measure("ssim_y", "SSIM-Y", luma=True),
        Measure("psnr_b", "PSNR-B", digits=2),
        Measure("psnr_b_y", "PSNR-B-Y", luma=True, digits=2),
        Measure("ms_ssim", "MS-SSIM"),
        Measure("ms_ssim_y", "MS-SSIM-Y", luma=True),
        Measure("lpips", "LPIPS", larger=False, network="alexnet"),
        Measure("lpips_vgg", "LPIPS (VGG)", larger=False, network="vgg16"),
        Measure("lpips_squeeze", "LPIPS (SqueezeNet)", larger=False, network="squeezenet1_1"),
        Measure("dists", "DISTS", larger=False, network="vgg16"),
        Measure("niqe", "NIQE", larger=False, digits=2, target=False),
    )
}


def get_measures(names: Iterable[str]) -> list[Measure]:
    """The measures of names, each once.

    Raises:
        ValueError: one is unknown; the error names the nearest.
    """
    measures = []
    for name in dict.fromkeys(names):
        if name not in MEASURES:
            near = difflib.get_close_matches(name, MEASURES, 3)
            raise ValueError(
                f"unknown metric {name!r}; {'did you mean' if near else 'choose some of'} {', '.join(near or MEASURES)}"
            )
        measures.append(MEASURES[name])
    if not measures:
        raise ValueError(f"name at least one metric: {', '.join(MEASURES)}")
    return measures


def default_measures(protocol: Protocol) -> tuple[str, ...]:
    """What the tables of a protocol print."""
    names = ("psnr_y", "ssim_y") if protocol.luma else ("psnr", "ssim")
    return (*names, "psnr_b_y") if protocol.name == "jpeg-y" else names


def load_measure(measure: Measure, weights: Weights | None = None) -> Measuring:
    """The function behind a measure, its network loaded.

    Args:
        measure: of `MEASURES`.
        weights: network ("alexnet", "vgg16", "squeezenet1_1") -> the file with its weights, where that is not in the cache.

    Raises:
        FileNotFoundError: the network's file is missing; the error says where it belongs and how to name it.
    """
    stem = measure.name.removesuffix("_y")
    if measure.network is None:
        return _niqe if stem == "niqe" else partial(_compare, stem=stem, luma=measure.luma)
    path = (weights or {}).get(measure.network)
    try:
        if stem == "dists":
            return partial(_perceive, distance=DISTS(weights=path))
        net: dict[str, Literal["alex", "vgg", "squeeze"]] = {"alexnet": "alex", "vgg16": "vgg", "squeezenet1_1": "squeeze"}
        return partial(_perceive, distance=LPIPS(net[measure.network], weights=path))
    except FileNotFoundError as error:
        said = f"{measure.title} compares features of {measure.network}: {error}"
        raise FileNotFoundError(
            f"{said} as weights={{{measure.network!r}: PATH}} (--weights {measure.network}=PATH)"
        ) from error


def _compare(restored: Tensor, target: Tensor | None, protocol: Protocol, scale: int, *, stem: str, luma: bool) -> float:
    """PSNR, SSIM and their kin of what the protocol compares, of the luma or of all channels."""
    assert target is not None
    protocol = replace(protocol, luma=(protocol.luma or "float") if luma else None)
    sides = protocol.prepare(restored, target, scale=scale)
    functions = {"psnr": psnr, "ssim": SSIM[protocol.ssim], "psnr_b": psnr_b, "ms_ssim": ms_ssim}
    try:
        return functions[stem](*sides).item()
    except ValueError as error:
        border = (restored.shape[-1] - sides[0].shape[-1]) // 2
        raise ValueError(f"{error}; {protocol.name} leaves out a border of {border} pixels" if border else str(error)) from None


def _whole(image: Tensor, protocol: Protocol) -> Tensor:
    """Three channels, as the protocol rounds them, without a border left out."""
    image = round_to_levels(image, protocol.levels) if protocol.levels else image.clamp(0, 1)
    return image.expand(-1, 3, -1, -1)


def _perceive(restored: Tensor, target: Tensor | None, protocol: Protocol, scale: int, *, distance: LPIPS | DISTS) -> float:
    assert target is not None
    if restored.shape != target.shape:  # Grey against colour would be repeated in silence.
        raise ValueError(f"expected two images of one shape, got {tuple(restored.shape)} and {tuple(target.shape)}")
    return distance(_whole(restored, protocol), _whole(target, protocol)).item()


def _niqe(restored: Tensor, target: Tensor | None, protocol: Protocol, scale: int) -> float:
    crop = scale if protocol.border == "scale" and scale > 1 else 0
    return niqe(to_8_bits(restored), crop=crop).item()
