"""What the recipes of diffusions share: times and noise of training items, and how well a network tells what is under noise."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.comparison import enlarge_to, side_by_side
from restoralib.diffusion import DiffusionModel, DiffusionRestorer, Process, draw_times
from restoralib.metrics.psnr import psnr
from restoralib.ops.resize import resize
from restoralib.training.batches import CleanPatches, DegradedPatches, Draw, More, Stage, held_out_pairs
from restoralib.training.degrade import find_degradation, scale_of
from restoralib.training.loop import Nets, Schedule, Turn
from restoralib.training.options import (
    RecipeParser,
    build,
    export_recipe,
    network_options,
    recipe_parser,
    recipe_photographs,
    train_stage,
)

SHARES = (0.9, 0.6, 0.3)
"""How much is left of the clean image, a of the process, where a network is asked what it sees."""


@dataclass(frozen=True)
class TimeAndNoise:
    """Draws "time" and "noise" of an item, as the process is trained."""

    process: Process

    def __call__(self, clean: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        time = draw_times(self.process, 1, generator)[0]
        return {"time": time, "noise": torch.randn(clean.shape, generator=generator)}


def states(model: DiffusionModel, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Clean and degraded images of a batch in the network's range, the latter enlarged to the size of the former."""

    def ranged(image: Tensor) -> Tensor:
        return model.low + (model.high - model.low) * image

    degraded = batch.get("degraded")
    if degraded is None or not model.conditional:
        return ranged(batch["clean"]), None
    return ranged(batch["clean"]), ranged(resize(degraded, model.scale) if model.scale > 1 else degraded)


@dataclass(frozen=True)
class DiffusionValidation:
    """Mean PSNR of the clean image as a network tells it from states with 0.9, 0.6 and 0.3 of it: three calls an image.

    Args:
        pairs: (degraded, clean), each (c, h, w) in [0, 1].
        model: of the network that is trained.
        steps: of the samples in the pictures.
        shown: how many pairs become pictures: degraded, sampled and clean; for a network without a condition: noisy, what it
            tells from that, and clean.
    """

    pairs: Sequence[tuple[Tensor, Tensor]]
    model: DiffusionModel
    steps: int = 20
    shown: int = 2

    def __call__(self, net: nn.Module) -> float:
        figures = [
            psnr(self._told(net, pair, share, number)[1], pair[1][None]).item()
            for number, pair in enumerate(self.pairs)
            for share in SHARES
        ]
        return sum(figures) / len(figures)

    def pictures(self, net: nn.Module) -> dict[str, Tensor]:
        """The first pairs with what the network makes of them, (3, h, w)."""
        rows = {}
        for number, (degraded, clean) in enumerate(self.pairs[: self.shown]):
            if self.model.conditional:
                device = next(net.parameters()).device
                restorer = DiffusionRestorer(replace(self.model, net=net), steps=self.steps)
                with torch.no_grad():
                    sample = restorer(degraded[None].to(device), noise=torch.Generator().manual_seed(number))[0].cpu()
                row = [enlarge_to(degraded, (clean.shape[-2], clean.shape[-1])), sample, clean]
            else:
                row = [*(image[0] for image in self._told(net, (degraded, clean), SHARES[1], number)), clean]
            rows[f"pair{number}"] = side_by_side([image.clamp(0, 1) for image in row])
        return rows

    def _told(self, net: nn.Module, pair: tuple[Tensor, Tensor], share: float, seed: int) -> tuple[Tensor, Tensor]:
        """A state and the clean image that the network tells from it, both in [0, 1]."""
        model = replace(self.model, net=net)
        device = next(net.parameters()).device
        batch = {"degraded": pair[0][None].to(device), "clean": pair[1][None].to(device)}
        x0, y = states(model, batch)
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed)).to(device)
        times = torch.arange(1, len(model.process))  # type: ignore[arg-type]
        time = times[(model.process.coefficients(times).a - share).abs().argmin()][None]
        state = model.process.marginal(x0, time, noise, y)
        with torch.no_grad():
            told = model.denoiser(y)(state, time).x0
        low, span = model.low, model.high - model.low
        return ((state - low) / span).float().cpu().clamp(0, 1), ((told - low) / span).float().cpu().clamp(0, 1)


def diffusion_parser(
    description: str | None, *, arch: str, degrade: str | None, steps: int, batch: int, patch: int
) -> RecipeParser:
    """Options of a recipe of a diffusion; no `--degrade` where the network knows no degraded image."""
    parser = recipe_parser(description, steps=steps, batch=batch, patch=patch)
    network_options(parser, arch)
    if degrade:
        parser.add_argument("--degrade", default=degrade, help="sr4, denoise:25, jpeg:10-40, derain, mixed …")
    return parser


def train_diffusion(
    options: Namespace,
    model_of: Callable[[nn.Module], DiffusionModel],
    loss: Callable[[DiffusionModel, dict[str, Tensor]], Tensor],
    schedule: Schedule,
    more: More | None = None,
) -> None:
    """Train a network for a diffusion, and export it.

    Args:
        options: of `diffusion_parser`; the patch is the side of the state.
        model_of: what the network is trained for.
        loss: of the model, whose network is the one to call, on a batch.
        schedule: steps and learning rates.
        more: what is drawn for an item beside its patches; None for times and noise of the process.

    Raises:
        ValueError: the patch is no multiple of the degradation's scale.
    """
    held_out, photographs = recipe_photographs(options)
    net, config = build(options)
    model = model_of(net)
    more = more or TimeAndNoise(model.process)
    degrade = find_degradation(options.degrade) if model.conditional else 1
    scale = scale_of(degrade)
    if options.patch % scale:
        raise ValueError(f"--patch should be a multiple of {scale}, got {options.patch}")
    if model.conditional:
        model = replace(model, scale=scale)
        draw: Draw = DegradedPatches(photographs, degrade, scale=scale, more=more, seed=options.seed)
    else:
        draw = CleanPatches(photographs, more, options.seed)
    validate = DiffusionValidation(held_out_pairs(held_out, degrade, scale=scale, side=128, most=8), model)
    stages = (Stage(0, options.patch // scale, options.batch),)
    turns = {"net": Turn(partial(_called, loss, model), schedule)}
    average = train_stage({"net": net}, turns, draw, options, validate, stages=stages)["net"]
    export_recipe(average, config, options)


def _called(loss: Any, model: DiffusionModel, nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    return loss(replace(model, net=nets["net"]), batch)
