"""An entry of the golden files of losses, computed from the parameters that stand beside it.

A runner takes out of `how` what it acts on; what remains is unknown, and an error.
"""

from __future__ import annotations

import re

import torch
from goldens.features import filled_features

from restoralib.losses import (
    PerceptualLoss,
    SRGANGeneratorLoss,
    charbonnier_loss,
    edge_loss,
    frequency_loss,
    gan_loss,
    l1_loss,
    mse_loss,
    psnr_loss,
    r1_penalty,
    relative_logits,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    total_variation,
    total_variation_isotropic,
    total_variation_squared,
)


def run_loss(how, tensors):
    """The scalar of an entry; `tensors` are those of its file, float64, `pred` with a gradient if one is wanted."""
    how = dict(how)
    value = RUN[how.pop("loss")](how, tensors)
    assert not how, f"parameters that the driver does not know: {sorted(how)}"
    return value


def pair(tensors):
    return tensors["pred"], tensors["target"]


def options(how, tensors):
    """Reduction and element weights."""
    weight = how.pop("weight", None)
    return {"reduction": how.pop("reduction", "mean"), "weight": None if weight is None else tensors[weight]}


def run_l1(how, tensors):
    return l1_loss(*pair(tensors), **options(how, tensors))


def run_mse(how, tensors):
    of = how.pop("of", None)
    if of is None:
        return mse_loss(*pair(tensors), **options(how, tensors))
    layers, net, normalize = re.fullmatch(r"features\[:(\d+)\] of (\w+), (no|ImageNet) input normalisation", of).groups()
    last = {int(layers) - 1: 1.0}
    loss = PerceptualLoss(last, net=net, criterion="mse", normalize=normalize != "no", weights=filled_features(net))
    return loss(*pair(tensors))


def run_charbonnier(how, tensors):
    square = {"mean sqrt(d^2 + eps)": False, "mean sqrt(d^2 + eps^2)": True}[how.pop("formula")]
    return charbonnier_loss(*pair(tensors), eps=how.pop("eps"), square_eps=square, **options(how, tensors))


def run_edge(how, tensors):
    assert how.pop("kernel") == [0.05, 0.25, 0.4, 0.25, 0.05]
    return edge_loss(*pair(tensors), eps=how.pop("eps"))


def run_psnr(how, tensors):
    luma = {"rgb": False, "y": True}[how.pop("channels")]
    assert how.pop("luma", None) == ("bt601_limited" if luma else None)
    return psnr_loss(*pair(tensors), eps=how.pop("eps"), luma=luma)


def run_tv(how, tensors):
    form, formula, image = how.pop("form"), how.pop("formula", None), tensors["pred"]
    if form == "abs":
        assert formula is None
        return total_variation(image, **options(how, tensors))
    if form == "square":
        assert formula in (None, "2 (sum dh^2/(c (h-1) w) + sum dw^2/(c h (w-1))) / batch")
        return total_variation_squared(image)
    assert form == "isotropic"
    positions = "sum over channels and positions with both neighbours of sqrt(dx^2 + dy^2 + eps)"
    assert formula == f"{positions} / (h w batch)"
    return total_variation_isotropic(image, eps=how.pop("eps"))


def run_fft(how, tensors):
    half = {"fft2": False, "rfft2": True}[how.pop("transform")]
    criterion = {"l1": "l1", "l2": "mse", "mse": "mse"}[how.pop("criterion")]
    return frequency_loss(*pair(tensors), half=half, norm=how.pop("norm") or "backward", criterion=criterion)


def run_perceptual(how, tensors):
    net = how.pop("net")
    loss = PerceptualLoss(
        how.pop("layers"),
        net=net,
        criterion={"l1": "l1", "l2": "mse", "fro": "fro"}[how.pop("criterion")],
        content=how.pop("perceptual_weight"),
        style=how.pop("style_weight"),
        normalize=how.pop("use_input_norm"),
        signed=how.pop("range_norm"),
        weights=filled_features(net),
    )
    return loss(*pair(tensors))


def run_gan(how, tensors):
    kind, discriminator, weight = how.pop("type"), how.pop("is_disc"), how.pop("loss_weight")
    value = gan_loss(tensors[how.pop("input")], how.pop("target_is_real"), kind=kind, discriminator=discriminator)
    return value if discriminator else weight * value  # the weight is the generator's alone


def run_relativistic(how, tensors):
    """The generator's loss, or half of the discriminator's, whose sum has to be the whole."""
    assert how.pop("means_over") == "batch"
    kind, part = how.pop("type"), how.pop("part")
    real, fake = tensors["real_logits"], tensors["fake_logits"]
    if part == "generator":
        return relativistic_generator_loss(real, fake, kind=kind)
    factor = how.pop("factor")
    parts = {
        "disc_real": gan_loss(relative_logits(real, fake), True, kind=kind, discriminator=True),
        "disc_fake": gan_loss(relative_logits(fake, real), False, kind=kind, discriminator=True),
    }
    whole = relativistic_discriminator_loss(real, fake, kind=kind)
    assert torch.isclose(whole, sum(parts.values()) / 2, rtol=1e-12)
    return factor * parts[part]


def run_negative_log(how, tensors):
    return gan_loss(tensors[how.pop("input")], True, reduction=how.pop("reduction"))


def probabilities(how, tensors):
    assert how.pop("discriminator") == "sigmoid(fake_logits).mean((1, 2, 3))"
    return tensors["fake_logits"].sigmoid().mean((1, 2, 3))


def run_one_minus(how, tensors):
    return (1 - probabilities(how, tensors)).mean()


def run_srgan(how, tensors):
    weights = how.pop("weights")
    assert weights.keys() == {"image", "adversarial", "perception", "tv"}
    assert weights["image"] == 1
    loss = SRGANGeneratorLoss(
        adversarial=weights["adversarial"],
        perception=weights["perception"],
        smoothness=weights["tv"],
        weights=filled_features("vgg16"),
    )
    return loss(*pair(tensors), probabilities(how, tensors))


def run_r1(how, tensors):
    assert how.pop("discriminator") == "sum(r1_kernel * image^2)"
    images = tensors[how.pop("images")].clone().requires_grad_()
    logits = (tensors["r1_kernel"] * images.square()).sum((1, 2, 3))
    return how.pop("weight") * r1_penalty(logits, images)


RUN = {
    "l1": run_l1,
    "mse": run_mse,
    "charbonnier": run_charbonnier,
    "edge": run_edge,
    "psnr": run_psnr,
    "tv": run_tv,
    "fft": run_fft,
    "perceptual": run_perceptual,
    "gan": run_gan,
    "gan_relativistic": run_relativistic,
    "-log sigmoid": run_negative_log,
    "mean(1 - D)": run_one_minus,
    "srgan_total": run_srgan,
    "r1": run_r1,
}
