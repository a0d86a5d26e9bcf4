"""EDM: the noise level as time, and Heun's method with churn (Karras et al., arXiv:2206.00364)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoiser
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.process import SDE, Coefficients, Time, as_time, time_within
from restoralib.diffusion.sampling import Callback, descending, moment


class EDM(SDE):
    """x = x0 + sigma eps, whose time is sigma itself: dx = sqrt(2 sigma) dw.

    Source: arXiv:2206.00364, section 3 with sigma(t) = t and s(t) = 1.
    """

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at noise levels of 0 and above.

        Raises:
            ValueError: a level is negative.
        """
        sigma = time_within(t, 0, math.inf)
        return Coefficients(torch.ones_like(sigma), torch.zeros_like(sigma), sigma)

    def drift(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """Nothing."""
        return torch.zeros_like(x)

    def diffusion(self, t: Time) -> Tensor:
        """sqrt(2 sigma)."""
        return (2 * as_time(t)).sqrt()


def edm_heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor | Iterable[float],
    *,
    churn: float = 0.0,
    churn_from: float = 0.0,
    churn_to: float = math.inf,
    churn_noise: float = 1.0,
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Heun's method of order 2 down the noise levels, with noise added before each step where churn is asked for.

    2 N - 1 network calls for N steps that end at 0.

    Args:
        denoise: says what is under the noise, at times that are noise levels.
        x: the state at the first level, (b, c, h, w): sigmas[0] times standard normal noise.
        sigmas: falling, 0 at the end; see `karras`.
        churn: S_churn, of which each step gets the share 1 / N, at most sqrt(2) - 1.
        churn_from: S_min, the smallest level at which noise is added.
        churn_to: S_max, the largest.
        churn_noise: S_noise, the standard deviation of what is added.
        noise: as in `sample`; a draw is made at every step if churn is given, needed or not.
        callback: called after each step with (state before it and after its churn, denoised, its level, state after it).

    Returns:
        The state at the last level.

    Raises:
        ValueError: the levels do not fall, or churn is negative.

    Source: arXiv:2206.00364, algorithm 2.
    """
    if not churn >= 0:
        raise ValueError(f"expected churn >= 0, got {churn}")
    draw, grid = noise_source(noise), descending(sigmas)
    most = min(churn / (len(grid) - 1), math.sqrt(2) - 1)
    for sigma, after in pairwise(grid):
        gamma = most if churn_from <= sigma <= churn_to else 0.0
        raised = sigma + gamma * sigma
        if churn:
            x = x + math.sqrt(max(raised**2 - sigma**2, 0.0)) * churn_noise * draw(x)
        denoised = denoise(x, moment(raised))
        slope = (x - denoised.x0) / raised
        moved = x + (after - raised) * slope
        if after > 0:
            moved = x + (after - raised) * (slope + (moved - denoise(moved, moment(after)).x0) / after) / 2
        if callback is not None:
            callback(x, denoised, moment(raised), moved)
        x = moved
    return x
