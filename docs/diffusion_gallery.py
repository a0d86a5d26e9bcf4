"""Make the part of docs/gallery.md on training-free diffusion, and its pictures, with a prior of one's own.

    python -m restoralib.training.diffusion PHOTOGRAPHS --out prior.safetensors --exclude 'skimage_*'
    python docs/diffusion_gallery.py --weights prior.safetensors

The prior is not bundled, so these pictures cannot be made again without training it. `docs/gallery.py` leaves this part as it
is. Every figure on the page is measured here. Needs scikit-image, which the extra `bench` brings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from gallery import DIFFUSION, DOCS, PHOTOGRAPHS
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from restoralib import load_model
from restoralib.comparison import side_by_side
from restoralib.degradations import gaussian_kernel
from restoralib.degradations.operators import CircularBlurOperator, MaskOperator, ResizeOperator
from restoralib.diffusion import (
    DDPM,
    Measurement,
    ddnm,
    ddrm,
    diffpir,
    karras,
    level_denoiser,
    level_steps,
    sample,
)
from restoralib.images import Picture, read_image, write_image
from restoralib.metrics import psnr, to_8_bits
from restoralib.ops import linear_betas, resize

SIZE, STEPS = (160, 240), 20
PAGE = """# Training-free diffusion

The same photographs, restored with an unconditional prior: a ConditionalNAFNet of 2.0 M parameters, trained on patches of 48x48
for {steps} by `python -m restoralib.training.diffusion`, which knows nothing of these degradations. It is **not bundled**;
`python docs/diffusion_gallery.py --weights prior.safetensors` makes this part of the page after you have trained it, and the
pictures will differ a little. Each is one sample with {calls} calls of the network.
"""


def degrade(clean: Tensor, task: str) -> tuple[Measurement, Tensor]:
    """The measurement in [-1, 1], and what is shown before, a first estimate."""
    shape, generator = tuple(clean.shape[1:]), torch.Generator().manual_seed(0)
    if task == "sr4":
        small = to_8_bits(ResizeOperator(shape, 1 / 4)(clean))
        return Measurement.of_images(ResizeOperator(shape, 1 / 4), small), resize(small, 4)
    if task == "deblur":
        blur = CircularBlurOperator(shape, gaussian_kernel(15, 1.6))
        blurred = blur(clean) + 0.01 * torch.randn(clean.shape, generator=generator)
        return Measurement.of_images(blur, blurred, 0.01), blurred
    mask = (torch.rand(shape[1:], generator=generator) > 0.7).float()
    masking = MaskOperator(shape, mask)
    filled = inpaint_biharmonic(masking(clean)[0].permute(1, 2, 0).double().numpy(), (mask == 0).numpy(), channel_axis=-1)
    return Measurement.of_images(masking, masking(clean)), torch.from_numpy(filled).permute(2, 0, 1)[None].float()


TASKS = {
    "sr4": ("Super-resolution x4 by DDRM; before: bicubic interpolation", lambda process, y: ddrm(process, y, eta=1.0)),
    "deblur": (
        "Blur of sigma 1.6, known, and noise of sigma 2.55 of 255, by DiffPIR",
        lambda process, y: diffpir(process, y, zeta=1.0),
    ),
    "inpaint": (
        "70 % of the pixels lost, by DDNM from biharmonic inpainting; before: biharmonic inpainting",
        lambda process, y: ddnm(process, y, eta=1.0),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--trained", default="20,000 steps", help="how long the prior was trained, for the page")
    options = parser.parse_args()
    process = DDPM(linear_betas(1000))
    denoise = level_denoiser(load_model(options.weights).eval().requires_grad_(False), process, clip=(-1, 1))
    page = [PAGE.format(steps=options.trained, calls=STEPS).replace("# ", "## ", 1)]
    for task, (title, make) in TASKS.items():
        page.append(f"### {title}\n")
        for name, (top, left) in PHOTOGRAPHS.items():
            whole = read_image(DOCS.parent / "examples" / f"{name}.png").color
            clean = whole[None, :, top : top + SIZE[0], left : left + SIZE[1]]
            measurement, before = degrade(clean, task)
            generator = torch.Generator().manual_seed(0)
            if task == "inpaint":
                middle, largest = 2 * before - 1, 0.25
            else:
                nothing = torch.zeros_like(clean)
                middle, largest = measurement.operator.prox(nothing, measurement.y, max(measurement.sigma, 1e-3) ** 2), 1.0
            grid = level_steps(process, karras(STEPS, largest, 0.03, 2.0))
            with torch.inference_mode():
                start = process.marginal(middle, grid[0], torch.randn(clean.shape, generator=generator))
                x = sample(denoise, start, grid, make(process, measurement), noise=generator)
            after = to_8_bits((x + 1) / 2)
            file = f"pictures/{name}_diffusion_{task}.webp"
            write_image(DOCS / file, Picture(side_by_side([before[0].clamp(0, 1), after[0], clean[0]])), quality=85)
            low, high = (psnr(to_8_bits(image), clean).item() for image in (before, after))
            page.append(f"![{title}: {name}]({file})\n\nPSNR {low:.2f} dB before, {high:.2f} dB after.\n")
    gallery = DOCS / "gallery.md"
    kept = gallery.read_text(encoding="utf-8").partition(DIFFUSION)[0]
    gallery.write_text(f"{kept.rstrip()}\n\n{DIFFUSION}\n\n" + "\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
