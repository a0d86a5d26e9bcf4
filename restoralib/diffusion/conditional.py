"""Networks that were trained with the degraded image beside the noisy one: SR3, Palette, and guidance without a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import Denoised, Denoiser
from restoralib.diffusion.guidance import Unguided
from restoralib.diffusion.noise import Noise

Network = Callable[[Tensor, Tensor], Tensor]


def concatenated(net: Network, condition: Tensor) -> Network:
    """A network bound to its condition, which it takes as the first channels: net([y, x], time).

    Args:
        net: takes (b, c_y + c_x, h, w) and (b,).
        condition: y, (b, c_y, h, w), for SR3 the enlarged image.

    Raises:
        ValueError: when called: the state has another size than the condition.
    """

    def bound(x: Tensor, time: Tensor) -> Tensor:
        if x.shape[0] != condition.shape[0] or x.shape[2:] != condition.shape[2:]:
            raise ValueError(
                f"the condition {tuple(condition.shape)} does not fit the state {tuple(x.shape)}; enlarge the degraded "
                "image to the size of the result first"
            )
        return net(torch.cat([condition.to(x), x], 1), time)

    return bound


def noise_level(process: DDPM) -> Callable[[Tensor], Tensor]:
    """What SR3's network is told of a time: sqrt(alpha_bar). (arXiv:2104.07636, section 2.)"""
    return partial(_signal, process, 1)


def gamma(process: DDPM) -> Callable[[Tensor], Tensor]:
    """What Palette's network is told of a time: alpha_bar itself. (arXiv:2111.05826.)"""
    return partial(_signal, process, 2)


def _signal(process: DDPM, power: int, t: Tensor) -> Tensor:
    return process.coefficients(t).a ** power


def draw_noise_level(process: DDPM, count: int, generator: torch.Generator | None = None, *, root: bool = True) -> Tensor:
    """Noise levels for training with a continuous level: uniform between two neighbours of the schedule.

    Args:
        process: the training schedule.
        count: b.
        generator: source of randomness.
        root: draw sqrt(alpha_bar) between its neighbours, as SR3's code does; False draws alpha_bar and leaves the first
            step out, as Palette's does.

    Returns:
        (count,), float64, sqrt(alpha_bar) or alpha_bar.

    Source: arXiv:2104.07636, section 2.4 (after WaveGrad).
    """
    levels = torch.cat([torch.ones(1, dtype=torch.float64), process.alphas_cumprod])
    levels = levels.sqrt() if root else levels
    step = torch.randint(1 if root else 2, len(levels), (count,), generator=generator)
    share = torch.rand(count, generator=generator, dtype=torch.float64)
    return levels[step] + share * (levels[step - 1] - levels[step])


def conditional_loss(
    net: Network, x0: Tensor, level: Tensor, eps: Tensor, *, power: int = 1, mask: Tensor | None = None
) -> Tensor:
    """The loss of SR3 (power 1) and Palette (power 2): how far the network is from the noise.

    Args:
        net: bound to its condition; takes the noisy image and what it is told of the noise.
        x0: clean images in [-1, 1].
        level: alpha_bar of each image, (b,).
        eps: standard normal noise.
        power: 1 for the mean absolute difference, 2 for the mean square.
        mask: 1 where the image is to be made; the rest is given clean, and does not count.

    Raises:
        ValueError: levels are not in [0, 1].

    Source: arXiv:2104.07636, equation 6; arXiv:2111.05826, equation 1.
    """
    if not bool(((level >= 0) & (level <= 1)).all()):
        raise ValueError(f"expected alpha_bar in [0, 1], got from {level.min():.3g} to {level.max():.3g}")
    weight = level.to(x0).view(-1, 1, 1, 1)
    noisy = weight.sqrt() * x0 + (1 - weight).sqrt() * eps
    if mask is None:
        return (net(noisy, level.to(x0)) - eps).abs().pow(power).mean()
    difference = net(mask * noisy + (1 - mask) * x0, level.to(x0)) - eps
    return (mask * difference).abs().pow(power).mean()


@dataclass
class KnownRegion(Unguided):
    """Palette's inpainting: after every step, what is known is put back, clean and without noise.

    Args:
        known: the image that is known, (b, c, h, w).
        mask: 1 where the image is to be made, 0 where it is known, (b, 1, h, w).

    Source: arXiv:2111.05826; Palette's code puts the clean image in, other methods (`RePaint`) a noisy one.
    """

    known: Tensor
    mask: Tensor

    def on_step(self, x_r: Tensor, x_t: Tensor, x0: Tensor, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        """The known region put back."""
        return self.mask * x_r + (1 - self.mask) * self.known


def classifier_free(conditional: Denoiser, unconditional: Denoiser, scale: float) -> Denoiser:
    """Guidance without a classifier: away from what the network says without its condition.

    x0 = (1 - w) x0_unconditional + w x0_conditional, the same as for predictions of noise. w = 1 is the condition alone,
    larger values follow it more strictly, 0 forgets it.

    Args:
        conditional: with the condition.
        unconditional: without it.
        scale: w; the paper's w is this one less 1.

    Source: Ho & Salimans, arXiv:2207.12598, equation 6.
    """

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        with_condition, without = conditional(x, t), unconditional(x, t)
        return Denoised(without.x0 + scale * (with_condition.x0 - without.x0), with_condition.variance)

    return denoise
