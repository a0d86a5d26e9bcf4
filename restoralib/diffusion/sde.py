"""Steps of stochastic and ordinary differential equations backwards in time, for every process with a drift."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoised
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.process import SDE
from restoralib.diffusion.sampling import Step


def score(process: SDE, x_t: Tensor, x0: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    """Gradient of the log density of the state that a clean image means: -eps / s."""
    return -process.noise(x_t, x0, t, y) / process.at(t, x_t).s


def check_sde(process: object, method: str) -> None:
    """Refuse a process without a drift.

    Raises:
        TypeError: it has none.
    """
    if not isinstance(process, SDE):
        raise TypeError(
            f"{method} needs a process with drift and diffusion, which {type(process).__name__} is not; "
            "use ancestral() or ddim(), or a process in continuous time such as VPSDE"
        )


def euler_maruyama(
    process: SDE,
    *,
    y: Tensor | None = None,
    noise_scale: float = 1.0,
    step_size: float | None = None,
    last_noise: bool = False,
) -> Step:
    """The reverse SDE by Euler and Maruyama: x - (f - g^2 score) h + g sqrt(h) z.

    (Song et al., arXiv:2011.13456, equation 6.)

    Args:
        process: tells drift f and diffusion g.
        y: the degraded image, for processes that go to it.
        noise_scale: times z; IR-SDE's and GOUB's code subtract the noise: -1; GOUB's Mean-ODE leaves it out: 0.
        step_size: h; None for the distance of the times. Score-SDE's code has 1 / N for N times, the last one included.
        last_noise: add noise in the step to time 0 as well, as IR-SDE's code does.

    Raises:
        TypeError: the process has no drift.
    """
    check_sde(process, "euler_maruyama()")

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        h = t - r if step_size is None else step_size
        g = process.diffusion(t)
        mean = x - (process.drift(x, t, y) - g**2 * score(process, x, denoised.x0, t, y)) * h
        draw = noise_scale * noise(x) if noise_scale else 0.0
        return mean + g * h**0.5 * draw * (1 if last_noise else r > 0)

    return step


def euler(process: SDE, *, y: Tensor | None = None, step_size: float | None = None) -> Step:
    """The probability-flow ODE by Euler: x - (f - g^2 score / 2) h.

    (Song et al., arXiv:2011.13456, equation 13.)

    Args:
        process: tells drift f and diffusion g.
        y: the degraded image, for processes that go to it.
        step_size: h; None for the distance of the times.

    Raises:
        TypeError: the process has no drift.
    """
    check_sde(process, "euler()")

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        h = t - r if step_size is None else step_size
        return x - flow_derivative(process, x, denoised.x0, t, y) * h

    return step


def flow_derivative(process: SDE, x: Tensor, x0: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    """dx / dt of the probability-flow ODE: f - g^2 score / 2."""
    return process.drift(x, t, y) - process.diffusion(t) ** 2 / 2 * score(process, x, x0, t, y)


def simulate(
    process: SDE, x0: Tensor, times: Tensor, noise: Noise, *, y: Tensor | None = None, step_size: float | None = None
) -> Tensor:
    """States of the SDE forward in time by Euler and Maruyama, at all times but the first.

    Args:
        process: tells drift and diffusion.
        x0: states at the first time.
        times: rising, (n + 1,); drift and diffusion are those of the later time of each step.
        noise: source of noise.
        y: the degraded image, for processes that go to it.
        step_size: None for the distance of the times.

    Returns:
        (n, b, c, h, w).
    """
    states, x = [], x0
    for before, t in pairwise(times):
        h = t - before if step_size is None else step_size
        x = x + process.drift(x, t, y) * h + process.diffusion(t) * h**0.5 * noise(x)
        states.append(x)
    return torch.stack(states)
