"""MCG: DPS's gradient step, and then the projection on the noised measurement (Chung et al., arXiv:2206.00941)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from restoralib.diffusion.dps import DPS
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.process import Process


@dataclass
class MCG(DPS):
    """The manifold-constrained gradient: x <- x + A^+ (y_t - A x) after the step of `DPS`, y_t = a_t y + s_t z.

    Args:
        measurement: what the sample has to agree with.
        scale: step length.
        batch: one norm over the whole batch.
        process: tells how the measurement is noised.
        same_time: noise it as at the time of the step's beginning, as the authors' code does, and not of its end.

    Source: arXiv:2206.00941, algorithm 1.
    """

    process: Process = field(kw_only=True)
    same_time: bool = True

    def on_step(self, x_r: Tensor, x_t: Tensor, x0: Tensor, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        """The state, moved down the gradient and projected."""
        x = super().on_step(x_r, x_t, x0, t, r, noise)
        y = self.measurement.y.expand(len(x_r), *self.measurement.operator.out_shape)
        noised = self.process.marginal(y, t if self.same_time else r, noise(y))
        return x + self.measurement.operator.pinv(noised - self.measurement.operator.forward(x))
