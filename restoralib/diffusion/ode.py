"""An adaptive solver for the probability-flow ODE: Dormand and Prince's Runge-Kutta method of order 5."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoiser
from restoralib.diffusion.process import SDE
from restoralib.diffusion.sde import check_sde, flow_derivative

# Dormand & Prince 1980, "A family of embedded Runge-Kutta formulae", table 2.
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_FOURTH = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)


class Solution(NamedTuple):
    """The end of an integration."""

    x: Tensor
    """the state at the end"""
    calls: int
    """how often the derivative was asked for"""


def rk45(
    derivative: Callable[[Tensor, float], Tensor],
    x: Tensor,
    start: float,
    end: float,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_calls: int = 10_000,
) -> Solution:
    """Integrate dx / dt from one time to another, with steps as long as the tolerance allows.

    Args:
        derivative: of the state and the time.
        x: the state at the start.
        start: where to begin.
        end: where to end, before or after the start.
        rtol: allowed error, relative to the state, root mean square over all of it.
        atol: allowed error, absolute.
        max_calls: gives up after so many calls.

    Raises:
        RuntimeError: too many calls, or values that are not finite.
    """
    if start == end:
        return Solution(x, 0)
    t, h = start, (end - start) * 1e-3
    slope, calls = derivative(x, t), 1
    while (end - t) * h > 0:
        h = h if abs(h) < abs(end - t) else end - t
        slopes = [slope]
        for node, weights in zip(_NODES[1:], _STAGES[1:], strict=True):
            moved = x + h * sum(w * k for w, k in zip(weights, slopes, strict=True) if w)
            slopes.append(derivative(moved, t + node * h))
        calls += 6
        error = h * sum((w - v) * k for w, v, k in zip((*_STAGES[-1], 0.0), _FOURTH, slopes, strict=True))
        allowed = atol + rtol * torch.maximum(x.abs(), moved.abs())
        size = float((error / allowed).square().mean().sqrt())
        if calls > max_calls or size != size:
            what = "gives values that are not finite" if size != size else f"needs more than {max_calls} calls"
            raise RuntimeError(f"the derivative {what} near t = {t:.4g}; allow larger errors or look at the network")
        if size <= 1:  # the last stage is the new state, and its slope the first of the next step
            t, x, slope = (end if h == end - t else t + h), moved, slopes[-1]
        h *= min(10.0, max(0.2, 0.9 * max(size, 1e-10) ** -0.2))
    return Solution(x, calls)


def probability_flow(
    denoise: Denoiser,
    process: SDE,
    x: Tensor,
    start: float,
    end: float,
    *,
    y: Tensor | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Solution:
    """The probability-flow ODE dx / dt = f - g^2 score / 2 by the adaptive solver.

    The step control looks at the whole batch; images that must not depend on each other are integrated one by one.

    Args:
        denoise: says what is under the noise.
        process: tells drift and diffusion.
        x: the state at the start.
        start: the time with the more noise, or the less, to encode.
        end: the last time; not 0 where the score has no limit.
        y: the degraded image, for processes that go to it.
        rtol: as in `rk45`.
        atol: as in `rk45`.

    Returns:
        The state at the end, and the number of network calls.

    Raises:
        TypeError: the process has no drift.
        RuntimeError: as for `rk45`.

    Source: arXiv:2011.13456, section 4.3.
    """
    check_sde(process, "probability_flow()")

    def derivative(state: Tensor, t: float) -> Tensor:
        time = torch.tensor(t, dtype=torch.float64)
        return flow_derivative(process, state, denoise(state, time).x0, time, y)

    return rk45(derivative, x, start, end, rtol=rtol, atol=atol)
