"""Handlers of networks that are trained with a condition: SR3 and Palette."""

from __future__ import annotations

import torch
from goldens.trajectory import Golden, Outputs, Trace
from goldens_ddpm import constants

from restoralib.diffusion import KnownRegion, ancestral, gamma, given, noise_level, sample


def trained_with_condition(golden: Golden) -> Outputs:
    process, x, config = golden.ddpm(), golden["in.x_T"], golden.config
    assert config["variance"] == "fixed_small"
    label = noise_level(process) if golden.method == "sr3" else gamma(process)
    trace = Trace(x)
    guidance = KnownRegion(golden["in.y0"], golden[config["mask"]]) if config.get("mask") else None
    grid = list(range(len(process) - 1, -2, -1))
    draws = [*golden.draws(), torch.zeros_like(x)]
    sample(
        golden.denoiser(process, time=label), x, grid, ancestral(process), noise=given(draws), guidance=guidance, callback=trace
    )
    variance = constants(process, grid[:-1])["posterior_variance"]
    told = torch.stack([level for _, level, _ in golden.calls])
    outputs = {
        "states": torch.stack(trace.states),
        "posterior_log_variance_clipped": variance.clamp(min=config["variance_floor"]).log(),
    }
    if golden.method == "palette":
        return outputs | {"gammas": process.alphas_cumprod, "gamma_inputs": told}
    before = torch.cat([torch.ones(1, dtype=torch.float64), process.alphas_cumprod])
    return outputs | {
        "betas": process.betas,
        "alphas_cumprod": process.alphas_cumprod,
        "sqrt_alphas_cumprod_prev": before.sqrt(),
        "noise_levels": told,
    }


HANDLERS = {"sr3": trained_with_condition, "palette": trained_with_condition}
