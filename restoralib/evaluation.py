"""A method on a folder of photographs, with figures as the papers print them.

    python -m restoralib.evaluation EVAL_FOLDER [--bm3d]

measures the bundled weights on the folders Set5/HR, Set14/HR and CBSD68 of EVAL_FOLDER, beside bicubic enlargement and, with
the package bm3d, CBM3D.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restoralib.data.photographs import read_photographs
from restoralib.metrics import psnr, ssim
from restoralib.ops.color import rgb_to_y
from restoralib.ops.resize import resize

Method = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Figures:
    """The mean figures of one method on one set of images.

    Args:
        dataset: name of the set.
        protocol: what was compared and how, as `evaluate_*` names it.
        method: name of the method.
        images: number of images.
        psnr: mean PSNR in dB.
        ssim: mean SSIM.
    """

    dataset: str
    protocol: str
    method: str
    images: int
    psnr: float
    ssim: float


def round_to_8_bits(image: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to multiples of 1/255, halves to even, as an 8-bit file stores it."""
    return (image.clamp(0, 1) * 255).round() / 255


def mean_figures(dataset: str, protocol: str, method: str, scores: Sequence[tuple[Tensor, Tensor]]) -> Figures:
    """Average the (PSNR, SSIM) of single images."""
    decibels, similarities = (torch.stack(side).mean().item() for side in zip(*scores, strict=True))
    return Figures(dataset, protocol, method, len(scores), decibels, similarities)


@torch.inference_mode()
def evaluate_luma_enlargement(
    methods: Mapping[str, Method], images: Mapping[str, Tensor], scale: int, *, dataset: str = ""
) -> list[Figures]:
    """Super-resolution by the classic protocol, that of the printed bicubic rows: everything on the luma.

    The luma is rounded to 8 bits and cut to a multiple of the scale, reduced by MATLAB's bicubic without rounding, enlarged by
    the method, and rounded once at the end; a border of `scale` pixels is left out. A grey image is its own luma.

    Args:
        methods: name -> function from small to large luma, (1, 1, h, w) -> (1, 1, scale * h, scale * w), in [0, 1].
        images: name -> (3, h, w) or (1, h, w), uint8.
        scale: the factor.
        dataset: name of the set, for the result.

    Returns:
        Mean figures, one entry a method, in their order.
    """
    scores: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in methods}
    for pixels in images.values():
        image = pixels[None].double() / 255
        luma = round_to_8_bits(rgb_to_y(image) if image.shape[1] == 3 else image)
        target = luma[..., : luma.shape[2] // scale * scale, : luma.shape[3] // scale * scale]
        small = resize(target, 1 / scale)
        for name, enlarge in methods.items():
            restored = round_to_8_bits(enlarge(small.float()).double())
            scores[name].append((psnr(restored, target, crop=scale), ssim(restored, target, crop=scale)))
    return [mean_figures(dataset, f"luma-classic x{scale}", name, values) for name, values in scores.items()]


@torch.inference_mode()
def evaluate_denoising(
    methods: Mapping[str, Method], images: Mapping[str, Tensor], sigma: float, *, dataset: str = "", stored: bool = True
) -> list[Figures]:
    """Gaussian colour denoising: RGB, no border, noise from NumPy's seed 0 anew for every image.

    Args:
        methods: name -> function from noisy to clean image, (1, 3, h, w) -> (1, 3, h, w), in [0, 1].
        images: name -> (3, h, w), uint8.
        sigma: standard deviation of the noise, of 255.
        dataset: name of the set, for the result.
        stored: clamp the noisy image and round it to 8 bits, as a file would; False is the protocol of the denoising
            tables, which keep the noise whole.

    Returns:
        Mean figures, one entry a method, in their order.
    """
    scores: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in methods}
    for pixels in images.values():
        clean = pixels[None].double() / 255
        draw = np.random.RandomState(0).normal(0, sigma / 255, pixels.permute(1, 2, 0).shape)
        noisy = clean + torch.from_numpy(draw).permute(2, 0, 1)
        noisy = round_to_8_bits(noisy) if stored else noisy
        for name, denoise in methods.items():
            restored = round_to_8_bits(denoise(noisy.float()).double())
            scores[name].append((psnr(restored, clean), ssim(restored, clean)))
    kind = "8-bit" if stored else "unclipped"
    return [mean_figures(dataset, f"rgb sigma {sigma:g} {kind}", name, values) for name, values in scores.items()]


def cbm3d(sigma: float) -> Method:
    """CBM3D of the package bm3d, told the true noise level; raises ImportError without it."""
    from bm3d import bm3d_rgb

    def denoise(noisy: Tensor) -> Tensor:
        restored = bm3d_rgb(noisy[0].permute(1, 2, 0).double().numpy(), sigma / 255)
        return torch.from_numpy(np.asarray(restored)).permute(2, 0, 1)[None]

    return denoise


def evaluate_bundled(folder: Path, *, bm3d: bool = False, sigmas: Sequence[float] = (15, 25, 50)) -> list[Figures]:
    """Measure the bundled super-resolution networks on Set5 and Set14 and the denoiser on CBSD68.

    Args:
        folder: holds Set5/HR, Set14/HR and CBSD68; what is missing is left out.
        bm3d: measure CBM3D beside the denoiser, in the same run on the same noise.
        sigmas: noise levels.

    Raises:
        FileNotFoundError: none of the three folders exists.
    """
    from restoralib.zoo import load_bundled

    rows = []
    for dataset in ("Set5", "Set14"):
        if not (folder / dataset / "HR").is_dir():
            continue
        images = read_photographs(folder / dataset / "HR", keep_gray=True)
        for scale in (2, 3, 4):
            methods: dict[str, Method] = {"bicubic": partial(resize, scale=scale)}
            methods["FSRCNN (bundled)"] = load_bundled(f"fsrcnn_x{scale}")
            rows += evaluate_luma_enlargement(methods, images, scale, dataset=dataset)
    if (folder / "CBSD68").is_dir():
        images = read_photographs(folder / "CBSD68")
        net = load_bundled("nafnet_denoise")
        for sigma in sigmas:
            methods = {"noisy": torch.clone, "NAFNet (bundled)": net}
            if bm3d:
                methods["CBM3D"] = cbm3d(sigma)
            rows += evaluate_denoising(methods, images, sigma, dataset=f"CBSD68 ({len(images)})")
    if not rows:
        raise FileNotFoundError(f"{folder} holds none of Set5/HR, Set14/HR and CBSD68")
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of the bundled weights as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bm3d", action="store_true", help="measure CBM3D too (minutes)")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50], help="noise levels, of 255")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = evaluate_bundled(options.folder, bm3d=options.bm3d, sigmas=options.sigmas)
    if options.json:
        lines = [json.dumps([asdict(row) for row in rows], indent=1)]
    else:
        lines = [f"{row.dataset:12} {row.protocol:20} {row.method:18} {row.psnr:6.2f} dB  {row.ssim:.4f}" for row in rows]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
