"""Handlers of the mean-reverting SDE's trajectories."""

from __future__ import annotations

import torch
from goldens.trajectory import Golden, Outputs, Trace
from torch import Tensor

from restoralib.diffusion import IRSDE, ancestral, euler, euler_maruyama, given, sample, simulate
from restoralib.ops.schedules import cosine_thetas, linear_thetas


def thetas(config) -> Tensor:
    schedule = dict(config["schedule"])
    name = schedule.pop("name")
    if name == "theta_constant":
        return torch.full((schedule["steps"] + 1,), float(schedule["value"]), dtype=torch.float64)
    return {"theta_cosine": cosine_thetas, "theta_linear": linear_thetas}[name](**schedule)


def irsde(golden: Golden) -> Outputs:
    config, y = golden.config, golden["in.mu"]
    process = IRSDE(thetas(config), config["max_sigma"], config["eps"])
    grid = list(range(len(process), -1, -1))
    weight, _, spread = process.coefficients(torch.arange(len(process) + 1))
    one = torch.ones(1, dtype=torch.float64)
    least = config.get("variance_floor", 0.0) ** 0.5 * process.dt**0.5 * process.lam
    optimum = torch.cat([process.posterior(one, one, t, t - 1, one).std.view(1) for t in range(1, len(process) + 1)])
    outputs = {
        "thetas": process.thetas,
        "thetas_cumsum": process.thetas_cumsum,
        "sigmas": process.sigmas,
        "sigma_bars": spread,
        "weights": weight,
        "dt": torch.tensor([process.dt], dtype=torch.float64),
        "reverse_optimum_std": optimum.clamp(min=least),
    }
    mode = config["mode"]
    if mode == "forward":
        x0, times = golden["in.m"], torch.arange(len(process) + 1).double()
        states = simulate(process, x0, times, given(golden.draws()), y=y)
        return outputs | {"states": torch.cat([x0[None], states])}
    if mode == "optimum":
        x = golden["in.x_T"]
        states = [x]
        for t in grid[:-1]:
            x = process.posterior(x, golden["in.m"], t, t - 1, y).mean
            states.append(x)
        return outputs | {"states": torch.stack(states)}
    first, *rest = golden.draws()
    start = process.start(y, first)
    step = {
        "sde": euler_maruyama(process, y=y, noise_scale=-1, last_noise=True),
        "ode": euler(process, y=y),
        "posterior": ancestral(process, y=y, floor=least),
    }[mode]
    trace = Trace(start)
    denoise = golden.denoiser(process, y=y)
    sample(denoise, start, grid, step, noise=given(rest), callback=trace)
    outputs |= {"states": torch.stack(trace.states), "model_output": torch.stack([value for _, _, value in golden.calls])}
    if "loss" in config:
        x0, t = golden[config["loss"]["x0"]], torch.tensor(float(config["loss"]["t"]), dtype=torch.float64)
        x_t = process.marginal(x0, t, golden[config["loss"]["noise"]], y)
        predicted = denoise(x_t, t).x0
        expected, best = process.matched_means(x_t, x0, predicted, t, y)
        outputs |= {
            "loss.x_t": x_t,
            "loss.t": t.view(1),
            "loss.x_prev_expected": expected,
            "loss.x_prev_optimum": best,
            "loss.l1": process.matching_loss(x_t, x0, predicted, t, y).view(1),
            "loss.l2": process.matching_loss(x_t, x0, predicted, t, y, power=2).view(1),
        }
    return outputs


HANDLERS = {"irsde": irsde}
