"""Samplers against diffusers' schedulers and deepinv's SDE solvers and operators, for the same noise; skipped without them.

pip install --no-deps diffusers deepinv natsort torchmetrics
"""

from __future__ import annotations

import pytest
import torch

from restoralib.degradations.operators import AveragePoolOperator, CircularBlurOperator, MaskOperator
from restoralib.diffusion import (
    DDPM,
    VESDE,
    VPSDE,
    Denoised,
    Flow,
    ancestral,
    ddim,
    dpm_solver_2m,
    euler,
    euler_maruyama,
    even,
    from_x0,
    sample,
    shifted,
    training_steps,
)
from restoralib.ops.schedules import cosine_betas, linear_betas, sqrt_linear_betas

SHAPE = (2, 3, 8, 8)
SCHEDULES = {"linear": linear_betas(1000), "cosine": cosine_betas(1000), "sqrt": sqrt_linear_betas(1000, 0.00085, 0.012)}
PREDICTIONS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Clean:
    """A denoiser that is no linear function of the state, and changes with the noise: x0 = tanh(x / (a + s)) + s / 10."""

    def __init__(self, process):
        self.process = process

    def __call__(self, x, t):
        a, _, s = self.process.coefficients(t)
        return Denoised((x / (a + s)).tanh() + s / 10)


def diffusers_scheduler(name, schedule, **config):
    """A scheduler with our schedule in float64, where it keeps float32."""
    diffusers = pytest.importorskip("diffusers")
    process = DDPM(SCHEDULES[schedule])
    scheduler = getattr(diffusers, name)(trained_betas=process.betas.numpy(), **config)
    for table in ("alphas_cumprod", "betas"):
        torch.testing.assert_close(getattr(scheduler, table).double(), getattr(process, table), rtol=1e-3, atol=1e-7)
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = process.betas, 1 - process.betas, process.alphas_cumprod
    if name != "DPMSolverMultistepScheduler":
        scheduler.one = torch.ones((), dtype=torch.float64)
        scheduler.final_alpha_cumprod = scheduler.one
    return process, scheduler


def trajectory(scheduler, process, denoise, prediction, x, **step):
    """All states of a scheduler."""
    states = []
    for t in scheduler.timesteps:
        value = from_x0(prediction, denoise(x, t).x0, process, x, t)
        x = scheduler.step(value, t, x, **step).prev_sample
        states.append(x)
    return torch.stack(states)


def ours(denoise, x, times, step, **more):
    states = []
    sample(denoise, x, times, step, callback=lambda before, denoised, t, after: states.append(after), **more)
    return torch.stack(states)


@every_schedule
@pytest.mark.parametrize(("prediction", "variance"), [("eps", "small"), ("x0", "large"), ("v", "small")])
def test_ddpm_is_diffusers(schedule, prediction, variance):
    process, scheduler = diffusers_scheduler(
        "DDPMScheduler",
        schedule,
        variance_type=f"fixed_{variance}",
        prediction_type=PREDICTIONS[prediction],
        clip_sample=False,
        timestep_spacing="leading",
    )
    scheduler.set_timesteps(20)
    steps = training_steps(1000, 20, "leading")
    assert scheduler.timesteps.tolist() == steps
    denoise, x = Clean(process), normal(*SHAPE)
    theirs = trajectory(scheduler, process, denoise, prediction, x, generator=torch.Generator().manual_seed(1))
    found = ours(denoise, x, [*steps, -1], ancestral(process, variance=variance), noise=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-5)


@every_schedule
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_is_diffusers(schedule, prediction, eta):
    process, scheduler = diffusers_scheduler(
        "DDIMScheduler", schedule, clip_sample=False, prediction_type=PREDICTIONS[prediction], timestep_spacing="trailing"
    )
    scheduler.set_timesteps(20)
    steps = training_steps(1000, 20, "trailing")
    assert scheduler.timesteps.tolist() == steps
    denoise, x = Clean(process), normal(*SHAPE)
    theirs = trajectory(scheduler, process, denoise, prediction, x, eta=eta, generator=torch.Generator().manual_seed(1))
    found = ours(denoise, x, [*steps, -1], ddim(process, eta=eta), noise=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "sqrt"])
