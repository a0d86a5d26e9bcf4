"""Seams of a latent denoiser whose network sees tiles: temporal tiling, overlap averaging and tiles apart, in one run.

    python benchmarks/temporal_seams.py EVAL_FOLDER --autoencoder ae.safetensors --denoiser dn.safetensors
    python benchmarks/temporal_seams.py EVAL_FOLDER --autoencoder ... --denoiser ... --tile 128 --overlap 32 --steps 1 8

EVAL_FOLDER holds photographs (CBSD68, Set14/HR). Noise of --sigma (of 255) is added to square cuts of them, and to smooth
gradients of colour made here. Both are encoded and decoded whole, so that what differs is the denoiser alone, and all ways
begin with the same noise. With u the untiled result and y the tiled one, both clamped to [0, 1], and the lines l where a tile
begins or ends inside the image (in pixels, of both axes):

    seam PSNR         -10 log10 mean (y - u)^2 over all channels of the pixels within 32 px of a line
    gradient ratio    mean |y(l) - y(l - 1)| over mean |u(l) - u(l - 1)|, over all lines and channels
    colour difference mean over the tiles' cores of the distance in CIELAB (CIE 1976, D65) between the core's mean colours in
                      y and in u

The mean over the images is printed, of the PSNR also the least. The goal of temporal tiling is a seam PSNR above 40 dB, a ratio
below 1.2 and a colour difference below 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from restoralib.checkpoints import load_model
from restoralib.data.photographs import read_photographs
from restoralib.diffusion import Flow, ddim, even, sample, shifted
from restoralib.latent import (
    exact_denoiser,
    overlap_denoiser,
    plan_latent,
    sample_apart,
    temporal_denoiser,
    whole_denoiser,
)
from restoralib.latent.restorer import degradation_text
from restoralib.metrics import psnr

NEAR = 32


def gradients(side):
    """Three smooth pictures: a ramp across, a ramp along the diagonal through colours, a broad blob. (3, h, w) each."""
    line = torch.linspace(0, 1, side)
    down, across = torch.meshgrid(line, line, indexing="ij")
    ramp = torch.stack([0.2 + 0.6 * across] * 3)
    diagonal = torch.stack((0.3 + 0.4 * (down + across) / 2, 0.5 + 0.2 * across - 0.2 * down, 0.8 - 0.5 * down))
    blob = torch.exp(-4 * ((down - 0.45).square() + (across - 0.55).square()))
    return {"ramp": ramp, "diagonal": diagonal, "blob": torch.stack((0.2 + 0.6 * blob, 0.3 + 0.4 * blob, 0.6 - 0.3 * blob))}


def lines(plan):
    """Rows and columns at which a tile begins or ends inside the image."""
    return [sorted({end for span in spans for end in span} - {0, spans[-1][1]}) for spans in (plan.rows, plan.columns)]


def seam_psnr(ours: Tensor, whole: Tensor, plan) -> float:
    """See above."""
    near = torch.zeros(plan.size, dtype=torch.bool)
    for axis, places in enumerate(lines(plan)):
        for place in places:
            near.narrow(axis, max(place - NEAR, 0), min(place + NEAR, plan.size[axis]) - max(place - NEAR, 0))[:] = True
    return float(-10 * (ours - whole)[..., near].square().mean().log10())


def gradient_ratio(ours: Tensor, whole: Tensor, plan) -> float:
    """See above."""
    steps = []
    for image in (ours, whole):
        at = [image.diff(dim=axis - 2).index_select(axis - 2, torch.tensor(places) - 1).abs().flatten()
              for axis, places in enumerate(lines(plan)) if places]  # fmt: skip
        steps.append(torch.cat(at).mean())
    return float(steps[0] / steps[1])


def to_lab(rgb: Tensor) -> Tensor:
    """CIELAB of sRGB colours (..., 3), under D65."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / torch.tensor([0.9505, 1.0, 1.089])
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=0) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(-1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -1)


