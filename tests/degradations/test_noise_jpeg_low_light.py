"""Noise, JPEG, a camera and low light: their statistics, their limits, what they refuse, and records that rebuild them."""

import json
import math
import sys

import pytest
import torch
from torch import Tensor

from restoralib.degradations import (
    JPEG,
    CameraNoise,
    ColorJitter,
    CorrelatedNoise,
    DiffJPEG,
    GaussianNoise,
    Grain,
    LowLight,
    PoissonNoise,
    RoundToLevels,
    SaltAndPepper,
    SpeckleNoise,
    UnevenLight,
    add_correlated_noise,
    add_gaussian_noise,
    add_grain,
    add_poisson_noise,
    add_salt_and_pepper,
    add_shot_read_noise,
    add_speckle_noise,
    camera_matrix,
    demosaic,
    diff_jpeg,
    draw_covariance,
    jitter_color,
    jpeg,
    lamp,
    low_light,
    numpy_normal,
    poisson_means,
    process,
    quantisation_table,
    rebuild,
    record,
    relight,
    round_to_levels,
    unprocess,
)

KINDS = [
    JPEG,
    CameraNoise,
    ColorJitter,
    CorrelatedNoise,
    DiffJPEG,
    GaussianNoise,
    Grain,
    LowLight,
    PoissonNoise,
    RoundToLevels,
    SaltAndPepper,
    SpeckleNoise,
    UnevenLight,
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(*shape: int) -> Tensor:
    """Smooth colours in [0, 1]."""
    b, c, h, w = shape
    y = torch.linspace(0, 1, h)[:, None]
    x = torch.linspace(0, 1, w)
    planes = torch.stack([0.5 + 0.5 * torch.sin(3 * y + (2 + k) * x + k) for k in range(b * c)])
    return planes.reshape(shape)


def flat(value: float, channels: int = 3) -> Tensor:
    return torch.full((1, channels, 200, 200), value)


# What every degradation keeps to.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 3, 13, 18), (1, 1, 7, 9), (1, 3, 1, 1), (1, 1, 1, 1), (1, 3, 1, 5)])
def test_any_size_and_type_comes_back_in_range(kind, shape):
    degradation = kind.draw(generator(3))
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        image = ramp(*shape).to(dtype)
        degraded = degradation(image)
        assert (degraded.shape, degraded.dtype) == (image.shape, dtype)
        assert 0 <= degraded.min() <= degraded.max() <= 1
        exact = degradation(image.double()).float()
        # A coefficient of JPEG, a count of photons or a level may lie on the other side of a boundary in another precision.
        assert (degraded.float() - exact).abs().median() < 2e-2


@pytest.mark.parametrize("kind", KINDS)
def test_record_rebuilds_the_same_pictures(kind):
    image = ramp(2, 3, 17, 22)
    for seed in range(5):
        degradation = kind.draw(generator(seed))
        again = rebuild(json.loads(json.dumps(record(degradation))))
        assert again == degradation
        assert torch.equal(again(image), degradation(image))
        assert kind.draw(generator(seed)) == degradation


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not RoundToLevels])
def test_draws_differ(kind):
    assert kind.draw(generator(0)) != kind.draw(generator(1))


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_other_shapes_and_types_are_refused(kind):
    with pytest.raises(ValueError, match="one or three channels"):
        kind()(torch.rand(1, 4, 8, 8))
    with pytest.raises(ValueError, match="one or three channels"):
        kind()(torch.rand(3, 8, 8))
    with pytest.raises(TypeError, match="divide 8-bit images by 255"):
        kind()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_global_random_state_is_left_alone(kind):
    state = torch.get_rng_state()
    kind.draw(generator())(ramp(1, 3, 9, 9))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [GaussianNoise, SpeckleNoise, CorrelatedNoise, Grain, LowLight, UnevenLight, CameraNoise])
