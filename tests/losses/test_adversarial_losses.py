"""Adversarial losses: their formulas, what they push where, and what is refused."""

import math

import pytest
import torch
import torch.nn.functional as F

from restoralib.losses import (
    gan_loss,
    r1_penalty,
    relative_logits,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    srgan_discriminator_loss,
)

KINDS = ["vanilla", "lsgan", "wgan", "wgan_softplus", "hinge"]


def logits(seed=0):
    return torch.randn(2, 1, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_fall_as_the_verdict_is_neared(kind):
    x = logits().requires_grad_()
    (up,) = torch.autograd.grad(gan_loss(x, True, kind=kind), x)
    assert (up[x < 1] < 0).all()
    for real in (True, False):
        (slope,) = torch.autograd.grad(gan_loss(x, real, kind=kind, discriminator=True), x)
        between = (x > -1) & (x < 1)
        if kind == "lsgan":
            between &= x > 0
        assert ((slope if real else -slope)[between] < 0).all()


def test_vanilla_and_lsgan_are_torchs():
    x = logits()
    for real in (True, False):
        labels = torch.full_like(x, float(real))
        assert torch.isclose(gan_loss(x, real), F.binary_cross_entropy_with_logits(x, labels))
        assert torch.isclose(gan_loss(x, real, kind="lsgan"), F.mse_loss(x, labels))
        assert torch.isclose(gan_loss(x, real, kind="wgan_softplus"), gan_loss(x, real))
    assert gan_loss(x, True, reduction="sum").item() == pytest.approx(-F.logsigmoid(x).sum().item())


def test_hinge_has_a_margin_for_the_discriminator_alone():
    x = torch.tensor([-2.0, 0.5, 3.0])
    assert gan_loss(x, True, kind="hinge", discriminator=True).item() == pytest.approx((3 + 0.5 + 0) / 3)
    assert gan_loss(x, False, kind="hinge", discriminator=True).item() == pytest.approx((0 + 1.5 + 4) / 3)
    assert gan_loss(x, True, kind="hinge").item() == pytest.approx(-0.5)
    assert gan_loss(x, True, kind="wgan").item() == pytest.approx(-0.5)
    assert gan_loss(x, False, kind="wgan").item() == pytest.approx(0.5)
    with pytest.raises(ValueError, match="hinge has no loss of a generator that should be called fake"):
        gan_loss(x, False, kind="hinge")
    with pytest.raises(ValueError, match="unknown kind 'rsgan'; choose one of vanilla, lsgan"):
        gan_loss(x, True, kind="rsgan")


@pytest.mark.parametrize("kind", KINDS)
def test_large_logits_of_half_precision_stay_finite(kind):
    x = torch.tensor([-300.0, 300.0], dtype=torch.float16, requires_grad=True)
    value = gan_loss(x, True, kind=kind)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["vanilla", "lsgan"])
def test_relativistic_losses_compare_with_the_mean_of_the_other_side(kind):
    real, fake = logits(), logits(1)
    assert torch.allclose(relative_logits(real, fake), real - fake.mean())
    # Both sides change places where generator and discriminator do.
    assert torch.isclose(
        relativistic_generator_loss(real, fake, kind=kind), relativistic_discriminator_loss(fake, real, kind=kind)
    )
    shifted = relativistic_generator_loss(real + 3, fake + 3, kind=kind)
    assert torch.isclose(shifted, relativistic_generator_loss(real, fake, kind=kind))
    assert relativistic_generator_loss(real, real.mean().expand_as(real)).item() > math.log(2) - 1e-12
    for loss in (relativistic_generator_loss, relativistic_discriminator_loss):
        with pytest.raises(ValueError, match="'vanilla' and 'lsgan', got 'hinge'"):
            loss(real, fake, kind="hinge")


def test_r1_is_the_squared_slope_and_trains_the_discriminator():
    weight = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    images = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    penalty = r1_penalty((weight * images).sum((1, 2, 3)), images)
    assert torch.isclose(penalty, weight.square().sum())
    (slope,) = torch.autograd.grad(penalty, weight)
    assert torch.allclose(slope, 2 * weight)
    with pytest.raises(ValueError, match="requires_grad_"):
        r1_penalty(images.detach().sum((1, 2, 3)), images.detach())


def test_srgans_discriminator_loss_is_two_for_the_worst_verdicts():
    assert srgan_discriminator_loss(torch.zeros(3), torch.ones(3)).item() == 2
    assert srgan_discriminator_loss(torch.ones(3), torch.zeros(3)).item() == 0
