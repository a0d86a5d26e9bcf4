"""DDRM: denoising in the singular vectors of the operator (Kawar et al., arXiv:2201.11793)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoised
from restoralib.diffusion.measurement import Measurement, exchange
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.process import Process, Time
from restoralib.diffusion.sampling import Step


def ddrm(process: Process, measurement: Measurement, *, eta: float = 0.85, eta_b: float = 1.0) -> Step:
    """One step in which every singular direction is treated by what the measurement knows of it.

    On the scale x / a, with noise sig = s / a: where the operator loses a direction, DDIM with eta; where the measurement is
    noisier than the step, the network's image with DDIM towards the measurement; else the measurement, with the noise that it
    lacks.

    Args:
        process: one without y.
        measurement: its operator needs an SVD.
        eta: share of the noise that is drawn anew.
        eta_b: how far the measurement is followed where it is less noisy than the step.

    Raises:
        ValueError: the operator has no SVD, or eta or eta_b is not in [0, 1].

    Source: arXiv:2201.11793, equations 7 and 8.
    """
    operator, target, level, seen = measurement.coefficients("DDRM")
    for name, value in (("eta", eta), ("eta_b", eta_b)):
        if not 0 <= value <= 1:
            raise ValueError(f"expected {name} in [0, 1], got {value}")

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        a, _, s = process.at(r, x)
        sig = s / a
        kept, drawn = math.sqrt(1 - eta**2) * sig, noise(x)
        lost = denoised.x0 + kept * process.noise(x, denoised.x0, t) + eta * sig * drawn
        clean, fresh = operator.Vt(denoised.x0, thin=True), operator.Vt(drawn, thin=True)
        towards = (target - clean) / level.where(level > 0, 1.0)
        noisier = clean + kept * towards + eta * sig * fresh
        spread = (sig**2 - (eta_b * level) ** 2).clamp(min=0).sqrt()
        clearer = (1 - eta_b) * clean + eta_b * target + spread * fresh
        known = torch.where(sig < level, noisier, clearer)
        return a * exchange(operator, lost, known, seen)

    return step


def ddrm_start(process: Process, measurement: Measurement, t: Time, noise: Tensor) -> Tensor:
    """The state from which DDRM starts: the measurement with the noise that it lacks, pure noise elsewhere.

    Args:
        process: one without y.
        measurement: its operator needs an SVD.
        t: the first time.
        noise: standard normal, (b, c, h, w).

    Source: arXiv:2201.11793, equation 5; scaled as its code does, by 1 / sig in place of a.
    """
    operator, target, level, seen = measurement.coefficients("DDRM")
    a, _, s = process.at(t, noise)
    sig = s / a
    known = target + (sig**2 - level**2).clamp(min=0).sqrt() * operator.Vt(noise, thin=True)
    return exchange(operator, sig * noise, known, seen & (sig > level)) / sig