@pytest.mark.parametrize("count", [8, 20])
def test_dpm_solver_is_diffusers(schedule, count):
    process, scheduler = diffusers_scheduler("DPMSolverMultistepScheduler", schedule)
    scheduler.set_timesteps(count)
    steps = training_steps(1000, count, "linspace")
    assert scheduler.timesteps.tolist() == steps
    a, _, s = process.coefficients(torch.tensor([*steps, -1]))
    torch.testing.assert_close(scheduler.sigmas.double(), s / a, rtol=1e-5, atol=1e-5)
    scheduler.sigmas = s / a  # it has them in float32
    denoise, x, states = Clean(process), normal(*SHAPE), []
    theirs = trajectory(scheduler, process, denoise, "eps", x)
    dpm_solver_2m(denoise, process, x, [*steps, -1], callback=lambda before, denoised, t, after: states.append(after))
    torch.testing.assert_close(torch.stack(states), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_is_diffusers(shift):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=even(10)[:-1].tolist())  # by their number it would shift twice
    times = shifted(even(10), shift)
    torch.testing.assert_close(scheduler.sigmas.double(), times, rtol=1e-6, atol=1e-6)
    process = Flow()
    denoise, x, theirs = Clean(process), normal(*SHAPE), []
    state = x
    for t, sigma in zip(scheduler.timesteps, times, strict=False):
        velocity = from_x0("velocity", denoise(state, sigma).x0, process, state, sigma)
        state = scheduler.step(velocity, t, state).prev_sample.double()
        theirs.append(state)
    torch.testing.assert_close(ours(denoise, x, times, ddim(process)), torch.stack(theirs), rtol=1e-5, atol=1e-5)


DEEPINV = {
    "ve": ("VarianceExplodingDiffusion", {"sigma_min": 0.01, "sigma_max": 50.0}, VESDE()),
    "vp": ("VariancePreservingDiffusion", {"beta_min": 0.1, "beta_max": 20.0}, VPSDE()),
    "flow": ("FlowMatching", {}, Flow()),
}


@pytest.mark.parametrize("alpha", [0.0, 1.0], ids=["ode", "sde"])
@pytest.mark.parametrize("name", DEEPINV)
def test_sdes_are_deepinvs(name, alpha):
    """Its networks are given x / a and the noise level s / a, in float32."""
    peer = pytest.importorskip("deepinv.sampling")
    theirs, config, process = DEEPINV[name]
    times = even(10, 0.9, 0.3)

    class Net(torch.nn.Module):
        def forward(self, x, sigma, **more):
            return (x / (1 + sigma)).tanh()

    def denoise(x, t):
        a, _, s = process.coefficients(t)
        return Denoised(Net()((x / a).float(), (s / a).float()).double())

    solver = peer.EulerSolver(timesteps=times, rng=torch.Generator().manual_seed(1))
    sde = getattr(peer, theirs)(denoiser=Net(), solver=solver, alpha=alpha, minus_one_one=False, **config)
    x = float(process.coefficients(times[0]).s) * normal(*SHAPE)
    expected = solver.sample(sde, x, timesteps=times, get_trajectory=True).trajectory[1:]
    step = euler_maruyama(process, last_noise=True) if alpha else euler(process)
    found = ours(denoise, x, times, step, noise=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_operators_are_deepinvs():
    physics = pytest.importorskip("deepinv.physics")
    x, z, size = normal(*SHAPE), normal(*SHAPE, seed=1), SHAPE[1:]
    mask = (normal(1, 1, 8, 8, seed=2) > 0).double().expand(1, 3, 8, 8)
    kernel = normal(5, 5, seed=3).abs()
    kernel = kernel / kernel.sum()
    cases = {
        "mask": (MaskOperator(size, mask[0, :1]), physics.Inpainting(size, mask=mask)),
        "blur": (CircularBlurOperator(size, kernel, convolve=True), physics.BlurFFT(size, filter=kernel[None, None])),
    }
    for operator, peer in cases.values():
        y = operator.forward(x)
        torch.testing.assert_close(y, peer.A(x), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(operator.adjoint(y), peer.A_adjoint(y), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(operator.prox(z, y, 0.3), peer.prox_l2(z, y, gamma=1 / 0.3), rtol=1e-5, atol=1e-6)
    pool = AveragePoolOperator(size, 2)
    peer = physics.Downsampling(size, filter=torch.ones(1, 1, 2, 2, dtype=torch.float64) / 4, factor=2, padding="valid")
    torch.testing.assert_close(pool.forward(x), peer.A(x), rtol=1e-5, atol=1e-6)
