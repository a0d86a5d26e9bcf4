"""The bundled super-resolution networks, for x2, x3 and x4: FSRCNN on the luma, and a narrow RLFN on the colours.

    python -m restoralib.training.super_resolution PHOTOGRAPHS --arch rlfn --scale 4 --out x4.safetensors
    python -m restoralib.training.super_resolution PHOTOGRAPHS --arch rlfn --scale 2 --out x2.safetensors --init x4.safetensors

Small images are MATLAB's bicubic reductions, as in the papers' tables, RLFN's rounded to 8 bits. All but the last layer can
start from the weights of another scale, as FSRCNN's paper proposes. FSRCNN is trained by Adam, RLFN by Muon, with which few
steps go further. A run that is started again with the same `--state` goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from restoralib.archs.fsrcnn import FSRCNN
from restoralib.archs.rlfn import RLFN
from restoralib.data.patches import random_patch_pair
from restoralib.data.photographs import random_integer, split
from restoralib.metrics.psnr import psnr
from restoralib.ops.color import rgb_to_y
from restoralib.ops.levels import nearest_levels
from restoralib.ops.resize import resize
from restoralib.training.export import export_weights
from restoralib.training.loop import Schedule
from restoralib.training.options import large_photographs, parse_recipe, recipe_parser, train_recipe


@dataclass(frozen=True)
class Plan:
    """A network and how it is trained.

    Args:
        arch: its name in `restoralib.archs`.
        net: its class.
        config: constructor arguments, without the scale.
        scale: name of the argument for the scale.
        last: first words of the keys of its last layer, which alone depends on the scale.
        luma: whether it works on the luma alone.
        schedule: rates and momenta.
        steps: by default.
        patch: side of its small patches, by default.
        half: store the weights in half precision.
    """

    arch: str
    net: Callable[..., nn.Module]
    config: dict[str, Any]
    scale: str
    last: str
    luma: bool
    schedule: Schedule
    steps: int
    patch: int
    half: bool


PLANS = {
    "fsrcnn": Plan(
        "fsrcnn",
        FSRCNN,
        {"num_channels": 1, "d": 56, "s": 12, "m": 4},
        "scale_factor",
        "last_part.",
        luma=True,
        schedule=Schedule(1, rate=2e-3, betas=(0.9, 0.99)),
        steps=50_000,
        patch=24,
        half=False,
    ),
    "rlfn": Plan(
        "rlfn",
        RLFN,
        {"feature_channels": 32, "num_blocks": 6, "esa_channels": 8},
        "upscale",
        "upsampler.",
        luma=False,
        schedule=Schedule(1, rate=1e-3, betas=(0.9, 0.99), decay=0.7, warmup=50, optimizer="muon"),
        steps=6_000,
        patch=32,
        half=True,
    ),
}


def pairs_of(photographs: list[Tensor], scale: int, *, luma: bool) -> list[tuple[Tensor, Tensor]]:
    """(low, high) of each photograph, high cut to a multiple of the scale: luma as it is, or colours as uint8."""
    pairs = []
    for photograph in photographs:
        high = photograph[:, : photograph.shape[1] // scale * scale, : photograph.shape[2] // scale * scale].float() / 255
        if luma:
            high = rgb_to_y(high).contiguous()
            pairs.append((resize(high, 1 / scale), high))
        else:
            low = nearest_levels(resize(high, 1 / scale)).to(torch.uint8)
            pairs.append((low, nearest_levels(high).to(torch.uint8)))
    return pairs


def _floating(image: Tensor) -> Tensor:
    return image if image.is_floating_point() else image.float() / 255


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=None, batch=16, patch=None)
    parser.add_argument("--arch", choices=tuple(PLANS), default="fsrcnn")
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), required=True)
    parser.add_argument("--init", type=Path, help="weights of another scale to start from")
    parser.add_argument("--rate", type=float, help="learning rate (default: the network's)")
    options = parse_recipe(parser, arguments)
    plan = PLANS[options.arch]
    options.steps = plan.steps if options.steps is None else options.steps
    options.patch = options.patch or plan.patch
    scale, device = options.scale, torch.device(options.device)
    held_out, pairs = split(pairs_of(large_photographs(options, scale * options.patch), scale, luma=plan.luma))
    torch.manual_seed(options.seed)
    config = {plan.scale: scale, **plan.config}
    net = plan.net(**config).to(device).to(memory_format=torch.channels_last)
    if options.init:
        weights = load_file(options.init)
        net.load_state_dict({key: value for key, value in weights.items() if not key.startswith(plan.last)}, strict=False)

    def loss(net: nn.Module, generator: torch.Generator) -> Tensor:
        drawn = [pairs[random_integer(len(pairs), generator)] for _ in range(options.batch)]
        patches = [random_patch_pair(*pair, options.patch, generator) for pair in drawn]
        low, high = (_floating(torch.stack(side)).to(device) for side in zip(*patches, strict=True))
        return F.l1_loss(net(low.contiguous(memory_format=torch.channels_last)), high)

    @torch.inference_mode()
    def validate(net: nn.Module) -> float:
        figures = [
            psnr(net(_floating(low[None]).to(device)).cpu().clamp(0, 1), _floating(high[None])).item() for low, high in held_out
        ]
        return sum(figures) / len(figures)

    schedule = replace(plan.schedule, steps=options.steps, rate=options.rate or plan.schedule.rate)
    average = train_recipe(net, loss, schedule, options, validate)
    export_weights(average, options.out, arch=plan.arch, config=config, half=plan.half)


if __name__ == "__main__":
    main()
