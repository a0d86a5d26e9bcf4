"""Predictor and corrector: after the noise is lowered, or before, Langevin steps at the same time (arXiv:2011.13456)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoiser
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.process import SDE
from restoralib.diffusion.sampling import Callback, Step, descending, moment, one_step
from restoralib.diffusion.sde import score

Corrector = Callable[[Tensor, Tensor, Tensor, Noise], Tensor]
"""One correction: (state, score, time, noise) -> state."""


def langevin(snr: float, *, alpha: Callable[[Tensor], Tensor] | None = None, batch: bool = False) -> Corrector:
    """A Langevin step whose length keeps a ratio between signal and noise.

    x + h score + sqrt(2 h) z with h = 2 alpha (snr |z| / |score|)^2.

    Args:
        snr: the ratio; 0.16 for CIFAR-10, 0.075 for larger pictures in the paper.
        alpha: of a time; None is 1, as for VE; Score-SDE's code has 1 - beta_i for VP.
        batch: take the mean of the norms over the batch, which couples its images, as Score-SDE's code does.

    Source: arXiv:2011.13456, algorithms 4 and 5.
    """

    def correct(x: Tensor, direction: Tensor, t: Tensor, noise: Noise) -> Tensor:
        draw = noise(x)
        sizes = [value.flatten(1).norm(dim=1) for value in (draw, direction)]
        ratio = sizes[0].mean() / sizes[1].mean() if batch else (sizes[0] / sizes[1]).view(-1, *(1,) * (x.ndim - 1))
        h = 2 * (1.0 if alpha is None else alpha(t)) * (snr * ratio) ** 2
        return x + h * direction + (2 * h).sqrt() * draw

    return correct


def annealed_langevin(process: SDE, snr: float, *, alpha: Callable[[Tensor], Tensor] | None = None) -> Corrector:
    """A Langevin step of a length that follows the noise level: h = 2 alpha (snr s)^2.

    Args:
        process: tells s.
        snr: the factor.
        alpha: of a time; None is 1.

    Source: Song & Ermon, arXiv:1907.05600, algorithm 1, in Score-SDE's form.
    """

    def correct(x: Tensor, direction: Tensor, t: Tensor, noise: Noise) -> Tensor:
        h = 2 * (1.0 if alpha is None else alpha(t)) * (snr * process.at(t, x).s) ** 2
        return x + h * direction + (2 * h) ** 0.5 * noise(x)

    return correct


def predictor_corrector(
    denoise: Denoiser,
    x: Tensor,
    times: Tensor | Iterable[float],
    process: SDE,
    predictor: Step,
    corrector: Corrector | None = None,
    *,
    corrections: int = 1,
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """At every time, correct the state by Langevin steps, then go on by the predictor.

    Args:
        denoise: says what is under the noise.
        x: the state at the first time, (b, c, h, w).
        times: from the first to the last, falling.
        process: tells the score.
        predictor: a step, such as `reverse_diffusion`.
        corrector: `langevin` or `annealed_langevin`; None for none.
        corrections: corrector's steps at every time.
        noise: as in `sample`.
        callback: as in `sample`.

    Returns:
        The state at the last time.

    Source: arXiv:2011.13456, algorithm 1, with the corrector first, as in its code.
    """
    draw = noise_source(noise)
    for t, r in pairwise(map(moment, descending(times))):
        if corrector is not None:
            for _ in range(corrections):
                x = corrector(x, score(process, x, denoise(x, t).x0, t), t, draw)
        x = one_step(denoise, x, t, r, predictor, draw, callback=callback)
    return x


def annealed_langevin_dynamics(
    denoise: Denoiser,
    x: Tensor,
    times: Tensor | Iterable[float],
    process: SDE,
    *,
    step_size: float,
    steps: int,
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
) -> Tensor:
    """Langevin dynamics at one noise level after the other, with steps in proportion to the noise's variance.

    x + h / 2 score + sqrt(h) z with h = step_size s^2 / s_last^2, `steps` times at every time of the grid.

    Args:
        denoise: says what is under the noise.
        x: the state to begin with.
        times: falling; noise is left at the last one, too.
        process: tells the score and s.
        step_size: h at the last time.
        steps: at every time.
        noise: as in `sample`.

    Source: Song & Ermon, arXiv:1907.05600, algorithm 1.
    """
    draw, grid = noise_source(noise), [moment(t) for t in descending(times)]
    last = process.coefficients(grid[-1]).s
    for t in grid:
        h = step_size * (process.coefficients(t).s / last) ** 2
        for _ in range(steps):
            x = x + h / 2 * score(process, x, denoise(x, t).x0, t) + h**0.5 * draw(x)
    return x
