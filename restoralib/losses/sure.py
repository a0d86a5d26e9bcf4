"""Stein's unbiased risk estimate: the squared error of a denoiser, told from noisy images alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from restoralib.losses._inputs import check_batch, check_pair


def sure_loss(
    net: Callable[[Tensor], Tensor],
    noisy: Tensor,
    sigma: float | Tensor,
    *,
    eps: float = 1e-3,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What the mean squared error against the clean image is in expectation, for Gaussian noise of a known strength.

    mean (f(y) - y)^2 - sigma^2 + 2 sigma^2 div f(y) / n, the divergence taken from one random direction b:
    b (f(y + eps b) - f(y)) / eps. It can be negative.

    Args:
        net: denoises (b, c, h, w); not clamped, for the estimate holds for differentiable functions.
        noisy: (b, c, h, w), clean images with Gaussian noise that is neither clamped nor rounded.
        sigma: standard deviation of the noise, of images in [0, 1]: one for all images, or (b,).
        eps: length of the step by which the divergence is estimated.
        generator: source of randomness, on the CPU.

    Returns:
        A scalar; float32 for images of half precision.

    Raises:
        ValueError: the images are not (b, c, h, w), the network changes their shape, or eps is not above 0.

    Source: Stein 1981; Ramani et al. 2008 (the random direction); Soltanayev and Chun 2018, arXiv:1806.00961.
    """
    check_batch(noisy, "sure_loss")
    if not eps > 0:
        raise ValueError(f"eps should be above 0, got {eps}")
    direction = torch.randn(noisy.shape, generator=generator).to(noisy)
    restored, observed = check_pair(net(noisy), noisy)
    moved, _ = check_pair(net(noisy + eps * direction), noisy)
    variance = torch.as_tensor(sigma, dtype=observed.dtype, device=observed.device).square()
    divergence = (direction * (moved - restored)).flatten(1).mean(1) / eps
    error = (restored - observed).square().flatten(1).mean(1)
    return (error - variance + 2 * variance * divergence).mean()
