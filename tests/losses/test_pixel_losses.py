"""Losses on pixels, gradients of pixels and spectra: their definitions, their two or three forms, and bad input."""

import math

import pytest
import torch
import torch.nn.functional as F

from restoralib.losses import (
    charbonnier_loss,
    edge_loss,
    frequency_loss,
    l1_loss,
    laplacian,
    mse_loss,
    psnr_loss,
    ssim_loss,
    total_variation,
    total_variation_isotropic,
    total_variation_squared,
)
from restoralib.metrics import psnr, ssim
from restoralib.ops import rgb_to_y

PAIRED = [l1_loss, mse_loss, charbonnier_loss, edge_loss, frequency_loss, psnr_loss, ssim_loss]
SINGLE = [total_variation, total_variation_squared, total_variation_isotropic]


def images(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=dtype), torch.rand(*shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("loss", PAIRED)
def test_losses_of_pairs_are_scalars_with_a_gradient(loss):
    restored, target = images(2, 3, 12, 13)
    value = loss(restored, target)
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value > loss(0.9 * target + 0.1 * restored, target) > loss(target, target)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), restored.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("loss", SINGLE)
def test_total_variations_are_scalars_with_a_gradient_and_zero_for_flat_images(loss):
    image, _ = images(2, 3, 6, 7)
    assert torch.autograd.gradcheck(loss, image.requires_grad_(), fast_mode=True)
    flat = torch.full((1, 3, 5, 5), 0.3, requires_grad=True)
    value = loss(flat)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-9)
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("loss", PAIRED + SINGLE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_and_has_finite_gradients(loss, dtype):
    restored, target = (image.to(dtype) for image in images(1, 3, 16, 16))
    sides = (restored, target) if loss in PAIRED else (restored,)
    value = loss(*sides)
    assert value.dtype == torch.float32
    assert value.item() == loss(*(side.float() for side in sides)).item()
    equal = restored.clone().requires_grad_()
    (loss(equal, restored) if loss in PAIRED else loss(equal)).backward()
    assert equal.grad.dtype == dtype
    assert equal.grad.isfinite().all()


@pytest.mark.parametrize("loss", PAIRED)
def test_autocast_changes_nothing(loss):
    restored, target = images(1, 3, 16, 16, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(restored, target), loss(restored, target))
        inside = loss(restored, target)
    assert torch.equal(inside, loss(restored, target))


@pytest.mark.parametrize("loss", PAIRED)
def test_losses_never_broadcast(loss):
    restored, target = images(2, 3, 12, 12)
    for other in (target[:1], target[:, :1], target[..., 1:], target[0]):
        with pytest.raises(ValueError, match=r"two images of one shape, got .*neither resize nor broadcast"):
            loss(restored, other)


@pytest.mark.parametrize("loss", [edge_loss, frequency_loss, psnr_loss, ssim_loss, *SINGLE])
def test_losses_of_images_want_a_batch(loss):
    image = torch.rand(3, 12, 12)
    with pytest.raises(ValueError, match=r"images of shape \(b, c, h, w\), got \(3, 12, 12\); image\[None\]"):
        loss(image, image) if loss not in SINGLE else loss(image)


@pytest.mark.parametrize("loss", [l1_loss, mse_loss, charbonnier_loss])
def test_weights_are_of_elements_and_the_mean_divides_by_their_sum(loss):
    restored, target = images(2, 3, 4, 5)
    mask = torch.zeros(2, 1, 4, 5)
    mask[:, :, 1:3, 2:] = 1
    inner = (..., slice(1, 3), slice(2, None))
    assert torch.isclose(loss(restored, target, weight=mask), loss(restored[inner], target[inner]))
    assert torch.isclose(loss(restored, target, weight=3 * mask), loss(restored, target, weight=mask))
    total = loss(restored, target, weight=mask, reduction="sum")
    assert torch.isclose(total, loss(restored[inner], target[inner], reduction="sum"))
    assert torch.isclose(loss(restored, target, weight=torch.ones(1)), loss(restored, target))
    with pytest.raises(ValueError, match=r"weights of shape \(2, 2, 4, 5\) do not fit errors of \(2, 3, 4, 5\)"):
        loss(restored, target, weight=torch.ones(2, 2, 4, 5))
    with pytest.raises(ValueError, match="'mean' or 'sum', got 'none'"):
        loss(restored, target, reduction="none")


def test_l1_and_mse_are_torchs():
    restored, target = images(2, 3, 4, 5)
    assert torch.isclose(l1_loss(restored, target), F.l1_loss(restored, target))
    assert torch.isclose(mse_loss(restored, target), F.mse_loss(restored, target))


def test_charbonniers_two_forms_differ_by_the_square_of_eps():
    restored, target = images(2, 3, 4, 5)
    squared = charbonnier_loss(restored, target, eps=1e-3)
    assert torch.isclose(squared, charbonnier_loss(restored, target, eps=1e-6, square_eps=False), rtol=1e-12)
    assert charbonnier_loss(target, target, eps=1e-3).item() == pytest.approx(1e-3)
    assert charbonnier_loss(target, target, eps=1e-12, square_eps=False).item() == pytest.approx(1e-6)
    assert charbonnier_loss(restored, target, eps=1e-9).item() == pytest.approx(l1_loss(restored, target).item())
    with pytest.raises(ValueError, match="eps should be above 0, got 0"):
        charbonnier_loss(restored, target, eps=0)
    with pytest.raises(ValueError, match="eps should be above 0, got 0"):
        edge_loss(restored, target, eps=0)


def test_the_laplacian_ignores_what_is_smooth():
    flat = torch.full((1, 3, 9, 10), 0.7, dtype=torch.float64)
    assert laplacian(flat)[..., 2:-2, 2:-2].abs().max() < 1e-12
    dot = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    dot[..., 4, 4] = 1
    # Of the middle 4 * 0.4^4 are left, and what its neighbours two steps away have of it, blurred again.
    kept = 4 * (0.4**4 + 4 * 0.4 * 0.05 * 0.4 * 0.05 + 4 * 0.05**4)
    assert laplacian(dot)[0, 0, 4, 4].item() == pytest.approx(1 - kept)
    restored, target = images(1, 2, 7, 8)
    difference = laplacian(restored) - laplacian(target)
    assert torch.isclose(edge_loss(restored, target), (difference**2 + 1e-6).sqrt().mean(), rtol=1e-12)
    assert edge_loss(restored[..., :1, :1], target[..., :1, :1]).isfinite()


def test_psnr_loss_is_minus_the_psnr():
    restored, target = images(3, 3, 8, 8)
    assert psnr_loss(restored, target).item() == pytest.approx(-psnr(restored, target, eps=1e-8).mean().item())
    assert psnr_loss(target, target).item() == pytest.approx(-80)
    luma = psnr(rgb_to_y(restored), rgb_to_y(target), eps=1e-8).mean().item()
    assert psnr_loss(restored, target, luma=True).item() == pytest.approx(-luma)
    with pytest.raises(ValueError, match="three channels"):
        psnr_loss(restored[:, :1], target[:, :1], luma=True)


def test_ssim_loss_is_one_minus_the_ssim():
    restored, target = images(2, 3, 16, 18)
    assert ssim_loss(restored, target).item() == pytest.approx(1 - ssim(restored, target).mean().item(), abs=1e-12)
    assert ssim_loss(restored.float(), target.float()).item() == pytest.approx(ssim_loss(restored, target).item(), abs=1e-5)
    assert ssim_loss(target, target).item() == 0
    with pytest.raises(ValueError, match="needs 11x11 pixels, got 10x18"):
        ssim_loss(restored[..., :10, :], target[..., :10, :])


def test_total_variations_of_a_ramp_are_known():
    ramp = (0.1 * torch.arange(6, dtype=torch.float64)).expand(1, 2, 5, 6)
    assert total_variation(ramp).item() == pytest.approx(0.1)
    assert total_variation(ramp, reduction="sum").item() == pytest.approx(0.1 * 2 * 5 * 5)
    assert total_variation_squared(ramp).item() == pytest.approx(2 * 0.01)
    assert total_variation_isotropic(ramp).item() == pytest.approx(0.1 * 2 * 4 * 5 / 30)
    slope = ramp + ramp[..., :5, :5].mT.mean() + 0.1 * torch.arange(5, dtype=torch.float64)[:, None]
    assert total_variation_isotropic(slope).item() == pytest.approx(0.1 * math.sqrt(2) * 2 * 4 * 5 / 30)
    left = torch.zeros(1, 1, 5, 6)
    left[..., :3] = 1
    assert total_variation(ramp * left.double(), weight=left).item() == pytest.approx(0.1 * 2 / 3 + 0.2 / 3)
    row, pixel = ramp[..., :1, :], ramp[..., :1, :1]
    assert [loss(row).item() for loss in SINGLE] == pytest.approx([0.1, 0.02, 0])
    assert [loss(pixel).item() for loss in SINGLE] == [0, 0, 0]


def test_frequency_loss_has_three_forms():
    restored, target = images(2, 3, 8, 10)
    spectrum = torch.fft.fft2(restored) - torch.fft.fft2(target)
    parts = torch.stack([spectrum.real, spectrum.imag])
    assert torch.isclose(frequency_loss(restored, target), parts.abs().mean())
    half = parts[..., :6]
    assert torch.isclose(frequency_loss(restored, target, half=True), half.abs().mean())
    assert torch.isclose(frequency_loss(restored, target, half=True, norm="ortho"), half.abs().mean() / math.sqrt(80))
    # Parseval: the squared error of the spectrum, normalised, is half that of the image, for it has two parts.
    parseval = frequency_loss(restored, target, norm="ortho", criterion="mse")
    assert torch.isclose(parseval, mse_loss(restored, target) / 2)
    with pytest.raises(ValueError, match="'l1' or 'mse'"):
        frequency_loss(restored, target, criterion="fro")
    with pytest.raises(ValueError, match="'backward', 'ortho' or 'forward'"):
        frequency_loss(restored, target, norm="none")


@pytest.mark.parametrize("loss", [l1_loss, charbonnier_loss, edge_loss, psnr_loss, frequency_loss, total_variation])
def test_losses_compile_into_one_graph(loss):
    restored, target = images(1, 3, 12, 12, dtype=torch.float32)
    sides = (restored, target) if loss in PAIRED else (restored,)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(*sides), loss(*sides))
