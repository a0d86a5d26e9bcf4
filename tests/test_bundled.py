"""What comes with the package restores photographs, offline, by more than the classical method."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restoralib import restore
from restoralib.evaluation.generators import GENERATORS
from restoralib.metrics import psnr, to_8_bits
from restoralib.ops import resize, rgb_to_y
from restoralib.zoo import TASKS, list_models, load_bundled, model_info

WEIGHTS = Path(__file__).parents[1] / "restoralib" / "weights"
MANIFEST = json.loads((WEIGHTS / "manifest.json").read_text(encoding="utf-8"))
PHOTOGRAPHS = Path(__file__).parents[1] / "examples"
GAINS = {"denoise": 9, "jpeg": 0.6, "derain": 4, "dehaze": 4, "low_light": 4, "demoire": 0.2}
"""Decibels that the bundled model of a task gains on the photographs below, at least."""


def photograph(name):
    with Image.open(PHOTOGRAPHS / name) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png"])
@pytest.mark.parametrize(("sigma", "gain"), [(15, 7), (25, 9), (50, 11)])
def test_the_denoiser_gains_decibels_on_photographs_it_never_saw(name, sigma, gain):
    clean = photograph(name)[..., 60:188, 80:240]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) * sigma / 255
    noisy = ((clean + noise).clamp(0, 1) * 255).round() / 255
    assert psnr(restore(noisy, "denoise"), clean) > psnr(noisy, clean) + gain


@pytest.mark.parametrize(("sigma", "gain"), [(25, 1.0), (50, 2.0)])
def test_the_latent_denoiser_gains_decibels_over_its_autoencoder(sigma, gain):
    clean, model = photograph("coffee.png")[..., 60:188, 80:240], load_bundled("latent_denoise")
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) * sigma / 255
    noisy = ((clean + noise).clamp(0, 1) * 255).round() / 255
    with torch.inference_mode():
        alone, ceiling = (psnr(model.reconstruct(image).clamp(0, 1), clean).item() for image in (noisy, clean))
    one, four = (psnr(restore(noisy, "latent_denoise", seed=0, steps=steps, tile=96), clean).item() for steps in (1, 4))
    assert one > alone + gain and four > alone + gain and ceiling > 31


def test_the_latent_autoencoder_alone_is_refused():
    with pytest.raises(ValueError, match="DCAE restores no image by itself"):
        restore(torch.rand(3, 16, 16), "latent_autoencoder")


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png"])
@pytest.mark.parametrize(("scale", "gain"), [(2, 0.9), (3, 0.6), (4, 0.6)])
def test_super_resolution_beats_bicubic(name, scale, gain):
    large = photograph(name)[..., :240, :360]
    small = (resize(large, 1 / scale).clamp(0, 1) * 255).round() / 255
    luma = [rgb_to_y(image) for image in (restore(small, f"sr{scale}"), resize(small, scale).clamp(0, 1), large)]
    assert psnr(luma[0], luma[2], crop=scale) > psnr(luma[1], luma[2], crop=scale) + gain


def test_the_tasks_of_the_first_day_have_weights():
    assert all(TASKS[task] for task in (*GAINS, "auto", "sr2", "sr3", "sr4"))


def test_a_clean_photograph_is_left_nearly_alone():
    clean = photograph("chelsea.png")[..., 60:188, 80:240]
    assert psnr(restore(clean, "denoise"), clean) > 42


def test_every_bundled_model_says_what_it_is_and_what_it_reached():
    for entry in MANIFEST:
        assert entry["weights_license"] == "LicenseRef-research-data"
        assert entry["data"] and entry["terms"] and entry["recipe"] and entry["commit"]
        assert entry["figures"], f"{entry['name']} has no measured figures: run restoralib.evaluation and training.bundle"
        info = model_info(entry["name"])
        assert info.bundled and not info.commercial and info.notice
    assert not set(list_models(bundled=True)) & set(list_models(commercial=True))


def test_bundled_weights_stay_small():
    assert sum(entry["bytes"] for entry in MANIFEST) < 12e6
    assert {path.name for path in WEIGHTS.glob("*.safetensors")} == {entry["file"] for entry in MANIFEST}


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png"])
@pytest.mark.parametrize(("task", "gain"), GAINS.items())
def test_every_degradation_is_undone_in_part(name, task, gain):
    # Made by the generators that judge the models, which training does not know.
    clean = photograph(name)[0, :, 60:220, 80:240]
    spoilt = GENERATORS[task](clean.double(), np.random.default_rng(2), 10 if task == "jpeg" else None)
    degraded = to_8_bits(spoilt.image[None].float())
    assert psnr(restore(degraded, task), clean[None]) > psnr(degraded, clean[None]) + gain