def test_nan_passes_through(kind):
    image = ramp(1, 3, 8, 8)
    image[0, 1, 2, 3] = math.nan
    assert kind()(image)[0, 1, 2, 3].isnan()


@pytest.mark.parametrize("degrade", [lambda x: jpeg(x, 50), add_poisson_noise])
def test_codecs_and_counters_refuse_nan(degrade):
    image = ramp(1, 3, 8, 8)
    image[0, 1, 2, 3] = math.nan
    with pytest.raises(ValueError, match="finite"):
        degrade(image)


@pytest.mark.parametrize(
    ("degrade", "words"),
    [
        (lambda x: add_gaussian_noise(x, -1), "sigma should be zero or more, got -1"),
        (lambda x: add_gaussian_noise(x, math.nan), "sigma"),
        (lambda x: add_gaussian_noise(x, torch.tensor([5.0, -1.0])), "sigma"),
        (lambda x: add_gaussian_noise(x, torch.ones(3)), "one for each of 2 images"),
        (lambda x: add_gaussian_noise(x, 5, draw=torch.zeros(2, 1, 8, 8)), r"draw of shape \(2, 3, 8, 8\)"),
        (lambda x: add_gaussian_noise(x, 5, draw=torch.zeros(2, 3, 8, 8), gray=True), r"draw of shape \(2, 1, 8, 8\)"),
        (lambda x: add_speckle_noise(x, -2), "sigma"),
        (lambda x: add_poisson_noise(x, -1), "scale"),
        (lambda x: add_poisson_noise(x, vals=0), "photons of white"),
        (lambda x: add_poisson_noise(x, counts=torch.zeros(2, 3, 8, 7)), "counts of shape"),
        (lambda x: add_salt_and_pepper(x, 1.5), r"amount is a share"),
        (lambda x: add_salt_and_pepper(x, 0.5, salt=-1), r"salt is a share"),
        (lambda x: add_correlated_noise(x, ((1, 0), (0, 1))), "symmetric covariance"),
        (lambda x: add_correlated_noise(x, ((1, 2, 0), (0, 1, 0), (0, 0, 1))), "symmetric covariance"),
        (lambda x: add_grain(x, 5, chroma=-0.1), "chroma"),
        (lambda x: add_grain(x, 5, draw=torch.zeros(2, 3, 8, 8)), r"draw of shape \(2, 4, 8, 8\)"),
        (lambda x: add_shot_read_noise(x, -0.1, 0), "read"),
        (lambda x: add_shot_read_noise(x, 0, -0.1), "shot"),
        (lambda x: add_shot_read_noise(x, 0, 0, draw=torch.zeros(1, 3, 8, 8)), "draw of shape"),
        (lambda x: jpeg(x, 0), "quality should be a whole number in 1..100, got 0"),
        (lambda x: jpeg(x, 50.5), "whole number"),
        (lambda x: jpeg(x, math.nan), "whole number"),
        (lambda x: jpeg(x, 50, subsampling="4:1:1"), "unknown subsampling"),
        (lambda x: diff_jpeg(x, 0), "above 0"),
        (lambda x: diff_jpeg(x, math.nan), "above 0"),
        (lambda x: diff_jpeg(x, torch.tensor([50.0, 101.0])), "at most 100"),
        (lambda x: diff_jpeg(x, torch.tensor([50.0, 50.0, 50.0])), "one for each of 2 images"),
        (lambda x: quantisation_table(50, "alpha"), "unknown plane"),
        (lambda x: low_light(x, -1, 2), "alpha"),
        (lambda x: low_light(x, 1, -2), "gamma"),
        (lambda x: relight(x, torch.ones(1, 1, 8, 7)), "illumination of shape"),
        (lambda x: lamp(8, 8, center=(0.5, 0.5), radius=0, ambient=0.5), "positive radius"),
        (lambda x: lamp(8, 8, center=(0.5, 0.5), radius=1, ambient=1.5), "ambient"),
        (lambda x: unprocess(x, camera_matrix(), red=0), "gains should be positive"),
        (lambda x: camera_matrix((1, 2)), "four weights"),
        (lambda x: camera_matrix((0, 0, 0, 0)), "not all zero"),
        (lambda x: demosaic(x[:, :1]), "needs RGB"),
        (lambda x: round_to_levels(x, 0), "levels"),
        (lambda x: jitter_color(x, -1), "brightness"),
        (lambda x: jitter_color(x, 1, -1), "contrast"),
    ],
)
def test_bad_arguments_are_refused_in_words(degrade, words):
    with pytest.raises(ValueError, match=words):
        degrade(ramp(2, 3, 8, 8))


