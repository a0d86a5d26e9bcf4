"""Training losses: one function each, scalar results."""

from restoralib.losses.psnr import psnr_loss

__all__ = ["psnr_loss"]
