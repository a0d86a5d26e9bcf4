"""SRGAN's losses in the form of its best known re-implementation.

The paper's own content loss is `PerceptualLoss.named("srgan")`, to which it adds 1e-3 times `gan_loss(logits, real=True)`, and
no total variation.
"""

from __future__ import annotations

from torch import Tensor, nn

from restoralib.blocks.features import Weights
from restoralib.losses.perceptual import PerceptualLoss
from restoralib.losses.pixel import mse_loss
from restoralib.losses.total_variation import total_variation_squared
from restoralib.ops.precision import full_precision


class SRGANGeneratorLoss(nn.Module):
    """Squared error of the image, plus small shares of the adversarial, the perceptual and the smoothing loss.

    Call it with a result and its target, (b, 3, h, w) RGB in [0, 1], and the discriminator's probabilities that the results are
    real, (b,), for a scalar: MSE + 0.001 mean(1 - D) + 0.006 MSE of VGG16's features after its last pooling, without
    normalisation of the colours, + 2e-8 total variation, squared.

    Ledig et al. 2017, arXiv:1609.04802, as implemented by leftthomas.

    Args:
        adversarial: weight of mean(1 - D).
        perception: weight of the features.
        smoothness: weight of the total variation.
        weights: of VGG16, as in `PerceptualLoss`.

    Raises:
        ValueError: weights do not fit.
        FileNotFoundError: the file of VGG16 is missing; the error says where it belongs.
    """

    def __init__(
        self,
        *,
        adversarial: float = 1e-3,
        perception: float = 6e-3,
        smoothness: float = 2e-8,
        weights: Weights = None,
    ) -> None:
        super().__init__()
        self.adversarial, self.smoothness = adversarial, smoothness
        self.perceptual = PerceptualLoss.named("srgan-leftthomas", content=perception, weights=weights)

    def forward(self, restored: Tensor, target: Tensor, probabilities: Tensor) -> Tensor:
        loss = mse_loss(restored, target) + self.perceptual(restored, target)
        loss = loss + self.adversarial * (1 - full_precision(probabilities)).mean()
        return loss + self.smoothness * total_variation_squared(restored)


def srgan_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """1 - D(real) + D(fake), of the mean probabilities that images are real; a scalar.

    Source: leftthomas/SRGAN; the paper has `gan_loss` of kind "vanilla".
    """
    return 1 - full_precision(real).mean() + full_precision(fake).mean()
