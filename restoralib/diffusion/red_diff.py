"""RED-diff: the posterior's mode by gradient descent, with the diffusion model as a regulariser (arXiv:2305.04391)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoiser
from restoralib.diffusion.measurement import Measurement
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.process import Process
from restoralib.diffusion.sampling import descending, moment


def red_diff(
    denoise: Denoiser,
    process: Process,
    measurement: Measurement,
    times: Tensor | Sequence[float],
    *,
    start: Tensor | None = None,
    rate: float = 0.1,
    weight: float = 0.25,
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
    callback: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Minimise |y - A mu|^2 / 2 + lambda_t <stopgrad(eps(x_t) - eps), mu> over mu, by one step of Adam at each time.

    x_t = a mu + s eps with noise drawn anew, and lambda_t = weight s / a, the inverse of the signal-to-noise ratio. No gradient
    passes through the network.

    Args:
        denoise: says what is under the noise.
        process: one without y.
        measurement: any differentiable operator.
        times: falling; the last is not visited where the process has no noise there.
        start: mu to begin with; None for A^+ y.
        rate: Adam's learning rate.
        weight: of the regulariser.
        noise: as in `sample`.
        callback: called with (mu, t) after each step.

    Returns:
        mu, (b, c, h, w).

    Raises:
        RuntimeError: called under inference mode.

    Source: Mardani et al., arXiv:2305.04391, algorithm 1.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError("red_diff differentiates the operator; use torch.no_grad() instead of inference_mode()")
    draw = noise_source(noise)
    mu = (measurement.operator.pinv(measurement.y) if start is None else start).detach()
    first, second, number = torch.zeros_like(mu), torch.zeros_like(mu), 0
    for t in map(moment, descending(times)):
        a, _, s = process.at(t, mu)
        if not bool((s > 0).all()):
            continue
        with torch.no_grad():
            eps = draw(mu)
            x_t = process.marginal(mu, t, eps)
            difference = process.noise(x_t, denoise(x_t, t).x0, t) - eps
        with torch.enable_grad():
            image = mu.detach().requires_grad_()
            loss = measurement.residual(image).square().sum() / 2 + weight * (s / a * difference * image).sum()
            slope = torch.autograd.grad(loss, image)[0]
        # Adam (arXiv:1412.6980, algorithm 1) in place of torch.optim's, whose import wakes torch's compiler: seconds.
        number += 1
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
        mu = mu - rate * first / (1 - 0.9**number) / ((second / (1 - 0.99**number)).sqrt() + 1e-8)
        if callback is not None:
            callback(mu, t)
    return mu
