"""Any network of the library on pairs, with its authors' settings.

    python -m restoralib.training.supervised PHOTOGRAPHS --arch scunet_color_25 --degrade denoise:25 --out scunet.safetensors
    python -m restoralib.training.supervised PHOTOGRAPHS --arch edsr_baseline_x2 --degrade sr2 --out edsr.safetensors
    python -m restoralib.training.supervised FOLDER --arch nafnet_gopro_width32 --pairs --out deblur.safetensors

`restoralib.training.published` has the settings: loss, learning rates, weight decay, patches and batches. A shorter run keeps
their proportions. With `--pairs`, the folder holds stored pairs as `restoralib.data.open_benchmark("pairs", ...)` reads them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from restoralib.archs import NetSpec
from restoralib.data.benchmark import open_benchmark
from restoralib.data.photographs import split
from restoralib.training.batches import DegradedPatches, Draw, StoredPatches, held_out_pairs
from restoralib.training.degrade import find_degradation, scale_of
from restoralib.training.loop import Nets, Turn
from restoralib.training.options import (
    build,
    export_recipe,
    network_options,
    parse_recipe,
    recipe_parser,
    recipe_photographs,
    train_stage,
)
from restoralib.training.published import Settings, settings_of
from restoralib.training.validation import Validation


def supervised_loss(settings: Settings, nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    """The loss of what the network makes of the degraded images; of each, where it makes several."""
    restored = nets["net"](batch["degraded"])
    results = restored if isinstance(restored, tuple | list) else [restored]
    return torch.stack([settings.loss(result, batch["clean"]) for result in results]).sum()


def default_degradation(spec: NetSpec) -> str:
    """What a network's published weights undo, by a name of `find_degradation`."""
    if spec.scale > 1:
        return f"sr{spec.scale}"
    return next((task for task in spec.tasks if task not in ("auto", "sr2", "sr3", "sr4", "sr8")), "mixed")


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=None, batch=None, patch=None)
    network_options(parser, "nafnet_sidd_width32")
    parser.add_argument("--degrade", help="sr4, denoise:25, jpeg:10-40, derain, mixed … (default: what the network is for)")
    parser.add_argument("--pairs", action="store_true", help="the folder holds stored pairs")
    parser.add_argument("--cutblur", type=float, default=0.0, help="probability of CutBlur")
    options = parse_recipe(parser, arguments)
    net, config = build(options)
    spec: NetSpec = net.spec  # type: ignore[assignment]
    settings = settings_of(type(net))
    options.steps = settings.schedule.steps if options.steps is None else options.steps
    options.patch, options.batch = options.patch or settings.patch, options.batch or settings.batch
    schedule, stages = settings.scaled(steps=options.steps, patch=options.patch, batch=options.batch)

    if options.pairs:
        held_out, pairs = split(open_benchmark("pairs", options.photographs))
        draw: Draw = StoredPatches(pairs, seed=options.seed)
        sides = [(pair.degraded, pair.clean) for pair in held_out]
        validate = Validation([(degraded, clean) for degraded, clean in sides if degraded is not None and clean is not None])
    else:
        degrade = find_degradation(options.degrade or default_degradation(spec))
        if scale_of(degrade) != spec.scale:
            parser.error(f"{options.arch} enlarges by {spec.scale}; --degrade sr{spec.scale} makes pairs for it")
        shape: dict[str, Any] = {"scale": spec.scale, "color": spec.color if spec.in_channels == 1 else "rgb"}
        photographs = recipe_photographs(options)
        draw = DegradedPatches(photographs[1], degrade, **shape, mix=options.cutblur, seed=options.seed)
        validate = Validation(held_out_pairs(photographs[0], degrade, **shape))

    turns = {"net": Turn(partial(supervised_loss, settings), schedule)}
    average = train_stage({"net": net}, turns, draw, options, validate, stages=stages)["net"]
    export_recipe(average, config, options)


if __name__ == "__main__":
    main()
