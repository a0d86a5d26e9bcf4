"""Training-free restoration of photographs with a prior of `restoralib.training.diffusion`: NFE against PSNR and SSIM.

Classical methods are measured beside it.

    python benchmarks/diffusion_real.py EVAL_FOLDER --json figures.json
    python benchmarks/diffusion_real.py EVAL_FOLDER --tasks deblur --methods ddnm_plus diffpir --steps 10 --patches 20 --seeds 1

EVAL_FOLDER holds CBSD68, Set14/HR and Set5/HR. Square patches are cut at fixed places, from every photograph as many as are
needed; masks, noise and starts are drawn anew for every seed. What is printed is the mean over patches and seeds of the PSNR of
single samples, over all RGB pixels; samples are never averaged. Tasks and what they are compared with:

sr4      MATLAB's bicubic reduction by 4, without noise; bicubic enlargement.
inpaint  70 % of the pixels are lost, at random; scikit-image's biharmonic inpainting (left out where it is not installed).
deblur   a Gaussian of sigma 1.6 on a circle, and noise of sigma 0.01 (of 1); Wiener's filter, with a constant or with the
         Laplacian's power as the ratio of noise to image, whichever is better with the weight that is best on these patches.

All samplers start at a noise level of LARGEST around the pseudo-inverse and go down Karras's levels, moved to the nearest step
of DDPM's schedule. SETTINGS were chosen on held-out photographs of the training folder (`--choose TRAINING_FOLDER`), not here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
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
    ddim,
    ddnm,
    ddnm_plus,
    ddrm,
    diffpir,
    karras,
    level_denoiser,
    level_steps,
    sample,
)
from restoralib.metrics import psnr, ssim
from restoralib.ops import linear_betas, resize

LOST = 0.7
BLUR, NOISE = 1.6, 0.01
LARGEST, SMALLEST, RHO = 1.0, 0.03, 2.0
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "sr4": {"ddrm": {"eta": 1.0}, "ddnm": {"eta": 1.0}, "diffpir": {"lam": 1.0, "zeta": 1.0}, "pigdm": {"eta": 1.0}},
    "inpaint": {"ddrm": {"eta": 1.0}, "ddnm": {"eta": 1.0}, "diffpir": {"lam": 1.0, "zeta": 1.0}, "pigdm": {"eta": 1.0}},
    "deblur": {"ddrm": {"eta": 0.85}, "ddnm_plus": {"eta": 1.0}, "diffpir": {"lam": 1.0, "zeta": 1.0}, "pigdm": {"eta": 1.0}},
}
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


def classical(operator: LinearOperator, y: Tensor, clean: Tensor, task: str) -> tuple[str, Tensor] | None:
    """What the figures are compared with: its name and its images; None where scikit-image is missing."""
    if task == "sr4":
        return "bicubic", resize(y, 4)
    if task == "inpaint":
        try:
            from skimage.restoration import inpaint_biharmonic
        except ImportError:
            return None
        lost = (operator(torch.ones(1, *operator.in_shape))[0, 0] == 0).numpy()
        # The mask is the same for all patches: one linear system for all of their channels.
        filled = inpaint_biharmonic(y.flatten(0, 1).permute(1, 2, 0).double().numpy(), lost, channel_axis=-1)
        return "biharmonic", torch.from_numpy(filled).permute(2, 0, 1).reshape(y.shape).float()
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
    best = max(candidates, key=lambda name: psnr(candidates[name], clean).mean().item())
    return best, candidates[best]


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
    **settings: Any,
) -> Tensor:
    """One sample for each patch, in [0, 1]."""
    measurement = Measurement.of_images(operator, y, sigma)
    grid = level_steps(process, karras(steps, LARGEST, SMALLEST, RHO))
    middle = operator.prox(torch.zeros(len(y), *operator.in_shape), measurement.y, max(sigma, 1e-3) ** 2)
    noise = torch.randn(middle.shape, generator=generator)
    start, guidance = process.marginal(middle, torch.tensor(grid[0]), noise), None
    if method == "pigdm":
        guidance = PiGDM(measurement, process, **settings)
        step = ddim(process, **settings)
    else:
        step = {"ddrm": ddrm, "ddnm": ddnm, "ddnm_plus": ddnm_plus, "diffpir": diffpir}[method](
            process, measurement, **settings
        )
    with torch.no_grad():
        x = sample(denoise, start, grid, step, noise=generator, guidance=guidance)
    return ((x + 1) / 2).clamp(0, 1)


def measure(images: Tensor, clean: Tensor) -> tuple[float, float]:
    """Mean PSNR and SSIM."""
    return psnr(images.clamp(0, 1), clean).mean().item(), ssim(images.clamp(0, 1), clean).mean().item()


def run(clean: Tensor, net: Callable[..., Tensor], options: argparse.Namespace, settings: Callable) -> list[dict[str, Any]]:
    """A row for every task, method, setting and number of steps, and one for what each task is compared with."""
    process, rows = DDPM(linear_betas(1000)), []
    denoise = level_denoiser(net, process, clip=(-1, 1))
    for task in options.tasks:
        cases = [degrade(clean, task, seed) for seed in range(options.seeds)]
        old = [classical(operator, y, clean, task) for operator, y, _ in cases]
        if None not in old:
            figures = [measure(result[1], clean) for result in old]
            rows.append(_row(task, " / ".join(dict.fromkeys(result[0] for result in old)), {}, 0, figures, 0.0))
        for method in SETTINGS[task]:
            if options.methods and method not in options.methods:
                continue
            for keywords, steps in itertools.product(settings(task, method), options.steps):
                began, figures = time.process_time(), []
                for seed, (operator, y, sigma) in enumerate(cases):
                    generator = torch.Generator().manual_seed(1000 + seed)
                    restored = [
                        restore(denoise, process, operator, part, sigma, method, steps, generator, **keywords)
                        for part in y.split(options.batch)
                    ]
                    figures.append(measure(torch.cat(restored), clean))
                rows.append(_row(task, method, keywords, steps, figures, time.process_time() - began))
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
    parser.add_argument("--weights", type=Path, required=True, help="what restoralib.training.diffusion wrote")
    parser.add_argument("--tasks", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--methods", nargs="*", choices=list(CHOICES))
    parser.add_argument("--steps", nargs="*", type=int, default=[10, 20, 50], help="calls of the network")
    parser.add_argument("--patches", type=int, default=100)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument(
        "--choose", action="store_true", help="the folder is that of training: try CHOICES on its held-out part"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    net = load_model(options.weights)
    net = net.eval().requires_grad_(False)
    if options.choose:
        photographs = list(read_photographs(options.folder, exclude=["skimage_*"]).values())
        clean = cut(split([image for image in photographs if min(image.shape[1:]) >= 64])[0], options.patches, options.size)
        rows = run(clean, net, options, lambda _, method: CHOICES[method])
    else:
        clean = read_patches(options.folder, options.patches, options.size)
        rows = run(clean, net, options, lambda task, method: [SETTINGS[task][method]])
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
