"""PiGDM: guidance through the pseudo-inverse, and the denoiser's gradient (Song et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from restoralib.diffusion.guidance import Unguided, gradient
from restoralib.diffusion.measurement import Measurement
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.process import Process


@dataclass
class PiGDM(Unguided):
    """x_r + weight w g, where g is the gradient of the denoised image along what it lacks.

    g = (dx0 / dx_t)^T A^T (A A^T + sigma^2 / rho^2)^-1 (y - A x0) with rho^2 = s^2 / (a^2 + s^2), for sigma = 0 with
    A^+ (y - A x0).

    Args:
        measurement: what the sample has to agree with.
        process: tells a and s.
        weight: of the guidance.
        adaptive: w = a_r a_t, as RED-diff's code has it ("awd"); False: (a_r - c a_t / s_t) a_t with c = sqrt(s_r^2 - d^2), the
            share of the old noise that DDIM keeps.
        eta: DDIM's, for the form without adaptive weights: d = eta times the standard deviation of an ancestral step.

    Raises:
        RuntimeError: when called: no gradient passes through the denoiser.

    Source: "Pseudoinverse-guided diffusion models for inverse problems", equations 7 and 8, algorithm 1.
    """

    measurement: Measurement
    process: Process
    weight: float = 1.0
    adaptive: bool = True
    eta: float = 1.0
    needs_gradient: bool = True

    def on_step(self, x_r: Tensor, x_t: Tensor, x0: Tensor, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        """The state, moved along the gradient."""
        now, past = self.process.coefficients(t), self.process.coefficients(r)
        direction = gradient(x0, x_t, type(self).__name__, self.correction(x0.detach(), t))
        if self.adaptive:
            factor = past.a * now.a
        else:
            drawn = self.eta * self.process.posterior(x_t, x0, t, r).std
            factor = (past.a - (past.s**2 - drawn**2).clamp(min=0).sqrt() * now.a / now.s) * now.a
        return x_r + self.weight * factor * direction

    def correction(self, x0: Tensor, t: Tensor) -> Tensor:
        """What the clean image lacks, in image space."""
        measurement = self.measurement
        if measurement.sigma == 0:
            return measurement.operator.pinv(measurement.residual(x0))
        a, _, s = self.process.coefficients(t)
        variance = s**2 / (a**2 + s**2)
        return measurement.operator.prox(x0, measurement.y, measurement.sigma**2 / variance) - x0


def pinv_start(measurement: Measurement, process: Process) -> Callable[[Tensor, Tensor], Tensor]:
    """The start from the pseudo-inverse, which RED-diff's code takes for PiGDM: (t, noise) -> a A^+ y + s noise."""
    return lambda t, noise: process.marginal(measurement.operator.pinv(measurement.y), t, noise)
