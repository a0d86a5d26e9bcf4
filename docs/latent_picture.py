"""Make docs/pictures/chelsea_latent50.webp, which docs/layers/latent.md shows, from the bundled weights.

    python docs/latent_picture.py

Left to right: noise of sigma 50, what the autoencoder alone makes of it, one step of the latent denoiser, four, the original.
The figures under it are printed.
"""

from __future__ import annotations

from pathlib import Path

import torch

from restoralib import restore
from restoralib.comparison import side_by_side
from restoralib.images import Picture, read_image, write_image
from restoralib.latent import LatentRestorer
from restoralib.metrics import psnr, to_8_bits
from restoralib.training.denoise import add_noise
from restoralib.zoo import load_bundled

DOCS = Path(__file__).parent


def main() -> None:
    """Write the picture."""
    clean = read_image(DOCS.parent / "examples" / "chelsea.png").color[:, 40:232, 90:282]
    noisy = add_noise(clean, torch.tensor(50 / 255), torch.Generator().manual_seed(0))
    model = load_bundled("latent_denoise")
    assert isinstance(model, LatentRestorer)
    with torch.inference_mode():
        alone = model.reconstruct(noisy[None])[0].clamp(0, 1)
    shown = [noisy, alone, *(restore(noisy, model, steps=steps, seed=0, tile=128) for steps in (1, 4))]
    shown = [to_8_bits(image) for image in shown]
    print(", ".join(f"{psnr(image[None], clean[None]).item():.2f} dB" for image in shown))
    write_image(DOCS / "pictures" / "chelsea_latent50.webp", Picture(side_by_side([*shown, clean])), quality=85)


if __name__ == "__main__":
    main()