# Noise.


def test_gaussian_noise_has_the_standard_deviation_that_was_asked_for():
    noise = add_gaussian_noise(flat(0.5), 25, generator=generator(), clip=False) - 0.5
    assert float(noise.std()) == pytest.approx(25 / 255, rel=0.01)
    assert abs(float(noise.mean())) < 1e-3
    channels = noise[0].flatten(1)
    assert torch.corrcoef(channels).triu(1).abs().max() < 0.02


def test_gray_noise_is_the_same_in_all_channels():
    for add in (add_gaussian_noise, add_speckle_noise):
        noise = add(flat(0.5), 25, generator=generator(), gray=True) - 0.5
        assert noise.std() > 0.01
        assert torch.equal(noise[:, 0], noise[:, 1]) and torch.equal(noise[:, 0], noise[:, 2])
    image = ramp(1, 3, 20, 20).clamp(0.3, 0.7)
    noise = add_poisson_noise(image, generator=generator(), gray=True) - image
    assert torch.allclose(noise[:, 0], noise[:, 2], atol=1e-6) and noise.std() > 0.01


def test_strengths_may_differ_from_image_to_image():
    image, sigma = ramp(2, 3, 8, 8), torch.tensor([0.0, 30.0])
    draw = torch.randn(2, 3, 8, 8, generator=generator())
    for add in (add_gaussian_noise, add_speckle_noise):
        both = add(image, sigma, draw=draw)
        assert torch.equal(both[:1], image[:1])
        assert torch.allclose(both[1:], add(image[1:], 30, draw=draw[1:]), atol=1e-7)
    counts = torch.poisson(poisson_means(image)[0], generator())
    both = add_poisson_noise(image, torch.tensor([0.0, 1.0]), counts=counts)
    assert torch.equal(both[:1], image[:1])
    assert torch.equal(both[1:], add_poisson_noise(image[1:], counts=counts[1:]))
    assert torch.allclose(
        diff_jpeg(image, torch.tensor([10.0, 80.0])), torch.cat((diff_jpeg(image[:1], 10), diff_jpeg(image[1:], 80)))
    )


def test_noise_neither_clipped_nor_rounded_keeps_its_gradient():
    image = ramp(1, 3, 8, 8).double().requires_grad_()
    draw = torch.randn(1, 3, 8, 8, generator=generator()).double()
    add_gaussian_noise(image, 25, draw=draw, clip=False).sum().backward()
    assert torch.equal(image.grad, torch.ones_like(image))
    inner = ramp(1, 3, 3, 3).double().clamp(0.2, 0.8).requires_grad_()
    draw = draw[..., :3, :3]
    for degrade in (
        lambda x: add_speckle_noise(x, 10, draw=draw),
        lambda x: add_shot_read_noise(x, 0.01, 0.02, draw=draw),
        lambda x: low_light(x, 0.9, 2.5),
        lambda x: process(unprocess(x, camera_matrix()), camera_matrix()),
    ):
        assert torch.autograd.gradcheck(degrade, inner)


def test_poisson_noise_has_the_variance_of_counts():
    image = flat(0.5)
    noisy = add_poisson_noise(image, vals=100, generator=generator())
    level = 128 / 255  # Half is rounded to 8 bits.
    assert float(noisy.var()) == pytest.approx(level / 100, rel=0.03)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=1e-3)
    assert torch.equal(add_poisson_noise(torch.zeros(1, 3, 4, 4)), torch.zeros(1, 3, 4, 4))


