"""Handlers of continuous processes: score-based SDEs, EDM, DPM-Solver++ and flow matching."""

from __future__ import annotations

import torch
from goldens.trajectory import Golden, Outputs, Trace, numbers

from restoralib.diffusion import (
    DDPM,
    EDM,
    VESDE,
    VPSDE,
    Flow,
    InterpolatedDDPM,
    SubVPSDE,
    ancestral_sampling,
    annealed_langevin,
    ddim,
    dpm_solver_2m,
    edm_heun,
    euler_maruyama,
    even,
    given,
    karras,
    langevin,
    predictor_corrector,
    probability_flow,
    reverse_diffusion,
    sample,
    shifted,
)
from restoralib.diffusion.score_sde import discrete_index


def sde(config):
    schedule = config["schedule"]
    if schedule["name"] == "ve_sde":
        return VESDE(schedule["sigma_min"], schedule["sigma_max"])
    return {"vp_sde": VPSDE, "subvp_sde": SubVPSDE}[schedule["name"]](schedule["beta_min"], schedule["beta_max"])


class Truncated(VPSDE):
    """The marginal of the discrete step that a continuous time belongs to."""

    def __init__(self, like: VPSDE, steps: int) -> None:
        super().__init__(like.beta_min, like.beta_max)
        self.ddpm, self.steps = DDPM(like.discretized(steps)), steps

    def coefficients(self, t):
        return self.ddpm.coefficients(discrete_index(torch.as_tensor(t), self.steps))


def score_sde(golden: Golden) -> Outputs:
    config, process = golden.config, sde(golden.config)
    grid, steps = config["grid"], config["schedule"]["steps"]
    times = torch.linspace(grid["start"], grid["end"], grid["steps"], dtype=torch.float64)
    if not config["continuous"]:
        process = Truncated(process, steps)
    label = process.sigma if config["label_scale"] is None else lambda t: config["label_scale"] * t
    corrector = None
    if config["corrector"]:
        alpha = None
        if not isinstance(process, VESDE):
            alpha = lambda t: 1 - process.discretized(steps)[discrete_index(t, steps)]  # noqa: E731
        corrector = {
            "langevin": lambda: langevin(config["snr"], alpha=alpha, batch=True),
            "ald": lambda: annealed_langevin(process, config["snr"], alpha=alpha),
        }[config["corrector"]]()
    predictor = {
        "euler_maruyama": lambda: euler_maruyama(process, step_size=1 / steps),
        "reverse_diffusion": lambda: reverse_diffusion(process, steps, flow=config["probability_flow"]),
        "ancestral_sampling": lambda: ancestral_sampling(process, steps),
    }[config["predictor"]]()
    assert config["final"] == "mean"  # which is what a step to time 0 gives
    output = predictor_corrector(
        golden.denoiser(process, clip=None, time=label),
        golden["in.x_T"],
        [*times, 0.0],
        process,
        predictor,
        corrector,
        corrections=config["n_corrector_steps"],
        noise=given(golden.draws()),
    )
    states, labels, values = zip(*golden.calls, strict=True)
    return {
        "timesteps": times,
        "discrete_betas" if isinstance(process, VPSDE) else "discrete_sigmas": process.discretized(steps),
        "labels": torch.stack(labels),
        "model_inputs": torch.stack(states),
        "model_output": torch.stack(values),
        "output": output,
    }


def score_ode(golden: Golden) -> Outputs:
    config, process, x = golden.config, sde(golden.config), golden["in.x_T"]
    grid, solver = config["grid"], config["solver"]
    denoise = golden.denoiser(process, clip=None)
    end = probability_flow(denoise, process, x, grid["start"], grid["end"], rtol=solver["rtol"], atol=solver["atol"]).x
    first, last = (process.coefficients(grid[side]) for side in ("start", "end"))
    spread = [(c.a * config["s"]) ** 2 + c.s**2 for c in (first, last)]
    m = golden[config["mean"]]
    return {
        "states": torch.stack([x, end]),
        "exact": last.a * m + (spread[1] / spread[0]).sqrt() * (x - first.a * m),
    }


