"""Training losses, one idea a file: scalars of a batch; functions, and modules where there are weights to hold.

`metrics.LPIPS` and `metrics.DISTS` are losses, too.
"""

from restoralib.losses.charbonnier import charbonnier_loss
from restoralib.losses.edge import edge_loss, laplacian
from restoralib.losses.frequency import frequency_loss
from restoralib.losses.gan import (
    gan_loss,
    r1_penalty,
    relative_logits,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from restoralib.losses.perceptual import PERCEPTUAL, PerceptualLoss, gram_matrix
from restoralib.losses.pixel import l1_loss, mse_loss
from restoralib.losses.psnr import psnr_loss
from restoralib.losses.srgan import SRGANGeneratorLoss, srgan_discriminator_loss
from restoralib.losses.ssim import ssim_loss
from restoralib.losses.total_variation import total_variation, total_variation_isotropic, total_variation_squared

__all__ = [
    "PERCEPTUAL",
    "PerceptualLoss",
    "SRGANGeneratorLoss",
    "charbonnier_loss",
    "edge_loss",
    "frequency_loss",
    "gan_loss",
    "gram_matrix",
    "l1_loss",
    "laplacian",
    "mse_loss",
    "psnr_loss",
    "r1_penalty",
    "relative_logits",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
    "srgan_discriminator_loss",
    "ssim_loss",
    "total_variation",
    "total_variation_isotropic",
    "total_variation_squared",
]