def test_photons_of_white_follow_the_number_of_values():
    images = torch.stack([(torch.arange(48) % levels).reshape(3, 4, 4) / 255 for levels in (1, 2, 3, 17)])
    assert poisson_means(images)[1].flatten().tolist() == [1, 2, 4, 32]


def test_speckle_grows_with_the_light():
    draw = torch.randn(1, 3, 200, 200, generator=generator())
    dark, bright = (add_speckle_noise(flat(value), 20, draw=draw, clip=False).std() for value in (0.2, 0.8))
    assert float(bright / dark) == pytest.approx(4, rel=1e-3)
    assert float(bright) == pytest.approx(0.8 * 20 / 255, rel=0.01)


def test_salt_and_pepper_take_their_shares():
    noisy = add_salt_and_pepper(flat(0.5), 0.1, salt=0.25, generator=generator())
    assert float((noisy == 1).float().mean()) == pytest.approx(0.025, rel=0.05)
    assert float((noisy == 0).float().mean()) == pytest.approx(0.075, rel=0.05)
    pixels = add_salt_and_pepper(flat(0.5), 0.1, generator=generator(), gray=True)
    assert torch.equal(pixels[:, 0], pixels[:, 1]) and (pixels != 0.5).any()
    assert torch.equal(add_salt_and_pepper(flat(0.5), 0), flat(0.5))
    assert set(add_salt_and_pepper(flat(0.5), 1).unique().tolist()) == {0, 1}


def test_correlated_noise_has_the_covariance_that_was_asked_for():
    covariance = ((0.004, 0.002, -0.001), (0.002, 0.003, 0.0), (-0.001, 0.0, 0.002))
    noise = add_correlated_noise(torch.zeros(1, 3, 300, 300), covariance, generator=generator(), clip=False)
    assert torch.allclose(torch.cov(noise[0].flatten(1)), torch.tensor(covariance), atol=1e-4)
    grey = add_correlated_noise(torch.zeros(1, 1, 300, 300), covariance, generator=generator(), clip=False)
    assert float(grey.var()) == pytest.approx(0.003, rel=0.02)


def test_drawn_covariances_are_those_of_bsrgan():
    for seed in range(20):
        matrix = torch.tensor(draw_covariance(generator(seed), 25), dtype=torch.float64)
        assert torch.equal(matrix, matrix.T) and (matrix >= 0).all()
        assert matrix.diagonal().sum() <= 3 * (25 / 255) ** 2  # The trace is that of L^2 D.


def test_grain_is_mostly_of_light():
    grain = add_grain(flat(0.5), 16, generator=generator(), clip=False) - 0.5
    covariance = torch.cov(grain[0].flatten(1)) * (255 / 16) ** 2
    assert torch.allclose(covariance, 1 + 0.35**2 * torch.eye(3), atol=0.02)
    assert float(add_grain(flat(0.5, 1), 16, generator=generator()).std()) == pytest.approx(16 / 255, rel=0.02)


def test_numpy_draws_come_in_the_papers_order():
    import numpy as np

    drawn = np.random.RandomState(0).normal(0, 25 / 255, (5, 7, 3))
    assert np.allclose(numpy_normal(3, 5, 7)[0].permute(1, 2, 0).numpy() * 25 / 255, drawn)
    assert torch.equal(numpy_normal(3, 5, 7, bgr=True), numpy_normal(3, 5, 7).flip(1))
    assert torch.equal(numpy_normal(1, 5, 7)[0, 0].flatten(), numpy_normal(3, 5, 7).permute(0, 2, 3, 1).flatten()[:35])


# JPEG.


