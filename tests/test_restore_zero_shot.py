"""Denoising without weights: it improves a noisy image, keeps its kind, and says what it leaves alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from restoralib import restore
from restoralib.images import Picture
from restoralib.metrics import psnr
from restoralib.restoration.models import find_model
from restoralib.restoration.zero_shot import METHODS, DeepImagePrior, Hourglass, ResidualDenoiser, ZeroShotN2N

FAST = {"zs_n2n": ZeroShotN2N(steps=60, rate=1e-2, side=32), "deep_image_prior": DeepImagePrior(steps=60, average=0.9)}


def picture(size=48, channels=3):
    coarse = torch.rand(1, channels, 5, 5, generator=torch.Generator().manual_seed(3))
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def with_noise(clean, sigma=0.15):
    return (clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


@pytest.mark.parametrize("name", FAST)
def test_a_noisy_image_is_denoised_alike_by_the_same_seed(name):
    clean = picture()
    noisy = with_noise(clean)
    restored = restore(noisy, FAST[name], seed=1)
    assert psnr(restored, clean) > psnr(noisy, clean) + 2
    assert torch.equal(restored, restore(noisy, FAST[name], seed=1))
    assert not torch.equal(restored, restore(noisy, FAST[name], seed=2))


def test_without_a_seed_the_callers_generator_decides():
    noisy = with_noise(picture(16))
    short = ZeroShotN2N(steps=2, side=8)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(restore(noisy, short))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_task_and_the_methods_have_names():
    assert find_model("zero_shot_denoise") == find_model("zs_n2n") == ZeroShotN2N()
    assert find_model("deep_image_prior") == DeepImagePrior()
    with pytest.raises(ValueError, match=r"did you mean .*zero_shot_denoise"):
        find_model("zero_shot_denoising")


@pytest.mark.parametrize("name", FAST)
def test_grey_depth_and_alpha_stay_as_they_came(name, monkeypatch):
    short = {"zs_n2n": ZeroShotN2N(steps=2, side=16), "deep_image_prior": DeepImagePrior(steps=2)}[name]
    grey = (with_noise(picture(20, 1))[0, 0] * 65535).numpy().astype(np.uint16)
    restored = restore(grey, short, seed=0)
    assert restored.dtype == np.uint16 and restored.shape == (20, 20)
    assert np.abs(restored.astype(int) - grey).max() > 0
    alpha = torch.rand(1, 17, 19)
    result = restore(Picture(torch.rand(3, 17, 19), alpha), short, seed=0)
    assert result.color.shape == (3, 17, 19) and torch.equal(result.alpha, alpha)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (7, 40)])
def test_tiny_images_come_back_with_a_warning(name, size):
    image = torch.rand(3, *size)
    with pytest.warns(UserWarning, match=r"hold too little to learn from and come back as they were; a side should have 8"):
        assert torch.equal(restore(image, name), image)


def test_the_network_fits_once_and_restores_in_tiles_without_seams():
    noisy = with_noise(picture(72))
    short = ZeroShotN2N(steps=5, side=24)
    whole = restore(noisy, short, seed=0, tile=None)
    torch.testing.assert_close(restore(noisy, short, seed=0, tile=32), whole, atol=1e-5, rtol=0)


def test_images_of_a_batch_share_a_network_and_gradients_of_the_caller_do_not_matter():
    noisy = with_noise(picture(24)).repeat(2, 1, 1, 1)
    with torch.inference_mode():
        restored = restore(noisy, ZeroShotN2N(steps=4, side=16), seed=0)
        painted = DeepImagePrior(steps=2)(noisy[:, :, :11, :13])
    torch.testing.assert_close(restored[0], restored[1])
    assert painted.shape == (2, 3, 11, 13) and painted.isfinite().all()
    called = ZeroShotN2N(steps=4, side=16)(noisy)
    assert called.shape == noisy.shape and not called.requires_grad


def test_the_networks_are_those_of_the_papers_in_size():
    assert sum(p.numel() for p in ResidualDenoiser(3).parameters()) == 22_275
    net = Hourglass(32, 3)
    assert net(torch.rand(1, 32, 16, 24)).shape == (1, 3, 16, 24)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_settings_of_the_names_denoise_by_five_decibels(name):
    clean = picture(96)
    noisy = with_noise(clean, 0.1)
    assert psnr(restore(noisy, name, seed=0), clean) > psnr(noisy, clean) + 5
