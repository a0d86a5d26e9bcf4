"""Make docs/gallery.md and its pictures from the bundled weights.

    python docs/gallery.py

Run it again whenever weights change. Every figure on the page is measured here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import restoralib
from restoralib.comparison import enlarge_to, side_by_side
from restoralib.evaluation.generators import GENERATORS
from restoralib.images import Picture, read_image, write_image
from restoralib.metrics import psnr, to_8_bits
from restoralib.ops import resize
from restoralib.training.denoise import add_noise
from restoralib.zoo import TASKS

DOCS = Path(__file__).parent
PHOTOGRAPHS = {"chelsea": (40, 90), "coffee": (100, 170)}  # top and left of what is shown
SIZE = (192, 288)  # a multiple of 2, 3 and 4
DIFFUSION = "<!-- made by docs/diffusion_gallery.py -->"
"""Begins the part of the page that needs a prior, which is not bundled; it is left as it is here."""

HEAD = """# Gallery

Before, after, original, made by `python docs/gallery.py` with the bundled weights. The photographs (Chelsea by Stefan van der
Walt, Coffee by Rachel Michetti, both CC0, from scikit-image) were not in the training data. PSNR is over all RGB pixels of the
part shown, after rounding to 8 bits.
"""


SHOWN: tuple[tuple[str, str, int], ...] = (
    *(("denoise", f"Denoising, Gaussian noise of sigma {sigma}", sigma) for sigma in (15, 25, 50)),
    ("denoise_real", "Denoising, a sensor's noise", 0),
    ("jpeg", "JPEG of quality 10", 10),
    ("deblur", "A shaken camera", 0),
    ("defocus", "Out of focus", 0),
    ("derain", "Rain", 0),
    ("dehaze", "Haze", 0),
    ("low_light", "Low light", 0),
    ("demoire", "A photographed screen", 0),
    *((f"sr{scale}", f"Super-resolution x{scale}; before: bicubic interpolation", 0) for scale in (2, 3, 4)),
)
"""Tasks, titles and strengths; 0 draws the strength with the seed of the photograph's place."""


def degrade_and_restore(clean: Tensor, task: str, strength: int, seed: int) -> tuple[Tensor, Tensor]:
    """An image before and after its restoration, both in the size of the clean one and rounded to 8 bits.

    What is no noise and no reduction is made by the generators that judge the models, which training does not know.
    """
    if task == "denoise":
        before = small = add_noise(clean, torch.tensor(strength / 255), torch.Generator().manual_seed(0))
    elif task.startswith("sr"):
        small = to_8_bits(resize(clean, 1 / int(task.removeprefix("sr"))))
        before = to_8_bits(enlarge_to(small, SIZE))
    else:
        spoilt = GENERATORS[task](clean.double(), np.random.default_rng(seed), strength or None)
        before = small = to_8_bits(spoilt.image.float())
    return before, to_8_bits(restoralib.restore(small, task))


def main() -> None:
    page = [HEAD]
    for task, title, strength in SHOWN:
        if TASKS[task] is None:  # no weights are bundled
            continue
        page.append(f"## {title}\n\nModel: `{TASKS[task]}`.\n")
        for seed, (name, (top, left)) in enumerate(PHOTOGRAPHS.items()):
            whole = read_image(DOCS.parent / "examples" / f"{name}.png").color
            clean = whole[:, top : top + SIZE[0], left : left + SIZE[1]]
            before, after = degrade_and_restore(clean, task, strength, seed)
            file = f"pictures/{name}_{task}{f'{strength:g}' if strength else ''}.webp"
            write_image(DOCS / file, Picture(side_by_side([before, after, clean])), quality=90)
            low, high = (psnr(image[None], clean[None]).item() for image in (before, after))
            page.append(f"![{title}: {name}]({file})\n\nPSNR {low:.2f} dB before, {high:.2f} dB after.\n")
    gallery = DOCS / "gallery.md"
    _, marker, diffusion = gallery.read_text(encoding="utf-8").partition(DIFFUSION)
    gallery.write_text("\n".join(page) + (f"\n{marker}{diffusion}" if marker else ""), encoding="utf-8")


if __name__ == "__main__":
    main()
