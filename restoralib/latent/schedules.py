"""Noise levels at which the published SANA pipelines visit the flow, shifted towards the noise for large pictures.

A level is the time of `diffusion.Flow`: x = (1 - sigma) x0 + sigma eps. The network is told 1000 sigma.

    levels = flow_euler_schedule(20)
    latent = sample(denoise, noise, levels, ddim(Flow()))               # Euler's method
    latent = dpm_solver_2m(denoise, Flow(), noise, flow_dpm_schedule(20))
"""

from __future__ import annotations

import torch
from torch import Tensor

from restoralib.diffusion.grids import shifted


def flow_training_levels(shift: float = 3.0, *, train_steps: int = 1000) -> Tensor:
    """The levels 1, ..., 2 / train_steps, 1 / train_steps, shifted: (train_steps,), float64, falling.

    Raises:
        ValueError: there are no steps, or shift is not positive.
    """
    if train_steps < 1:
        raise ValueError(f"expected at least one training step, got {train_steps}")
    return shifted(torch.arange(train_steps, 0, -1, dtype=torch.float64) / train_steps, shift)


def flow_euler_schedule(steps: int, shift: float = 3.0, *, train_steps: int = 1000) -> Tensor:
    """The levels of diffusers' Euler scheduler for flows.

    They lie evenly between the first and the last training level, which are shifted already, and are shifted once more.

    Args:
        steps: number of steps.
        shift: how far towards the noise; SANA has 3, its release for 4K has 6.
        train_steps: levels in training.

    Returns:
        (steps + 1,), float64, from 1 to 0.

    Raises:
        ValueError: there are no steps, or shift is not positive.
    """
    _check_steps(steps)
    levels = flow_training_levels(shift, train_steps=train_steps)
    line = torch.linspace(float(levels[0]), float(levels[-1]), steps, dtype=torch.float64)
    return torch.cat((shifted(line, shift), line.new_zeros(1)))


def flow_dpm_schedule(steps: int, shift: float = 3.0, *, train_steps: int = 1000) -> Tensor:
    """The levels of the multistep solver that the published SANA pipeline brings.

    It starts a little below 1. Its scheduler tells the network whole times, `(1000 * levels).floor()`.

    Args:
        steps: number of steps.
        shift: how far towards the noise.
        train_steps: levels in training.

    Returns:
        (steps + 1,), float64, falling to 0.

    Raises:
        ValueError: there are no steps, or shift is not positive.
    """
    _check_steps(steps)
    line = torch.linspace(1 - 1 / train_steps, 0, steps + 1, dtype=torch.float64)
    return torch.cat((shifted(line, shift)[:-1], line.new_zeros(1)))


def _check_steps(steps: int) -> None:
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"steps should be at least 1 and whole, got {steps!r}")
