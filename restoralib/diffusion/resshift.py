"""ResShift: the residual of the degraded image is shifted in, in few steps (Yue et al., arXiv:2307.12348)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restoralib.diffusion.process import Coefficients, Gaussian, Process, Time, beside, index_within


class ResShift(Process):
    """x = x0 + eta (y - x0) + kappa sqrt(eta) eps: clean at 0, around y at T.

    Args:
        etas: (T,), rising from step 1 to T; see `resshift_etas`.
        kappa: noise for each root of the shift.

    Raises:
        ValueError: etas do not rise in (0, 1], or kappa is not positive; when called, a time is not from 0 to T.

    Source: arXiv:2307.12348, equations 1 to 6.
    """

    uses_target = True

    def __init__(self, etas: Tensor, kappa: float = 2.0) -> None:
        etas = torch.as_tensor(etas).double()
        rising = etas.ndim == 1 and len(etas) > 0 and bool((etas.diff() > 0).all()) and bool(((etas > 0) & (etas <= 1)).all())
        if not rising or not kappa > 0:
            raise ValueError(f"expected etas (T,) that rise in (0, 1] and kappa > 0, got {tuple(etas.shape)} and {kappa}")
        self.etas, self.kappa = torch.cat([torch.zeros(1, dtype=torch.float64), etas]), kappa

    def __len__(self) -> int:
        return len(self.etas) - 1

    def eta(self, t: Time) -> Tensor:
        """How much of the residual is in at times 0 .. T."""
        return torch.take(self.etas, index_within(t, 0, len(self)))

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times 0 .. T."""
        eta = self.eta(t)
        return Coefficients(1 - eta, eta, self.kappa * eta.sqrt())

    def posterior(self, x_t: Tensor, x0: Tensor, t: Time, r: Time, y: Tensor | None = None) -> Gaussian:
        """Where the state was at an earlier time, for steps forward that know x0.

        Mean (eta_r x_t + (eta_t - eta_r) x0) / eta_t, variance kappa^2 eta_r (eta_t - eta_r) / eta_t. (Equation 7.)
        """
        now, past = self.eta(t), self.eta(r)
        share = beside(past / now, x_t)
        return Gaussian(share * x_t + (1 - share) * x0, beside(self.kappa * (past * (now - past) / now).sqrt(), x_t))

    def start(self, y: Tensor, noise: Tensor) -> Tensor:
        """The state from which sampling starts."""
        return y + self.kappa * float(self.etas[-1]) ** 0.5 * noise


def resshift_etas(steps: int = 15, kappa: float = 2.0, power: float = 0.3, last: float = 0.999) -> Tensor:
    """Shifts whose roots grow geometrically along a bent time.

    Args:
        steps: T.
        kappa: of the process; the first shift is min((0.04 / kappa)^2, 0.001).
        power: bends the time; smaller keeps the shift small for longer.
        last: the shift at T.

    Returns:
        (T,), float64.

    Raises:
        ValueError: there are fewer than two steps.

    Source: arXiv:2307.12348, equations 10 and 11.
    """
    if steps < 2:
        raise ValueError(f"expected at least two steps, got {steps}")
    first = min((0.04 / kappa) ** 2, 0.001)
    time = torch.linspace(0, 1, steps, dtype=torch.float64) ** power
    return first * (time * math.log(last / first)).exp()
