"""Classical methods: what each does where its answer is known, what it is told, and what it says when something is missing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from restoralib import restore
from restoralib.data import Pair
from restoralib.evaluation import evaluate
from restoralib.evaluation.classical import (
    BM3D,
    CLAHE,
    CLASSICAL,
    DarkChannelPrior,
    GammaCorrection,
    HistogramEqualisation,
    Informed,
    MedianFilter,
    RichardsonLucy,
    UnsupervisedWiener,
    Wiener,
    dark_channel,
    guided_filter,
    noise_level,
)
from restoralib.evaluation.generators.convolution import convolve
from restoralib.evaluation.synthetic import SyntheticPair
from restoralib.metrics import psnr


def soft(seed: int = 0, side: int = 64) -> Tensor:
    """A soft picture with edges, (3, side, side), float64."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.rand(1, 3, 6, 6, generator=generator, dtype=torch.float64)
    return torch.nn.functional.interpolate(blocks, (side, side), mode="nearest")[0] * 0.8 + 0.1


def blurred_pair(kernel: Tensor, side: int = 64) -> SyntheticPair:
    clean, half = soft(side=side), kernel.shape[0] // 2
    padded = torch.nn.functional.pad(clean[None], (half,) * 4, mode="reflect")[0]
    return SyntheticPair("a", convolve(padded, kernel).float(), clean.float(), {}, kernel)


