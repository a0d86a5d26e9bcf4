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
from restoralib.losses.neighbor2neighbor import neighbor2neighbor_loss, neighbor_choice, pick_neighbors
from restoralib.losses.noise2noise import noise2noise_loss
from restoralib.losses.perceptual import PERCEPTUAL, PerceptualLoss, gram_matrix
from restoralib.losses.pixel import l1_loss, mse_loss
from restoralib.losses.psnr import psnr_loss
from restoralib.losses.srgan import SRGANGeneratorLoss, srgan_discriminator_loss
from restoralib.losses.ssim import ssim_loss
from restoralib.losses.sure import sure_loss
from restoralib.losses.total_variation import total_variation, total_variation_isotropic, total_variation_squared
from restoralib.losses.zs_n2n import diagonal_halves, zs_n2n_loss

__all__ = [
    "PERCEPTUAL",
    "PerceptualLoss",
    "SRGANGeneratorLoss",
    "charbonnier_loss",
    "diagonal_halves",
    "edge_loss",
    "frequency_loss",
    "gan_loss",
    "gram_matrix",
    "l1_loss",
    "laplacian",
    "mse_loss",
    "neighbor2neighbor_loss",
    "neighbor_choice",
    "noise2noise_loss",
    "pick_neighbors",
    "psnr_loss",
    "r1_penalty",
    "relative_logits",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
    "srgan_discriminator_loss",
    "ssim_loss",
    "sure_loss",
    "total_variation",
    "total_variation_isotropic",
    "total_variation_squared",
    "zs_n2n_loss",
]
