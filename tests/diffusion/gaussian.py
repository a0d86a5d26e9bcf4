"""Data of which the exact answer is known: every pixel is normal, so every denoiser and every flow has a closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from restoralib.diffusion import Denoised, Process


@dataclass
class GaussianData:
    """x0 ~ N(mean, std^2) for every pixel, and the denoiser E[x0 | x_t] for any process."""

    process: Process
    mean: float = 0.2
    std: float = 0.3
    y: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Denoised:
        a, b, s = self.process.at(t, x)
        rest = x - self.process.of_target(b, self.y) - a * self.mean
        # At the end of a bridge nothing is known but the mean, and all of it is 0.
        variance = (a**2 * self.std**2 + s**2).clamp(min=1e-30)
        return Denoised(self.mean + a * self.std**2 * rest / variance)

    def spread(self, t: float) -> Tensor:
        """Standard deviation of the state."""
        a, _, s = self.process.coefficients(t)
        return ((a * self.std) ** 2 + s**2).sqrt()

    def flow(self, x: Tensor, start: float, end: float) -> Tensor:
        """Where the probability-flow ODE takes a state: the same number of standard deviations from the mean."""
        first, last = self.process.coefficients(start), self.process.coefficients(end)
        return last.a * self.mean + self.spread(end) / self.spread(start) * (x - first.a * self.mean)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