@pytest.mark.parametrize("quality", [1, 30, 49, 50, 75, 100])
def test_tables_are_those_that_the_codec_writes(quality, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", quality=quality)
    with Image.open(tmp_path / "a.jpg") as file:
        for plane, number in (("luma", 0), ("chroma", 1)):
            assert quantisation_table(quality, plane).flatten().tolist() == list(file.quantization[number])


def test_jpeg_gives_whole_levels_and_keeps_grey_grey():
    image = ramp(2, 3, 21, 30)
    levels = jpeg(image, 60) * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert jpeg(image[:, :1], 60).shape == (2, 1, 21, 30)
    assert (jpeg(image[:, :1], 95) - image[:, :1]).abs().max() < 0.02
    assert not jpeg(image.requires_grad_(), 60).requires_grad


def test_better_quality_comes_closer():
    image = (ramp(1, 3, 40, 40) + 0.1 * torch.randn(1, 3, 40, 40, generator=generator())).clamp(0, 1)
    for compress in (jpeg, diff_jpeg):
        errors = [float((compress(image, quality) - image).square().mean()) for quality in (5, 20, 50, 80, 100)]
        assert errors == sorted(errors, reverse=True)


def test_colour_survives_without_subsampling():
    image = torch.zeros(1, 3, 16, 16)
    image[:, 0, :, ::2] = 1
    losses = [float((jpeg(image, 100, subsampling=how) - image).abs().mean()) for how in ("4:4:4", "4:2:2", "4:2:0")]
    assert losses[0] < 0.01 < losses[1] <= losses[2]


def test_differentiable_jpeg_resembles_the_codec():
    image = ramp(1, 3, 48, 32)  # whole blocks: it fills others with black, which spreads
    for quality in (30, 75, 95):
        assert (diff_jpeg(image, quality) - jpeg(image, quality)).abs().mean() < 6 / 255


def test_cubic_rounding_lets_the_gradient_through():
    image = (ramp(1, 3, 20, 20) + 0.1 * torch.randn(1, 3, 20, 20, generator=generator())).clamp(0.1, 0.9)
    for differentiable in (True, False):
        leaf = image.clone().requires_grad_()
        diff_jpeg(leaf, 50, differentiable=differentiable).square().sum().backward()
        assert bool(leaf.grad.abs().sum() > 0) is differentiable
    exact = diff_jpeg(image.double(), 30)
    assert (diff_jpeg(image.double(), 30, differentiable=True) - exact).abs().mean() > 1e-4


def test_grey_in_differentiable_jpeg_is_the_luma_of_equal_channels():
    grey = ramp(1, 1, 21, 19).double()
    assert torch.allclose(diff_jpeg(grey, 40).expand(1, 3, 21, 19), diff_jpeg(grey.expand(1, 3, 21, 19), 40), atol=1e-12)


def test_jpeg_without_pillow_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"restoralib\[io\]"):
        jpeg(ramp(1, 3, 8, 8), 50)


# A camera, and low light.


def test_processing_undoes_unprocessing():
    image = 0.4 * ramp(1, 3, 30, 30).double() + 0.3  # no colours that the camera cannot hold
    for weights in ((1, 0, 0, 0), (0.2, 0.5, 0.1, 0.9)):
        matrix = camera_matrix(weights)
        assert torch.allclose(process(unprocess(image, matrix), matrix), image, atol=2e-3)
    grey = image[:, :1]
    assert torch.allclose(process(unprocess(grey, matrix), matrix), grey, atol=1e-6)


def test_white_stays_white_and_grey_grey():
    assert torch.allclose(camera_matrix().sum(1), torch.ones(3, dtype=torch.float64))
    white = torch.ones(1, 3, 4, 4).double()
    assert torch.allclose(unprocess(white, camera_matrix()), white)
    grey = torch.full((1, 3, 6, 6), 0.4).double()
    noiseless = CameraNoise(read=0, shot=0)
    assert torch.allclose(noiseless(grey), grey, atol=1e-6)


