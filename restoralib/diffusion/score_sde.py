"""Score-based SDEs: variance preserving, sub-variance preserving and variance exploding (Song et al., arXiv:2011.13456)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoised
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.process import SDE, Coefficients, Time, beside, time_within
from restoralib.diffusion.sampling import Step
from restoralib.diffusion.sde import score


class VPSDE(SDE):
    """Variance preserving: dx = -beta(t) x / 2 dt + sqrt(beta(t)) dw, with beta(t) linear in t from 0 to 1.

    a = exp(-B / 2) and s^2 = 1 - exp(-B), where B is the integral of beta from 0 to t; DDPM in continuous time.

    Args:
        beta_min: beta at 0.
        beta_max: beta at 1.

    Raises:
        ValueError: 0 <= beta_min < beta_max does not hold; when called, a time is not in [0, 1].

    Source: arXiv:2011.13456, equations 11 and 29.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0 <= beta_min < beta_max:
            raise ValueError(f"expected 0 <= beta_min < beta_max, got {beta_min} and {beta_max}")
        self.beta_min, self.beta_max = beta_min, beta_max

    def beta(self, t: Time) -> Tensor:
        """The rate at a time."""
        return self.beta_min + time_within(t, 0, 1) * (self.beta_max - self.beta_min)

    def depth(self, t: Time) -> Tensor:
        """The integral of the rate from 0 to a time."""
        t = time_within(t, 0, 1)
        return self.beta_min * t + (self.beta_max - self.beta_min) / 2 * t**2

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times from 0 to 1."""
        depth = self.depth(t)
        return Coefficients((-depth / 2).exp(), torch.zeros_like(depth), (-(-depth).expm1()).sqrt())

    def drift(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """-beta x / 2."""
        return beside(-self.beta(t) / 2, x) * x

    def diffusion(self, t: Time) -> Tensor:
        """sqrt(beta)."""
        return self.beta(t).sqrt()

    def discretized(self, steps: int) -> Tensor:
        """The variances of a DDPM of so many steps, (steps,): evenly spaced, in all the integral of beta."""
        return torch.linspace(self.beta_min, self.beta_max, steps, dtype=torch.float64) / steps

    def discrete_step(self, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """One of so many steps forward at a time: the factor of x, and the standard deviation of the noise."""
        beta = torch.take(self.discretized(steps), discrete_index(t, steps))
        return (1 - beta).sqrt(), beta.sqrt()


class SubVPSDE(VPSDE):
    """Sub-variance preserving: the drift of `VPSDE`, and less noise: s = 1 - exp(-B).

    Args:
        beta_min: beta at 0.
        beta_max: beta at 1.

    Raises:
        ValueError: 0 <= beta_min < beta_max does not hold; when called, a time is not in [0, 1].

    Source: arXiv:2011.13456, equations 12 and 29.
    """

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times from 0 to 1."""
        depth = self.depth(t)
        return Coefficients((-depth / 2).exp(), torch.zeros_like(depth), -(-depth).expm1())

    def diffusion(self, t: Time) -> Tensor:
        """sqrt(beta (1 - exp(-2 B)))."""
        return (self.beta(t) * -(-2 * self.depth(t)).expm1()).sqrt()

    def discrete_step(self, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """One of so many steps forward at a time, as Euler makes it."""
        return 1 - self.beta(t) / (2 * steps), self.diffusion(t) / steps**0.5


class VESDE(SDE):
    """Variance exploding: a = 1, and s = sigma(t) grows geometrically from sigma_min to sigma_max, t from 0 to 1.

    Args:
        sigma_min: noise at 0.
        sigma_max: noise at 1.

    Raises:
        ValueError: 0 < sigma_min < sigma_max does not hold; when called, a time is not in [0, 1].

    Source: arXiv:2011.13456, equations 9 and 29 to 31.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0) -> None:
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"expected 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def sigma(self, t: Time) -> Tensor:
        """The noise level at a time."""
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** time_within(t, 0, 1)

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times from 0 to 1."""
        sigma = self.sigma(t)
        return Coefficients(torch.ones_like(sigma), torch.zeros_like(sigma), sigma)

    def drift(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """Nothing."""
        return torch.zeros_like(x)

    def diffusion(self, t: Time) -> Tensor:
        """The square root of d sigma^2 / dt."""
        return self.sigma(t) * math.sqrt(2 * math.log(self.sigma_max / self.sigma_min))

    def discretized(self, steps: int) -> Tensor:
        """The noise levels of so many steps, (steps,), geometric."""
        ends = torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64).log()
        return torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64).exp()

    def levels(self, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """The noise level of a time among so many, and the one before it, 0 before the first."""
        index = discrete_index(t, steps)
        padded = torch.cat([torch.zeros(1, dtype=torch.float64), self.discretized(steps)])
        return torch.take(padded, index + 1), torch.take(padded, index)

    def discrete_step(self, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """One of so many steps forward at a time: the factor of x, and the standard deviation of the noise."""
        now, past = self.levels(t, steps)
        return torch.ones_like(now), (now**2 - past**2).sqrt()


ScoreSDE = VPSDE | VESDE


def reverse_diffusion(process: ScoreSDE, steps: int, *, flow: bool = False) -> Step:
    """The reverse SDE in the discretisation of the process's own forward steps.

    x - ((k - 1) x - g^2 score) + g z, where k and g are the factor and the noise of one of `steps` steps forward. No noise is
    added in the step to time 0.

    Args:
        process: a score-based SDE.
        steps: N, the number of steps into which it is cut.
        flow: half of the score, and no noise: the probability-flow ODE.

    Raises:
        TypeError: the process is no score-based SDE.

    Source: arXiv:2011.13456, equation 46.
    """
    _check_score_sde(process, "reverse_diffusion()")

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        factor, g = process.discrete_step(t, steps)
        share = 0.5 if flow else 1.0
        mean = x - (factor * x - x) + share * g**2 * score(process, x, denoised.x0, t)
        return mean + g * (0 if flow else 1) * (r > 0) * noise(x)

    return step


def ancestral_sampling(process: ScoreSDE, steps: int) -> Step:
    """The predictor that is ancestral sampling of DDPM and SMLD, in terms of the score, as Score-SDE's code has it.

    Its variance for `VPSDE` is beta, the larger one. No noise is added in the step to time 0.

    Args:
        process: `VPSDE` or `VESDE`.
        steps: N, the number of steps into which it is cut.

    Raises:
        ValueError: the process is `SubVPSDE`, which has no such steps.
        TypeError: it is no score-based SDE.

    Source: arXiv:2011.13456, appendix F.
    """
    _check_score_sde(process, "ancestral_sampling()")
    if isinstance(process, SubVPSDE):
        raise ValueError("ancestral_sampling is for VPSDE and VESDE; use euler_maruyama for SubVPSDE")

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        direction = score(process, x, denoised.x0, t)
        if isinstance(process, VESDE):
            now, past = process.levels(t, steps)
            mean, std = x + (now**2 - past**2) * direction, past * (now**2 - past**2).sqrt() / now
        else:
            factor, std = process.discrete_step(t, steps)
            mean = (x + std**2 * direction) / factor
        return mean + std * (r > 0) * noise(x)

    return step


def discrete_index(t: Tensor, steps: int) -> Tensor:
    """Which of so many steps a time from 0 to 1 belongs to, as Score-SDE's code truncates it."""
    return (time_within(t, 0, 1) * (steps - 1)).long()


def _check_score_sde(process: object, method: str) -> None:
    if not isinstance(process, ScoreSDE):
        raise TypeError(
            f"{method} is for VPSDE, SubVPSDE and VESDE, not for {type(process).__name__}; use ancestral() or ddim()"
        )