def heun(golden: Golden) -> Outputs:
    config, process = golden.config, EDM()
    grid = config["grid"]
    sigmas = karras(grid["steps"], grid["start"], grid["end"], grid["rho"])
    output = edm_heun(
        golden.denoiser(process, clip=None),
        golden["in.x_T"] * sigmas[0],
        sigmas,
        churn=config["S_churn"],
        churn_from=config["S_min"],
        churn_to=float("inf") if config["S_max"] is None else config["S_max"],
        churn_noise=config["S_noise"],
        noise=given(golden.draws()),
    )
    states, levels, values = zip(*golden.calls, strict=True)
    assert config["prediction"] == "x0"
    return {
        "sigmas": sigmas,
        "model_sigmas": torch.stack(levels),
        "model_inputs": torch.stack(states),
        "denoised": torch.stack(values),
        "output": output,
    }


def dpm_solver(golden: Golden) -> Outputs:
    config, process = golden.config, InterpolatedDDPM(golden.ddpm())
    grid, order = config["grid"], config["order"]
    assert order == 2
    if grid["name"] == "logsnr":
        times = process.even_in_log_snr(grid["steps"], grid["start"], grid["end"])
    else:
        times = even(grid["steps"], grid["start"], grid["end"])
    trace = Trace(golden["in.x_T"])
    lower = config["lower_order_final"] and grid["steps"] < config["lower_order_below"]
    output = dpm_solver_2m(
        golden.denoiser(process, clip=None), process, golden["in.x_T"], times, lower_order_final=lower, callback=trace
    )
    states, called, values = zip(*golden.calls, strict=True)
    a, _, s = process.coefficients(times)
    return {
        "timesteps": times,
        "lambdas": (a / s).log(),
        "call_times": torch.stack(called),
        "states": torch.stack(trace.states),
        "model_inputs": torch.stack(states),
        "model_output": torch.stack(values),
        "output": output,
    }


def diffusers_dpm_solver(golden: Golden) -> Outputs:
    config, process, steps = golden.config, golden.ddpm(), golden.steps()
    assert config["solver_order"] == 2 and config["solver_type"] == "midpoint" and config["final_sigmas_type"] == "zero"
    trace = Trace(golden["in.x_T"])
    lower = config["lower_order_final"] and len(steps) < config["lower_order_below"]
    dpm_solver_2m(
        golden.denoiser(process, clip=None),
        process,
        golden["in.x_T"],
        [*steps, -1],
        lower_order_final=lower,
        callback=trace,
    )
    a, _, s = process.coefficients(numbers([*steps, -1]))
    return {
        "alphas_cumprod": process.alphas_cumprod,
        "timesteps": numbers(steps),
        "sigmas": s / a,
        "states": torch.stack(trace.states),
        "model_output": torch.stack([value for _, _, value in golden.calls]),
    }


def diffusers_flow(golden: Golden) -> Outputs:
    config, process = golden.config, Flow()
    grid, shift = config["grid"], config["shift"]
    ends = torch.tensor([grid["start"], grid["end"]], dtype=torch.float64)
    amount = float(torch.tensor(shift["mu"]).double().exp()) if shift["name"] == "exponential" else shift["value"]
    if shift.get("shift_ends_first"):
        ends = shifted(ends, amount)
    levels = torch.linspace(*ends.tolist(), grid["steps"], dtype=torch.float64)
    sigmas = torch.cat([shifted(levels, amount), numbers(grid["append"])])
    trace = Trace(golden["in.x_T"])
    sample(golden.denoiser(process, clip=None), golden["in.x_T"], sigmas, ddim(process), callback=trace)
    return {
        "sigmas": sigmas,
        "timesteps": config["num_train_timesteps"] * sigmas[:-1],
        "states": torch.stack(trace.states),
        "model_output": torch.stack([value for _, _, value in golden.calls]),
    }


HANDLERS = {
    "score_em": score_sde,
    "score_pc": score_sde,
    "score_ode": score_ode,
    "edm_heun": heun,
    "dpmpp_2m": dpm_solver,
    "DPMSolverMultistepScheduler": diffusers_dpm_solver,
    "FlowMatchEulerDiscreteScheduler": diffusers_flow,
}
