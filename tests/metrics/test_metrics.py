"""PSNR, SSIM and the protocols: what they are by definition, and what they say of images that they cannot compare."""

import math
import sys

import pytest
import torch
from torch import Tensor

from restoralib.metrics import (
    PROTOCOLS,
    get_protocol,
    luma_8_bits,
    ms_ssim,
    psnr,
    psnr_b,
    ssim,
    ssim_matlab,
    ssim_pooled,
    ssim_skimage,
    to_8_bits,
)
from restoralib.metrics._window import gaussian, slide
from restoralib.ops import rgb_to_y

SIMILARITIES = [ssim, ssim_matlab, ssim_skimage, ssim_pooled]
ALL = [psnr, psnr_b, *SIMILARITIES, ms_ssim]


def photograph(*shape: int, seed: int = 0) -> Tensor:
    """Smooth colours with some noise, in [0, 1], float64."""
    noise = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2, count_include_pad=False)
    return (2 * smooth - 0.5 + 0.1 * noise).clamp(0, 1)


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    target = photograph(*shape)
    return (target + 0.05 * (photograph(*shape, seed=1) - 0.5)).clamp(0, 1), target


def test_equal_images_have_infinite_psnr_and_ssim_one():
    image = torch.rand(2, 3, 161, 170)
    assert psnr(image, image).tolist() == [math.inf, math.inf]
    for similarity in (*SIMILARITIES, ms_ssim):
        assert similarity(image, image).tolist() == [1, 1]


def test_constant_images_have_defined_figures():
    grey, lighter = torch.full((1, 3, 161, 161), 0.5), torch.full((1, 3, 161, 161), 0.6)
    assert psnr(grey, lighter).item() == pytest.approx(20, abs=1e-5)
    assert psnr_b(grey, lighter).item() == pytest.approx(20, abs=1e-5)
    luminance = (2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4)
    for similarity in SIMILARITIES:
        assert similarity(grey, grey).item() == pytest.approx(1)
        assert similarity(grey, lighter).item() == pytest.approx(luminance, abs=1e-6)
    assert ms_ssim(grey, lighter).item() == pytest.approx(luminance**0.1333, abs=1e-6)


def test_psnr_of_a_constant_error_is_known():
    image = torch.full((1, 1, 4, 4), 0.5)
    assert psnr(image, image + 0.1).item() == pytest.approx(20, abs=1e-5)
    assert psnr(image * 255, image * 255 + 25.5, data_range=255).item() == pytest.approx(20, abs=1e-5)
    assert psnr(image, image, eps=1e-8).item() == pytest.approx(80)


def test_psnr_is_per_image_and_leaves_the_border_out():
    image = torch.zeros(2, 1, 8, 8)
    target = image.clone()
    target[0, :, 0] = 1
    target[1, :, 4, 4] = 1
    assert psnr(image, target, crop=1)[0] == math.inf
    assert psnr(image, target, crop=1)[1] == pytest.approx(10 * math.log10(36))


def test_psnr_b_counts_blocks_of_the_restored_image_alone():
    smooth = torch.linspace(0, 1, 32, dtype=torch.float64).expand(1, 1, 32, 32)
    blocks = smooth.reshape(1, 1, 32, 4, 8).mean(-1, keepdim=True).expand(1, 1, 32, 4, 8).reshape(1, 1, 32, 32)
    assert psnr_b(blocks, smooth) < psnr(blocks, smooth) - 1
    assert psnr_b(smooth, blocks).item() == pytest.approx(psnr(smooth, blocks).item())


