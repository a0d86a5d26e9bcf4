"""DiffPIR: half-quadratic splitting, with the diffusion model as the denoiser (Zhu et al., arXiv:2305.08995)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import Denoised
from restoralib.diffusion.measurement import Measurement
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.sampling import Step


def diffpir(
    process: DDPM,
    measurement: Measurement,
    *,
    lam: float = 1.0,
    zeta: float = 0.1,
    eta: float = 0.0,
    scale: float = 1.0,
    floor: float = 0.002,
) -> Step:
    """A data step x0' = argmin |y - A x|^2 + rho |x - x0|^2 and a step of DDIM from the noise that belongs to x0'.

    rho = lam sigma^2 a^2 / s^2, in the units of the network's images. The authors' code mixes units (sigma of images in [0, 1],
    noise of images in [-1, 1]), so that its lambda is four times this one.

    Args:
        process: the training schedule.
        measurement: any operator with `prox`.
        lam: weight of the network's image.
        zeta: share of the noise that is drawn anew, 0.1 for deblurring, 1 for inpainting.
        eta: further noise eta s_r / s_t sqrt(beta_t), in [0, 1], as in the authors' code.
        scale: how much of the data step is taken.
        floor: the smallest sigma that counts.

    Raises:
        ValueError: zeta or eta is not in [0, 1], or lam is not positive.
        TypeError: the process is not a DDPM.

    Source: arXiv:2305.08995, algorithm 1.
    """
    if not 0 <= zeta <= 1 or not 0 <= eta <= 1 or not lam > 0:
        raise ValueError(f"expected zeta and eta in [0, 1] and lam > 0, got {zeta}, {eta} and {lam}")
    if not isinstance(process, DDPM):
        raise TypeError(f"DiffPIR steps through the betas of a DDPM, which {type(process).__name__} does not have")

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        x0 = data_step(process, measurement, denoised.x0, t, lam=lam, scale=scale, floor=floor)
        a, _, s = process.at(r, x)
        extra = eta * s / process.at(t, x).s * torch.take(process.betas, t.long().cpu()).sqrt()
        kept = (s**2 - extra**2).clamp(min=0).sqrt() * process.noise(x, x0, t)
        kept = kept + extra * noise(x) if eta else kept
        moved = a * x0 + math.sqrt(1 - zeta) * kept
        return moved + math.sqrt(zeta) * s * noise(x) if zeta else moved

    return step


def data_step(
    process: DDPM, measurement: Measurement, x0: Tensor, t: Tensor, *, lam: float, scale: float = 1.0, floor: float = 0.002
) -> Tensor:
    """The image that agrees with the measurement and stays near the network's, as far as the noise of both says.

    Args:
        process: tells a and s.
        measurement: any operator with `prox`.
        x0: the network's image.
        t: the time.
        lam: weight of the network's image.
        scale: how much of the step is taken.
        floor: the smallest sigma that counts.
    """
    solved = measurement.operator.prox(x0, measurement.y, float(rho(process, t, measurement.sigma, lam=lam, floor=floor)))
    return x0 + scale * (solved - x0)


def rho(process: DDPM, t: Tensor, sigma: float, *, lam: float, floor: float = 0.002) -> Tensor:
    """The weight of the network's image in the data step: lam max(sigma, floor)^2 a^2 / s^2."""
    a, _, s = process.coefficients(t)
    return lam * max(sigma, floor) ** 2 * a**2 / s**2


def noised_measurement(process: DDPM, y: Tensor, sigma: float, t: Tensor, noise: Tensor) -> Tensor:
    """The start from an image-sized measurement that has noise already: brought from its own noise level to that of t.

    Its level is the time at which s / a is nearest to sigma.

    Args:
        process: the training schedule.
        y: the measurement in image space, in the network's range.
        sigma: its noise, in the network's units.
        t: the first time.
        noise: standard normal.

    Raises:
        ValueError: the measurement has more noise than there is at t.

    Source: arXiv:2305.08995, code ("shift of the starting point").
    """
    own, a = process.nearest(sigma), process.coefficients(t).a
    if int(t) < own:
        raise ValueError(
            f"a measurement with noise of {sigma:g} is that of time {own}, which is after {int(t)}; start at a later time"
        )
    return a * y + (1 - a**2 / process.alphas_cumprod[own]).clamp(min=0).sqrt() * noise
