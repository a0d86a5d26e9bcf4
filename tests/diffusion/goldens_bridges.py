"""Handlers of bridges, which end at the degraded image: GOUB, I2SB and DDBM."""

from __future__ import annotations

import torch
from goldens.trajectory import Golden, Outputs, Trace, numbers
from goldens_irsde import thetas

from restoralib.diffusion import (
    GOUB,
    I2SB,
    RePaint,
    VEBridge,
    VPBridge,
    ancestral,
    ddbm_heun,
    euler_maruyama,
    given,
    karras,
    sample,
)
from restoralib.ops.schedules import mirrored_betas


def goub(golden: Golden) -> Outputs:
    config, y, draws = golden.config, golden["in.mu"], golden.draws()
    process = GOUB(thetas(config), config["lam"], config["eps"])
    start = process.start(y, torch.zeros_like(y))
    trace = Trace(start)
    trace.states.append(process.leave(y, draws.pop(0) if draws else None))
    scale = {"sde": -1.0, "mean_ode": 0.0}[config["mode"]]
    step = euler_maruyama(process, y=y, noise_scale=scale, last_noise=True)
    grid = range(len(process) - 1, -1, -1)
    sample(golden.denoiser(process, y=y), trace.states[-1], grid, step, noise=given(draws), callback=trace)
    a, b, s = process.coefficients(torch.arange(len(process) + 1))
    depth = process.thetas_cumsum * process.dt
    example = config["example"]
    x_t = example["x_t"]["mu_scale"] * y + example["x_t"]["offset"]
    mean, std = process.posterior(x_t, golden[example["x0"]], example["t"], example["t"] - 1, y)
    return {
        "thetas": process.thetas,
        "thetas_cumsum": process.thetas_cumsum,
        "sigmas": process.sigmas,
        "dt": numbers([process.dt]),
        "sigma_bars": process.lam * (1 - (-2 * depth).exp()).sqrt(),
        "sigma_t_T": process.lam * (1 - (-2 * (depth[-1] - depth)).exp()).sqrt(),
        "m_coef": a,
        "n_coef": b,
        "f_sigmas": s,
        "r_mean_example": mean,
        "r_sigma_example": std.view(1),
        "states": torch.stack(trace.states),
    }


def i2sb(golden: Golden) -> Outputs:
    config, y = golden.config, golden["in.x1"]
    schedule = dict(config["schedule"])
    assert schedule.pop("name") == "sqrt_linear_mirrored"
    process, steps = I2SB(mirrored_betas(**schedule)), golden.steps()
    draws = golden.draws()
    masked = config["mask"] is not None
    guidance = RePaint(process, y, golden[config["mask"]]) if masked else None
    if not config["ot_ode"]:  # the last step draws no noise of the posterior, ours one that counts for nothing
        draws.insert(len(draws) - masked, torch.zeros_like(y))
    trace = Trace(y)
    step = ancestral(process, y=y, variance="none" if config["ot_ode"] else "small")
    sample(golden.denoiser(process, y=y), y, steps, step, noise=given(draws), guidance=guidance, callback=trace)
    a, b, s = process.coefficients(torch.arange(len(process)))
    tables = {"mu_x0": a, "mu_x1": b, "std_sb": s, "std_fwd": process.std_fwd, "std_bwd": process.std_bwd}
    rising = steps[::-1]
    return {
        "betas": process.betas,
        "steps": numbers(rising),
        "states": torch.stack(trace.states),
        "pred_x0": torch.stack(trace.pred_x0),
        **tables,
        **{f"{name}_at_steps": values[rising] for name, values in tables.items()},
    }


def ddbm(golden: Golden) -> Outputs:
    config, y, grid = golden.config, golden["in.x_T"], golden.config["grid"]
    schedule = dict(config["schedule"])
    process = {"bridge_ve": VEBridge, "bridge_vp": VPBridge}[schedule.pop("name")](**schedule)
    times = karras(grid["steps"], grid["start"], grid["end"], grid["rho"])
    trace = Trace(y)
    output = ddbm_heun(
        golden.denoiser(process, y=y, clip=None),
        process,
        y,
        times,
        churn=config["churn_step_ratio"],
        guidance=config["guidance"],
        noise=given(golden.draws()),
        callback=trace,
    )
    a, b, s = process.coefficients(times[:-1])
    states, called, _ = zip(*golden.calls, strict=True)
    return {
        "sigmas": times,
        "coef_x0": a,
        "coef_xT": b,
        "coef_std": s,
        "nfe": numbers([len(golden.calls)]),
        "model_sigmas": torch.stack(called),
        "model_inputs": torch.stack(states),
        "states": torch.stack(trace.states),
        "output": output,
    }


HANDLERS = {"goub": goub, "i2sb": i2sb, "ddbm": ddbm}