def colour_difference(ours: Tensor, whole: Tensor, plan) -> float:
    """See above."""
    means = [torch.stack([image[tile.place].mean((-2, -1)) for tile in plan.core()]) for image in (ours, whole)]
    return float((to_lab(means[0]) - to_lab(means[1])).norm(dim=-1).mean())


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--denoiser", type=Path, required=True)
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--overlap", type=int, default=32)
    parser.add_argument("--sigma", type=float, default=25)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--photographs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    autoencoder, net = load_model(options.autoencoder).eval(), load_model(options.denoiser).eval()
    text, factor, side = degradation_text("denoise"), autoencoder.factor, options.side
    found = [image.float() / 255 for image in read_photographs(options.folder).values() if min(image.shape[1:]) >= side]
    chosen = found[:: max(len(found) // options.photographs, 1)][: options.photographs]
    photographs = {str(number): image[:, :side, :side] for number, image in enumerate(chosen)}
    tile, overlap = options.tile // factor, options.overlap // factor
    plans = {shared: plan_latent(side // factor, side // factor, tile, shared) for shared in (0, overlap)}
    ways = {
        "temporal, no overlap": (0, lambda c: temporal_denoiser(net, text, tile, 0, condition=c)),
        "temporal": (overlap, lambda c: temporal_denoiser(net, text, tile, overlap, condition=c)),
        "temporal, serpentine": (
            overlap,
            lambda c: temporal_denoiser(net, text, tile, overlap, condition=c, order="serpentine"),
        ),
        "temporal, no border": (overlap, lambda c: temporal_denoiser(net, text, tile, overlap, condition=c, border=False)),
        "overlap averaging": (overlap, lambda c: overlap_denoiser(net, text, tile, overlap, condition=c)),
        "tiles apart": (overlap, None),
        "exact": (0, lambda c: exact_denoiser(net, text, tile, condition=c)),
    }  # fmt: skip
    step = ddim(Flow())
    for kind, images in (("gradients", gradients(side)), ("photographs", photographs)):
        for count in options.steps:
            times = shifted(even(count), 3.0)
            figures = {way: [] for way in ways}
            quality = {way: [] for way in ("untiled", *ways)}
            for number, clean in enumerate(images.values()):
                generator = torch.Generator().manual_seed(number)
                noisy = (clean + options.sigma / 255 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
                with torch.inference_mode():
                    condition = autoencoder.encode(2 * noisy[None] - 1) * autoencoder.scaling_factor
                    start = torch.randn(condition.shape, generator=generator)

                    def image_of(latents):
                        return ((autoencoder.decode(latents / autoencoder.scaling_factor) + 1) / 2).clamp(0, 1)[0]

                    whole = image_of(sample(whole_denoiser(net, text, condition=condition), start, times, step))
                    quality["untiled"].append(float(psnr(whole[None], clean[None])))
                    for way, (shared, denoiser_of) in ways.items():
                        if denoiser_of is None:
                            latents = sample_apart(
                                lambda rows, columns, c=condition: whole_denoiser(net, text, condition=c[..., rows, columns]),
                                start, plans[shared], times, step,
                            )  # fmt: skip
                        else:
                            latents = sample(denoiser_of(condition), start, times, step)
                        ours, plan = image_of(latents), plans[shared].scaled(factor)
                        measured = [measure(ours, whole, plan) for measure in (seam_psnr, gradient_ratio, colour_difference)]
                        figures[way].append(measured)
                        quality[way].append(float(psnr(ours[None], clean[None])))
            reached = mean(quality["untiled"])
            print(f"{kind}, {len(images)} of {side} px, {count} steps; untiled {reached:.2f} dB to the clean image")
            for way, rows in figures.items():
                seam, ratio, colour = (list(column) for column in zip(*rows, strict=True))
                print(
                    f"  {way:22s} seam PSNR {mean(seam):6.2f} dB (least {min(seam):6.2f})  gradient ratio {mean(ratio):.3f}  "
                    f"colour {mean(colour):.3f}  to the clean image {mean(quality[way]):.2f} dB",
                    flush=True,
                )


def mean(values):
    """Of a list."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
