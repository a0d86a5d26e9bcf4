"""DiffIR in its two stages: a prior taken from the clean image, then a diffusion that finds it without.

    python -m restoralib.training.diffir PHOTOGRAPHS --out diffir.safetensors --degrade deblur

Xia et al. 2023 (arXiv:2303.09472). Stage 1 trains the restoring transformer with the prior that an encoder takes from
degraded and clean image together. Stage 2 starts from that transformer and trains it jointly with the diffusion, which
should end at stage 1's prior: L1 of the image plus L1 of the prior. Learning rates are Restormer's, as in the authors'
training for deblurring.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from restoralib.archs import VARIANTS, DiffIRS1, DiffIRS2
from restoralib.diffusion import stage1_loss, stage2_loss
from restoralib.training.batches import DegradedPatches, held_out_pairs
from restoralib.training.degrade import find_degradation, scale_of
from restoralib.training.loop import Nets, Turn
from restoralib.training.options import (
    export_recipe,
    network_options,
    parse_config,
    parse_recipe,
    recipe_parser,
    recipe_photographs,
    train_stage,
)
from restoralib.training.published import PUBLISHED
from restoralib.training.validation import Validation


def prior_noise(clean: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """The noise at which the diffusion of an item's prior begins."""
    return {"noise": torch.randn(256, generator=generator)}


def first_loss(nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    """L1 of what stage 1 restores, which has seen the clean image."""
    return stage1_loss(nets["stage1"], batch["degraded"], batch["clean"])  # type: ignore[arg-type]


def joint_loss(stage1: DiffIRS1, nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    """L1 of what stage 2 restores, and L1 of the prior that its diffusion ends with."""
    with torch.no_grad():
        prior = stage1.prior(batch["degraded"], batch["clean"])
    return stage2_loss(nets["stage2"], batch["degraded"], batch["clean"], prior, batch["noise"])  # type: ignore[arg-type]


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=300_000, batch=64, patch=128)
    network_options(parser, "diffir_gopro")
    parser.add_argument("--degrade", help="sr4, denoise:25, deblur … (default: what the network is for)")
    parser.add_argument("--first-steps", type=int, help="steps of stage 1 (default: as many)")
    options = parse_recipe(parser, arguments)
    config = {**VARIANTS[options.arch].config, **parse_config(options.config)}
    own = ("n_denoise_res", "linear_start", "linear_end", "timesteps")
    torch.manual_seed(options.seed)
    stage1 = DiffIRS1(**{key: value for key, value in config.items() if key not in own}).to(options.device)
    stage2 = DiffIRS2(**config).to(options.device)
    scale = stage2.spec.scale
    degrade = find_degradation(options.degrade or ("deblur" if scale == 1 else f"sr{scale}"))
    if scale_of(degrade) != scale:
        parser.error(f"{options.arch} enlarges by {scale}; --degrade sr{scale} makes pairs for it")
    held_out, photographs = recipe_photographs(options)
    draw = DegradedPatches(photographs, degrade, scale=scale, more=prior_noise, seed=options.seed)
    pairs = held_out_pairs(held_out, degrade, scale=scale)
    restormer = partial(PUBLISHED["Restormer"].scaled, patch=options.patch, batch=options.batch)

    informed = Validation(pairs, lambda net, degraded, clean: net(degraded, clean))
    schedule, stages = restormer(steps=options.first_steps if options.first_steps is not None else options.steps)
    turns = {"stage1": Turn(first_loss, schedule)}
    average = train_stage({"stage1": stage1}, turns, draw, options, informed, title="stage1", stages=stages)["stage1"]
    assert isinstance(average, DiffIRS1)
    stage2.G.load_state_dict(average.G.state_dict())

    schedule, stages = restormer(steps=options.steps)
    turns = {"stage2": Turn(partial(joint_loss, average), schedule)}
    averages = train_stage({"stage2": stage2}, turns, draw, options, Validation(pairs), title="stage2", stages=stages)
    export_recipe(averages["stage2"], config, options)


if __name__ == "__main__":
    main()
