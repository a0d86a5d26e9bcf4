"""Real-ESRGAN: L1 on images that are degraded twice over, then features and a U-Net that judges every pixel.

    python -m restoralib.training.real_esrgan PHOTOGRAPHS --out realesrgan.safetensors --vgg vgg19.pth

Wang et al. 2021 (arXiv:2107.10833): RRDBNet, patches of 256 cut from degraded pieces of 400, 48 of them, Adam (0.9, 0.99)
with 2e-4 for 1,000,000 steps of L1 (Real-ESRNet), then with 1e-4 for 400,000 steps of L1, features and 0.1 of the
adversarial loss, the weights averaged with 0.999. L1 and features compare with the sharpened image, the discriminator sees
the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from restoralib.archs import UNetDiscriminatorSN
from restoralib.data.patches import pair_generator, random_patch
from restoralib.data.photographs import random_corner, random_integer, turn
from restoralib.degradations import RealESRGANDegradation
from restoralib.losses import PerceptualLoss, gan_loss, l1_loss
from restoralib.training.adversarial import adversarial_parser, discriminator_loss
from restoralib.training.batches import held_out_pairs
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

ADVERSARIAL = 0.1


@dataclass(frozen=True)
class RealPatches:
    """Items with "degraded", "target" (sharpened) and "clean", the latter two `scale` times as large.

    Args:
        photographs: (3, h, w) each, uint8.
        scale: of the network.
        around: side of the piece that is degraded.
        seed: of all items.
    """

    photographs: Sequence[Tensor]
    scale: int = 4
    around: int = 400
    seed: int = 0

    def __call__(self, number: int, patch: int) -> dict[str, Tensor]:
        generator = pair_generator(self.seed, number)
        photograph = self.photographs[random_integer(len(self.photographs), generator)]
        side = max(self.around // self.scale, patch) * self.scale
        piece = turn(random_patch(photograph, side, generator), random_integer(8, generator)).float()[None] / 255
        degradation = RealESRGANDegradation.draw(generator, scale=self.scale)
        degraded, target = degradation(piece)[0], degradation.target(piece)[0]
        top, left = random_corner(degraded, patch, generator)
        rows, columns = (slice(start * self.scale, (start + patch) * self.scale) for start in (top, left))
        small = degraded[:, top : top + patch, left : left + patch]
        sides = {"degraded": small, "target": target[:, rows, columns], "clean": piece[0, :, rows, columns]}
        return {name: side.contiguous() for name, side in sides.items()}


def pixel_loss(nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    """L1 of the pixels."""
    return l1_loss(nets["generator"](batch["degraded"]), batch["target"])


def generator_loss(perceptual: Callable[[Tensor, Tensor], Tensor] | None, nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    """L1, features, and a tenth of what the discriminator says."""
    restored = nets["generator"](batch["degraded"])
    batch["restored"] = restored.detach()
    loss = l1_loss(restored, batch["target"]) + ADVERSARIAL * gan_loss(nets["discriminator"](restored), real=True)
    return loss if perceptual is None else loss + perceptual(restored, batch["target"])


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = adversarial_parser(__doc__, arch="realesrgan_x4plus", without_vgg="l1", steps=400_000, batch=48, patch=64)
    parser.add_argument("--first-steps", type=int, default=1_000_000, help="steps of L1 alone")
    parser.add_argument("--around", type=int, default=400, help="side of the pieces that are degraded")
    options = parse_recipe(parser, arguments)
    held_out, photographs = recipe_photographs(options)
    generator, config = build(options)
    scale: int = generator.spec.scale  # type: ignore[assignment, union-attr]
    draw = RealPatches(photographs, scale, options.around, options.seed)
    degrade = partial(RealESRGANDegradation.draw, scale=scale)
    validate = Validation(held_out_pairs(held_out, degrade, scale=scale))
    discriminator = UNetDiscriminatorSN(**{"num_in_ch": 3, **parse_config(options.discriminator)}).to(options.device)
    perceptual = None
    if options.content == "vgg":
        perceptual = PerceptualLoss.named("real-esrgan", weights=options.vgg).to(options.device)

    adam = partial(Schedule, warmup=0, decay=0, betas=(0.9, 0.99), ema=0.999, clip=None)
    first = {"generator": Turn(pixel_loss, adam(options.first_steps, 2e-4))}
    averages = train_stage({"generator": generator}, first, draw, options, validate, title="pixels")
    generator.load_state_dict(averages["generator"].state_dict())

    nets: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
    turns = {
        "generator": Turn(partial(generator_loss, perceptual), adam(options.steps, 1e-4)),
        "discriminator": Turn(discriminator_loss, adam(options.steps, 1e-4)),
    }
    averages = train_stage(nets, turns, draw, options, validate, title="adversarial")
    export_recipe(averages["generator"], config, options)


if __name__ == "__main__":
    main()
