"""Handlers of DDPM's and DDIM's trajectories, and of the networks that are trained with a condition."""

from __future__ import annotations

from itertools import pairwise

import torch
from goldens.trajectory import Golden, Outputs, Trace, numbers

from restoralib.diffusion import DDPM, ancestral, ddim, given, sample


def constants(process: DDPM, steps: list[int]) -> Outputs:
    """What guided diffusion tabulates of a spaced process, for rising indices."""
    rising = steps[::-1]
    levels = process.alphas_cumprod[rising]
    before = torch.cat([torch.ones(1, dtype=torch.float64), levels[:-1]])
    one = torch.ones(1, dtype=torch.float64)
    posteriors = [
        (process.posterior(one, 0 * one, t, r), process.posterior(0 * one, one, t, r)) for r, t in pairwise([-1, *rising])
    ]
    variance = torch.stack([of_state.std**2 for of_state, _ in posteriors])
    return {
        "spaced_alphas_cumprod": levels,
        "spaced_betas": 1 - levels / before,
        "posterior_variance": variance,
        "posterior_log_variance_clipped": torch.cat([variance[1:2], variance[1:]]).log(),
        "posterior_mean_coef1": torch.cat([of_clean.mean for _, of_clean in posteriors]),
        "posterior_mean_coef2": torch.cat([of_state.mean for of_state, _ in posteriors]),
    }


def guided_diffusion(golden: Golden) -> Outputs:
    process, steps, config = golden.ddpm(), golden.steps(), golden.config
    if golden.method == "ddim":
        step = ddim(process, eta=config["eta"])
    else:
        step = ancestral(
            process, variance={"fixed_small": "small", "fixed_large": "large", "learned_range": "learned"}[config["variance"]]
        )
    trace = Trace(golden["in.x_T"])
    sample(golden.denoiser(process), golden["in.x_T"], [*steps, -1], step, noise=given(golden.draws()), callback=trace)
    return constants(process, steps) | {
        "alphas_cumprod": process.alphas_cumprod,
        "timesteps": numbers(steps[::-1]),
        "states": torch.stack(trace.states),
        "pred_x0": torch.stack(trace.pred_x0),
        "model_output": torch.stack([value for _, _, value in golden.calls]),
    }


def diffusers_scheduler(golden: Golden) -> Outputs:
    process, steps, config = golden.ddpm(), golden.steps(), golden.config
    trace = Trace(golden["in.x_T"])
    none = torch.zeros_like(golden["in.x_T"])
    if golden.method == "DDPMScheduler":
        step = ancestral(process, variance={"fixed_small": "small", "fixed_large": "large"}[config["variance"]])
        sample(
            golden.denoiser(process), golden["in.x_T"], [*steps, -1], step, noise=given([*golden.draws(), none]), callback=trace
        )
    else:
        assert config["set_alpha_to_one"]
        step, x, stride = ddim(process, eta=config["eta"]), golden["in.x_T"], len(process) // len(steps)
        denoise = golden.denoiser(process)
        for t in steps:  # each goes a whole stride down, wherever the grid's next time lies
            x = sample(denoise, x, [t, max(t - stride, -1)], step, callback=trace)
    return {
        "alphas_cumprod": process.alphas_cumprod,
        "timesteps": numbers(steps),
        "states": torch.stack(trace.states),
        "model_output": torch.stack([value for _, _, value in golden.calls]),
    }


def diffir_prior(golden: Golden) -> Outputs:
    process = golden.ddpm()
    start, *_ = golden.draws()
    trace = Trace(start)
    none = [torch.zeros_like(start)] * len(process)
    sample(
        golden.denoiser(process), start, range(len(process) - 1, -2, -1), ancestral(process), noise=given(none), callback=trace
    )
    tables = constants(process, list(range(len(process)))[::-1])
    return {
        "alphas_cumprod": process.alphas_cumprod,
        "betas": process.betas,
        "posterior_mean_coef1": tables["posterior_mean_coef1"],
        "posterior_mean_coef2": tables["posterior_mean_coef2"],
        "states": torch.stack(trace.states),
    }


HANDLERS = {
    "ddpm": guided_diffusion,
    "ddim": guided_diffusion,
    "DDPMScheduler": diffusers_scheduler,
    "DDIMScheduler": diffusers_scheduler,
    "diffir_prior": diffir_prior,
}
