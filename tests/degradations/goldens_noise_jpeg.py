"""Runners of the goldens of noise, JPEG and low light, by `operator`; goldens/degradation.py says what a runner is."""

from __future__ import annotations

import numpy as np
import torch
from goldens.degradation import Check, Entry, Golden, Runner, from_hwc, like
from torch import Tensor

from restoralib.degradations import (
    add_gaussian_noise,
    add_poisson_noise,
    add_shot_read_noise,
    add_speckle_noise,
    diff_jpeg,
    jpeg,
    low_light,
    numpy_normal,
    poisson_means,
    quantisation_table,
)


def stored_draw(golden: Golden, entry: Entry, *, gray: bool = False) -> Tensor:
    """The stored standard normal numbers, which the generator that the entry names must give, too."""
    draw = golden.image(entry["draw"])
    if entry.get("numpy_legacy_seed") is not None:
        again = numpy_normal(*draw.shape[1:], seed=entry["numpy_legacy_seed"])
        assert (draw - again).abs().max() < 1e-6
        draw = again if entry.get("draw_dtype") == "float64" else draw
    if entry.get("torch_cpu_seed") is not None:
        generator = torch.Generator().manual_seed(entry["torch_cpu_seed"])
        assert torch.equal(torch.randn(draw.shape, generator=generator).double(), draw)
    if gray:
        h, w = draw.shape[-2:]
        draw = golden.tensors[entry["draw"]].double().flatten()[: h * w].reshape(1, 1, h, w)
    return draw


def gaussian_noise(golden: Golden, name: str, entry: Entry) -> Tensor:
    draw = stored_draw(golden, entry, gray=entry["gray"])
    how = {key: entry[key] for key in ("gray", "clip", "rounds")}
    return like(add_gaussian_noise(golden.image(entry["input"]), entry["sigma"], draw=draw, **how), golden.tensors[name])


def poisson_noise(golden: Golden, name: str, entry: Entry) -> Tensor:
    image = golden.image(entry["input"])
    how = {"gray": entry["gray"]} | ({"gray_weights": entry["gray_weights"]} if "gray_weights" in entry else {})
    if "counts" in entry:
        stored = golden.tensors[entry["counts"]]
        mean, photons = poisson_means(image, **how)
        assert photons.item() == entry["vals"]
        if entry.get("numpy_legacy_seed") is not None:
            again = np.random.RandomState(entry["numpy_legacy_seed"]).poisson(like(mean, stored).numpy())
            assert torch.equal(torch.from_numpy(again), stored.long())
        noisy = add_poisson_noise(image, entry["scale"], counts=from_hwc(stored).double(), clip=entry["clip"], **how)
    else:
        generator = torch.Generator().manual_seed(entry["torch_cpu_seed"])
        noisy = add_poisson_noise(image, entry["scale"], generator=generator, clip=entry["clip"], **how)
    return like(noisy, golden.tensors[name])


def speckle_noise(golden: Golden, name: str, entry: Entry) -> Tensor:
    draw = stored_draw(golden, entry)
    return like(
        add_speckle_noise(golden.image(entry["input"]), entry["sigma"], draw=draw, clip=entry["clip"]), golden.tensors[name]
    )


def real_jpeg(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert entry["codec"] == "pillow", entry
    decoded = jpeg(golden.image(entry["input"]), entry["quality"], subsampling=entry["subsampling"])
    return like((decoded * 255).round().to(torch.uint8), golden.tensors[name])


def check_codec(ours: Tensor, stored: Tensor, entry: Entry) -> float:
    """Equal with the same libjpeg; with another one within two levels on 99 % of the samples."""
    assert ours.shape == stored.shape
    away = (ours.int() - stored.int()).abs()
    assert (away <= 2).double().mean() >= 0.99
    return float(away.max()) / 255


def differentiable_jpeg(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert (entry["layout"], entry["range"]) == ("NCHW", "0..1"), entry
    return diff_jpeg(golden.image(entry["input"]), entry["quality"], differentiable=entry["differentiable"])


def check_blocks(ours: Tensor, stored: Tensor, entry: Entry) -> float:
    """A block may differ in which a coefficient sits on a rounding boundary; the others must not."""
    assert ours.shape == stored.shape
    off = ((ours - stored).abs() > 1e-5 * stored.abs().max()).double().mean()
    assert off <= 0.02, f"{float(off):.1%} of the samples differ"
    return float((ours - stored).abs().max())


def table(golden: Golden, name: str, entry: Entry) -> Tensor:
    return quantisation_table(entry["quality"], entry["channel"])


def check_equal(ours: Tensor, stored: Tensor, entry: Entry) -> float:
    assert torch.equal(ours, stored)
    return 0.0


def dark(golden: Golden, name: str, entry: Entry) -> Tensor:
    image = low_light(golden.image(entry["input"]), entry["alpha"], entry["gamma"])
    if "draw" in entry:
        draw = stored_draw(golden, entry)
        image = add_shot_read_noise(image, entry["read_sigma"], entry["shot_sigma"], draw=draw, clip=entry["clip"])
    return like(image, golden.tensors[name])


OPERATORS: dict[str, Runner] = {
    "gaussian_noise": gaussian_noise,
    "poisson_noise": poisson_noise,
    "speckle_noise": speckle_noise,
    "jpeg": real_jpeg,
    "diffjpeg": differentiable_jpeg,
    "quantisation_table": table,
    "low_light": dark,
}
CHECKS: dict[str, Check] = {  # where the comparison is another than 1e-5 of the largest value
    "jpeg": check_codec,
    "diffjpeg": check_blocks,
    "quantisation_table": check_equal,
}
