"""What a latent denoiser is trained on: the flow from clean latents to noise beside degraded ones, at weighted levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from restoralib.diffusion.flow import Flow
from restoralib.diffusion.grids import shifted
from restoralib.diffusion.objectives import draw_logit_normal, prediction_loss, slope_of
from restoralib.diffusion.process import Process

WEIGHTINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "logit_normal": torch.ones_like,
    "sigma_sqrt": lambda sigma: sigma**-2,
    "cosmap": lambda sigma: 2 / (math.pi * (1 - 2 * sigma + 2 * sigma**2)),
}
"""Weights of the squared error of the velocity at a level, as trainers of such flows have them (arXiv:2403.03206, section 3.1).

"logit_normal" is 1: the emphasis comes from how levels are drawn.
"""


def draw_levels(count: int, generator: torch.Generator | None = None, *, shift: float = 3.0) -> Tensor:
    """Levels in (0, 1) of which the logit is normal, shifted towards the noise: (count,), float64."""
    return shifted(draw_logit_normal(count, generator), shift)


def paired_flow_loss(
    net: nn.Module,
    clean: Tensor,
    condition: Tensor,
    sigma: Tensor,
    eps: Tensor,
    text: Tensor | Sequence[str],
    mask: Tensor | None = None,
    *,
    weighting: str = "logit_normal",
) -> Tensor:
    """How far a SanaDenoiser is from the velocity eps - clean of the noisy latents (1 - sigma) clean + sigma eps.

    Args:
        net: `net(x, condition, 1000 sigma, text)`, with the mask behind where there is one.
        clean: clean latents, (b, c, h, w).
        condition: degraded latents of the same pictures.
        sigma: levels, (b,); see `draw_levels`.
        eps: standard normal noise.
        text: vectors of the text, (b or 1, m, d); or texts, for a network that brings their vectors.
        mask: which of them count, (b or 1, m).
        weighting: a name of `WEIGHTINGS`.

    Returns:
        A scalar.

    Raises:
        ValueError: there is no such weighting, or it has no bound at one of the levels.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"unknown weighting {weighting!r}; choose one of {', '.join(WEIGHTINGS)}")

    def bound(x: Tensor, time: Tensor) -> Tensor:
        return net(x, condition, time, text) if mask is None else net(x, condition, time, text, mask)

    def weight(process: Process, t: Tensor) -> Tensor:  # of the clean latents' error, which is that of the velocity / slope
        return WEIGHTINGS[weighting](t.double()) * slope_of("velocity", process, t) ** 2

    given = None if weighting == "logit_normal" else weight
    return prediction_loss(bound, Flow(), "velocity", clean, sigma, eps, weight=given, time=lambda t: 1000 * t)