@pytest.mark.parametrize("metric", ALL)
def test_metrics_are_one_figure_an_image_and_do_not_depend_on_the_batch(metric):
    image, target = pair(3, 3, 165, 181)
    together = metric(image, target)
    assert together.shape == (3,)
    assert together.dtype == torch.float64
    alone = torch.cat([metric(image[i : i + 1], target[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, rtol=1e-12)
    assert torch.allclose(metric(255 * image, 255 * target, data_range=255), together, rtol=1e-9)
    inner = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(metric(image, target, crop=2), metric(image[inner], target[inner]), rtol=1e-12)


@pytest.mark.parametrize("metric", ALL)
def test_an_image_with_nan_has_no_figure_and_spoils_no_other(metric):
    image, target = pair(2, 3, 161, 161)
    image[0, 1, 80, 80] = math.nan
    figures = metric(image, target)
    assert figures[0].isnan()
    assert figures[1].isfinite()


@pytest.mark.parametrize("metric", [psnr, psnr_b, ssim, ssim_matlab, ssim_skimage, ssim_pooled])
def test_metrics_have_a_gradient(metric):
    image, target = pair(1, 1, 16, 17) if metric is psnr_b else pair(1, 2, 11, 12)
    assert torch.autograd.gradcheck(lambda x: metric(x, target), image.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("metric", ALL)
def test_training_through_a_metric_works_after_an_evaluation_in_inference_mode(metric):
    image, target = pair(1, 3, 163, 167)  # of a size that no other test has: its tables are made here
    with torch.inference_mode():
        expected = metric(image, target)
    value = metric(image.requires_grad_(), target)
    value.sum().backward()
    assert torch.equal(value, expected)
    assert image.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("metric", ALL)
def test_half_precision_is_measured_in_double(metric, dtype):
    image, target = (side.to(dtype) for side in pair(1, 3, 161, 162))
    assert torch.equal(metric(image, target), metric(image.double(), target.double()))
    assert get_protocol("rgb").psnr(image, target).dtype == torch.float64


@pytest.mark.parametrize("metric", ALL)
def test_a_reference_in_another_unit_is_refused_and_a_bad_result_is_measured(metric):
    image, target = pair(1, 3, 161, 162)
    with pytest.raises(ValueError, match=r"the reference goes from .* where 0 to 1 is expected; convert the images, or pass"):
        metric(image * 255, target * 255)
    with pytest.raises(ValueError, match="the reference goes from -"):
        metric(2 * image - 1, 2 * target - 1)
    with pytest.raises(ValueError, match="data_range should be above 0"):
        metric(image, target, data_range=0)
    assert metric(image * 255, target).isfinite().all()
    assert metric(image, 1.2 * target - 0.1).isfinite().all()  # filters overshoot
    with pytest.raises(ValueError, match="the reference goes from"):
        get_protocol("rgb").prepare(image * 255, target * 255)


def test_ms_ssim_has_a_gradient_even_where_structure_is_reversed():
    target = photograph(1, 1, 161, 161)
    image = (1 - target).requires_grad_()
    value = ms_ssim(image, target)
    value.backward()
    assert value.item() == 0
    assert image.grad.isfinite().all()
    image = (target + 0.01).requires_grad_()
    ms_ssim(image, target).backward()
    assert image.grad.abs().max() > 0


def test_windows_slide_as_a_convolution_does():
    image = torch.rand(2, 3, 30, 140, dtype=torch.float64)
    row = torch.tensor(gaussian(11, 1.5), dtype=torch.float64)
    kernel = torch.outer(row, row).expand(3, 1, 11, 11)
    assert torch.allclose(slide(image, gaussian(11, 1.5)), torch.nn.functional.conv2d(image, kernel, groups=3), rtol=1e-12)


@pytest.mark.parametrize(("window", "sigma"), [(11, 1.5), (7, None), (5, 0.8)])
@pytest.mark.parametrize("border", ["valid", "replicate", "reflect"])
@pytest.mark.parametrize("sample", [False, True])
def test_ssim_with_any_window_border_and_covariance_follows_its_formula(window, sigma, border, sample):
    image, target = pair(2, 2, 13, 17)
    row = torch.tensor(gaussian(window, sigma) if sigma else (1 / window,) * window, dtype=torch.float64)
    kernel = torch.outer(row, row).expand(2, 1, window, window)

    def blur(x):
        side = 0 if border == "valid" else window // 2
        padded = torch.nn.functional.pad(x, (side,) * 4, mode="reflect" if border == "valid" else border)
        return torch.nn.functional.conv2d(padded, kernel, groups=2)

    mx, my = blur(image), blur(target)
    factor = window**2 / (window**2 - 1) if sample else 1
    vx, vy, cov = (factor * v for v in (blur(image**2) - mx**2, blur(target**2) - my**2, blur(image * target) - mx * my))
    c1, c2 = 0.01**2, 0.03**2
    maps = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    options = {"window": window, "sigma": sigma, "border": border, "sample_covariance": sample}
    assert torch.allclose(ssim(image, target, **options), maps.mean((1, 2, 3)), rtol=1e-10)


def test_ssim_of_grey_with_repeated_borders_is_matlabs():
    image, target = pair(2, 1, 20, 9)
    assert torch.allclose(ssim(image, target, border="replicate"), ssim_matlab(image, target), rtol=1e-12)
    assert ssim(image[..., :1, :1], target[..., :1, :1], border="replicate").isfinite().all()


def test_wrong_windows_are_named():
    image = torch.rand(1, 1, 16, 16)
    for window in (1, 8):
        with pytest.raises(ValueError, match=f"an odd number of 3 or more pixels, got {window}"):
            ssim(image, image, window=window)
    with pytest.raises(ValueError, match="sigma should be above 0, or None"):
        ssim(image, image, sigma=0)
    with pytest.raises(ValueError, match="'valid', 'replicate' or 'reflect', got 'zeros'"):
        ssim(image, image, border="zeros")
    with pytest.raises(ValueError, match="a window of 17 pixels needs 17x17 pixels, got 16x16"):
        ssim(image, image, window=17)
    with pytest.raises(ValueError, match="needs 6x6 pixels, got 16x5"):
        ssim(image[..., :5], image[..., :5], border="reflect")


def test_matlab_ssim_is_a_volume_of_repeated_borders():
    image, target = pair(1, 3, 12, 15)
    row = torch.tensor(gaussian(11, 1.5), dtype=torch.float64)
    kernel = (row[:, None, None] * row[:, None] * row)[None, None]

    def blur(x):
        return torch.nn.functional.conv3d(torch.nn.functional.pad(x[:, None], (5,) * 6, mode="replicate"), kernel)[:, 0]

    mx, my = blur(image), blur(target)
    vx, vy, cov = blur(image**2) - mx**2, blur(target**2) - my**2, blur(image * target) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    expected = ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
    assert ssim_matlab(image, target).item() == pytest.approx(expected.item(), rel=1e-10)
    assert ssim_matlab(image.flip(1), target.flip(1)).item() == pytest.approx(expected.item(), rel=1e-10)
    assert ssim_matlab(image[..., :1, :1], target[..., :1, :1]).isfinite().all()


def test_pooled_ssim_halves_images_from_384_pixels():
    image, target = pair(1, 1, 384, 400)
    halves = [torch.nn.functional.avg_pool2d(side, 2) for side in (image, target)]
    assert ssim_pooled(image, target).item() == pytest.approx(ssim(*halves).item())
    assert ssim_pooled(image[..., 1:, :], target[..., 1:, :]).item() == ssim(image[..., 1:, :], target[..., 1:, :]).item()


@pytest.mark.parametrize("metric", ALL)
def test_bad_pairs_are_named(metric):
    image = torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"one shape.*cut or resize"):
        metric(image, image[..., :15])
    with pytest.raises(ValueError, match="one shape"):
        metric(image[0], image[0])
    with pytest.raises(ValueError, match=r"compare grey with grey.*rgb_to_y"):
        metric(image, image[:, :1])
    with pytest.raises(TypeError, match="divide 8-bit values by 255"):
        metric((image * 255).byte(), (image * 255).byte())
    with pytest.raises(ValueError, match="leaves nothing"):
        metric(image, image, crop=8)


@pytest.mark.parametrize(
    ("metric", "smallest"), [(ssim, 11), (ssim_skimage, 7), (ssim_pooled, 11), (ms_ssim, 161), (psnr_b, 16)]
)
def test_images_smaller_than_the_window_are_errors(metric, smallest):
    fits = torch.rand(1, 1, smallest, smallest + 20)
    assert metric(fits, fits.flip(3)).isfinite().all()
    with pytest.raises(ValueError, match=f"got {smallest - 1}x"):
        metric(fits[..., 1:, :], fits[..., 1:, :])


def test_protocols_round_convert_and_cut_as_they_say():
    image, target = (side.float() for side in pair(2, 3, 40, 44))
    whole = [to_8_bits(side.double()) for side in (image, target)]
    inner = (..., slice(4, -4), slice(4, -4))
    ys = [rgb_to_y(side)[inner] for side in whole]
    assert torch.equal(get_protocol("basicsr-y").psnr(image, target, scale=4), psnr(*ys))
    assert torch.equal(get_protocol("basicsr-y").similarity(image, target, scale=4), ssim(*ys))
    assert torch.equal(get_protocol("basicsr-rgb").psnr(image, target, scale=4), psnr(*(side[inner] for side in whole)))
    assert torch.equal(get_protocol("rgb").psnr(image, target), psnr(*whole))
    assert torch.equal(get_protocol("rgb-float").psnr(image, target), psnr(image, target))
    assert torch.equal(get_protocol("gopro").similarity(image, target), ssim_matlab(*whole))
    assert torch.equal(get_protocol("sidd").similarity(image, target), ssim_matlab(image, target))
    assert torch.equal(get_protocol("skimage-rgb").similarity(image, target), ssim_skimage(*whole))
    assert torch.equal(get_protocol("sots").similarity(image, target), ssim_pooled(image, target))
    rounded = [luma_8_bits(side) for side in whole]
    assert torch.equal(get_protocol("matlab-y").psnr(image, target), psnr(*rounded))
    assert torch.equal(get_protocol("jpeg-y").psnr_b(image, target), psnr_b(*rounded))
    assert torch.equal(get_protocol("classic-luma").psnr(image, target, scale=4), psnr(*(y[inner] for y in rounded)))
    darker = get_protocol("lol-gt-mean").prepare(0.5 * target, target)
    assert (darker[0] - darker[1]).abs().max() <= 1 / 255


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_measures_colour_and_grey_and_equal_images(name):
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert protocol.tables
    for channels in (3, 1):
        image, target = pair(1, channels, 32, 36)
        assert 15 < protocol.psnr(image, target, scale=2).item() < 60
        assert 0 < protocol.similarity(image, target, scale=2).item() < 1
        assert protocol.psnr(target, target, scale=2).item() == math.inf
        assert protocol.similarity(target, target, scale=2).item() == pytest.approx(1)
        assert protocol.psnr(image * math.nan, target, scale=2).isnan().all()


def test_grey_is_its_own_luma_and_halves_of_the_luma_go_up():
    grey = torch.rand(1, 1, 12, 12)
    assert torch.equal(luma_8_bits(to_8_bits(grey.double())), to_8_bits(grey.double()))
    for red, green, blue in ((0, 0, 0), (255, 255, 255), (3, 141, 59)):
        colour = torch.tensor([red, green, blue]).double()[None, :, None, None] / 255
        exact = 16 + (65481 * red + 128553 * green + 24966 * blue) / 255000
        assert luma_8_bits(colour).item() * 255 == pytest.approx(math.floor(exact + 0.5))
    # 65481 r + 128553 g + 24966 b lies a half above a whole level for these 8-bit colours.
    halves = [
        (r, g, b)
        for r in range(0, 256, 5)
        for g in range(0, 256, 5)
        for b in range(0, 256, 5)
        if (65481 * r + 128553 * g + 24966 * b) % 255000 == 127500
    ]
    assert halves
    colours = torch.tensor(halves).double()[:, :, None, None] / 255
    whole = torch.tensor([(65481 * r + 128553 * g + 24966 * b + 127500) // 255000 + 16 for r, g, b in halves])
    assert torch.equal((luma_8_bits(colours).flatten() * 255).round().long(), whole)


def test_unknown_protocols_and_missing_scales_are_named():
    image = torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"unknown protocol 'basicsry'; did you mean basicsr-y"):
        get_protocol("basicsry")
    with pytest.raises(ValueError, match=r"choose one of rgb,"):
        get_protocol("zzz")
    with pytest.raises(ValueError, match="basicsr-y leaves a border of `scale` pixels out; pass scale"):
        get_protocol("basicsr-y").psnr(image, image)
    with pytest.raises(ValueError, match="leaves nothing"):
        get_protocol("basicsr-y").psnr(image, image, scale=8)
    with pytest.raises(ValueError, match="compare grey with grey"):
        get_protocol("rgb").psnr(image, image[:, :1])
    with pytest.raises(TypeError, match="divide 8-bit"):
        get_protocol("rgb").psnr((255 * image).byte(), (255 * image).byte())
    assert get_protocol("basicsr-y").psnr(image, 1 - image, scale=1).shape == (1,)


def test_peers_agree_where_they_are_installed():
    image, target = pair(1, 3, 170, 180)
    arrays = [side[0].permute(1, 2, 0).numpy() for side in (image, target)]
    metrics = pytest.importorskip("skimage.metrics")
    options = {"channel_axis": 2, "data_range": 1.0}
    assert ssim_skimage(image, target).item() == pytest.approx(metrics.structural_similarity(*arrays, **options), abs=1e-10)
    options |= {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert ssim(image, target).item() == pytest.approx(metrics.structural_similarity(*arrays, **options), abs=1e-10)


def test_piq_agrees_where_it_is_installed():
    piq = pytest.importorskip("piq")
    image, target = pair(1, 3, 400, 420)
    assert psnr(image, target, eps=1e-8).item() == pytest.approx(piq.psnr(image, target).item(), abs=1e-8)
    assert ssim_pooled(image, target).item() == pytest.approx(piq.ssim(image, target).item(), abs=1e-8)
    assert ms_ssim(image, target).item() == pytest.approx(piq.multi_scale_ssim(image, target).item(), abs=1e-8)


def test_torchmetrics_agrees_where_it_is_installed():
    functional = pytest.importorskip("torchmetrics.functional.image")
    image, target = pair(2, 3, 30, 41)
    theirs = functional.structural_similarity_index_measure(image, target, data_range=1.0, reduction="none")
    assert torch.allclose(ssim(image, target, border="reflect"), theirs, rtol=1e-10)


def test_metrics_import_neither_timm_nor_scipy():
    import subprocess

    code = "import sys, restoralib.metrics; sys.exit(bool({'timm', 'torchvision', 'scipy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
