"""A small NAFNet that is told the degradation: one network for Gaussian noise and for Gaussian blur.

    python -m restoralib.training.guided PHOTOGRAPHS --out guided.safetensors
    python -m restoralib.training.guided PHOTOGRAPHS --out guided.safetensors --measure OTHER_PHOTOGRAPHS

Patches get noise of sigma 35 (of 255) or blur of sigma 1.5, with the embedding of that degradation from a learned table. With
`--measure`, other photographs are restored with the right embedding and with the wrong one; a run whose file is there is not
trained again. A run that is started again with the same `--state` goes on where it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from restoralib.archs.nafnet import NAFNet
from restoralib.archs.prompted import PromptedNAFNet
from restoralib.blocks.degradation_prompt import DegradationTable
from restoralib.data.photographs import random_patches, read_photographs, split
from restoralib.degradations import add_gaussian_noise, gaussian_blur
from restoralib.losses.psnr import psnr_loss
from restoralib.metrics.psnr import psnr
from restoralib.ops.levels import round_to_levels
from restoralib.training.export import export_weights
from restoralib.training.loop import Schedule
from restoralib.training.options import large_photographs, parse_recipe, recipe_parser, train_recipe

logger = logging.getLogger(__name__)

CONFIG: dict[str, Any] = {
    "img_channel": 3,
    "width": 16,
    "middle_blk_num": 1,
    "enc_blk_nums": (1, 1),
    "dec_blk_nums": (1, 1),
}
FEATURES = 32

DEGRADE: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "denoise": lambda clean, generator: add_gaussian_noise(clean, 35.0, generator=generator, rounds=True),
    "deblur": lambda clean, generator: round_to_levels(gaussian_blur(clean, 1.5)),
}
"""The two degradations, by their names in `DegradationTable`."""


class NamedNAFNet(nn.Module):
    """A `PromptedNAFNet` and its table: restores images whose degradations are named.

    Shapes: image (b, c, h, w), one name or b names -> (b, c, h, w).
    """

    def __init__(self, features: int, **config: Any) -> None:
        super().__init__()
        self.prompted = PromptedNAFNet(NAFNet(**config), features)
        self.table = DegradationTable(features)
        self.spec = self.prompted.spec

    def forward(self, image: Tensor, names: str | list[str]) -> Tensor:
        return self.prompted(image, self.table(names))


def load_guided(path: Path) -> NamedNAFNet:
    """The network of a file that this recipe wrote, in eval mode; `functools.partial(net, names="deblur")` restores."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        net = NamedNAFNet(**config).eval()
        net.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 - safe_open is no mapping
    return net


@torch.inference_mode()
def gaps(net: NamedNAFNet, photographs: Iterable[Tensor]) -> dict[str, dict[str, float]]:
    """Mean PSNR of each degradation: of the degraded photographs, restored by the right name and by the wrong one.

    Args:
        net: a `NamedNAFNet`.
        photographs: (3, h, w), uint8; cut to the network's grid, for it pads with zeros, which it has not seen in training.

    Returns:
        Name of the degradation -> "degraded", "right" and "wrong".
    """
    rows: dict[str, list[list[float]]] = {name: [] for name in DEGRADE}
    for number, photograph in enumerate(photographs):
        height, width = (side // net.spec.multiple * net.spec.multiple for side in photograph.shape[1:])
        clean = photograph[None, :, :height, :width].float() / 255
        for name, degrade in DEGRADE.items():
            degraded = degrade(clean, torch.Generator().manual_seed(number))
            (other,) = DEGRADE.keys() - {name}
            images = (degraded, net(degraded, name), net(degraded, other))
            rows[name].append([psnr(image.clamp(0, 1), clean).item() for image in images])
    means = {name: torch.tensor(row).mean(0).tolist() for name, row in rows.items()}
    return {name: dict(zip(("degraded", "right", "wrong"), values, strict=True)) for name, values in means.items()}


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=6_000, batch=8, patch=48)
    parser.add_argument("--measure", type=Path, help="folder of other photographs, on which right and wrong names are compared")
    options = parse_recipe(parser, arguments)
    if not options.out.exists():
        _train(options)
    if options.measure:
        for name, figures in gaps(load_guided(options.out), read_photographs(options.measure).values()).items():
            logger.info("%s: %s", name, ", ".join(f"{key} {value:.2f} dB" for key, value in figures.items()))


def _train(options: Any) -> None:
    held_out, images = split(large_photographs(options, options.patch))
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    net = NamedNAFNet(FEATURES, **CONFIG).to(device).to(memory_format=torch.channels_last)
    names = [name for name in DEGRADE for _ in range(options.batch // len(DEGRADE))]

    def loss(net: nn.Module, generator: torch.Generator) -> Tensor:
        clean = random_patches(images, options.patch, len(names), generator).float() / 255
        halves = zip(DEGRADE.values(), clean.chunk(len(DEGRADE)), strict=True)
        degraded = torch.cat([degrade(half, generator) for degrade, half in halves])
        restored = net(degraded.to(device, memory_format=torch.channels_last), names)
        return psnr_loss(restored, clean.to(device))

    def validate(net: nn.Module) -> float:
        assert isinstance(net, NamedNAFNet)
        crops = [photograph[:, :128, :128] for photograph in held_out]
        return min(figures["right"] - figures["wrong"] for figures in gaps(net, crops).values())

    average = train_recipe(net, loss, Schedule(options.steps), options, validate)
    export_weights(average, options.out, arch="named_nafnet", config={"features": FEATURES, **CONFIG})


if __name__ == "__main__":
    main()
