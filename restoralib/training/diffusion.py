"""A prior of colour photographs: a small ConditionalNAFNet that removes noise of any known level.

    python -m restoralib.training.diffusion PHOTOGRAPHS --out prior.safetensors --init nafnet_denoise.safetensors

Patches of photographs in [-1, 1] get noise of a level between 0.005 and 3, drawn for each patch, even on a logarithmic scale,
and are neither clamped nor rounded: they are states of a diffusion. The loss is the logarithm of each patch's squared error,
which gives every level the same weight. `--init` starts from a NAFNet of the same size, such as the bundled denoiser, whose
function is kept to begin with. A run that is started again with the same `--state` goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from restoralib.archs.refusion import ConditionalNAFNet
from restoralib.data.photographs import random_patches, split
from restoralib.diffusion.known_level import remove_noise
from restoralib.losses.psnr import psnr_loss
from restoralib.metrics.psnr import psnr
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
LEVELS = (0.005, 3.0)


def draw_levels(count: int, generator: torch.Generator) -> Tensor:
    """Noise levels, (count,), even on a logarithmic scale."""
    low, high = (math.log(level) for level in LEVELS)
    return (low + (high - low) * torch.rand(count, generator=generator)).exp()


def from_nafnet(weights: Mapping[str, Tensor], net: ConditionalNAFNet) -> dict[str, Tensor]:
    """State dict of a ConditionalNAFNet that does, whatever time it is told, what a NAFNet of the same size does.

    That NAFNet's images are in [0, 1], z = (x + 1) / 2, and it adds what it computes to them. A black image as the condition
    leaves x + 1 = 2 z for the first convolution; biases of layer norms become shifts that do not depend on the time.

    Args:
        weights: state dict of the NAFNet.
        net: gives what the NAFNet does not have, the layers of the time.

    Raises:
        ValueError: the networks differ in size.
    """
    state = {key: value.clone() for key, value in net.state_dict().items()}
    state |= {key: torch.zeros_like(value) for key, value in state.items() if ".mlp.1." in key}
    for key, value in weights.items():
        block, norm, parameter = key.rpartition(".norm")
        value = value.float()
        if norm and parameter.endswith("weight"):
            key, value = key.replace(".weight", ".g"), value[None, :, None, None]
        elif norm:  # the shifts stand first and third among shift1, scale1, shift2, scale2
            shifts = state[f"{block}.mlp.1.bias"].chunk(4)
            shifts[2 * (int(parameter[0]) - 1)].copy_(value)
            continue
        elif key == "intro.weight":
            value = torch.cat([value / 2, torch.zeros_like(value)], dim=1)
        elif key.startswith("ending."):
            value = 2 * value
        if key not in state or state[key].shape != value.shape:
            raise ValueError(f"{key} of the weights to start from does not fit; they should be those of a NAFNet with {CONFIG}")
        state[key] = value
    return state


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=20_000, batch=8, patch=64)
    parser.add_argument("--init", type=Path, help="weights of a NAFNet to start from")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate")
    options = parse_recipe(parser, arguments)
    held_out, images = split(large_photographs(options, options.patch))
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    net = ConditionalNAFNet(**CONFIG)
    if options.init:
        net.load_state_dict(from_nafnet(load_file(options.init), net))
    net = net.to(device).to(memory_format=torch.channels_last)

    def loss(net: nn.Module, generator: torch.Generator) -> Tensor:
        clean = random_patches(images, options.patch, options.batch, generator).float() / 127.5 - 1
        sigma = draw_levels(options.batch, generator)
        noisy = clean + sigma[:, None, None, None] * torch.randn(clean.shape, generator=generator)
        noisy = noisy.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            restored = remove_noise(net, noisy, sigma.to(device))
        return psnr_loss(restored.float(), clean.to(device))

    @torch.inference_mode()
    def validate(net: nn.Module) -> float:
        figures = []
        for number, photograph in enumerate(held_out):
            clean = photograph[None, :, :128, :128].float() / 127.5 - 1
            for level in (0.05, 0.2, 0.8):
                noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(number))
                restored = remove_noise(net, (clean + level * noise).to(device), torch.tensor([level], device=device)).cpu()
                figures.append(psnr(restored.clamp(-1, 1), clean, data_range=2).item())
        return sum(figures) / len(figures)

    average = train_recipe(net, loss, Schedule(options.steps, options.rate), options, validate)
    export_weights(average, options.out, arch="refusion", config=CONFIG, half=True)


if __name__ == "__main__":
    main()
