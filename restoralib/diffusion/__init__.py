"""Diffusion for restoration: processes, denoisers, samplers and guidance, each on its own and all of one notation."""

from restoralib.diffusion.bbdm import BBDM
from restoralib.diffusion.ccdf import come_closer
from restoralib.diffusion.classifier import ClassifierGuidance
from restoralib.diffusion.compact_prior import (
    PriorLosses,
    diffusion_loss,
    prior_denoiser,
    prior_losses,
    prior_process,
    sample_prior,
    stage1_loss,
    stage2_loss,
)
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
from restoralib.diffusion.edm import EDM, edm_heun
from restoralib.diffusion.flow import Flow, flow_heun, optimal_pairs, reflow_pairs
from restoralib.diffusion.goub import GOUB
from restoralib.diffusion.grids import even, karras, level_steps, shifted, training_steps
from restoralib.diffusion.guidance import Unguided
from restoralib.diffusion.i2sb import I2SB
from restoralib.diffusion.ilvr import ILVR, low_pass_of
from restoralib.diffusion.irsde import IRSDE
from restoralib.diffusion.known_level import blind_denoiser, level_denoiser, remove_noise
from restoralib.diffusion.mcg import MCG
from restoralib.diffusion.measurement import Measurement, project
from restoralib.diffusion.methods import (
    METHODS,
    ByDDNM,
    ByDDNMPlus,
    ByDDRM,
    ByDiffPIR,
    ByDPS,
    ByILVR,
    ByMCG,
    ByPiGDM,
    ByREDdiff,
    ByRePaint,
    Method,
)
from restoralib.diffusion.model import DiffusionModel, diffusion_model
from restoralib.diffusion.noise import Noise, generated, given, noise_source
from restoralib.diffusion.objectives import (
    Target,
    Weight,
    bound_terms,
    bridge_loss,
    constant_weight,
    denoised_loss,
    discretized_nll,
    draw_indices,
    draw_log_normal,
    draw_logit_normal,
    draw_times,
    draw_uniform,
    edm_loss,
    edm_weight,
    flow_matching_loss,
    hybrid_loss,
    likelihood_weight,
    min_snr_weight,
    normal_kl,
    prediction_loss,
    score_matching_loss,
    slope_of,
    snr_weight,
    target,
)
from restoralib.diffusion.ode import Solution, probability_flow, rk45
from restoralib.diffusion.pigdm import PiGDM, pinv_start
from restoralib.diffusion.preconditioning import BridgeForm, preconditioned
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
from restoralib.diffusion.restorer import DiffusionRestorer, blurring, inpainting
from restoralib.diffusion.samplers import SAMPLERS, time_grid
from restoralib.diffusion.sampling import Guidance, Step, ancestral, ddim, descending, renoised, sample
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
    "METHODS",
    "SAMPLERS",
    "SDE",
    "VESDE",
    "VPSDE",
    "BridgeForm",
    "ByDDNM",
    "ByDDNMPlus",
    "ByDDRM",
    "ByDPS",
    "ByDiffPIR",
    "ByILVR",
    "ByMCG",
    "ByPiGDM",
    "ByREDdiff",
    "ByRePaint",
    "ClassifierGuidance",
    "Coefficients",
    "Corrector",
    "Denoised",
    "Denoiser",
    "DiffusionModel",
    "DiffusionRestorer",
    "Flow",
    "Gaussian",
    "Guidance",
    "InterpolatedDDPM",
    "KnownRegion",
    "Measurement",
    "Method",
    "Noise",
    "PiGDM",
    "Prediction",
    "PriorLosses",
    "Process",
    "RePaint",
    "ResShift",
    "Solution",
    "Step",
    "SubVPSDE",
    "Target",
    "Unguided",
    "VEBridge",
    "VPBridge",
    "Weight",
    "ancestral",
    "ancestral_sampling",
    "annealed_langevin",
    "annealed_langevin_dynamics",
    "as_time",
    "blind_denoiser",
    "blurring",
    "bound_terms",
    "bridge_loss",
    "classifier_free",
    "come_closer",
    "concatenated",
    "conditional_loss",
    "constant_weight",
    "ddbm_heun",
    "ddim",
    "ddnm",
    "ddnm_plus",
    "ddrm",
    "ddrm_start",
    "denoised_loss",
    "denoiser",
    "descending",
    "diffpir",
    "diffusion_loss",
    "diffusion_model",
    "discretized_nll",
    "dpm_solver_2m",
    "draw_indices",
    "draw_log_normal",
    "draw_logit_normal",
    "draw_noise_level",
    "draw_times",
    "draw_uniform",
    "edm_heun",
    "edm_loss",
    "edm_weight",
    "euler",
    "euler_maruyama",
    "even",
    "flow_derivative",
    "flow_heun",
    "flow_matching_loss",
    "from_x0",
    "gamma",
    "generated",
    "given",
    "hybrid_loss",
    "inpainting",
    "karras",
    "langevin",
    "level_denoiser",
    "level_steps",
    "likelihood_weight",
    "low_pass_of",
    "min_snr_weight",
    "noise_level",
    "noise_source",
    "noised_measurement",
    "normal_kl",
    "optimal_pairs",
    "pinv_start",
    "preconditioned",
    "prediction_loss",
    "predictor_corrector",
    "prior_denoiser",
    "prior_losses",
    "prior_process",
    "probability_flow",
    "project",
    "red_diff",
    "reflow_pairs",
    "remove_noise",
    "renoised",
    "resshift_etas",
    "reverse_diffusion",
    "rk45",
    "sample",
    "sample_prior",
    "sample_with_travel",
    "score",
    "score_matching_loss",
    "shifted",
    "simulate",
    "slope_of",
    "snr",
    "snr_weight",
    "stage1_loss",
    "stage2_loss",
    "target",
    "tiled",
    "time_grid",
    "to_x0",
    "training_steps",
    "travel_schedule",
]