def test_a_mosaic_keeps_what_it_saw_and_constants_and_ramps():
    image = torch.rand(1, 3, 7, 10, generator=generator()).double()
    seen = demosaic(image)
    assert torch.allclose(seen[:, 0, ::2, ::2], image[:, 0, ::2, ::2])
    assert torch.allclose(seen[:, 1, ::2, 1::2], image[:, 1, ::2, 1::2])
    assert torch.allclose(seen[:, 1, 1::2, ::2], image[:, 1, 1::2, ::2])
    assert torch.allclose(seen[:, 2, 1::2, 1::2], image[:, 2, 1::2, 1::2])
    assert torch.allclose(demosaic(torch.full((1, 3, 2, 3), 0.3)), torch.full((1, 3, 2, 3), 0.3))
    slope = (torch.arange(12.0)[:, None] + 2 * torch.arange(9.0)).expand(1, 3, 12, 9) / 40
    assert torch.allclose(demosaic(slope)[..., 1:-1, 1:-1], slope[..., 1:-1, 1:-1], atol=1e-6)


def test_camera_noise_is_correlated_over_pixels_and_colours():
    # That is what white noise of the same strength is not, and why denoisers trained on that fail on photographs.
    image = flat(0.4)
    noise = CameraNoise(shot=0.05)(image) - image
    neighbours = torch.corrcoef(torch.stack((noise[0, 0, :, 1:].flatten(), noise[0, 0, :, :-1].flatten())))[0, 1]
    assert neighbours > 0.2
    assert torch.corrcoef(noise[0].flatten(1)).triu(1).abs().max() > 0.1


def test_shot_and_read_noise_add_their_variances():
    for level in (0.0, 0.3, 0.9):
        noisy = add_shot_read_noise(flat(level), 0.02, 0.05, generator=generator(), clip=False)
        assert float(noisy.var()) == pytest.approx(0.02**2 + 0.05**2 * level, rel=0.02)


def test_drawn_cameras_lie_in_the_papers_ranges():
    for seed in range(50):
        camera = CameraNoise.draw(generator(seed))
        assert 1e-4 <= camera.shot**2 <= 0.012
        assert abs(math.log(camera.read**2) - 2.18 * math.log(camera.shot**2) - 1.2) < 0.26 * 4
        assert 1.9 <= camera.red <= 2.4 and 1.5 <= camera.blue <= 1.9 and 0.8 <= camera.exposure <= 2.5


def test_low_light_darkens_the_middle_most():
    image = torch.tensor([0.0, 0.25, 0.5, 1.0]).reshape(1, 1, 2, 2)
    assert torch.allclose(low_light(image, 0.8, 2).flatten(), torch.tensor([0.0, 0.05, 0.2, 0.8]))
    assert torch.equal(low_light(-image, 0.8, 2.5), torch.zeros(1, 1, 2, 2))


def test_a_lamp_lights_its_place_and_leaves_the_rest_ambient():
    light = lamp(101, 81, center=(0.5, 0.25), radius=0.1, ambient=0.2)
    assert light.shape == (1, 1, 101, 81)
    assert divmod(int(light.argmax()), 81) == (50, 20)
    assert float(light.max()) == pytest.approx(1, abs=1e-3) and float(light.min()) == pytest.approx(0.2, abs=1e-3)
    image = ramp(2, 3, 101, 81)
    assert torch.equal(relight(image, light), image * light)


def test_contrast_turns_about_the_mean_luma():
    image = 0.3 + 0.4 * ramp(2, 3, 12, 15).double()
    luma = torch.tensor([0.299, 0.587, 0.114]).double()
    mean = (torch.einsum("bchw,c->b", image, luma) / (12 * 15))[:, None, None, None]
    assert torch.allclose(jitter_color(image, contrast=0), mean.expand_as(image))
    assert torch.allclose(jitter_color(image, 0.8, 1.2), (1.2 * 0.8 * image - 0.2 * 0.8 * mean).clamp(0, 1))
    assert torch.allclose(jitter_color(image), image)
