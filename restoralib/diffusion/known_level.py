"""A network that is told the noise level of its image, as a denoiser of any process.

What all processes without a degraded image have in common is x_t / a = x0 + sigma eps with sigma = s / a, so that a network
trained for noise of every level serves DDPM, VP, VE, EDM and flows alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoised, Denoiser
from restoralib.diffusion.process import Process, beside

SMALLEST = 0.002
"""The noise level that the network is told as 0."""

ConditionalNet = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`net(image, condition, time)`, as ConditionalNAFNet."""


def remove_noise(net: ConditionalNet, noisy: Tensor, sigma: Tensor) -> Tensor:
    """The clean image under noise of a known level: noisy + c net(noisy / c, -1, 10 ln(sigma / 0.002)), c = sqrt(1 + sigma^2).

    The network sees images of at most about unit size and gives what is to be added to them; its condition is a black image.

    Args:
        net: `net(image, condition, time)`.
        noisy: clean images in [-1, 1] with noise, (b, c, h, w).
        sigma: standard deviation of the noise, (b,).
    """
    scale, level = beside((1 + sigma**2).sqrt(), noisy), (10 * (sigma / SMALLEST).log()).to(noisy)
    seen = noisy / scale
    return noisy + scale * net(seen, torch.full_like(seen, -1.0), level)


def level_denoiser(net: ConditionalNet, process: Process, *, clip: tuple[float, float] | None = None) -> Denoiser:
    """A network that removes noise of a known level, as a denoiser of a process.

    Args:
        net: `net(image, condition, time)`, trained by `restoralib.training.diffusion`.
        process: one without y; its images are in [-1, 1].
        clip: bounds of the clean image.

    Raises:
        ValueError: the process goes to a degraded image.
    """
    if process.uses_target:
        raise ValueError(f"{type(process).__name__} goes to a degraded image, which this network does not know")

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        a, _, s = process.coefficients(t)
        x0 = remove_noise(net, x / beside(a, x), (s / a).expand(x.shape[0]))
        return Denoised(x0 if clip is None else x0.clamp(*clip))

    return denoise
