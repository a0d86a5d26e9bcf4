"""Diffusion for restoration: processes, denoisers, samplers and guidance, each on its own and all of one notation."""

from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import Denoised, Denoiser, Prediction, denoiser, from_x0, to_x0
from restoralib.diffusion.grids import even, karras, shifted, training_steps
from restoralib.diffusion.noise import Noise, generated, given, noise_source
from restoralib.diffusion.process import SDE, Coefficients, Gaussian, Process, as_time, snr
from restoralib.diffusion.sampling import Guidance, Step, ancestral, ddim, descending, sample

__all__ = [
    "DDPM",
    "SDE",
    "Coefficients",
    "Denoised",
    "Denoiser",
    "Gaussian",
    "Guidance",
    "Noise",
    "Prediction",
    "Process",
    "Step",
    "ancestral",
    "as_time",
    "ddim",
    "denoiser",
    "descending",
    "even",
    "from_x0",
    "generated",
    "given",
    "karras",
    "noise_source",
    "sample",
    "shifted",
    "snr",
    "to_x0",
    "training_steps",
]
