"""Noise schedules of diffusion processes: how much noise each step adds."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear_betas(steps: int, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """Variances of the noise that each step adds, evenly spaced.

    DDPM (arXiv:2006.11239) with its own start and end for 1000 steps; guided diffusion multiplies both by 1000 / steps.

    Args:
        steps: how many.
        start: the first variance.
        end: the last.

    Returns:
        (steps,), float64, rising in time.

    Raises:
        ValueError: there are no steps, or 0 < start <= end <= 1 does not hold.
    """
    _check(steps, start, end)
    return torch.linspace(start, end, steps, dtype=torch.float64)


def sqrt_linear_betas(steps: int, start: float, end: float) -> Tensor:
    """Variances of the noise that each step adds, the square roots of which are evenly spaced.

    DiffIR (arXiv:2303.09472) and latent diffusion (arXiv:2112.10752); their code calls it linear.

    Args:
        steps: how many.
        start: the first variance.
        end: the last.

    Returns:
        (steps,), float64, rising in time.

    Raises:
        ValueError: there are no steps, or 0 < start <= end <= 1 does not hold.
    """
    _check(steps, start, end)
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()


def mirrored_betas(steps: int, start: float, end: float) -> Tensor:
    """Variances that rise as `sqrt_linear_betas` does for half of the steps, and fall the same way again.

    I2SB (arXiv:2302.05872), whose code has start 1e-4 and end 0.3 / steps, or 1 / steps for its ODE.

    Args:
        steps: how many.
        start: the first and the last variance.
        end: what the rise would reach after all steps.

    Returns:
        (steps,), float64.

    Raises:
        ValueError: as for `sqrt_linear_betas`.
    """
    half = sqrt_linear_betas(steps, start, end)[: (steps + 1) // 2]
    return torch.cat([half, half[: steps // 2].flip(0)])


def cosine_betas(steps: int, offset: float = 0.008, max_beta: float = 0.999) -> Tensor:
    """Variances of the steps for which alpha_bar falls like the square of a cosine.

    (Nichol & Dhariwal, arXiv:2102.09672, equation 17.)

    Args:
        steps: how many.
        offset: keeps the first steps from being too small.
        max_beta: the largest variance, against a singularity at the end.

    Returns:
        (steps,), float64.

    Raises:
        ValueError: there are no steps.
    """
    _check(steps, max_beta, max_beta)
    return _betas(_squared_cosine(torch.arange(steps + 1, dtype=torch.float64) / steps, offset), max_beta)


def sigmoid_betas(steps: int, start: float = -3.0, end: float = 3.0, tau: float = 1.0, max_beta: float = 0.999) -> Tensor:
    """Variances of the steps for which alpha_bar falls like a sigmoid.

    (Jabri et al., arXiv:2212.11972, algorithm 1.)

    Args:
        steps: how many.
        start: where the sigmoid's argument begins, before it is divided by tau.
        end: where it ends.
        tau: temperature; smaller is steeper.
        max_beta: the largest variance.

    Returns:
        (steps,), float64.

    Raises:
        ValueError: there are no steps, start >= end, or tau is not positive.
    """
    _check(steps, max_beta, max_beta)
    if start >= end or tau <= 0:
        raise ValueError(f"expected start < end and tau > 0, got {start}, {end} and {tau}")
    curve = (torch.linspace(start, end, steps + 1, dtype=torch.float64) / tau).sigmoid()
    return _betas((curve[-1] - curve) / (curve[-1] - curve[0]), max_beta)


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """The schedule shifted and scaled so that nothing of the image is left at its end, and its first step stays.

    (Lin et al., arXiv:2305.08891, algorithm 1: sqrt(alpha_bar) becomes 0 at the last step.)

    Args:
        betas: variances of the steps, (T,).

    Returns:
        (T,), float64; the last is 1.
    """
    level = (1 - betas.double()).cumprod(0).sqrt()
    level = (level - level[-1]) * level[0] / (level[0] - level[-1])
    alpha_bar = level**2
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def cosine_thetas(steps: int, offset: float = 0.008) -> Tensor:
    """How fast a mean-reverting SDE goes to its mean, rising like one minus the square of a cosine, as IR-SDE's code has it.

    It is 1 - f(x) / f(0) itself, not a ratio of neighbours, at steps + 3 even times without both ends.

    Args:
        steps: T.
        offset: of the cosine.

    Returns:
        (steps + 1,), float64; the first entry is used by no step.

    Raises:
        ValueError: there are no steps.
    """
    _check(steps, 1, 1)
    level = _squared_cosine(torch.linspace(0, 1, steps + 3, dtype=torch.float64), offset)
    return 1 - (level / level[0])[1:-1]


def linear_thetas(steps: int, start: float | None = None, end: float | None = None) -> Tensor:
    """How fast a mean-reverting SDE goes to its mean, evenly rising.

    Args:
        steps: T.
        start: the first; None for IR-SDE's 1e-4 times 1000 / (steps + 1).
        end: the last; None for IR-SDE's 2e-2 times 1000 / (steps + 1).

    Returns:
        (steps + 1,), float64; the first entry is used by no step.

    Raises:
        ValueError: there are no steps, or 0 < start <= end does not hold.
    """
    scale = 1000 / (steps + 1)
    start, end = 1e-4 * scale if start is None else start, 2e-2 * scale if end is None else end
    if steps < 1 or not 0 < start <= end:
        raise ValueError(f"expected steps >= 1 and 0 < start <= end, got {steps} steps from {start} to {end}")
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def _check(steps: int, start: float, end: float) -> None:
    if steps < 1 or not 0 < start <= end <= 1:
        raise ValueError(f"expected steps >= 1 and 0 < start <= end <= 1, got {steps} steps from {start} to {end}")


def _squared_cosine(times: Tensor, offset: float) -> Tensor:
    """Falls from about 1 to 0 as the time goes from 0 to 1."""
    return ((times + offset) / (1 + offset) * math.pi / 2).cos() ** 2


def _betas(alpha_bar: Tensor, max_beta: float) -> Tensor:
    """The steps' variances from alpha_bar, the share of the image that is left, before the first step and after each."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta)
