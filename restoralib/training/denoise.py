"""The bundled denoiser: a small NAFNet for Gaussian colour noise of unknown strength.

    python -m restoralib.training.denoise PHOTOGRAPHS --out denoiser.safetensors

Patches of photographs get noise of sigma 0 to 55 (of 255), drawn for each patch, and are clamped and rounded to 8 bits, as
every stored photograph is. Loss and optimizer are NAFNet's. A run that is started again with the same `--state` goes on where
it was.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs.nafnet import NAFNet
from restoralib.data.photographs import random_patches, split
from restoralib.losses.psnr import psnr_loss
from restoralib.metrics.psnr import psnr
from restoralib.ops.levels import round_to_levels
from restoralib.training.export import export_weights
from restoralib.training.loop import Schedule
from restoralib.training.options import large_photographs, parse_recipe, recipe_parser, train_recipe

CONFIG: dict[str, Any] = {
    "img_channel": 3,
    "width": 32,
    "middle_blk_num": 2,
    "enc_blk_nums": (1, 1, 2),
    "dec_blk_nums": (1, 1, 1),
}
MAX_SIGMA = 55 / 255


def add_noise(clean: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of standard deviation sigma (b, 1, 1, 1), clamped to [0, 1] and rounded to 8 bits."""
    noise = torch.randn(clean.shape, generator=generator)
    return round_to_levels(clean + sigma * noise)


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    options = parse_recipe(recipe_parser(__doc__, steps=20_000, batch=16, patch=64), arguments)
    held_out, images = split(large_photographs(options, options.patch))
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    net = NAFNet(**CONFIG).to(device).to(memory_format=torch.channels_last)

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
        for number, photograph in enumerate(held_out):
            generator = torch.Generator().manual_seed(number)
            clean = photograph[None, :, :256, :256].float() / 255
            noisy = add_noise(clean, torch.tensor(25 / 255), generator)
            figures.append(psnr(net(noisy.to(device)).cpu().clamp(0, 1), clean).item())
        return sum(figures) / len(figures)

    average = train_recipe(net, loss, Schedule(options.steps), options, validate)
    export_weights(average, options.out, arch="nafnet", config=CONFIG, half=True)


if __name__ == "__main__":
    main()
