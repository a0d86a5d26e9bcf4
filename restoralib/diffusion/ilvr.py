"""ILVR: the low frequencies of a reference replace those of the sample after every step (Choi et al., arXiv:2108.02938)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from restoralib.degradations.operators import LinearOperator
from restoralib.diffusion.guidance import Unguided
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.process import Process


@dataclass
class ILVR(Unguided):
    """x - P x + P q(reference, t), where P reduces and enlarges again.

    Args:
        process: tells how the reference is noised.
        low_pass: P, from images to images; see `low_pass_of`.
        reference: the image whose low frequencies are taken, (b, c, h, w), in the network's range.
        until: the last time at which this is done is above it; the rest of the sampling is free.
        same_time: noise the reference as at the time of the step's beginning, as the authors' code does, and not of its end,
            as equation 8 says.

    Source: arXiv:2108.02938, algorithm 1.
    """

    process: Process
    low_pass: Callable[[Tensor], Tensor]
    reference: Tensor
    until: float = -1.0
    same_time: bool = True

    def on_step(self, x_r: Tensor, x_t: Tensor, x0: Tensor, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        """The state with the reference's low frequencies."""
        if t <= self.until:
            return x_r
        noised = self.process.marginal(self.reference, t if self.same_time else r, noise(x_r))
        return x_r + self.low_pass(noised - x_r)


def low_pass_of(operator: LinearOperator) -> Callable[[Tensor], Tensor]:
    """P = A^+ A of an operator that reduces."""
    return lambda x: operator.pinv(operator.forward(x))
