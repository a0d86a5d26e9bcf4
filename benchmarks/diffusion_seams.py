"""Seams of a diffusion whose network sees tiles, on photographs: how far it is from the untiled result, and what cuts show.

    python benchmarks/diffusion_seams.py [--weights prior.safetensors] [--tile 96] [--size 160 224]

A seam would be seen as steps at the ends of tiles. Their energy is the mean square of the differences of neighbouring pixels
there, against that of the same differences elsewhere; what is printed is this ratio over that of the untiled picture, so that 1
is no seam. Two diffusions are tiled: IR-SDE whose network is the bundled denoiser (noise of sigma 25), and with the weights of
`restoralib.training.diffusion` DDNM's enlargement by 2.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from restoralib import create_model, load_model, restore
from restoralib.diffusion import DDPM, IRSDE, ByDDNM, DiffusionModel, DiffusionRestorer, remove_noise
from restoralib.images import read_image
from restoralib.ops import cosine_thetas, linear_betas, resize
from restoralib.ops.tile import plan_tiles

PHOTOGRAPHS = ("chelsea", "coffee")
STEPS = 10


def cases(weights: Path | None) -> dict[str, tuple[DiffusionRestorer, int]]:
    """Restorers by name, and what they enlarge by."""
    bundled = create_model("nafnet_denoise", weights="bundled")
    irsde = DiffusionModel(
        lambda x, y, t: bundled(y), IRSDE(cosine_thetas(STEPS), 10 / 255), "x0", "argument", low=0.0, high=1.0, clip=False
    )
    found = {"IR-SDE, bundled denoiser": (DiffusionRestorer(irsde, steps=STEPS), 1)}
    if weights is not None:
        prior, process = load_model(weights), DDPM(linear_betas(1000))

        def net(x: Tensor, t: Tensor) -> Tensor:
            a, _, s = process.coefficients(t)
            shape = (-1, 1, 1, 1)
            return remove_noise(prior, (x / a.reshape(shape)).to(x), s / a)

        model = DiffusionModel(net, process, "x0", multiple=8)
        found["DDNM x2"] = (DiffusionRestorer(model, steps=STEPS, guidance=ByDDNM(eta=1.0), operator="sr2"), 2)
    return found


def energy(image: Tensor, cuts: tuple[list[int], list[int]]) -> float:
    """Of the steps at the cuts, against that of the others: the mean of both axes."""
    ratios = []
    for axis, places in zip((1, 2), cuts, strict=True):
        steps = image.diff(dim=axis).square().mean(tuple({0, 1, 2} - {axis}))
        at = torch.zeros(len(steps), dtype=torch.bool)
        at[places] = True
        ratios.append(float(steps[at].mean() / steps[~at].mean()))
    return sum(ratios) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--tile", type=int, default=96)
    parser.add_argument("--size", type=int, nargs=2, default=(160, 224))
    parser.add_argument("--overlaps", type=int, nargs="*", default=(24, 48, 64))
    options = parser.parse_args()
    torch.set_num_threads(1)
    height, width = options.size
    for name, (restorer, factor) in cases(options.weights).items():
        for photograph in PHOTOGRAPHS:
            whole = read_image(Path(__file__).parents[1] / "examples" / f"{photograph}.png").color
            clean = whole[:, 60 : 60 + height, 100 : 100 + width]
            noise = 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
            degraded = resize(clean, 1 / factor) if factor > 1 else clean + noise
            untiled = restore(degraded, restorer, seed=0, tile=None)
            for overlap in options.overlaps:
                began = time.process_time()
                tiled = restore(degraded, restorer, seed=0, tile=options.tile, overlap=overlap)
                seconds = time.process_time() - began
                spans = [plan_tiles(side, options.tile, overlap, restorer.model.multiple) for side in (height, width)]
                rows, columns = ([start - 1 for start, _ in s[1:]] + [stop - 1 for _, stop in s[:-1]] for s in spans)
                ratio = energy(tiled, (rows, columns)) / energy(untiled, (rows, columns))
                distance = -10 * float((tiled - untiled).square().mean().log10())
                tiles = len(spans[0]) * len(spans[1])
                print(
                    f"{name}, {photograph}: tiles of {options.tile} that share {overlap} ({tiles} of them, {seconds:.1f} s): "
                    f"{distance:.1f} dB to the untiled picture, energy at their ends {ratio:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
