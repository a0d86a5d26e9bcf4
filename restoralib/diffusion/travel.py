"""Time travel: going back up to a noisier time and down again, so that the sample settles (RePaint, DDNM)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoised, Denoiser
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.process import Process
from restoralib.diffusion.sampling import Callback, Guidance, Step, moment, numbers_of, one_step


def travel_schedule(count: int, length: int, repeat: int) -> list[int]:
    """Positions of a grid of `count` times in the order visited: down to -1, each stretch of `length` walked `repeat` times.

    Args:
        count: number of times, the noisiest being count - 1.
        length: how far to go back up.
        repeat: how often each stretch is walked; 1 is no travel.

    Returns:
        Positions, -1 (clean) last.

    Raises:
        ValueError: a number is below 1.

    Source: Lugmayr et al., arXiv:2201.09865, appendix B (the schedule of jumps).
    """
    if min(count, length, repeat) < 1:
        raise ValueError(f"expected at least 1 each, got count {count}, length {length}, repeat {repeat}")
    left = dict.fromkeys(range(0, count - length, length), repeat - 1)
    position, visited = count, []
    while position >= 1:
        position -= 1
        visited.append(position)
        if left.get(position, 0) > 0:
            left[position] -= 1
            for _ in range(length):
                position += 1
                visited.append(position)
    return [*visited, -1]


def sample_with_travel(
    denoise: Denoiser,
    process: Process,
    x: Tensor,
    times: Tensor | Iterable[float],
    step: Step,
    *,
    up: Literal["x0", "state"] = "state",
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
    guidance: Guidance | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Visit times in any order: down by the step, up by adding noise.

    Args:
        denoise: says what is under the noise.
        process: one without y.
        x: the state at the first time.
        times: see `travel_schedule`; neighbours differ.
        step: the step down.
        up: "x0": from the last clean image of the network, as in DDNM's code; "state": from the state, by the process's own
            steps forward, as in RePaint.
        noise: as in `sample`.
        guidance: as in `sample`, without gradients.
        callback: as in `sample`, after steps down.

    Returns:
        The state at the last time.

    Raises:
        ValueError: two neighbouring times are equal, it begins by going up, the guidance needs gradients, or the process goes
            to a degraded image.
    """
    if process.uses_target:
        raise ValueError(f"{type(process).__name__} goes to a degraded image and cannot travel in time; use sample()")
    if guidance is not None and guidance.needs_gradient:
        raise ValueError(f"{type(guidance).__name__} differentiates the network and cannot travel in time; use sample()")
    grid, draw = numbers_of(times), noise_source(noise)
    if len(grid) < 2 or grid[1] > grid[0] or any(t == r for t, r in pairwise(grid)):
        raise ValueError("expected times that begin by falling, and no two neighbours that are equal")
    last = x

    def remembered(state: Tensor, t: Tensor) -> Denoised:
        nonlocal last
        denoised = denoise(state, t)
        last = denoised.x0
        return denoised

    for earlier, later in pairwise(grid):
        t, r = moment(earlier), moment(later)
        if later < earlier:
            x = one_step(remembered, x, t, r, step, draw, guidance, callback)
        elif up == "x0":
            x = process.marginal(last, r, draw(x))
        else:
            now, noisier = process.coefficients(t), process.coefficients(r)
            ratio = noisier.a / now.a
            x = ratio * x + (noisier.s**2 - ratio**2 * now.s**2).clamp(min=0).sqrt() * draw(x)
    return x