def slanted_kernel() -> Tensor:
    """A kernel that is not its own mirror image, so that a turned one does harm."""
    kernel = torch.zeros(7, 7, dtype=torch.float64)
    for step in range(7):
        kernel[step, min(6, 2 + step // 2)] = 1 + step
    kernel[3, 3] += 6
    return kernel / kernel.sum()


# Median


def test_median_drops_thin_lines_and_keeps_edges():
    image = torch.zeros(1, 1, 12, 12)
    image[..., 6:] = 0.8
    lined = image.clone()
    lined[..., 2] = 1.0  # one pixel wide
    assert torch.equal(MedianFilter(3)(lined), image)


def test_median_is_that_of_the_window():
    image = torch.rand(1, 2, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    filtered = MedianFilter(5)(image)
    assert filtered[0, 1, 4, 5] == image[0, 1, 2:7, 3:8].median()
    assert filtered[0, 0, 0, 0] == torch.nn.functional.pad(image[:, :1], (2, 2, 2, 2), mode="replicate")[0, 0, :5, :5].median()


@pytest.mark.parametrize("side", [0, 4, -3])
def test_median_refuses_windows_without_a_middle(side):
    with pytest.raises(ValueError, match="odd and positive"):
        MedianFilter(side)


# Dark channel


def test_dark_channel_is_the_least_of_window_and_colours():
    image = torch.rand(1, 3, 20, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    dark = dark_channel(image, 5)
    assert dark.shape == (1, 1, 20, 24)
    assert dark[0, 0, 10, 12] == image[0, :, 8:13, 10:15].min()
    assert dark[0, 0, 0, 0] == image[0, :, :3, :3].min()


def test_guided_filter_follows_its_guide_and_keeps_constants():
    guide = torch.zeros(1, 1, 30, 30, dtype=torch.float64)
    guide[..., 15:] = 1
    noise = torch.randn(1, 1, 30, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    filtered = guided_filter(guide, guide + 0.1 * noise, 4, 1e-4)
    assert (filtered - guide).std() < 0.04  # the noise is gone
    assert (filtered - guide).abs()[..., 13:17].max() < 0.2  # the edge is not
    constant = torch.full_like(guide, 0.3)
    assert torch.allclose(guided_filter(guide, constant, 4, 1e-4), constant)


def test_dark_channel_prior_takes_haze_of_one_thickness_away():
    clean = soft(2) * 0.9
    clean[:, ::8] = 0.02  # every patch has something dark
    hazy = clean * 0.5 + 0.9 * 0.5
    hazy[:, :8, :8] = 0.9  # the air itself, somewhere
    restored = DarkChannelPrior(radius=8)(hazy[None])[0]
    assert psnr(restored[None, :, 16:], clean[None, :, 16:]) > psnr(hazy[None, :, 16:], clean[None, :, 16:]) + 6
    assert restored.min() >= 0 and restored.max() <= 1


# Light


def test_gamma_correction_is_a_power_and_finds_the_mean():
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.2
    assert torch.allclose(GammaCorrection(0.5)(image), image.sqrt())
    means = GammaCorrection(mean=0.5)(image).amax(1).mean((1, 2))
    assert torch.allclose(means, torch.full((2,), 0.5, dtype=torch.float64), atol=1e-3)


@pytest.mark.parametrize("method", [HistogramEqualisation(), CLAHE()])
def test_equalisation_spreads_values_and_keeps_ratios_of_colours(method):
    pytest.importorskip("skimage")
    image = soft(3)[None] * 0.2
    brighter = method(image)
    assert brighter.max() - brighter.min() > 2 * (image.max() - image.min())
    free = (brighter.amax(1) < 1) & (brighter.amin(1) > 0)
    assert free.float().mean() > 0.5
    before, after = (one[0, 0] / one[0, 1] for one in (image, brighter))
    assert torch.allclose(before[free[0]], after[free[0]], rtol=1e-6)


def test_black_has_no_colour_to_keep():
    pytest.importorskip("skimage")
    assert HistogramEqualisation()(torch.zeros(1, 3, 16, 16)).isfinite().all()


# Noise


@pytest.mark.parametrize("sigma", [5 / 255, 25 / 255])
def test_noise_level_is_found_on_soft_pictures(sigma):
    noise = sigma * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert noise_level(soft() + noise) == pytest.approx(sigma, rel=0.08)
    assert noise_level(torch.full((3, 16, 16), 0.5)) == 0


def test_bm3d_denoises_told_or_not():
    pytest.importorskip("bm3d")
    clean = soft(side=32)
    noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pair = Pair("a", noisy.float(), clean.float(), {"sigma": 25.0})
    before = psnr(noisy[None], clean[None])
    assert psnr(BM3D(told=True).for_pair(pair)(noisy[None]), clean[None]) > before + 5
    assert BM3D(told=True).for_pair(pair).sigma == pytest.approx(25 / 255)
    assert psnr(BM3D()(noisy[None, :1]), clean[None, :1]) > before + 4  # one channel, level estimated


def test_bm3d_leaves_an_image_without_noise_alone():
    pytest.importorskip("bm3d")
    flat = torch.full((1, 3, 16, 16), 0.4)
    assert torch.equal(BM3D()(flat), flat)


def test_bm3d_that_nobody_tells_the_level_says_so():
    with pytest.raises(ValueError, match="nobody knows the noise of a"):
        BM3D(told=True).for_pair(Pair("a", None, None))
    with pytest.raises(ValueError, match="pass sigma"):
        BM3D(told=True)(torch.zeros(1, 3, 16, 16))


# Deconvolution


@pytest.mark.parametrize(("method", "gain"), [(Wiener(balance=1e-3), 3), (RichardsonLucy(), 3), (UnsupervisedWiener(), 3)])
def test_deconvolution_told_the_kernel_sharpens(method, gain):
    pytest.importorskip("skimage")
    pair = blurred_pair(slanted_kernel())
    assert pair.degraded is not None and pair.clean is not None
    before = psnr(pair.degraded[None], pair.clean[None])
    restored = method.for_pair(pair)(pair.degraded[None])
    assert restored.shape == pair.degraded[None].shape and restored.dtype == pair.degraded.dtype
    assert psnr(restored, pair.clean[None]) > before + gain


def test_guessed_kernels_need_not_be_told():
    guess = UnsupervisedWiener(sigma=1.0)
    assert guess.for_pair(Pair("a", None, None)) is guess


def test_deconvolution_without_a_kernel_says_so():
    pytest.importorskip("skimage")
    with pytest.raises(ValueError, match="nobody knows the kernel that blurred a"):
        Wiener().for_pair(Pair("a", None, None))
    with pytest.raises(ValueError, match="needs a kernel"):
        Wiener()(torch.zeros(1, 3, 16, 16))


# As models


def test_every_method_restores_like_a_model():
    for name, method in CLASSICAL.items():
        assert callable(method), name
        assert method.spec.scale == 1, name
        assert isinstance(method, Informed) == hasattr(method, "for_pair")
    assert restore(soft().float(), MedianFilter(3)).shape == (3, 64, 64)
    assert restore(soft()[:1].float(), DarkChannelPrior()).shape == (1, 64, 64)


def test_evaluate_takes_them_by_name_and_tells_them_of_each_pair():
    pytest.importorskip("skimage")
    pair = blurred_pair(slanted_kernel())
    told = evaluate("wiener_told", [pair])
    untouched = evaluate("identity", [pair])
    assert told.mean["psnr"] > untouched.mean["psnr"] + 1
    assert evaluate("median3", [pair]).images
    unknown = evaluate("wiener_told", [Pair("b", pair.degraded, pair.clean)])
    assert not unknown.images and "nobody knows the kernel" in unknown.failures[0].reason


def test_a_name_that_is_nearly_one_is_told():
    with pytest.raises(ValueError, match="did you mean median3"):
        evaluate("mediam3", [blurred_pair(slanted_kernel())])


def test_records_tell_methods_apart(tmp_path: Path):
    pair = blurred_pair(slanted_kernel())
    evaluate(MedianFilter(3), [pair], name="median", output=tmp_path)
    with pytest.raises(ValueError, match="another run: model digest"):
        evaluate(MedianFilter(5), [pair], name="median", output=tmp_path)


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
    real = importlib.import_module

    def without(name: str, package: str | None = None):
        if name.partition(".")[0] in ("bm3d", "skimage"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    image = torch.rand(1, 3, 16, 16)
    for method in (BM3D(0.1), CLAHE(), HistogramEqualisation(), UnsupervisedWiener(sigma=1.0)):
        with pytest.raises(ImportError, match=r'pip install "restoralib\[bench\]"'):
            method(image)
