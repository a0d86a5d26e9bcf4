"""Diffusion for restoration: processes, denoisers, samplers and guidance, each on its own and all of one notation."""

from restoralib.diffusion.bbdm import BBDM
from restoralib.diffusion.ccdf import come_closer
from restoralib.diffusion.classifier import ClassifierGuidance
from restoralib.diffusion.conditional import (
    KnownRegion,
    classifier_free,
    concatenated,
    conditional_loss,
    draw_noise_level,
    gamma,
    noise_level,
)
from restoralib.diffusion.ddbm import DDBM, VEBridge, VPBridge, ddbm_heun
from restoralib.diffusion.ddnm import ddnm, ddnm_plus
from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.ddrm import ddrm, ddrm_start
from restoralib.diffusion.denoiser import Denoised, Denoiser, Prediction, denoiser, from_x0, to_x0
from restoralib.diffusion.diffpir import diffpir, noised_measurement
from restoralib.diffusion.dpm_solver import InterpolatedDDPM, dpm_solver_2m
from restoralib.diffusion.dps import DPS
from restoralib.diffusion.edm import EDM, edm_heun, preconditioned
from restoralib.diffusion.flow import Flow, flow_heun, optimal_pairs, reflow_pairs
from restoralib.diffusion.goub import GOUB
from restoralib.diffusion.grids import even, karras, shifted, training_steps
from restoralib.diffusion.guidance import Unguided
from restoralib.diffusion.i2sb import I2SB, KnownRegionOfBridge
from restoralib.diffusion.ilvr import ILVR, low_pass_of
from restoralib.diffusion.irsde import IRSDE
from restoralib.diffusion.mcg import MCG
from restoralib.diffusion.measurement import Measurement, project
from restoralib.diffusion.noise import Noise, generated, given, noise_source
from restoralib.diffusion.ode import Solution, probability_flow, rk45
from restoralib.diffusion.pigdm import PiGDM, pinv_start
from restoralib.diffusion.predictor_corrector import (
    Corrector,
    annealed_langevin,
    annealed_langevin_dynamics,
    langevin,
    predictor_corrector,
)
from restoralib.diffusion.process import SDE, Coefficients, Gaussian, Process, as_time, snr
from restoralib.diffusion.red_diff import red_diff
from restoralib.diffusion.repaint import RePaint
from restoralib.diffusion.resshift import ResShift, resshift_etas
from restoralib.diffusion.sampling import Guidance, Step, ancestral, ddim, descending, sample
from restoralib.diffusion.score_sde import VESDE, VPSDE, SubVPSDE, ancestral_sampling, reverse_diffusion
from restoralib.diffusion.sde import euler, euler_maruyama, flow_derivative, score, simulate
from restoralib.diffusion.tiled import tiled
from restoralib.diffusion.travel import sample_with_travel, travel_schedule

__all__ = [
    "BBDM",
    "DDBM",
    "DDPM",
    "DPS",
    "EDM",
    "GOUB",
    "I2SB",
    "ILVR",
    "IRSDE",
    "MCG",
    "SDE",
    "VESDE",
    "VPSDE",
    "ClassifierGuidance",
    "Coefficients",
    "Corrector",
    "Denoised",
    "Denoiser",
    "Flow",
    "Gaussian",
    "Guidance",
    "InterpolatedDDPM",
    "KnownRegion",
    "KnownRegionOfBridge",
    "Measurement",
    "Noise",
    "PiGDM",
    "Prediction",
    "Process",
    "RePaint",
    "ResShift",
    "Solution",
    "Step",
    "SubVPSDE",
    "Unguided",
    "VEBridge",
    "VPBridge",
    "ancestral",
    "ancestral_sampling",
    "annealed_langevin",
    "annealed_langevin_dynamics",
    "as_time",
    "classifier_free",
    "come_closer",
    "concatenated",
    "conditional_loss",
    "ddbm_heun",
    "ddim",
    "ddnm",
    "ddnm_plus",
    "ddrm",
    "ddrm_start",
    "denoiser",
    "descending",
    "diffpir",
    "dpm_solver_2m",
    "draw_noise_level",
    "edm_heun",
    "euler",
    "euler_maruyama",
    "even",
    "flow_derivative",
    "flow_heun",
    "from_x0",
    "gamma",
    "generated",
    "given",
    "karras",
    "langevin",
    "low_pass_of",
    "noise_level",
    "noise_source",
    "noised_measurement",
    "optimal_pairs",
    "pinv_start",
    "preconditioned",
    "predictor_corrector",
    "probability_flow",
    "project",
    "red_diff",
    "reflow_pairs",
    "resshift_etas",
    "reverse_diffusion",
    "rk45",
    "sample",
    "sample_with_travel",
    "score",
    "shifted",
    "simulate",
    "snr",
    "tiled",
    "to_x0",
    "training_steps",
    "travel_schedule",
]
