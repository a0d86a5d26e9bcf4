"""BBDM: a Brownian bridge with a noise of its own (Li et al., arXiv:2205.07680)."""

from __future__ import annotations

from restoralib.diffusion.process import Coefficients, Process, Time, time_within


class BBDM(Process):
    """x = (1 - m) x0 + m y + sqrt(2 v (m - m^2)) eps, with m = t / T: clean at 0, y itself at T.

    `ddim(process, y=y)` with eta is the authors' accelerated sampler.

    Args:
        steps: T.
        variance: v, of which half is reached in the middle.

    Raises:
        ValueError: there are no steps, or the variance is not positive; when called, a time is not in [0, T].

    Source: arXiv:2205.07680, equations 4 to 6.
    """

    uses_target = True

    def __init__(self, steps: int = 1000, variance: float = 1.0) -> None:
        if steps < 1 or not variance > 0:
            raise ValueError(f"expected steps >= 1 and a positive variance, got {steps} and {variance}")
        self.steps, self.variance = steps, variance

    def __len__(self) -> int:
        return self.steps

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times from 0 to T."""
        m = time_within(t, 0, self.steps) / self.steps
        return Coefficients(1 - m, m, (2 * self.variance * (m - m**2)).sqrt())
