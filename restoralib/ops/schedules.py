"""Noise schedules of diffusion processes: how much noise each step adds."""

from __future__ import annotations

import torch
from torch import Tensor


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
    if steps < 1 or not 0 < start <= end <= 1:
        raise ValueError(f"expected steps >= 1 and 0 < start <= end <= 1, got {steps} steps from {start} to {end}")
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()
