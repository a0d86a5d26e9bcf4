"""The bundled denoiser: a small NAFNet for Gaussian colour noise of unknown strength.

    python -m restoralib.training.denoise PHOTOGRAPHS --out denoiser.safetensors

Patches of photographs get noise of sigma 0 to 55 (of 255), drawn for each patch, and are clamped and rounded to 8 bits, as every
stored photograph is. Loss and optimizer are NAFNet's. A run that is started again with the same `--state` goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from restoralib.archs.nafnet import NAFNet
from restoralib.data.photographs import random_patches, read_photographs
from restoralib.losses.psnr import psnr_loss
from restoralib.training.loop import Schedule, train

CONFIG = {"img_channel": 3, "width": 32, "middle_blk_num": 2, "enc_blk_nums": (1, 1, 2), "dec_blk_nums": (1, 1, 1)}
MAX_SIGMA = 55 / 255


def add_noise(clean: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of standard deviation sigma (b, 1, 1, 1), clamped to [0, 1] and rounded to 8 bits."""
    noise = torch.randn(clean.shape, generator=generator)
    return ((clean + sigma * noise).clamp(0, 1) * 255).round() / 255


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="folder of clean photographs")
    parser.add_argument("--out", type=Path, required=True, help="file of the trained weights (.safetensors)")
    parser.add_argument("--state", type=Path, help="file of the run's state (default: beside --out)")
    parser.add_argument("--exclude", nargs="*", default=[], help="patterns of file names to leave out")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    photographs = read_photographs(options.photographs, exclude=options.exclude)
    names = [name for name, image in photographs.items() if min(image.shape[1:]) >= options.patch]
    held_out, images = names[::40], [photographs[name] for i, name in enumerate(names) if i % 40]
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    net = NAFNet(**CONFIG).to(device, memory_format=torch.channels_last)

    def loss(net: nn.Module, generator: torch.Generator) -> Tensor:
        clean = random_patches(images, options.patch, options.batch, generator).float() / 255
        sigma = torch.rand(options.batch, 1, 1, 1, generator=generator) * MAX_SIGMA
        noisy = add_noise(clean, sigma, generator).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            restored = net(noisy)
        return psnr_loss(restored.float(), clean.to(device))

    @torch.inference_mode()
    def validate(net: nn.Module) -> float:
        figures = []
        for number, name in enumerate(held_out):
            generator = torch.Generator().manual_seed(number)
            clean = photographs[name][None, :, :256, :256].float() / 255
            noisy = add_noise(clean, torch.tensor(25 / 255), generator)
            restored = net(noisy.to(device)).cpu().clamp(0, 1)
            figures.append(-psnr_loss(restored, clean).item())
        return sum(figures) / len(figures)

    state = options.state or options.out.with_suffix(".state.pt")
    schedule = Schedule(options.steps)
    average = train(net, loss, schedule, checkpoint=state, seed=options.seed, validate=validate)
    from restoralib.training.export import export_weights

    export_weights(average, options.out, arch="nafnet", config=CONFIG, half=True)


if __name__ == "__main__":
    main()
