"""DPM-Solver++(2M): a multistep method of order 2 in the logarithm of the signal-to-noise ratio (arXiv:2211.01095)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import Denoiser
from restoralib.diffusion.process import Coefficients, Process, Time, time_within
from restoralib.diffusion.sampling import Callback, descending, moment


class InterpolatedDDPM(Process):
    """A DDPM at all times between its steps: log a is interpolated linearly between times (i + 1) / T.

    Args:
        ddpm: the discrete process of T steps.

    Raises:
        ValueError: when called: a time is not in [1 / T, 1].

    Source: arXiv:2206.00927, appendix D.4 ("discrete-time DPMs").
    """

    def __init__(self, ddpm: DDPM) -> None:
        self.log_a = ddpm.alphas_cumprod.log() / 2

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times from 1 / T to 1."""
        last = len(self.log_a) - 1
        t = time_within(t, 1 / (last + 1) - 1e-12, 1 + 1e-12)
        place = (t * (last + 1) - 1).clamp(0, last)
        below = place.floor().clamp(max=max(last - 1, 0)).long()
        step = self.log_a[(below + 1).clamp(max=last)] - self.log_a[below]
        log_a = self.log_a[below] + (place - below) * step
        return Coefficients(log_a.exp(), torch.zeros_like(log_a), (-(2 * log_a).expm1()).sqrt())

    def time_of(self, log_snr: Tensor) -> Tensor:
        """The times at which ln(a / s) has given values: the way back."""
        wanted = -torch.nn.functional.softplus(-2 * log_snr) / 2  # log a of a^2 + s^2 = 1
        falling = self.log_a
        above = torch.searchsorted(-falling, -wanted).clamp(1, len(falling) - 1)
        share = (wanted - falling[above - 1]) / (falling[above] - falling[above - 1])
        return (above + share) / len(falling)

    def even_in_log_snr(self, count: int, start: float = 1.0, end: float | None = None) -> Tensor:
        """A grid of count + 1 times, evenly spaced in ln(a / s)."""
        ends = torch.tensor([start, 1 / len(self.log_a) if end is None else end], dtype=torch.float64)
        a, _, s = self.coefficients(ends)
        first, last = (a / s).log().tolist()
        times = self.time_of(torch.linspace(first, last, count + 1, dtype=torch.float64))
        return torch.cat([ends[:1], times[1:-1], ends[1:]])


def dpm_solver_2m(
    denoise: Denoiser,
    process: Process,
    x: Tensor,
    times: Tensor | Iterable[float],
    *,
    lower_order_final: bool = True,
    callback: Callback | None = None,
) -> Tensor:
    """Second order for one network call a step, from the change of x0 between this step and the last.

    Args:
        denoise: says what is under the noise.
        process: one without y.
        x: the state at the first time.
        times: falling.
        lower_order_final: make the last step of first order, which is steadier for few steps (the code does so below 10 steps,
            diffusers below 15); a step to a state without noise always is.
        callback: as in `sample`.

    Returns:
        The state at the last time.

    Raises:
        ValueError: the process goes to a degraded image.

    Source: arXiv:2211.01095, algorithm 2.
    """
    if process.uses_target:
        raise ValueError(f"DPM-Solver++ has no form for {type(process).__name__}, which goes to a degraded image")
    grid = descending(times)
    a, _, s = process.coefficients(torch.tensor(grid, dtype=torch.float64))
    half_log_snr = (a / s).log()
    steps = half_log_snr.diff()
    before: Tensor | None = None
    for number, t in enumerate(grid[:-1]):
        denoised, h = denoise(x, moment(t)), steps[number]
        target = denoised.x0
        if before is not None and not (lower_order_final and number == len(grid) - 2):
            share = (h / (2 * steps[number - 1])).where(h.isfinite(), 0.0)  # a state without noise is infinitely far
            target = target + share * (denoised.x0 - before)
        moved = s[number + 1] / s[number] * x - a[number + 1] * (-h).expm1() * target
        if callback is not None:
            callback(x, denoised, moment(t), moved)
        x, before = moved, denoised.x0
    return x
