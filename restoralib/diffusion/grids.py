"""Grids of times: which moments of a process a sampler visits, from the most noise to the least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from restoralib.diffusion.ddpm import DDPM

Spacing = Literal["fractional", "floor_stride", "ceil_stride", "leading", "trailing", "linspace"]
SPACINGS = ("fractional", "floor_stride", "ceil_stride", "leading", "trailing", "linspace")


def training_steps(total: int, count: int | Sequence[int], spacing: Spacing = "fractional") -> list[int]:
    """Which of the training steps a shorter sampling visits.

    Args:
        total: number of training steps.
        count: number of steps to visit; for "fractional", one number for each of several equal sections of the schedule.
        spacing: "fractional": from first to last, evenly up to rounding (guided diffusion); "floor_stride": every (total //
            count)-th (DDRM, DDNM); "ceil_stride": with the smallest stride that gives `count` (guided diffusion's ddimN);
            "leading", "trailing", "linspace": those of diffusers.

    Returns:
        Indices from the noisiest to the cleanest, without -1.

    Raises:
        ValueError: no step or more than `total` are asked for, there is no such spacing, or it cannot give `count` steps.
    """
    sections = [count] if isinstance(count, int) else list(count)
    if not sections or min(sections) < 1 or sum(sections) > total:
        raise ValueError(f"expected from 1 to {total} steps, got {count}")
    if spacing not in SPACINGS:
        raise ValueError(f"unknown spacing {spacing!r}; choose one of {', '.join(SPACINGS)}")
    if spacing == "fractional":
        return _fractional(total, sections)[::-1]
    if len(sections) > 1:
        raise ValueError(f"only spacing 'fractional' has sections, got {count} for {spacing!r}")
    number = sections[0]
    if spacing == "floor_stride":
        return list(range(0, total, total // number))[::-1]
    if spacing == "ceil_stride":
        for stride in range(1, total + 1):
            steps = range(0, total, stride)
            if len(steps) == number:
                return list(steps)[::-1]
        raise ValueError(f"no whole stride gives {number} of {total} steps; use spacing 'fractional'")
    if spacing == "leading":
        return [index * (total // number) for index in range(number)][::-1]
    if spacing == "trailing":
        return [round(total - index * total / number) - 1 for index in range(number)]
    return torch.linspace(0, total - 1, number + 1, dtype=torch.float64).round().long()[1:].flip(0).tolist()


def _fractional(total: int, sections: Sequence[int]) -> list[int]:
    """Rising indices: each section of the schedule is walked from its first to its last step."""
    steps: list[int] = []
    begin = 0
    for number, visits in enumerate(sections):
        length = total // len(sections) + (number < total % len(sections))
        if visits > length:
            raise ValueError(f"a section of {length} steps cannot be visited {visits} times")
        stride = (length - 1) / (visits - 1) if visits > 1 else 1.0
        position = 0.0
        for _ in range(visits):
            steps.append(begin + round(position))
            position += stride
        begin += length
    return steps


def karras(count: int, largest: float, smallest: float, rho: float = 7.0) -> Tensor:
    """Noise levels evenly spaced in the rho-th root, and 0 at the end (Karras et al., arXiv:2206.00364, equation 5).

    Args:
        count: number of levels before the 0.
        largest: the first level.
        smallest: the last level before the 0.
        rho: larger puts more of them near the clean end.

    Returns:
        (count + 1,), float64, falling.

    Raises:
        ValueError: there are no levels, or 0 < smallest < largest does not hold.
    """
    if count < 1 or not 0 < smallest < largest < math.inf:
        raise ValueError(f"expected count >= 1 and finite 0 < smallest < largest, got {count}, {smallest} and {largest}")
    ramp = torch.linspace(0, 1, count, dtype=torch.float64) if count > 1 else torch.zeros(1, dtype=torch.float64)
    levels = (largest ** (1 / rho) + ramp * (smallest ** (1 / rho) - largest ** (1 / rho))) ** rho
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])


def level_steps(process: DDPM, levels: Tensor | Sequence[float]) -> list[int]:
    """The training steps whose noise levels s / a are nearest to given ones, and -1, the clean image, at the end.

    Where several levels fall on one step, the noisier ones move up.

    Args:
        process: the training schedule.
        levels: noise levels on the scale of clean images, falling; a 0 at the end, as `karras` has it, is the clean image.

    Returns:
        As many steps as there are levels above 0, falling, and -1.

    Raises:
        ValueError: there is no level, they do not fall, the first is above that of the last training step, or there are more
            than training steps below it.
    """
    wanted = [float(level) for level in levels]
    wanted = wanted[:-1] if wanted and wanted[-1] == 0 else wanted
    if not wanted or min(wanted) <= 0 or any(later >= earlier for earlier, later in pairwise(wanted)):
        raise ValueError(f"expected noise levels above 0, falling, and at most a 0 at the end, got {list(map(float, levels))}")
    a, _, s = process.coefficients(len(process) - 1)
    if wanted[0] > float(s / a) * (1 + 1e-6):
        raise ValueError(f"the noise of {type(process).__name__} ends at a level of {float(s / a):.4g}, below {wanted[0]:g}")
    steps: list[int] = []
    for level in reversed(wanted):
        steps.insert(0, max(process.nearest(level), steps[0] + 1 if steps else 0))
    if steps[0] >= len(process):
        raise ValueError(f"{len(wanted)} levels up to {wanted[0]:g} do not fit on {len(process)} training steps")
    return [*steps, -1]


def even(count: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Times evenly spaced from start to end, one more than there are steps.

    Raises:
        ValueError: there are no steps, or the times do not fall.
    """
    if count < 1 or not start > end:
        raise ValueError(f"expected at least one step from a larger to a smaller time, got {count} from {start} to {end}")
    return torch.linspace(start, end, count + 1, dtype=torch.float64)


def shifted(sigmas: Tensor, shift: float) -> Tensor:
    """Times of a flow moved towards the noise, for large pictures: shift sigma / (1 + (shift - 1) sigma).

    (Esser et al., arXiv:2403.03206, equation 23.)

    Raises:
        ValueError: shift is not positive.
    """
    if not shift > 0 or not math.isfinite(shift):
        raise ValueError(f"expected a positive shift, got {shift}")
    return shift * sigmas / (1 + (shift - 1) * sigmas)
