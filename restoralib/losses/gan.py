"""Adversarial losses: what a generator and a discriminator are trained with, and the penalty on the discriminator's slope."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.losses._inputs import Reduction, reduce
from restoralib.ops.precision import full_precision

Kind = Literal["vanilla", "lsgan", "wgan", "wgan_softplus", "hinge"]

_KINDS = ("vanilla", "lsgan", "wgan", "wgan_softplus", "hinge")


def gan_loss(
    logits: Tensor, real: bool, *, kind: Kind = "vanilla", discriminator: bool = False, reduction: Reduction = "mean"
) -> Tensor:
    """How far a discriminator's outputs are from a verdict.

    For the generator, `gan_loss(discriminator(restored), real=True)`, times its weight: Real-ESRGAN 0.1, ESRGAN 5e-3. For the
    discriminator, the sum of `gan_loss(discriminator(target), real=True, discriminator=True)` and
    `gan_loss(discriminator(restored.detach()), real=False, discriminator=True)`, without a weight.

    | kind | real | fake |
    | --- | --- | --- |
    | vanilla | log(1 + exp(-x)) | log(1 + exp(x)) |
    | lsgan | (x - 1)^2 | x^2 |
    | wgan | -x | x |
    | wgan_softplus | as vanilla | as vanilla |
    | hinge | max(0, 1 - x); generator: -x | max(0, 1 + x) |

    Args:
        logits: outputs before any sigmoid, of any shape.
        real: the verdict: True for real.
        kind: a row of the table.
        discriminator: whether the discriminator is trained; it makes a difference for hinge alone.
        reduction: "mean" or "sum".

    Returns:
        A scalar; float32 for logits of half precision.

    Raises:
        ValueError: the kind is unknown, or hinge is asked for a generator that wants to be called fake.

    Source: Goodfellow et al. 2014; Mao et al. 2017 (lsgan); Arjovsky et al. 2017 (wgan); Lim and Ye 2017 (hinge); BasicSR's
    conventions.
    """
    if kind not in _KINDS:
        raise ValueError(f"unknown kind {kind!r}; choose one of {', '.join(_KINDS)}")
    if kind == "hinge" and not (real or discriminator):
        raise ValueError("hinge has no loss of a generator that should be called fake; pass real=True, or discriminator=True")
    logits = full_precision(logits)
    if kind == "lsgan":
        losses = (logits - 1).square() if real else logits.square()
    else:
        signed = -logits if real else logits
        if kind == "wgan" or (kind == "hinge" and not discriminator):
            losses = signed
        else:
            losses = F.relu(1 + signed) if kind == "hinge" else F.softplus(signed)
    return reduce(losses, None, reduction)


def relative_logits(logits: Tensor, others: Tensor) -> Tensor:
    """How much more real than the average of the other side: logits less the mean of the others over the whole batch.

    The mean couples the images of a batch, and is of this process alone.
    """
    return full_precision(logits) - full_precision(others).mean()


def _check_relativistic(kind: str) -> None:
    if kind not in ("vanilla", "lsgan"):
        raise ValueError(f"relativistic losses are those of 'vanilla' and 'lsgan', got {kind!r}")


def relativistic_generator_loss(
    real_logits: Tensor, fake_logits: Tensor, *, kind: Literal["vanilla", "lsgan"] = "vanilla"
) -> Tensor:
    """Half of: real images should seem less real than the average fake, and fakes more real than the average real image.

    Args:
        real_logits: of the discriminator, for targets; detach them, for the generator has no part in them.
        fake_logits: for restored images.
        kind: of the losses that are averaged.

    Returns:
        A scalar; ESRGAN's weight is 5e-3.

    Raises:
        ValueError: the kind is another.

    Source: Jolicoeur-Martineau 2018, arXiv:1807.00734; Wang et al. 2018, arXiv:1809.00219, eq. 2.
    """
    _check_relativistic(kind)
    real = gan_loss(relative_logits(real_logits, fake_logits), False, kind=kind)
    return (real + gan_loss(relative_logits(fake_logits, real_logits), True, kind=kind)) / 2


def relativistic_discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, *, kind: Literal["vanilla", "lsgan"] = "vanilla"
) -> Tensor:
    """Half of: real images should seem more real than the average fake, and fakes less real than the average real image.

    Arguments, errors and source as in `relativistic_generator_loss`; detach neither side, but restored images before they go
    into the discriminator.
    """
    _check_relativistic(kind)
    real = gan_loss(relative_logits(real_logits, fake_logits), True, kind=kind, discriminator=True)
    return (real + gan_loss(relative_logits(fake_logits, real_logits), False, kind=kind, discriminator=True)) / 2


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Mean over images of the squared length of the discriminator's gradient at real ones; its weight is gamma / 2.

    Args:
        logits: of the discriminator, for these images, of any shape with the batch first.
        images: real ones, (b, ...), that required gradients when `logits` were computed.

    Returns:
        A scalar, which can be differentiated by the discriminator's weights.

    Raises:
        ValueError: the images do not require gradients.

    Source: Mescheder et al. 2018, arXiv:1801.04406, eq. 9.
    """
    if not images.requires_grad:
        raise ValueError("the images should require gradients before they go into the discriminator: images.requires_grad_()")
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return full_precision(gradient).square().flatten(1).sum(1).mean()
