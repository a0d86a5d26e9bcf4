"""What SRGAN's and Real-ESRGAN's recipes share: their options, and the discriminator's loss."""

from __future__ import annotations

from torch import Tensor

from restoralib.losses import gan_loss
from restoralib.training.loop import Nets
from restoralib.training.options import RecipeParser, network_options, recipe_parser


def adversarial_parser(
    description: str | None, *, arch: str, without_vgg: str, steps: int, batch: int, patch: int
) -> RecipeParser:
    """Options of a recipe with a generator, a discriminator and VGG's features, or `without_vgg` in place of these."""
    parser = recipe_parser(description, steps=steps, batch=batch, patch=patch)
    network_options(parser, arch)
    parser.add_argument("--discriminator", nargs="*", default=[], help="arguments of the discriminator, key=value")
    parser.add_argument("--content", choices=("vgg", without_vgg), default="vgg", help=f"{without_vgg} does without features")
    parser.add_argument("--vgg", help="file of VGG19's weights (default: where torchvision keeps it)")
    return parser


def discriminator_loss(nets: Nets, batch: dict[str, Tensor]) -> Tensor:
    """Photographs are real, what the generator made in its turn is not."""
    real = gan_loss(nets["discriminator"](batch["clean"]), real=True, discriminator=True)
    return real + gan_loss(nets["discriminator"](batch["restored"]), real=False, discriminator=True)
