"""The bundled super-resolution networks: FSRCNN on the luma, for x2, x3 and x4.

    python -m restoralib.training.super_resolution PHOTOGRAPHS --scale 4 --out x4.safetensors
    python -m restoralib.training.super_resolution PHOTOGRAPHS --scale 2 --out x2.safetensors --init x4.safetensors

Small images are MATLAB's bicubic reductions of the luma, as in the paper's tables. All but the last layer can start from the
weights of another scale, as the paper proposes. A run that is started again with the same `--state` goes on where it was.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from restoralib.archs.fsrcnn import FSRCNN
from restoralib.data.patches import random_patch_pair
from restoralib.data.photographs import random_integer, split
from restoralib.metrics.psnr import psnr
from restoralib.ops.color import rgb_to_y
from restoralib.ops.resize import resize
from restoralib.training.export import export_weights
from restoralib.training.loop import Schedule
from restoralib.training.options import large_photographs, parse_recipe, recipe_parser, train_recipe


def luma_pairs(photographs: list[Tensor], scale: int) -> list[tuple[Tensor, Tensor]]:
    """(low, high) luma of each photograph, high cut to a multiple of the scale."""
    pairs = []
    for photograph in photographs:
        high = rgb_to_y(photograph.float() / 255)
        high = high[:, : high.shape[1] // scale * scale, : high.shape[2] // scale * scale].contiguous()
        pairs.append((resize(high, 1 / scale), high))
    return pairs


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=50_000, batch=16, patch=24)
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), required=True)
    parser.add_argument("--init", type=Path, help="weights of another scale to start from")
    options = parse_recipe(parser, arguments)
    scale, device = options.scale, torch.device(options.device)
    held_out, pairs = split(luma_pairs(large_photographs(options, scale * options.patch), scale))
    torch.manual_seed(options.seed)
    config = {"scale_factor": scale, "num_channels": 1, "d": 56, "s": 12, "m": 4}
    net = FSRCNN(**config).to(device)
    if options.init:
        # The last layer alone depends on the scale.
        weights = {key: value for key, value in load_file(options.init).items() if not key.startswith("last_part.")}
        net.load_state_dict(weights, strict=False)

    def loss(net: nn.Module, generator: torch.Generator) -> Tensor:
        drawn = [pairs[random_integer(len(pairs), generator)] for _ in range(options.batch)]
        patches = [random_patch_pair(*pair, options.patch, generator) for pair in drawn]
        low, high = (torch.stack(side).to(device) for side in zip(*patches, strict=True))
        return F.l1_loss(net(low), high)

    @torch.inference_mode()
    def validate(net: nn.Module) -> float:
        figures = [psnr(net(low[None].to(device)).cpu().clamp(0, 1), high[None]).item() for low, high in held_out]
        return sum(figures) / len(figures)

    schedule = Schedule(options.steps, rate=2e-3, betas=(0.9, 0.99))
    average = train_recipe(net, loss, schedule, options, validate)
    export_weights(average, options.out, arch="fsrcnn", config=config)


if __name__ == "__main__":
    main()
