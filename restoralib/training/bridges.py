"""Bridges: diffusions that end at the degraded image itself, I2SB and GOUB.

    python -m restoralib.training.bridges PHOTOGRAPHS --out i2sb.safetensors --degrade jpeg:5-10
    python -m restoralib.training.bridges PHOTOGRAPHS --bridge goub --out goub.safetensors --degrade derain

I2SB (Liu et al. 2023, arXiv:2302.05872): 1000 times, the squared error of its label, AdamW with 5e-5 and an average of
0.99; the U-Net of guided diffusion. Its batches were of 256 images of 256x256 (`--batch 256 --patch 256`); the defaults are
those of GOUB and IR-SDE. GOUB (Yue et al. 2023, arXiv:2312.10299): IR-SDE's network, times and loss on the
bridge, lambda 30/255.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from restoralib.diffusion import GOUB, I2SB, DiffusionModel, diffusion_model, prediction_loss
from restoralib.ops.schedules import cosine_thetas, mirrored_betas
from restoralib.training.irsde import matching_loss
from restoralib.training.loop import Schedule
from restoralib.training.noising import diffusion_parser, states, train_diffusion
from restoralib.training.options import parse_recipe

BETA_MAX = 0.3


def label_loss(model: DiffusionModel, batch: dict[str, Tensor]) -> Tensor:
    """The squared error of I2SB's label."""
    assert isinstance(model.process, I2SB)
    x0, y = states(model, batch)
    time = model.process.network_time
    return prediction_loss(model.net, model.process, "label", x0, batch["time"], batch["noise"], y=y, time=time)


def goub_model(net: nn.Module) -> DiffusionModel:
    """IR-SDE's network on GOUB's bridge."""
    process = GOUB(cosine_thetas(100), lam=30 / 255)
    multiple: int = net.spec.multiple  # type: ignore[assignment, union-attr]
    return DiffusionModel(net, process, condition="argument", low=0.0, high=1.0, clip=False, multiple=multiple, name="GOUB")


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = diffusion_parser(__doc__, arch="", degrade="jpeg:5-10", steps=700_000, batch=4, patch=128)
    parser.add_argument("--bridge", choices=("i2sb", "goub"), default="i2sb", help="which of the two")
    options = parse_recipe(parser, arguments)
    if options.bridge == "goub":
        options.arch = options.arch or "irsde_derain_rain100h"
        schedule = Schedule(options.steps, 1e-4, warmup=0, decay=0, betas=(0.9, 0.99), clip=None)
        train_diffusion(options, goub_model, matching_loss, schedule)
        return
    options.arch = options.arch or "adm_imagenet256_uncond"
    options.config = ["out_channels=3", *options.config]  # the label alone, no variance
    process = I2SB(mirrored_betas(1000, 1e-4, BETA_MAX / 1000))
    schedule = Schedule(options.steps, 5e-5, warmup=0, decay=0, betas=(0.9, 0.999), weight_decay=0.01, ema=0.99, clip=None)
    train_diffusion(options, partial(diffusion_model, process=process), label_loss, schedule)


if __name__ == "__main__":
    main()
