"""Degrade a photograph, restore it with the bundled weights, and show before, after and the original.

    python examples/restore_photograph.py [PHOTOGRAPH] [--out before_after.png]

First row: Gaussian noise of sigma 25, rounded to 8 bits, and the denoiser. Second row: a quarter of the size, enlarged by
bicubic interpolation, and super-resolution x4. The photograph beside this file (CC0, see examples/README.md) was not in the
training data.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

import restoralib
from restoralib.comparison import enlarge_to, side_by_side
from restoralib.images import Picture, read_image, write_image
from restoralib.metrics import psnr, to_8_bits
from restoralib.ops import resize


def add_noise(clean: Tensor, sigma: float = 25, seed: int = 0) -> Tensor:
    """Gaussian noise of a standard deviation given in 8-bit units."""
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return to_8_bits(clean + sigma / 255 * noise)


def report(title: str, before: Tensor, after: Tensor, clean: Tensor) -> None:
    """Print the PSNR of both states over all RGB pixels."""
    low, high = (psnr(image[None], clean[None]).item() for image in (before, after))
    print(f"{title}: PSNR {low:.2f} dB before, {high:.2f} dB after, gain {high - low:+.2f} dB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", type=Path, nargs="?", default=Path(__file__).with_name("chelsea.png"))
    parser.add_argument("--out", type=Path, default=Path("before_after.png"))
    options = parser.parse_args()

    clean = read_image(options.photograph).color
    height, width = clean.shape[1] // 4 * 4, clean.shape[2] // 4 * 4
    clean = clean[:, :height, :width]

    noisy = add_noise(clean)
    denoised = restoralib.restore(noisy, "denoise")
    report("denoising, sigma 25", noisy, denoised, clean)

    small = to_8_bits(resize(clean, 1 / 4))
    enlarged = enlarge_to(small, (height, width))
    restored = restoralib.restore(small, "sr4")
    report("super-resolution x4", enlarged, restored, clean)

    rows = [side_by_side([noisy, denoised, clean]), side_by_side([enlarged, restored, clean])]
    gap = torch.ones_like(rows[0][:, :8])
    write_image(options.out, Picture(torch.cat([rows[0], gap, rows[1]], dim=1)))
    print(f"wrote {options.out}: before, after, original; denoising above, super-resolution below")


if __name__ == "__main__":
    main()
