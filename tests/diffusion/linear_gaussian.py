"""A problem with a known answer: correlated Gaussian pixels, a linear measurement with noise, and its exact posterior.

`python tests/diffusion/linear_gaussian.py` prints how far every method's samples are from that posterior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from restoralib.degradations.operators import DenseOperator, MaskOperator
from restoralib.diffusion import (
    BBDM,
    DDPM,
    DPS,
    EDM,
    GOUB,
    I2SB,
    ILVR,
    IRSDE,
    MCG,
    VPSDE,
    ClassifierGuidance,
    Denoised,
    Flow,
    Measurement,
    PiGDM,
    Process,
    RePaint,
    ResShift,
    VEBridge,
    VPBridge,
    ancestral,
    ddbm_heun,
    ddim,
    ddnm,
    ddnm_plus,
    ddrm,
    ddrm_start,
    diffpir,
    dpm_solver_2m,
    edm_heun,
    euler_maruyama,
    even,
    flow_heun,
    karras,
    low_pass_of,
    red_diff,
    resshift_etas,
    sample,
    sample_with_travel,
    training_steps,
    travel_schedule,
)
from restoralib.ops.schedules import cosine_thetas, linear_betas, mirrored_betas

SHAPE = (1, 2, 2)
N = 4
Noise = Callable[[Tensor], Tensor]
Run = Callable[[Tensor, Noise], Tensor]
"""From a state of pure noise (b, 1, 2, 2) and a source of noise to samples."""


@dataclass
class Normal:
    """A normal distribution of images, as vectors."""

    mean: Tensor
    covariance: Tensor

    def distance(self, other: Normal) -> float:
        """Wasserstein-2 distance."""
        root = square_root(self.covariance)
        cross = square_root(root @ other.covariance @ root)
        spread = (self.covariance + other.covariance - 2 * cross).trace().clamp(min=0)
        return float(((self.mean - other.mean).square().sum() + spread).sqrt())

    def denoiser(self, process: Process, y: Tensor | None = None) -> Callable[[Tensor, Tensor], Denoised]:
        """E[x0 | x_t] where x0 has this distribution."""

        def denoise(x: Tensor, t: Tensor) -> Denoised:
            a, b, s = process.coefficients(t)
            rest = x.flatten(1) - a * self.mean - (b * y.flatten(1) if y is not None else 0)
            whole = a**2 * self.covariance + (s**2 + 1e-14) * torch.eye(N).double()
            return Denoised((self.mean + a * rest @ torch.linalg.solve(whole, self.covariance)).view_as(x))

        return denoise


def square_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ (values.clamp(min=0).sqrt()[:, None] * vectors.T)


def problem() -> tuple[Normal, Tensor, Tensor, float]:
    """Prior, matrix, measurement and its noise."""
    generator = torch.Generator().manual_seed(5)
    mix = torch.randn(N, N, generator=generator, dtype=torch.float64) * 0.25
    prior = Normal(torch.tensor([0.2, -0.1, 0.4, 0.0]).double(), mix @ mix.T + 0.02 * torch.eye(N).double())
    matrix = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.9, 0.3]]).double()
    sigma = 0.1
    truth = prior.mean + square_root(prior.covariance) @ torch.randn(N, generator=generator, dtype=torch.float64)
    return prior, matrix, matrix @ truth + sigma * torch.randn(2, generator=generator, dtype=torch.float64), sigma


def condition(prior: Normal, matrix: Tensor, y: Tensor, sigma: float) -> Normal:
    """The exact posterior of A x + sigma n = y."""
    gain = (
        prior.covariance
        @ matrix.T
        @ torch.linalg.inv(matrix @ prior.covariance @ matrix.T + sigma**2 * torch.eye(len(y)).double())
    )
    return Normal(prior.mean + gain @ (y - matrix @ prior.mean), prior.covariance - gain @ matrix @ prior.covariance)


PRIOR, MATRIX, Y, SIGMA = problem()
POSTERIOR = condition(PRIOR, MATRIX, Y, SIGMA)
EXACTLY = condition(PRIOR, MATRIX, Y, 1e-9)  # what methods that trust the measurement aim at
KNOWN = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double()
MASKED = condition(PRIOR, torch.eye(N).double()[KNOWN.flatten() > 0], torch.tensor([0.3, 0.1]).double(), 1e-9)


def methods(steps: int = 100) -> dict[str, tuple[Run, Normal, bool]]:
    """Name -> how to sample, the distribution that it aims at, and whether it is an affine function of its noise."""
    ddpm = DDPM(linear_betas(1000))
    grid = [*training_steps(1000, steps), -1]
    operator = DenseOperator(SHAPE, MATRIX)
    measurement = Measurement(operator, Y[None], SIGMA)
    exact = Measurement(operator, Y[None], 0.0)
    of_prior, of_posterior = PRIOR.denoiser(ddpm), POSTERIOR.denoiser(ddpm)
    degraded = operator.pinv(Y[None])
    known = torch.tensor([[0.3, 0.0], [0.1, 0.0]]).double()[None, None]
    hidden = 1 - KNOWN[None, None]
    masked = Measurement(MaskOperator(SHAPE, KNOWN), MaskOperator(SHAPE, KNOWN)(known))

    def log_probability(x: Tensor, t: Tensor) -> Tensor:
        """Of the measurement given the noisy state, exactly."""
        a, _, s = ddpm.coefficients(t)
        whole = a**2 * PRIOR.covariance + s**2 * torch.eye(N).double()
        gain = a * torch.linalg.solve(whole, PRIOR.covariance)
        left = PRIOR.covariance - a * PRIOR.covariance @ gain
        spread = MATRIX @ left @ MATRIX.T + SIGMA**2 * torch.eye(2).double()
        misfit = Y - (PRIOR.mean + (x.flatten(1) - a * PRIOR.mean) @ gain) @ MATRIX.T
        return -(misfit @ torch.linalg.inv(spread) * misfit).sum(1) / 2

    def guided(step, guidance, denoise=of_prior) -> Run:
        return lambda x, noise: sample(denoise, x, grid, step, noise=noise, guidance=guidance)

    def bridge(process: Process, run) -> Run:
        return lambda x, noise: run(process, POSTERIOR.denoiser(process, degraded), degraded.expand_as(x), x, noise)

    def down(times, step=ancestral, **options):
        def run(process, denoise, y, x, noise):
            return sample(
                denoise,
                process.start(y, x) if hasattr(process, "start") else y,
                times,
                step(process, y=y, **options),
                noise=noise,
            )

        return run

    def leave(process, denoise, y, x, noise):
        return sample(
            denoise,
            process.leave(y, x),
            range(len(process) - 1, -1, -1),
            euler_maruyama(process, y=y, last_noise=True),
            noise=noise,
        )

    def heun_bridge(times):
        return lambda process, denoise, y, x, noise: ddbm_heun(denoise, process, y, times, noise=noise)

    edm, flow, vp = EDM(), Flow(), VPSDE()
    return {
        # conditional networks: the denoiser knows the posterior
        "SR3 / Palette (ancestral)": (guided(ancestral(ddpm), None, of_posterior), POSTERIOR, True),
        "SR3 / Palette (DDIM)": (guided(ddim(ddpm), None, of_posterior), POSTERIOR, True),
        "DPM-Solver++(2M)": (lambda x, noise: dpm_solver_2m(of_posterior, ddpm, x, grid), POSTERIOR, True),
        "VP-SDE (Euler-Maruyama)": (
            lambda x, noise: sample(
                POSTERIOR.denoiser(vp), x, torch.linspace(1, 1e-3, 3 * steps), euler_maruyama(vp), noise=noise
            ),
            POSTERIOR,
            True,
        ),
        "EDM (Heun)": (
            lambda x, noise: edm_heun(POSTERIOR.denoiser(edm), 80 * x, karras(steps // 2, 80, 0.002)),
            POSTERIOR,
            True,
        ),
        "flow matching (Heun)": (lambda x, noise: flow_heun(POSTERIOR.denoiser(flow), x, even(steps // 2)), POSTERIOR, True),
        "IR-SDE (posterior)": (bridge(IRSDE(cosine_thetas(steps), 0.5), down(range(steps, -1, -1))), POSTERIOR, True),
        "IR-SDE (SDE)": (
            bridge(IRSDE(cosine_thetas(steps), 0.5), down(range(steps, -1, -1), euler_maruyama, last_noise=True)),
            POSTERIOR,
            True,
        ),
        "GOUB (SDE)": (bridge(GOUB(cosine_thetas(steps), 0.5), leave), POSTERIOR, True),
        "I2SB": (
            bridge(I2SB(mirrored_betas(1000, 1e-4, 3e-3)), down(training_steps(1000, steps))),
            POSTERIOR,
            True,
        ),
        "BBDM": (bridge(BBDM(1000), down(range(1000, -1, -1000 // steps), ddim, eta=1.0)), POSTERIOR, True),
        "DDBM (VE)": (bridge(VEBridge(10.0), heun_bridge(karras(steps, 10 - 1e-4, 0.002))), POSTERIOR, True),
        "DDBM (VP)": (bridge(VPBridge(), heun_bridge(karras(steps, 1 - 1e-4, 1e-4))), POSTERIOR, True),
        "ResShift": (bridge(ResShift(resshift_etas(steps)), down(range(steps, -1, -1))), POSTERIOR, True),
        # training-free: the denoiser knows the prior
        "classifier guidance, exact": (guided(ancestral(ddpm), ClassifierGuidance(ddpm, log_probability)), POSTERIOR, True),
        "PiGDM": (guided(ddim(ddpm, eta=1.0), PiGDM(measurement, ddpm)), POSTERIOR, True),
        "DDRM": (
            lambda x, noise: sample(
                of_prior, ddrm_start(ddpm, measurement, grid[0], x), grid, ddrm(ddpm, measurement), noise=noise
            ),
            POSTERIOR,
            True,
        ),
        "DDNM": (guided(ddnm(ddpm, exact), None), EXACTLY, True),
        "DDNM+": (guided(ddnm_plus(ddpm, measurement), None), POSTERIOR, True),
        "DiffPIR": (guided(diffpir(ddpm, measurement, lam=4.0, zeta=0.5), None), POSTERIOR, True),
        "ILVR": (guided(ancestral(ddpm), ILVR(ddpm, low_pass_of(operator), degraded)), EXACTLY, True),
        "score-SDE inpainting": (guided(ancestral(ddpm), RePaint(ddpm, known, hidden)), MASKED, True),
        "RePaint": (
            lambda x, noise: sample_with_travel(
                of_prior,
                ddpm,
                x,
                [training_steps(1000, steps // 5)[::-1][i] if i >= 0 else -1 for i in travel_schedule(steps // 5, 2, 5)],
                ancestral(ddpm),
                guidance=RePaint(ddpm, known, hidden),
                noise=noise,
            ),
            MASKED,
            True,
        ),
        "DDNM (inpainting)": (guided(ddnm(ddpm, masked), None), MASKED, True),
        "DPS": (guided(ancestral(ddpm), DPS(measurement, scale=0.3)), POSTERIOR, False),
        "MCG": (guided(ancestral(ddpm), MCG(exact, scale=0.3, process=ddpm)), EXACTLY, False),
        "RED-diff": (
            lambda x, noise: red_diff(of_prior, ddpm, measurement, grid, start=x, noise=noise, rate=0.05),
            POSTERIOR,
            False,
        ),
    }


def closed_form(run: Run) -> Normal:
    """The distribution of an affine method's samples: it is run on zeros, and on the unit vectors of all its noise."""
    counted = 0

    def zeros(like: Tensor) -> Tensor:
        nonlocal counted
        counted += 1
        return torch.zeros_like(like)

    centre = run(torch.zeros(1, *SHAPE).double(), zeros)
    batch, units = (counted + 1) * N, torch.eye(N).double().view(N, *SHAPE)
    draw = 0

    def one(number: int) -> Tensor:
        noise = torch.zeros(batch, *SHAPE).double()
        noise[number * N : (number + 1) * N] = units
        return noise

    def source(like: Tensor) -> Tensor:
        nonlocal draw
        draw += 1
        return one(draw).view(batch, *like.shape[1:])

    moved = (run(one(0), source) - centre).flatten(1).detach()
    return Normal(centre.flatten().detach(), moved.T @ moved)


def drawn(run: Run, count: int = 20_000, seed: int = 0) -> tuple[Normal, Tensor]:
    """Mean and covariance of samples, and the samples."""
    generator = torch.Generator().manual_seed(seed)

    def source(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    x = run(source(torch.empty(count, *SHAPE)), source).flatten(1).detach()
    return Normal(x.mean(0), x.T.cov()), x


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{'method':28} {'W2 to what it aims at':>24}   {'of its prior or start':>22}")
    for name, (run, goal, affine) in methods().items():
        found = closed_form(run) if affine else drawn(run)[0]
        print(f"{name:28} {found.distance(goal):24.4f}   {PRIOR.distance(goal):22.4f}", flush=True)
