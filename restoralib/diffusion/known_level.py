"""A network that removes noise from images, told its level or not, as a denoiser of any process.

What all processes without a degraded image have in common is x_t / a = x0 + sigma eps with sigma = s / a, so that a network
trained for noise of every level serves DDPM, VP, VE, EDM and flows alike; and one for low levels does where sampling starts
from an image that is restored in part.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoised, Denoiser, check_output
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
        ValueError: the process goes to a degraded image; when called, the network gives another shape.
        RuntimeError: when called, the network gives values that are not finite.
    """
    _check(process)

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        a, _, s = process.coefficients(t)

        def checked(*given: Tensor) -> Tensor:
            return check_output(net(*given), x, t, x.shape[1])

        x0 = remove_noise(checked, x / beside(a, x), (s / a).expand(x.shape[0]))
        return Denoised(x0 if clip is None else x0.clamp(*clip))

    return denoise


def blind_denoiser(
    net: Callable[[Tensor], Tensor], process: Process, *, largest: float, low: float = -1.0, high: float = 1.0
) -> Denoiser:
    """A network that removes noise and is not told its level, such as the bundled denoiser, as a denoiser of a process.

    Args:
        net: from noisy images in [0, 1] to clean ones.
        process: one without y.
        largest: the highest noise level that the network knows, of images in [0, 1]; 55 / 255 for `nafnet_denoise`.
        low: what the process calls 0.
        high: what it calls 1.

    Raises:
        ValueError: the process goes to a degraded image; when called, the state has more noise than the network knows, or the
            network gives another shape.
        RuntimeError: when called, the network gives values that are not finite.
    """
    _check(process)

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        a, _, s = process.coefficients(t)
        level = (s / a).max() / (high - low)
        if not torch.compiler.is_compiling() and level > largest:
            raise ValueError(
                f"the state has noise of {float(level):.3g}, of images in [0, 1], but the network knows no more than "
                f"{largest:.3g}; start at a lower level, from an image that is restored in part"
            )
        clean = check_output(net((x / beside(a, x) - low) / (high - low)), x, t, x.shape[1])
        return Denoised(low + (high - low) * clean)

    return denoise


def _check(process: Process) -> None:
    if process.uses_target:
        raise ValueError(f"{type(process).__name__} goes to a degraded image, which this network does not know")
