"""SRGAN: ten epochs of squared errors, then VGG's features against a discriminator.

    python -m restoralib.training.srgan PHOTOGRAPHS --out srgan.safetensors --vgg vgg19.pth

Ledig et al. 2017 (arXiv:1609.04802) with the settings of the RestoraVision report: enlargement by 4, patches of 96 from 24,
16 of them, Adam with 1e-4, adversarial loss 1e-3, total variation 2e-8. `--content mse` is the paper's SRGAN-MSE, which
needs no VGG.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from restoralib.archs import SRGANDiscriminator
from restoralib.losses import PerceptualLoss, gan_loss, mse_loss, total_variation_squared
from restoralib.training.adversarial import adversarial_parser, discriminator_loss
from restoralib.training.batches import DegradedPatches, held_out_pairs
from restoralib.training.loop import Nets, Schedule, Turn
from restoralib.training.options import (
    build,
    export_recipe,
    parse_config,
    parse_recipe,
    recipe_photographs,
    train_stage,
)
from restoralib.training.validation import Validation

SCALE = 4
EPOCHS = 10
ADVERSARIAL, SMOOTHNESS = 1e-3, 2e-8


def warm_up_loss(nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    """Squared error of the pixels."""
    return mse_loss(nets["generator"](batch["degraded"]), batch["clean"])


def generator_loss(content: Callable[[Tensor, Tensor], Tensor], nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    """Content, a thousandth of what the discriminator says, and a trace of total variation."""
    restored = nets["generator"](batch["degraded"])
    batch["restored"] = restored.detach()
    loss = content(restored, batch["clean"]) + ADVERSARIAL * gan_loss(nets["discriminator"](restored), real=True)
    return loss + SMOOTHNESS * total_variation_squared(restored)


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = adversarial_parser(__doc__, arch="srgan_x4", without_vgg="mse", steps=100_000, batch=16, patch=24)
    parser.add_argument("--warm-up", type=int, help="steps of squared errors (default: ten epochs)")
    options = parse_recipe(parser, arguments)
    held_out, photographs = recipe_photographs(options)
    draw = DegradedPatches(photographs, SCALE, scale=SCALE, seed=options.seed)
    validate = Validation(held_out_pairs(held_out, SCALE, scale=SCALE))
    generator, config = build(options)
    discriminator = SRGANDiscriminator(**parse_config(options.discriminator)).to(options.device)
    content: Callable[[Tensor, Tensor], Tensor] = mse_loss
    if options.content == "vgg":
        content = PerceptualLoss.named("srgan", weights=options.vgg).to(options.device)

    epochs = math.ceil(EPOCHS * len(photographs) / options.batch)
    adam = partial(Schedule, rate=1e-4, warmup=0, decay=0, betas=(0.9, 0.999), ema=0, clip=None)
    warm = {"generator": Turn(warm_up_loss, adam(epochs if options.warm_up is None else options.warm_up))}
    train_stage({"generator": generator}, warm, draw, options, validate, title="warm-up")

    nets: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
    turns = {
        "generator": Turn(partial(generator_loss, content), adam(options.steps)),
        "discriminator": Turn(discriminator_loss, adam(options.steps)),
    }
    averages = train_stage(nets, turns, draw, options, validate, title="adversarial")
    export_recipe(averages["generator"], config, options)


if __name__ == "__main__":
    main()
