"""A small NAFNet for one of the nine degradations or for all; those for JPEG, rain, haze, low light and moire are bundled.

    python -m restoralib.training.restorers PHOTOGRAPHS --task mixed --out all.safetensors
    python -m restoralib.training.restorers PHOTOGRAPHS --task derain --init all.safetensors --out derain.safetensors

A photograph's region is spoilt as a whole and kept for a while, and patches are cut of the regions that are kept, for to draw
rain or moire costs more than to learn from it. With "mixed", regions have one degradation or two; several tasks, as in
`--task deblur defocus`, take turns. The network works at half resolution from its first convolution on. A run that is started
again with the same `--state` goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restoralib.archs.nafnet import NAFNet
from restoralib.checkpoints import load_model
from restoralib.data.patches import pair_generator, random_patch_pair
from restoralib.data.photographs import random_corner, random_integer, split, turn
from restoralib.degradations import PAIRED_TASKS, draw_task
from restoralib.degradations.degradation import uniform
from restoralib.losses.psnr import psnr_loss
from restoralib.ops.levels import round_to_levels
from restoralib.ops.resize import resize
from restoralib.training.classifier import ORDER
from restoralib.training.export import export_weights
from restoralib.training.loop import Nets, Schedule, Turn
from restoralib.training.options import large_photographs, parse_recipe, recipe_parser, train_stage
from restoralib.training.validation import Validation

CONFIG: dict[str, Any] = {
    "img_channel": 3,
    "width": 12,
    "middle_blk_num": 1,
    "enc_blk_nums": (0, 2, 2),
    "dec_blk_nums": (2, 2, 0),
}
REGION = 192  # side of what is spoilt as a whole


@dataclass
class Regions:
    """Items for `Batches`: patches of regions of photographs that were spoilt as a whole.

    Item number n is cut of one of the last `kept` regions that were due by then, `fresh` new ones to each item; so it depends
    on the seed and on n alone, like every item, and to go on with a run draws the regions anew.

    Args:
        photographs: (3, h, w) uint8, at least `REGION` high and wide.
        tasks: of whose degradations each region gets one.
        mixed: give half of the regions a second degradation.
        kept: regions that are kept.
        fresh: new regions to an item.
        seed: of all items.
        least: factor down to which regions are reduced, drawn for each, so that small patches show whole scenes; 1 for none.
    """

    photographs: Sequence[Tensor]
    tasks: Sequence[str]
    mixed: bool = False
    kept: int = 384
    fresh: float = 1 / 12
    seed: int = 0
    least: float = 1.0
    regions: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def __call__(self, number: int, patch: int) -> dict[str, Tensor]:
        generator = pair_generator(self.seed, number)
        newest = self.kept + int(number * self.fresh)
        spoilt, clean = self.region(newest - random_integer(self.kept, generator))
        degraded, target = random_patch_pair(spoilt, clean, patch, generator)
        return {"degraded": degraded.float() / 255, "clean": target.float() / 255}

    def region(self, number: int) -> tuple[Tensor, Tensor]:
        """The spoilt and the clean region of a number, (3, REGION, REGION) each, uint8."""
        if number not in self.regions:
            self.regions[number] = self._spoil(pair_generator(self.seed, f"region {number}"))
            if len(self.regions) > 2 * self.kept:
                self.regions.pop(min(self.regions))
        return self.regions[number]

    def _spoil(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        photograph = self.photographs[random_integer(len(self.photographs), generator)]
        # Reduced photographs are sharper than a camera's; a third of the regions is enlarged.
        zoom = uniform(1.0, 1.6, generator) if random_integer(3, generator) == 0 else uniform(self.least, 1.0, generator)
        side = min(int(REGION / zoom), *photograph.shape[1:])
        top, left = random_corner(photograph, side, generator)
        clean = photograph[None, :, top : top + side, left : left + side].float() / 255
        if side != REGION:
            clean = resize(clean, size=(REGION, REGION))
        clean = turn(round_to_levels(clean.clamp(0, 1)), random_integer(8, generator))
        many = 1 + (random_integer(2, generator) if self.mixed else 0)
        chosen = torch.randperm(len(self.tasks), generator=generator)[:many].tolist()
        spoilt = clean
        for task in sorted((self.tasks[place] for place in chosen), key=ORDER.index):
            spoilt = draw_task(task, generator)(spoilt)
        return _bytes(spoilt), _bytes(clean)


def _bytes(image: Tensor) -> Tensor:
    return (round_to_levels(image[0].clamp(0, 1)) * 255).round().to(torch.uint8)


def restorer_loss(nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    """NAFNet's loss, the mean PSNR itself, in which easy and hard degradations count alike."""
    degraded = batch["degraded"].contiguous(memory_format=torch.channels_last)
    return psnr_loss(nets["net"](degraded), batch["clean"])


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=2_000, batch=16, patch=96)
    parser.add_argument("--task", nargs="+", required=True, choices=("mixed", *PAIRED_TASKS), help="what is to be undone")
    parser.add_argument("--init", type=Path, help="weights to begin from")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--least", type=float, default=1.0, help="factor down to which photographs are reduced")
    parser.add_argument("--judged", type=int, default=24, help="regions of held-out photographs to validate on")
    options = parse_recipe(parser, arguments)
    mixed = "mixed" in options.task
    tasks = PAIRED_TASKS if mixed else tuple(options.task)
    held_out, photographs = split(large_photographs(options, REGION), 25)
    torch.manual_seed(options.seed)
    net = NAFNet(**CONFIG)
    if options.init:
        net.load_state_dict(load_model(options.init).state_dict())
    net = net.to(options.device).to(memory_format=torch.channels_last)
    judged = Regions(held_out, tasks, mixed=mixed, seed=-1)
    pairs = [judged.region(number) for number in range(options.judged)]
    validate = Validation([(degraded.float() / 255, clean.float() / 255) for degraded, clean in pairs])
    schedule = Schedule(options.steps, rate=options.rate, warmup=50, decay=0.7, betas=(0.9, 0.99), ema=0.99, optimizer="muon")
    turns = {"net": Turn(restorer_loss, schedule)}
    draw = Regions(photographs, tasks, mixed=mixed, seed=options.seed, least=options.least)
    average = train_stage({"net": net}, turns, draw, options, validate)["net"]
    export_weights(average, options.out, arch="nafnet", config=CONFIG, half=True)


if __name__ == "__main__":
    main()
