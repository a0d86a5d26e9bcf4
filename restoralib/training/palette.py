"""Palette: any restoration by a diffusion that sees the degraded image beside its state.

    python -m restoralib.training.palette PHOTOGRAPHS --out palette.safetensors --degrade jpeg:5-30

Saharia et al. 2021 (arXiv:2111.05826): as SR3, but the network is told alpha_bar, and the error of the noise is squared.
The schedule is that of its best known code, 2000 steps from 1e-6 to 0.01, with Adam at 5e-5 and an average of 0.9999.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from restoralib.diffusion import DDPM, DiffusionModel, concatenated, conditional_loss, diffusion_model
from restoralib.ops.schedules import linear_betas
from restoralib.training.loop import Schedule
from restoralib.training.noising import diffusion_parser, states, train_diffusion
from restoralib.training.options import parse_recipe
from restoralib.training.sr3 import LevelAndNoise


def palette_loss(model: DiffusionModel, batch: dict[str, Tensor]) -> Tensor:
    """How far the network is from the noise, squared."""
    x0, y = states(model, batch)
    assert y is not None
    return conditional_loss(concatenated(model.net, y), x0, batch["level"], batch["noise"], power=2)


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    arch = "palette_inpainting_celebahq"
    parser = diffusion_parser(__doc__, arch=arch, degrade="jpeg:5-30", steps=1_000_000, batch=64, patch=256)
    options = parse_recipe(parser, arguments)
    process = DDPM(linear_betas(2000, 1e-6, 1e-2))
    schedule = Schedule(options.steps, 5e-5, warmup=0, decay=0, betas=(0.9, 0.999), ema=0.9999, clip=None)
    model_of = partial(diffusion_model, process=process)
    train_diffusion(options, model_of, palette_loss, schedule, LevelAndNoise(process, root=False))


if __name__ == "__main__":
    main()
