"""DiffIR's compact prior: a diffusion of a vector in four steps, and the losses of both training stages (arXiv:2303.09472).

What is diffused is the vector that modulates the restoring transformer, not the image. `archs.DiffIRS2` runs the chain by
itself; here it is a process, a denoiser and a sampler like any other:

    denoise = prior_denoiser(stage2, image)
    prior = sample_prior(denoise, prior_process(), torch.randn(1, 256))
    restored = stage2.G(image, prior)  # for sizes that are multiples of stage2.spec.multiple
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from restoralib.archs.diffir import DiffIRS1, DiffIRS2
from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import Denoised, Denoiser
from restoralib.diffusion.sampling import Callback, ancestral, sample
from restoralib.ops.schedules import sqrt_linear_betas


def prior_process(timesteps: int = 4, linear_start: float = 0.1, linear_end: float = 0.99) -> DDPM:
    """The process of the prior; arguments as of `DiffIRS2`, whose code calls the schedule linear."""
    return DDPM(sqrt_linear_betas(timesteps, linear_start, linear_end))


def prior_denoiser(net: DiffIRS2, image: Tensor) -> Denoiser:
    """The clean prior, as stage 2 predicts it from a noisy one and the degraded image.

    Args:
        net: stage 2.
        image: degraded images, (b, c, h, w) in [0, 1]; what the network says of them is computed once.
    """
    condition = net.diffusion.condition_of(image)

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        return Denoised(net.denoise(x, int(t), condition))

    return denoise


def sample_prior(denoise: Denoiser, process: DDPM, start: Tensor, *, callback: Callback | None = None) -> Tensor:
    """The reverse chain through all times, each step to the mean and without noise, as the authors run it.

    Args:
        denoise: predicts the clean prior.
        process: see `prior_process`.
        start: standard normal noise (b, d); in training `process.marginal(prior, len(process) - 1, noise)`.
        callback: as in `sample`.

    Returns:
        The prior, (b, d).

    Source: arXiv:2303.09472, algorithm 2, with the clean prior predicted in place of the noise, as the authors' code does.
    """
    return sample(denoise, start, range(len(process) - 1, -2, -1), ancestral(process, variance="none"), callback=callback)


def stage1_loss(net: DiffIRS1, image: Tensor, target: Tensor) -> Tensor:
    """L1 between what stage 1 restores and the clean image, a scalar.

    Args:
        net: stage 1.
        image: degraded images, (b, c, h, w).
        target: their clean versions.
    """
    return F.l1_loss(net(image, target), target)


class PriorLosses(NamedTuple):
    """How far an estimated prior is from stage 1's."""

    l1: Tensor
    """Mean absolute difference, which the authors train with."""
    kl: Tensor
    """Divergence of the softmax of the estimate from that of the prior, in the mean over images; their code logs it."""


def prior_losses(estimate: Tensor, prior: Tensor, *, temperature: float = 0.15) -> PriorLosses:
    """Both measures of the distance of an estimated prior from stage 1's, through which no gradient flows.

    Args:
        estimate: of stage 2, (b, d).
        prior: of stage 1, (b, d).
        temperature: by which both are divided in front of the softmax.

    Raises:
        ValueError: shapes differ.
    """
    if estimate.shape != prior.shape:
        raise ValueError(f"expected two priors of one shape, got {tuple(estimate.shape)} and {tuple(prior.shape)}")
    prior = prior.detach()
    estimated, wanted = ((vector / temperature).log_softmax(1) for vector in (estimate, prior))
    return PriorLosses(F.l1_loss(estimate, prior), F.kl_div(estimated, wanted, reduction="batchmean", log_target=True))


def diffusion_loss(net: DiffIRS2, image: Tensor, prior: Tensor, noise: Tensor | None = None) -> Tensor:
    """The first part of stage 2: L1 between the prior that the diffusion ends with and stage 1's, a scalar.

    It trains the condition's encoder and the denoising network alone; nothing flows back into stage 1.

    Args:
        net: stage 2.
        image: degraded images.
        prior: `DiffIRS1.prior(image, target)`, which is diffused to the last time.
        noise: standard normal, (b, 256); None to draw it.
    """
    prior = prior.detach()
    return prior_losses(net.diffusion(image, noise, prior).steps[-1][1], prior).l1


def stage2_loss(net: DiffIRS2, image: Tensor, target: Tensor, prior: Tensor, noise: Tensor | None = None) -> Tensor:
    """The second part of stage 2, the joint training: L1 of the image and L1 of the prior, a scalar.

    It trains all of stage 2; nothing flows back into stage 1.

    Args:
        net: stage 2, in training mode.
        image: degraded images.
        target: their clean versions.
        prior: `DiffIRS1.prior(image, target)`.
        noise: standard normal, (b, 256); None to draw it.

    Raises:
        ValueError: the network is in eval mode, where it gives the image alone.

    Source: arXiv:2303.09472; as the authors' code, which takes the prior after the last step.
    """
    if not net.training:
        raise ValueError("the joint loss needs the priors, which DiffIRS2 gives in training mode; call train()")
    prior = prior.detach()
    restored, priors = net(image, noise, prior)
    return F.l1_loss(restored, target) + prior_losses(priors[-1], prior).l1
