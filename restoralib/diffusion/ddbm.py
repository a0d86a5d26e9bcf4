"""DDBM: denoising diffusion bridges, variance exploding and variance preserving (Zhou et al., arXiv:2309.16948)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoiser
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.process import SDE, Coefficients, Time, as_time, beside, time_within
from restoralib.diffusion.sampling import Callback, descending, moment


class DDBM(SDE):
    """A diffusion that Doob's h-transform bends to end at y. `drift` and `diffusion` are those before it is bent.

    Source: arXiv:2309.16948, equations 5 to 7.
    """

    uses_target = True

    @abstractmethod
    def slope(self, x: Tensor, x0: Tensor, t: Time, y: Tensor, *, guidance: float, stochastic: bool) -> Tensor:
        """dx / dt of the reverse SDE without its noise (stochastic), or of the probability-flow ODE."""


class VEBridge(DDBM):
    """x = x0 + sigma eps before it is bent; the time is sigma, from 0 to sigma_max, where the state is y.

    Args:
        sigma_max: the noise level of the end.

    Raises:
        ValueError: sigma_max is not positive; when called, a time is not in [0, sigma_max].

    Source: arXiv:2309.16948, table 1 (VE).
    """

    def __init__(self, sigma_max: float = 80.0) -> None:
        if not sigma_max > 0:
            raise ValueError(f"expected sigma_max > 0, got {sigma_max}")
        self.sigma_max = sigma_max

    def _time(self, t: Time) -> Tensor:
        return time_within(t, 0, self.sigma_max)

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at noise levels from 0 to sigma_max."""
        sigma = self._time(t)
        share = (sigma / self.sigma_max) ** 2
        return Coefficients(1 - share, share, sigma * (1 - share).sqrt())

    def drift(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """Nothing."""
        return torch.zeros_like(x)

    def diffusion(self, t: Time) -> Tensor:
        """sqrt(2 sigma)."""
        return (2 * self._time(t)).sqrt()

    def slope(self, x: Tensor, x0: Tensor, t: Time, y: Tensor, *, guidance: float, stochastic: bool) -> Tensor:
        """-sigma (S - guidance H) for the ODE, -2 sigma S for the SDE, which knows no guidance in the authors' code.

        S = (x0 - x) / sigma^2 is the score before the process is bent, H = (y - x) / (sigma_max^2 - sigma^2) what bends it; the
        bridge's own score is S + H.
        """
        sigma = beside(self._time(t), x)
        before = (x0 - x) / sigma**2
        if stochastic:
            return -2 * sigma * before
        return -sigma * (before - guidance * (y - x) / (self.sigma_max**2 - sigma**2))


class VPBridge(DDBM):
    """DDPM in continuous time before it is bent: a rate beta_min + beta_d t, from 0 to t_max, where the state is y.

    Args:
        beta_d: slope of the rate.
        beta_min: the rate at 0.
        t_max: the end.

    Raises:
        ValueError: a number is not positive; when called, a time is not in [0, t_max].

    Source: arXiv:2309.16948, table 1 (VP).
    """

    def __init__(self, beta_d: float = 2.0, beta_min: float = 0.1, t_max: float = 1.0) -> None:
        if not (beta_d > 0 and beta_min > 0 and t_max > 0):
            raise ValueError(f"expected positive numbers, got beta_d {beta_d}, beta_min {beta_min}, t_max {t_max}")
        self.beta_d, self.beta_min, self.t_max = beta_d, beta_min, t_max

    def _time(self, t: Time) -> Tensor:
        return time_within(t, 0, self.t_max)

    def depth(self, t: Time) -> Tensor:
        """The integral of the rate from 0 to a time: alpha = exp(-depth / 2), SNR = 1 / (exp(depth) - 1)."""
        t = as_time(t)
        return self.beta_d / 2 * t**2 + self.beta_min * t

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times from 0 to t_max."""
        depth, end = self.depth(self._time(t)), self.depth(self.t_max)
        alpha, variance = (-depth / 2).exp(), -(-depth).expm1()
        share = depth.expm1() / end.expm1()  # SNR at the end, of that at t
        return Coefficients(alpha * (1 - share), share * alpha * (end / 2).exp(), (variance * (1 - share)).sqrt())

    def drift(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """-rate x / 2."""
        return beside(-(self.diffusion(t) ** 2) / 2, x) * x

    def diffusion(self, t: Time) -> Tensor:
        """The square root of the rate."""
        return (self.beta_min + self.beta_d * self._time(t)).sqrt()

    def slope(self, x: Tensor, x0: Tensor, t: Time, y: Tensor, *, guidance: float, stochastic: bool) -> Tensor:
        """f - g^2 (k S - guidance H) with the bridge's score S; k is 1 for the SDE and 1/2 for the ODE."""
        a, b, s = self.at(t, x)
        depth, end = self.depth(self._time(t)), self.depth(self.t_max)
        variance = -(-depth).expm1()
        gap = end.expm1() / depth.expm1() - 1  # exp(L_t - L_T) - 1, L the logarithm of the SNR
        towards = (beside(((end - depth) / 2).exp(), x) * y - x) / beside(variance * gap, x)
        score = (a * x0 + b * y - x) / s**2
        rate = beside(self.diffusion(t) ** 2, x)
        return self.drift(x, t) - rate * ((1.0 if stochastic else 0.5) * score - guidance * towards)


def ddbm_heun(
    denoise: Denoiser,
    process: DDBM,
    y: Tensor,
    times: Tensor | Iterable[float],
    *,
    churn: float = 0.33,
    guidance: float = 1.0,
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """The authors' sampler: in each step a share of it by Euler and Maruyama, the rest by Heun's method.

    2 N - 1 network calls for N steps to 0 without churn, 3 N - 1 with it.

    Args:
        denoise: says what is under the noise.
        process: `VEBridge` or `VPBridge`.
        y: the degraded images, (b, c, h, w), from which it starts.
        times: falling to 0, see `karras`; the first is a little below the end of the bridge (the authors: 1e-4), where the
            slope has no bound.
        churn: the share of each step that is made with noise, 0 for none.
        guidance: weight of what pulls to y.
        noise: as in `sample`.
        callback: called after each part of a step with (state before it, denoised, its time, state after it).

    Returns:
        The state at the last time.

    Raises:
        ValueError: the grid does not fall or starts at the end of the bridge, or churn is not in [0, 1).
        TypeError: the process is no DDBM.

    Source: arXiv:2309.16948, algorithm 1.
    """
    if not isinstance(process, DDBM):
        raise TypeError(
            f"ddbm_heun() is for VEBridge and VPBridge, not for {type(process).__name__}; use ancestral() or ddim()"
        )
    grid, draw = descending(times), noise_source(noise)
    if not torch.compiler.is_compiling() and not bool(process.coefficients(grid[0]).s > 0):
        raise ValueError(f"the bridge has no slope at its end; start a little below {grid[0]:g}")
    if not 0 <= churn < 1:
        raise ValueError(f"expected churn in [0, 1), got {churn}")
    x = y
    for t, r in pairwise(grid):
        if churn:
            now, between = moment(t), t + churn * (r - t)
            denoised = denoise(x, now)
            moved = x + process.slope(x, denoised.x0, now, y, guidance=guidance, stochastic=True) * (between - t)
            moved = moved + (t - between) ** 0.5 * process.diffusion(now) * draw(x)
            if callback is not None:
                callback(x, denoised, now, moved)
            x, t = moved, between
        now, after = moment(t), moment(r)
        denoised = denoise(x, now)
        slope = process.slope(x, denoised.x0, now, y, guidance=guidance, stochastic=False)
        moved = x + slope * (r - t)
        if r > 0:
            second = process.slope(moved, denoise(moved, after).x0, after, y, guidance=guidance, stochastic=False)
            moved = x + (slope + second) / 2 * (r - t)
        if callback is not None:
            callback(x, denoised, now, moved)
        x = moved
    return x
