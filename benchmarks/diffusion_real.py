"""Training-free restoration of photographs: network calls (NFE) against PSNR and SSIM, beside classical methods.

    python benchmarks/diffusion_real.py EVAL_FOLDER --weights prior.safetensors --json figures.json
    python benchmarks/diffusion_real.py EVAL_FOLDER --weights prior.safetensors --tasks deblur --methods diffpir --steps 10
    python benchmarks/diffusion_real.py EVAL_FOLDER --tasks deblur

The weights are those of `restoralib.training.diffusion`; without them it is the bundled denoiser, for what starts from the
classical estimate at a level that it knows. EVAL_FOLDER holds CBSD68, Set14/HR and Set5/HR. Square patches are cut at fixed
places, from every photograph as many as are needed; masks, noise and starts are drawn anew for every seed. What is printed is
the mean over patches and seeds of the PSNR over all RGB pixels: of single samples, or where `samples` is told of the mean of so
many, an estimate of the posterior's mean whose NFE are those of all of them. Tasks and what they are compared with:

sr4      MATLAB's bicubic reduction by 4, without noise; bicubic enlargement.
inpaint  70 % of the pixels are lost, at random; scikit-image's biharmonic inpainting (left out where it is not installed).
deblur   a Gaussian of sigma 1.6 on a circle, and noise of sigma 0.01 (of 1); Wiener's filter, with a constant or with the
         Laplacian's power as the ratio of noise to image, whichever is better with the weight that is best on these patches;
         Richardson-Lucy with the number of steps, up to 100, that is best on these patches.

Samplers start at a noise level of LARGEST around the pseudo-inverse, or where `closer` is told at that level around the first
classical estimate (Come-Closer-Diffuse-Faster), and go down Karras's levels, moved to the nearest step of DDPM's schedule.
SETTINGS were chosen on held-out photographs of the training folder (`--choose TRAINING_FOLDER`), not here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restoralib.checkpoints import load_model
from restoralib.data.photographs import read_photographs, split
from restoralib.degradations import gaussian_kernel
from restoralib.degradations.operators import CircularBlurOperator, LinearOperator, MaskOperator, ResizeOperator
from restoralib.diffusion import (
    DDPM,
    Denoiser,
    Measurement,
    PiGDM,
    blind_denoiser,
    ddim,
    ddnm,
    ddnm_plus,
    ddrm,
    diffpir,
    karras,
    level_denoiser,
    level_steps,
    renoised,
    sample,
)
from restoralib.metrics import psnr, ssim
from restoralib.ops import linear_betas, resize
from restoralib.zoo import create_model

LOST = 0.7
BLUR, NOISE = 1.6, 0.01
LARGEST, SMALLEST, RHO = 1.0, 0.03, 2.0
BLIND = 50 / 255
"""The highest noise level, of images in [0, 1], that the bundled denoiser is given; it was trained up to 55 / 255."""
Settings = dict[str, list[dict[str, Any]]]
SETTINGS: dict[str, Settings] = {
    "sr4": {
        "ddrm": [{"eta": 1.0}],
        "ddnm": [{"eta": 1.0}],
        "diffpir": [{"lam": 1.0, "zeta": 1.0}],
        "pigdm": [{"eta": 1.0}, {"renoise": True}],
    },
    "inpaint": {
        "ddrm": [{"eta": 1.0}],
        "ddnm": [{"eta": 1.0}, {"eta": 1.0, "closer": 0.25}, {"eta": 1.0, "closer": 0.25, "samples": 4}],
        "diffpir": [{"lam": 1.0, "zeta": 1.0}],
        "pigdm": [{"eta": 1.0}, {"renoise": True}],
    },
    "deblur": {
        "ddrm": [{"eta": 0.85}],
        "ddnm_plus": [{"eta": 1.0}],
        "diffpir": [{"lam": 1.0, "zeta": 1.0}],
        "pigdm": [{"eta": 1.0}, {"renoise": True}],
    },
}
BUNDLED: dict[str, Settings] = {"deblur": {"diffpir": [{"lam": 1.0, "zeta": 1.0, "closer": 2 * BLIND}]}}
"""For the bundled denoiser."""
CHOICES: dict[str, list[dict[str, Any]]] = {
    "ddrm": [{"eta": eta} for eta in (0.0, 0.5, 0.85, 1.0)],
    "ddnm": [{"eta": eta} for eta in (0.0, 0.5, 0.85, 1.0)],
    "ddnm_plus": [{"eta": eta} for eta in (0.0, 0.5, 0.85, 1.0)],
    "diffpir": [{"lam": lam, "zeta": zeta} for lam in (1.0, 4.0, 16.0) for zeta in (0.0, 0.3, 1.0)],
    "pigdm": [{"eta": eta} for eta in (0.0, 0.5, 1.0)],
}


def read_patches(folder: Path, count: int, size: int) -> Tensor:
    """Patches (count, 3, size, size) of the evaluation photographs in [0, 1], at fixed places."""
    images = [image for part in ("CBSD68", "Set14/HR", "Set5/HR") for image in read_photographs(folder / part).values()]
    return cut(images, count, size)


def cut(images: list[Tensor], count: int, size: int) -> Tensor:
    """From every image in turn the centre, then the middles of its quarters."""
    images = [image for image in images if min(image.shape[1:]) >= 2 * size]
    places = [(0.5, 0.5), (0.25, 0.25), (0.75, 0.75), (0.25, 0.75), (0.75, 0.25)]
    patches = []
    for (row, column), image in itertools.islice(itertools.product(places, images), count):
        top, left = int(row * (image.shape[1] - size)), int(column * (image.shape[2] - size))
        patches.append(image[:, top : top + size, left : left + size])
    if len(patches) < count:
        raise ValueError(f"the photographs give {len(patches)} patches of {size}x{size}, not {count}")
    return torch.stack(patches).float() / 255


def degrade(clean: Tensor, task: str, seed: int) -> tuple[LinearOperator, Tensor, float]:
    """An operator, what it and noise make of the patches, and the standard deviation of that noise, in [0, 1]."""
    shape, generator = tuple(clean.shape[1:]), torch.Generator().manual_seed(seed)
    if task == "sr4":
        resizing = ResizeOperator(shape, 1 / 4)
        return resizing, resizing(clean), 0.0
    if task == "inpaint":
        order = torch.rand(shape[1] * shape[2], generator=generator).argsort()
        mask = (order >= round(LOST * len(order))).double().reshape(shape[1:])
        masking = MaskOperator(shape, mask)
        return masking, masking(clean), 0.0
    blurring = CircularBlurOperator(shape, gaussian_kernel(15, BLUR))
    return blurring, blurring(clean) + NOISE * torch.randn(clean.shape, generator=generator), NOISE


def classical(operator: LinearOperator, y: Tensor, clean: Tensor, task: str) -> dict[str, Tensor]:
    """What the figures are compared with, the first to start from: images by name; none where scikit-image is missing."""
    if task == "sr4":
        return {"bicubic": resize(y, 4)}
    if task == "inpaint":
        try:
            from skimage.restoration import inpaint_biharmonic
        except ImportError:
            return {}
        lost = (operator(torch.ones(1, *operator.in_shape))[0, 0] == 0).numpy()
        # The mask is the same for all patches: one linear system for all of their channels.
        filled = inpaint_biharmonic(y.flatten(0, 1).permute(1, 2, 0).double().numpy(), lost, channel_axis=-1)
        return {"biharmonic": torch.from_numpy(filled).permute(2, 0, 1).reshape(y.shape).float()}
    candidates = {}
    laplacian = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]], dtype=torch.float64)
    impulse = torch.tensor([[1.0]], dtype=torch.float64)
    h, w = operator.in_shape[1:]
    blur = torch.fft.rfft2(operator(_pulse(operator.in_shape))[:, :1])
    for name, kernel in (("constant", impulse), ("Laplacian", laplacian)):
        power = torch.fft.rfft2(CircularBlurOperator(operator.in_shape, kernel)(_pulse(operator.in_shape))[:, :1]).abs() ** 2
        for exponent in range(-10, 4):
            weight = 10 ** (exponent / 2)
            restored = torch.fft.irfft2(torch.fft.rfft2(y.double()) * blur.conj() / (blur.abs() ** 2 + weight * power), (h, w))
            candidates[f"Wiener, {name} {weight:.2g}"] = restored.clamp(0, 1).float()
    return _best(candidates, clean) | _best(_richardson_lucy(operator, y), clean)


def _best(candidates: dict[str, Tensor], clean: Tensor) -> dict[str, Tensor]:
    best = max(candidates, key=lambda name: psnr(candidates[name], clean).mean().item())
    return {best: candidates[best]}


def _richardson_lucy(blur: LinearOperator, y: Tensor) -> dict[str, Tensor]:
    image, images = y.clamp(min=1e-6), {}
    for step in range(1, 101):
        image = image * blur.adjoint(y.clamp(min=0) / blur(image).clamp(min=1e-6))
        images[f"Richardson-Lucy, {step} steps"] = image.clamp(0, 1)
    return images


def _pulse(shape: tuple[int, ...]) -> Tensor:
    pulse = torch.zeros(1, *shape, dtype=torch.float64)
    pulse[..., 0, 0] = 1
    return pulse


def restore(
    denoise: Denoiser,
    process: DDPM,
    operator: LinearOperator,
    y: Tensor,
    sigma: float,
    method: str,
    steps: int,
    generator: torch.Generator,
    near: Tensor | None = None,
    *,
    closer: float | None = None,
    samples: int = 1,
    **settings: Any,
) -> Tensor:
    """One sample for each patch, or the mean of some, in [0, 1]; `near` is the classical estimate."""
    measurement = Measurement.of_images(operator, y, sigma)
    grid = level_steps(process, karras(steps, closer or LARGEST, SMALLEST, RHO))
    if closer:
        assert near is not None
        middle = 2 * near - 1
    else:
        middle = operator.prox(torch.zeros(len(y), *operator.in_shape), measurement.y, max(sigma, 1e-3) ** 2)
    guidance = None
    if method == "pigdm":
        step = renoised(process) if settings.pop("renoise", False) else ddim(process, **settings)
        guidance = PiGDM(measurement, process, **settings)
    else:
        step = {"ddrm": ddrm, "ddnm": ddnm, "ddnm_plus": ddnm_plus, "diffpir": diffpir}[method](
            process, measurement, **settings
        )
    total = torch.zeros_like(middle)
    for _ in range(samples):
        start = process.marginal(middle, torch.tensor(grid[0]), torch.randn(middle.shape, generator=generator))
        with torch.no_grad():
            total += sample(denoise, start, grid, step, noise=generator, guidance=guidance)
    return ((total / samples + 1) / 2).clamp(0, 1)


def measure(images: Tensor, clean: Tensor) -> tuple[float, float]:
    """Mean PSNR and SSIM."""
    return psnr(images.clamp(0, 1), clean).mean().item(), ssim(images.clamp(0, 1), clean).mean().item()


def run(
    clean: Tensor, denoise: Denoiser, process: DDPM, options: argparse.Namespace, settings: dict[str, Settings]
) -> list[dict[str, Any]]:
    """A row for every task, method, setting and number of steps, and one for what each task is compared with."""
    rows = []
    for task in options.tasks:
        cases = [degrade(clean, task, seed) for seed in range(options.seeds)]
        old = [classical(operator, y, clean, task) for operator, y, _ in cases]
        for names in zip(*old, strict=True):
            figures = [measure(results[name], clean) for name, results in zip(names, old, strict=True)]
            rows.append(_row(task, " / ".join(dict.fromkeys(names)), {}, 0, figures, 0.0))
        near = [next(iter(results.values()), None) for results in old]
        for method, choices in settings.get(task, {}).items():
            if options.methods and method not in options.methods:
                continue
            for keywords, steps in itertools.product(choices, options.steps):
                if "closer" in keywords and None in near:
                    print(f"{task} {method} {keywords}: left out, for there is no classical estimate without scikit-image")
                    continue
                began, figures = time.process_time(), []
                for seed, (operator, y, sigma) in enumerate(cases):
                    generator = torch.Generator().manual_seed(1000 + seed)
                    whole = near[seed]
                    starts = [None] * len(y) if whole is None else list(whole.split(options.batch))
                    restored = [
                        restore(denoise, process, operator, part, sigma, method, steps, generator, start, **keywords)
                        for part, start in zip(y.split(options.batch), starts, strict=False)
                    ]
                    figures.append(measure(torch.cat(restored), clean))
                calls = steps * keywords.get("samples", 1)
                rows.append(_row(task, method, keywords, calls, figures, time.process_time() - began))
    return rows


def _row(
    task: str, method: str, keywords: dict[str, Any], steps: int, figures: list[tuple[float, float]], seconds: float
) -> dict[str, Any]:
    psnrs, ssims = zip(*figures, strict=True)
    row = {"task": task, "method": method, **keywords, "nfe": steps}
    row |= {"psnr": sum(psnrs) / len(psnrs), "ssim": sum(ssims) / len(ssims), "spread": max(psnrs) - min(psnrs)}
    row["cpu seconds"] = round(seconds, 1)
    print(
        " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()),
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, help="what restoralib.training.diffusion wrote; else the bundled denoiser")
    parser.add_argument("--tasks", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--methods", nargs="*", choices=list(CHOICES))
    parser.add_argument("--steps", nargs="*", type=int, default=[10, 20, 50], help="calls of the network for a sample")
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument(
        "--choose", action="store_true", help="the folder is that of training: try CHOICES on its held-out part"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    process = DDPM(linear_betas(1000))
    if options.weights:
        net = load_model(options.weights).eval().requires_grad_(False)
        denoise, settings = level_denoiser(net, process, clip=(-1, 1)), SETTINGS
    else:
        net = create_model("nafnet_denoise", weights="bundled").requires_grad_(False)
        denoise, settings = blind_denoiser(net, process, largest=55 / 255), BUNDLED
    if options.choose:
        photographs = list(read_photographs(options.folder, exclude=["skimage_*"]).values())
        clean = cut(split([image for image in photographs if min(image.shape[1:]) >= 64])[0], options.patches, options.size)
        settings = {task: {method: CHOICES[method] for method in SETTINGS[task]} for task in options.tasks}
    else:
        clean = read_patches(options.folder, options.patches, options.size)
    rows = run(clean, denoise, process, options, settings)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
