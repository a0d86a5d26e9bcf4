"""The loop of all samplers: from time to time down a grid, with a step, and hooks of a guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Literal, Protocol

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoised, Denoiser
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.process import Process

Step = Callable[[Tensor, Denoised, Tensor, Tensor, Noise], Tensor]
"""One step: (x_t, denoised, t, r, noise) -> x_r."""
Callback = Callable[[Tensor, Denoised, Tensor, Tensor], None]
"""Told after each step: the state before it, what the denoiser said (after guidance), its time, the state after it."""


class Guidance(Protocol):
    """What draws a sample towards a measurement, without training: hooks around the step."""

    needs_gradient: bool
    """Whether `on_step` differentiates the denoised image with respect to the state."""

    def on_x0(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """A better guess of the clean image, before the step."""
        ...

    def on_step(self, x_r: Tensor, x_t: Tensor, x0: Tensor, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        """A better state, after the step."""
        ...


def descending(times: Tensor | Iterable[float]) -> list[float]:
    """A grid of times, from the most noise to the least.

    They are numbers, so that a sampler's branches on them leave one graph under `torch.compile`.

    Raises:
        ValueError: there are fewer than two times, or they do not fall.
    """
    grid = numbers_of(times)
    if len(grid) < 2:
        raise ValueError(f"a grid has at least two times, its end among them; got {grid}")
    if not all(later < earlier for earlier, later in pairwise(grid)):
        raise ValueError("the times of a grid must fall from step to step, without repetition")
    return grid


def numbers_of(times: Tensor | Iterable[float]) -> list[float]:
    """Times as numbers."""
    return times.double().tolist() if isinstance(times, Tensor) else [float(t) for t in times]


def moment(t: float) -> Tensor:
    """A time as denoisers and steps take it."""
    return torch.tensor(t, dtype=torch.float64)


def sample(
    denoise: Denoiser,
    x: Tensor,
    times: Tensor | Iterable[float],
    step: Step,
    *,
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
    guidance: Guidance | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Go down a grid of times.

    Gradients are the caller's business: wrap the call in `torch.no_grad()` where none are wanted. A guidance that
    differentiates does so by itself, one step at a time, and cannot under `torch.inference_mode()`.

    Args:
        denoise: says what is under the noise.
        x: the state at the first time, (b, c, h, w).
        times: from the first to the last time, falling; one step fewer is made than there are times.
        step: makes one step.
        noise: a source of noise, a generator, or draws in order; None is torch's own generator.
        guidance: hooks that draw the sample towards a measurement.
        callback: called after each step with (x_t, denoised, t, x_r).

    Returns:
        The state at the last time.

    Raises:
        ValueError: the grid does not fall.
        RuntimeError: a guidance needs gradients under inference mode.
    """
    draw = noise_source(noise)
    gradient = guidance is not None and guidance.needs_gradient
    if gradient and torch.is_inference_mode_enabled():
        raise RuntimeError(
            f"{type(guidance).__name__} differentiates the network; use torch.no_grad() instead of inference_mode()"
        )
    for t, r in pairwise(map(moment, descending(times))):
        if gradient:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                x = one_step(denoise, x, t, r, step, draw, guidance, callback).detach()
        else:
            x = one_step(denoise, x, t, r, step, draw, guidance, callback)
    return x


def one_step(
    denoise: Denoiser,
    x: Tensor,
    t: Tensor,
    r: Tensor,
    step: Step,
    draw: Noise,
    guidance: Guidance | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """The state at time r: denoise, step, and what guidance and callback want."""
    denoised = denoise(x, t)
    if guidance is not None:
        denoised = Denoised(guidance.on_x0(denoised.x0, x, t), denoised.variance)
    differentiated = guidance is not None and guidance.needs_gradient
    with torch.set_grad_enabled(torch.is_grad_enabled() and not differentiated):  # only the denoised image is
        x_r = step(x, denoised, t, r, draw)
    if guidance is not None:
        x_r = guidance.on_step(x_r, x, denoised.x0, t, r, draw)
    if callback is not None:
        callback(x, denoised, t, x_r)
    return x_r


Variance = Literal["small", "large", "learned", "none"]
VARIANCES = ("small", "large", "learned", "none")


def ancestral(process: Process, *, y: Tensor | None = None, variance: Variance = "small", floor: float = 0.0) -> Step:
    """The step that draws from q(x_r | x_t, x0): DDPM's, IR-SDE's posterior sampling, GOUB's.

    Nothing is added where the process has no noise left, though a draw is made there too, as the references do.

    Args:
        process: any process.
        y: the degraded image, for processes that go to it.
        variance: "small": that of the posterior; "large": that of the step forward, DDPM's beta; "learned": the network's,
            between the two (Nichol & Dhariwal, arXiv:2102.09672, equation 15); "none": the mean, as DiffIR and I2SB's OT-ODE.
        floor: the smallest standard deviation, also where no noise is left; IR-SDE's code has 1e-10 sqrt(dt) lambda.

    Raises:
        ValueError: there is no such variance; when called, it is "learned" and the denoiser gives none.
    """
    if variance not in VARIANCES:
        raise ValueError(f"unknown variance {variance!r}; choose one of {', '.join(VARIANCES)}")

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        mean, std = process.posterior(x, denoised.x0, t, r, y)
        if variance == "none":
            return mean
        if variance != "small":
            now, past = process.at(t, x), process.at(r, x)
            large = (now.s**2 - (now.a / past.a) ** 2 * past.s**2).clamp(min=0).sqrt()
            if variance == "learned":
                if denoised.variance is None:
                    raise ValueError("variance='learned' needs a denoiser that gives the variance; see learned_variance")
                share = (denoised.variance + 1) / 2
                large = (share * large.log() + (1 - share) * std.clamp(min=1e-30).log()).exp()
            std = large * (past.s > 0)
        return mean + std.clamp(min=floor) * noise(x)

    return step


def ddim(process: Process, *, y: Tensor | None = None, eta: float = 0.0) -> Step:
    """DDIM's step: the noise of the state is kept, but for eta times what an ancestral step draws anew.

    (Song et al., arXiv:2010.02502, equation 12; for any process.)

    Args:
        process: any process.
        y: the degraded image, for processes that go to it.
        eta: 0 draws nothing, 1 as much as an ancestral step.

    Raises:
        ValueError: eta is not in [0, 1].
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"expected eta in [0, 1], got {eta}")

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        std = eta * process.posterior(x, denoised.x0, t, r, y).std
        mean, std = process.same_marginals(x, denoised.x0, t, r, std, y)
        return mean + std * noise(x) if eta else mean

    return step


def renoised(process: Process, *, y: Tensor | None = None) -> Step:
    """The step that keeps nothing of the state's noise: the clean image, noised anew as the marginal (M) says.

    It draws more than an ancestral step, as do DDNM with eta 1 and DiffPIR with zeta 1. What the denoiser left in the image is
    then not carried on as noise, which brings samples nearer to the mean and costs them variety.

    Args:
        process: any process.
        y: the degraded image, for processes that go to it.
    """

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        return process.marginal(denoised.x0, r, noise(x), y)

    return step
