"""Denoise a photograph in the latents of an autoencoder: the bundled small SANA-Denoiser, with temporal tiling.

    python examples/latent_denoise.py [PHOTOGRAPH] [--sigma 50] [--steps 1] [--tile 192] [--out denoised.png]

The photograph gets Gaussian noise, goes to latents of 1/8 of its side, one step of a flow (or more) there, and back. Beside the
result stands what the autoencoder alone makes of the noisy photograph, and of the clean one: its ceiling.
"""

import argparse
from pathlib import Path

import torch

from restoralib import restore
from restoralib.comparison import side_by_side
from restoralib.images import Picture, read_image, write_image
from restoralib.latent import LatentRestorer
from restoralib.metrics import psnr, to_8_bits
from restoralib.zoo import load_bundled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", nargs="?", type=Path, default=Path(__file__).with_name("chelsea.png"))
    parser.add_argument("--sigma", type=float, default=50, help="of the noise, of 255")
    parser.add_argument("--steps", type=int, default=1, help="more draw more detail and cost PSNR")
    parser.add_argument("--tile", type=int, default=192, help="side of a tile in pixels")
    parser.add_argument("--out", type=Path, default=Path("denoised.png"))
    options = parser.parse_args()

    clean = read_image(options.photograph).color
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = to_8_bits(clean + options.sigma / 255 * noise)

    model = load_bundled("latent_denoise")
    assert isinstance(model, LatentRestorer)
    denoised = restore(noisy, model, steps=options.steps, tile=options.tile, seed=0)
    with torch.inference_mode():
        alone, ceiling = (model.reconstruct(image[None], tile=options.tile)[0].clamp(0, 1) for image in (noisy, clean))

    shown = {"noisy": noisy, "the autoencoder alone": alone, "denoised in latents": denoised, "ceiling": ceiling}
    for name, image in shown.items():
        print(f"{name:22} {psnr(to_8_bits(image)[None], clean[None]).item():6.2f} dB")
    write_image(options.out, Picture(side_by_side([noisy, alone, to_8_bits(denoised), clean])))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
