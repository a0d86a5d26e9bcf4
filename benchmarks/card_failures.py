"""Measure where bundled models fail, and write it as sentences for their cards.

    python benchmarks/card_failures.py EVAL_FOLDER/CBSD68 about.json [MODEL ...]
    python -m restoralib.training.cards about.json

Five photographs of the folder, 192x192 each, at fixed seeds. Networks that enlarge get small images with traces of JPEG or with
noise; restorers get clean images, which they should leave alone, and their degradation with noise of sigma 15 on top. Models
that have failures in the manifest are left out unless they are named.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import restoralib
from restoralib import restore
from restoralib.data.reading import image_files, read_pixels, to_image
from restoralib.evaluation.generators import GENERATORS
from restoralib.metrics import psnr, to_8_bits
from restoralib.ops import resize
from restoralib.zoo import list_models, model_info
from restoralib.zoo.bundled import read_entries

COUNT, SIDE, QUALITY = 5, 192, 40


def jpeg(image: Tensor) -> Tensor:
    """An image through a JPEG file."""
    file = io.BytesIO()
    Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()).save(file, "JPEG", quality=QUALITY)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255


def noisy(image: Tensor, sigma: float, seed: int) -> Tensor:
    """An image with Gaussian noise, rounded to 8 bits."""
    return to_8_bits(image + torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)) * sigma / 255)


def mean_psnr(pairs: list[tuple[Tensor, Tensor]], crop: int = 0) -> float:
    return sum(psnr(a[None], b[None], crop=crop).item() for a, b in pairs) / len(pairs)


def failures_of_enlarging(name: str, scale: int, photographs: list[Tensor]) -> list[str]:
    told = []
    spoilers = {
        f"Traces of JPEG are taken for the picture: of small images of quality {QUALITY}": lambda small, seed: jpeg(small),
        "So is noise: of small images with noise of sigma 10": lambda small, seed: noisy(small, 10, seed),
    }
    for words, spoil in spoilers.items():
        own, plain = [], []
        for seed, clean in enumerate(photographs):
            small = spoil(to_8_bits(resize(clean, 1 / scale)), seed)
            own.append((to_8_bits(restore(small, name)), clean))
            plain.append((to_8_bits(resize(small, scale)), clean))
        made, other = mean_psnr(own, scale), mean_psnr(plain, scale)
        told.append(f"{words} it makes {made:.2f} dB, bicubic interpolation {other:.2f} dB ({COUNT} crops of CBSD68).")
    return told


def failures_of_restoring(name: str, tasks: tuple[str, ...], photographs: list[Tensor]) -> list[str]:
    clean = mean_psnr([(to_8_bits(restore(image, name)), image) for image in photographs])
    told = [f"A clean photograph comes back with {clean:.1f} dB ({COUNT} crops of CBSD68)."]
    task = next((task for task in tasks if task not in ("denoise", "denoise_real")), None)
    if task is None:
        pairs = [(jpeg(image), image) for image in photographs]
        after = mean_psnr([(to_8_bits(restore(image, name)), target) for image, target in pairs])
        return [*told, f"Traces of JPEG of quality {QUALITY}: {mean_psnr(pairs):.2f} dB became {after:.2f} dB."]
    gains = []
    for sigma in (0, 15):
        before, after = [], []
        for seed, image in enumerate(photographs):
            spoilt = to_8_bits(GENERATORS[task](image.double(), np.random.default_rng(seed), None).image.float())
            spoilt = noisy(spoilt, sigma, seed) if sigma else spoilt
            before.append((spoilt, image))
            after.append((to_8_bits(restore(spoilt, name)), image))
        gains.append((mean_psnr(before), mean_psnr(after)))
    (low, high), (low_noisy, high_noisy) = gains
    told.append(
        f"Noise of sigma 15 on top ({task}, the same crops): {low_noisy:.2f} dB became {high_noisy:.2f} dB, where without it "
        f"{low:.2f} dB became {high:.2f} dB."
    )
    return told


def main() -> None:
    folder, out, *named = sys.argv[1:]
    entries = read_entries(Path(restoralib.__file__).parent / "weights")
    lacking = {entry["name"] for entry in entries if not entry.get("failures")}
    photographs = [to_image(read_pixels(path))[:, :SIDE, :SIDE] for path in image_files(Path(folder))[:COUNT]]
    about = {}
    for name in named or sorted(lacking & set(list_models(bundled=True))):
        info = model_info(name)
        if info.scale > 1:
            told = failures_of_enlarging(name, info.scale, photographs)
        else:
            told = failures_of_restoring(name, info.tasks, photographs)
        about[name] = {"failures": told}
        print(name, *told, sep="\n  ", flush=True)
    Path(out).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
