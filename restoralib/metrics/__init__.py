"""Figures of merit: functions that give one value an image."""

from restoralib.metrics.psnr import psnr
from restoralib.metrics.ssim import ssim

__all__ = ["psnr", "ssim"]
