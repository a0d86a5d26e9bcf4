"""Flow matching and rectified flow: straight paths from the clean image to noise (arXiv:2210.02747, arXiv:2209.03003)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoiser, from_x0
from restoralib.diffusion.process import SDE, Coefficients, Time, as_time, beside, time_within
from restoralib.diffusion.sampling import Callback, descending, moment


class Flow(SDE):
    """x = (1 - sigma) x0 + sigma eps; the time is sigma, from 0 to 1, and the velocity eps - x0.

    `ddim(Flow())` is Euler's method for it, and with eta its stochastic form.

    Source: Lipman et al., arXiv:2210.02747, equation 20 (with time reversed); Liu et al., arXiv:2209.03003, equation 1.
    """

    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at times from 0 to 1.

        Raises:
            ValueError: a time is not in [0, 1].
        """
        sigma = time_within(t, 0, 1)
        return Coefficients(1 - sigma, torch.zeros_like(sigma), sigma)

    def drift(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """-x / (1 - sigma), without bound at 1."""
        return beside(-1 / (1 - as_time(t)), x) * x

    def diffusion(self, t: Time) -> Tensor:
        """sqrt(2 sigma / (1 - sigma)), without bound at 1."""
        sigma = as_time(t)
        return (2 * sigma / (1 - sigma)).sqrt()


def flow_heun(denoise: Denoiser, x: Tensor, sigmas: Tensor | Iterable[float], *, callback: Callback | None = None) -> Tensor:
    """Heun's method of order 2 along the velocity; the last step, to 0, is Euler's.

    Args:
        denoise: says what is under the noise, at times of `Flow`.
        x: the state at the first time, standard normal noise at 1.
        sigmas: falling; see `even` and `shifted`.
        callback: as in `sample`.

    Returns:
        The state at the last time.
    """
    process = Flow()
    for t, r in pairwise(descending(sigmas)):
        denoised = denoise(x, moment(t))
        velocity = from_x0("velocity", denoised.x0, process, x, moment(t))
        moved = x + (r - t) * velocity
        if r > 0:
            second = from_x0("velocity", denoise(moved, moment(r)).x0, process, moved, moment(r))
            moved = x + (r - t) * (velocity + second) / 2
        if callback is not None:
            callback(x, denoised, moment(t), moved)
        x = moved
    return x


def optimal_pairs(x0: Tensor, x1: Tensor) -> Tensor:
    """Which noise belongs to which image of a batch, so that the sum of squared distances is the least.

    Straight paths between such pairs cross less often, and need fewer steps.

    Args:
        x0: images, (b, ...).
        x1: noise, (b, ...).

    Returns:
        Indices (b,): x1[indices[i]] goes with x0[i].

    Raises:
        ImportError: scipy is missing (extra `data`).
        ValueError: the batches differ in size.

    Source: Pooladian et al., arXiv:2304.14772; Tong et al., arXiv:2302.00482 (minibatch optimal transport).
    """
    if len(x0) != len(x1):
        raise ValueError(f"expected as much noise as images, got {len(x1)} for {len(x0)}")
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError("optimal_pairs needs scipy: pip install 'restoralib[data]'") from error
    cost = torch.cdist(x0.flatten(1).double(), x1.flatten(1).double()).square()
    return torch.as_tensor(linear_sum_assignment(cost.detach().cpu().numpy())[1], device=x0.device)


def reflow_pairs(
    denoise: Denoiser, noise: Iterable[Tensor], sigmas: Tensor | Iterable[float]
) -> Iterable[tuple[Tensor, Tensor]]:
    """Pairs of an image and the noise from which the flow has made it, on which the next flow is trained.

    Args:
        denoise: the flow that is there.
        noise: batches of standard normal noise.
        sigmas: the grid by which it is sampled, from 1 to 0.

    Yields:
        (x0, noise), to be joined by straight paths.

    Source: arXiv:2209.03003, algorithm 1 (Reflow).
    """
    for eps in noise:
        with torch.no_grad():
            yield flow_heun(denoise, eps, sigmas), eps
