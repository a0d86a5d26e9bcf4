"""Runners of the goldens of resizing, kernels and filters, by `operator`; goldens/degradation.py says what a runner is."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from goldens.degradation import Check, Entry, Golden, Runner, check_close, like
from torch import Tensor

from restoralib.degradations import (
    anisotropic_gaussian_kernel,
    blur_decimate,
    blur_resize,
    filter2d,
    fspecial_gaussian,
    fspecial_motion,
    gaussian_kernel,
    generalized_gaussian_kernel,
    plateau_kernel,
    random_kernel,
    shift_kernel,
    sinc_kernel,
    usm_sharpen,
)
from restoralib.ops import resize

# The names of borders in torch, numpy and scipy that cannot be mistaken for one another.
BORDERS = {
    "reflect": "reflect",
    "symmetric": "symmetric",
    "replicate": "replicate",
    "nearest": "replicate",
    "wrap": "circular",
    "circular": "circular",
    "zeros": "zeros",
}


def imresize(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert (entry["kernel"], entry["a"], entry["input_scaling"]) == ("cubic", -0.5, "1/255"), entry
    levels = {None: None, "final": None, "each_pass": 255}[entry["rounding"]]
    resized = resize(golden.image(entry["input"]), entry["scale"], antialias=entry["antialiasing"], levels=levels)
    return like(resized, golden.tensors[name])


def check_imresize(ours: Tensor, stored: Tensor, entry: Entry) -> float:
    """Rounded results may differ by one level where the float lies on a tie, and nowhere else."""
    if entry["rounding"] is None:
        return check_close(ours, stored, entry)
    assert stored.dtype == torch.uint8 and ours.shape == stored.shape
    exact = ours.clamp(0, 1) * 255
    on_tie = ((exact % 1) - 0.5).abs() < 1e-9
    differ = exact.round() != stored
    assert not (differ & ~on_tie).any()
    assert (exact - stored).abs().max() < 1
    return 0.0


def bivariate(golden: Golden, name: str, entry: Entry) -> Tensor:
    make = {
        "bivariate_gaussian": gaussian_kernel,
        "bivariate_generalized_gaussian": generalized_gaussian_kernel,
        "bivariate_plateau": plateau_kernel,
    }[entry["operator"]]
    beta = {"beta": entry["beta"]} if "beta" in entry else {}
    if entry["isotropic"]:
        return make(entry["kernel_size"], entry["sig_x"], **beta)
    return make(entry["kernel_size"], entry["sig_x"], entry["sig_y"], entry["theta"], **beta)


def sinc(golden: Golden, name: str, entry: Entry) -> Tensor:
    return sinc_kernel(entry["kernel_size"], entry["cutoff"], pad_to=entry["pad_to"])


def random_mixed_kernel(golden: Golden, name: str, entry: Entry) -> Tensor:
    return random_kernel(
        entry["kernel_type"],
        entry["kernel_size"],
        np.random.RandomState(entry["numpy_legacy_seed"]),
        sigma=entry["sigma_range"],
        rotation=entry["rotation_range"],
        beta_generalized=entry["betag_range"],
        beta_plateau=entry["betap_range"],
        noise=entry["noise_range"],
    )


def anisotropic_gaussian(golden: Golden, name: str, entry: Entry) -> Tensor:
    return anisotropic_gaussian_kernel(entry["ksize"], entry["theta"], entry["l1"], entry["l2"])


def matlab_gaussian(golden: Golden, name: str, entry: Entry) -> Tensor:
    kernel = fspecial_gaussian(entry["hsize"], entry["sigma"])
    if not entry.get("shifted"):
        return kernel
    assert entry["renormalised"]
    return shift_kernel(kernel, entry["sf"])


def motion_kernel(golden: Golden, name: str, entry: Entry) -> Tensor:
    return fspecial_motion(entry["length"], entry["angle_degrees"])


def filtering(golden: Golden, name: str, entry: Entry) -> Tensor:
    """`filter2D` is the correlation of tensors, `blur` the convolution of arrays; both say so."""
    border = BORDERS[entry["padding"]]
    filtered = filter2d(golden.image(entry["input"]), golden.kernel(entry), padding=border, convolve=entry["flip"])
    return like(filtered, golden.tensors[name])


def sharpening(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert entry["kernel_size"] == entry["radius"] + 1 - entry["radius"] % 2
    automatic = 0.3 * ((entry["kernel_size"] - 1) / 2 - 1) + 0.8
    return usm_sharpen(
        golden.image(entry["input"]),
        weight=entry["weight"],
        radius=entry["radius"],
        sigma=None if abs(entry["sigma"] - automatic) < 1e-9 else entry["sigma"],
        threshold=entry["threshold"],
        padding=BORDERS[entry["padding"]],
    )


def decimation(golden: Golden, name: str, entry: Entry) -> Tensor:
    low = blur_decimate(
        golden.image(entry["input"]),
        golden.kernel(entry),
        entry["scale"],
        offset=entry["offset"],
        padding=BORDERS[entry["padding"]],
        convolve=entry["flip"],
    )
    return like(low, golden.tensors[name])


def blur_imresize(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert entry["resize"] == "imresize cubic a=-0.5, antialiasing"
    low = blur_resize(
        golden.image(entry["input"]),
        golden.kernel(entry),
        entry["scale"],
        padding=BORDERS[entry["padding"]],
        convolve=entry["flip"],
    )
    return like(low, golden.tensors[name])


KERNELS: dict[str, Runner] = {
    "bivariate_gaussian": bivariate,
    "bivariate_generalized_gaussian": bivariate,
    "bivariate_plateau": bivariate,
    "sinc": sinc,
    "random_mixed_kernel": random_mixed_kernel,
    "anisotropic_gaussian": anisotropic_gaussian,
    "fspecial_gaussian": matlab_gaussian,
    "motion_kernel": motion_kernel,
}
OPERATORS: dict[str, Runner] = KERNELS | {
    "imresize": imresize,
    "filter2D": filtering,
    "blur": filtering,
    "usm_sharpen": sharpening,
    "blur_decimate": decimation,
    "blur_imresize": blur_imresize,
}
CHECKS: dict[str, Check] = dict.fromkeys(KERNELS, partial(check_close, tolerance=1e-6)) | {"imresize": check_imresize}
