"""Figures of merit: functions that give one value an image, and the protocols by which papers use them."""

from restoralib.metrics.accumulator import Accumulator, Summary
from restoralib.metrics.dists import DISTS, dists
from restoralib.metrics.fid import Moments, fid, frechet_distance, gather_moments, inception_input
from restoralib.metrics.lpips import LPIPS, lpips
from restoralib.metrics.niqe import NiqeModel, fit_niqe, niqe
from restoralib.metrics.protocols import PROTOCOLS, Protocol, get_protocol, luma, luma_8_bits, to_8_bits
from restoralib.metrics.psnr import psnr, psnr_b
from restoralib.metrics.realir import realir_fs, realir_fs_evaluator, realir_fs_table
from restoralib.metrics.ssim import ms_ssim, ssim, ssim_matlab, ssim_pooled, ssim_skimage

__all__ = [
    "DISTS",
    "LPIPS",
    "PROTOCOLS",
    "Accumulator",
    "Moments",
    "NiqeModel",
    "Protocol",
    "Summary",
    "dists",
    "fid",
    "fit_niqe",
    "frechet_distance",
    "gather_moments",
    "get_protocol",
    "inception_input",
    "lpips",
    "luma",
    "luma_8_bits",
    "ms_ssim",
    "niqe",
    "psnr",
    "psnr_b",
    "realir_fs",
    "realir_fs_evaluator",
    "realir_fs_table",
    "ssim",
    "ssim_matlab",
    "ssim_pooled",
    "ssim_skimage",
    "to_8_bits",
]
