"""DDNM and DDNM+: the range of the measurement, the null space of the network (Wang et al., arXiv:2212.00490)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoised
from restoralib.diffusion.measurement import Measurement, exchange, project
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.process import Process
from restoralib.diffusion.sampling import Step


def ddnm(process: Process, measurement: Measurement, *, eta: float = 0.85) -> Step:
    """a_r x0' + s_r (eta z + sqrt(1 - eta^2) eps) with x0' = x0 - A^+ (A x0 - y), for measurements without noise.

    eps is the network's own, not that between the state and x0'.

    Args:
        process: one without y.
        measurement: what the sample has to agree with; its sigma is not used.
        eta: share of the noise that is drawn anew.

    Raises:
        ValueError: eta is not in [0, 1].

    Source: arXiv:2212.00490, algorithm 1, with the step of its code.
    """
    _check(eta)

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        a, _, s = process.at(r, x)
        eps = process.noise(x, denoised.x0, t)
        return a * project(measurement, denoised.x0) + s * (eta * noise(x) + math.sqrt(1 - eta**2) * eps)

    return step


def ddnm_plus(
    process: Process,
    measurement: Measurement,
    *,
    eta: float = 0.85,
    coefficients_of: Callable[[Tensor], Tensor] | None = None,
) -> Step:
    """DDNM for measurements with noise: the correction and the new noise are chosen for every singular value.

    Where the step's noise s_r is less than the measurement's, a_r sigma / s_i, the correction is taken in part only; elsewhere
    the new noise is made smaller by what the measurement brings.

    Args:
        process: one without y.
        measurement: its operator needs an SVD.
        eta: share of the noise that is drawn anew.
        coefficients_of: how noise, (b, c, h, w), becomes coefficients (b, n) of the right singular vectors; None for V^T, as
            the paper says. The authors' code leaves it out for super-resolution, and only reorders the noise.

    Raises:
        ValueError: eta is not in [0, 1], or the operator has no SVD.

    Source: arXiv:2212.00490, equations 17 to 19 and appendix I.
    """
    _check(eta)
    operator, target, level, seen = measurement.coefficients("DDNM+")
    rest = math.sqrt(1 - eta**2)

    def turned(z: Tensor) -> Tensor:
        return z if coefficients_of is None else operator.V(coefficients_of(z))

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        a, _, s = process.at(r, x)
        brought = a * level  # the measurement's noise, on the scale of x_r
        low = s < brought
        share = torch.where(low, s * rest / brought.where(low, 1.0), 1.0)
        fresh = torch.where(low, s * eta, (s**2 - brought**2).clamp(min=0).sqrt())
        drawn, eps = turned(noise(x)), turned(process.noise(x, denoised.x0, t))
        lost = a * denoised.x0 + s * (eta * drawn + rest * eps)
        clean = operator.Vt(denoised.x0, thin=True)
        known = a * (clean + share * (target - clean)) + fresh * operator.Vt(drawn, thin=True)
        return exchange(operator, lost, known, seen)

    return step


def _check(eta: float) -> None:
    if not 0 <= eta <= 1:
        raise ValueError(f"expected eta in [0, 1], got {eta}")
