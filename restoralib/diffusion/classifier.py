"""Guidance by the gradient of a log probability of the noisy state: a classifier, or any p(y | x_t) (arXiv:2105.05233)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from restoralib.diffusion.guidance import Unguided, gradient
from restoralib.diffusion.process import Process


@dataclass
class ClassifierGuidance(Unguided):
    """The score of the condition, added to that of the network: x0 + scale s^2 / a d/dx_t log p(y | x_t).

    By Bayes, score(x_t | y) = score(x_t) + gradient of log p(y | x_t), which in terms of x0 has the factor s^2 / a.
    (Song et al., arXiv:2011.13456, section 5; Dhariwal & Nichol, arXiv:2105.05233, algorithm 2.)

    Args:
        process: tells a and s.
        log_probability: of the condition, given a state and its time: (b, c, h, w) and a number -> (b,).
        scale: of the gradient; 1 is Bayes.

    Raises:
        RuntimeError: when called: the log probability does not depend on the state.
    """

    process: Process
    log_probability: Callable[[Tensor, Tensor], Tensor]
    scale: float = 1.0

    def on_x0(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The clean image, moved along the gradient."""
        # The network is not differentiated, so the sampling may run without gradients, also under inference mode.
        with torch.inference_mode(False), torch.enable_grad():
            state = x_t.detach().clone().requires_grad_()
            direction = gradient(self.log_probability(state, t), state, type(self).__name__)
        a, _, s = self.process.at(t, x_t)
        return x0 + self.scale * s**2 / a * direction
