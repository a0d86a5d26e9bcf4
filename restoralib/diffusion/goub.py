"""GOUB: the mean-reverting SDE of IR-SDE, bent so that it ends at the degraded image exactly (Yue et al., arXiv:2312.10299)."""

from __future__ import annotations

import torch
from torch import Tensor

from restoralib.diffusion.irsde import IRSDE
from restoralib.diffusion.process import Coefficients, Time, beside


class GOUB(IRSDE):
    """The generalised Ornstein-Uhlenbeck bridge: IR-SDE's drift and noise, with Doob's h-transform towards y at time T.

    Its drift is (theta_t + sigma_t^2 exp(-2 (Theta_T - Theta_t)) / S_t^2) (y - x), where S_t^2 is what the noise between t and
    T adds up to. Times are 0 .. T; at T the state is y itself, and nothing is known of it that a score could tell: `leave`
    makes the first step.

    Args:
        thetas: as for `IRSDE`.
        lam: standard deviation that the noise would have at the end without the bridge.
        eps: as for `IRSDE`.

    Raises:
        ValueError: as for `IRSDE`.

    Source: arXiv:2312.10299, equations 9 to 12.
    """

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times 0 .. T."""
        depth = torch.take(self.thetas_cumsum, self.index(t)) * self.dt
        to_end = self.thetas_cumsum[-1] * self.dt - depth
        before, after, whole = -(-2 * depth).expm1(), -(-2 * to_end).expm1(), -(-2 * (depth + to_end)).expm1()
        a = (-depth).exp() * after / whole
        b = (-(-depth).expm1() * after + (-2 * to_end).exp() * before) / whole
        return Coefficients(a, b, self.lam * (before * after / whole).sqrt())

    def drift(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """The bridge's pull to y, per step of one; without the h-transform at T, where it has no bound."""
        index = self.index(t)
        to_end = (self.thetas_cumsum[-1] - torch.take(self.thetas_cumsum, index)) * self.dt
        pull = (2 * torch.take(self.thetas, index) / (2 * to_end).expm1()).where(to_end > 0, torch.zeros_like(to_end))
        rate = beside((torch.take(self.thetas, index) + pull) * self.dt, x)
        return self.of_target(rate, y) - rate * x

    def start(self, y: Tensor, noise: Tensor) -> Tensor:
        """The state from which sampling starts, y itself."""
        return y

    def leave(self, y: Tensor, noise: Tensor | None = None) -> Tensor:
        """The state at T - 1: the first step, which has no score.

        Args:
            y: the degraded image.
            noise: subtracted as GOUB's code does; None for the Mean-ODE, which stays at y.
        """
        return y if noise is None else y - float(self.diffusion(len(self))) * noise
