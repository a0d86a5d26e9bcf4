"""Generators of test images: seeds, what each does, and what happens to bad folders."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from restoralib.data import DatasetError
from restoralib.degradations import PAIRED_TASKS
from restoralib.evaluation import evaluate
from restoralib.evaluation.generators import GENERATORS
from restoralib.evaluation.generators.bayer import fill_in, mosaic_places, take_mosaic
from restoralib.evaluation.generators.blur import blade_kernel, walk_kernel
from restoralib.evaluation.generators.convolution import convolve
from restoralib.evaluation.generators.moire import homography, through
from restoralib.evaluation.generators.noise import expose
from restoralib.evaluation.generators.rain import streak
from restoralib.evaluation.generators.srgb import from_light, to_light
from restoralib.evaluation.synthetic import SyntheticPairs, open_synthetic
from restoralib.metrics import psnr


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scene(seed: int = 0, height: int = 48, width: int = 56) -> Tensor:
    coarse = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 1)


def save(image: Tensor, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy().squeeze()).save(path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    save(scene(0), tmp_path / "clean" / "a.png")
    save(scene(1, 70, 40), tmp_path / "clean" / "b.png")
    save(scene(2)[:1], tmp_path / "clean" / "grey.png")
    return tmp_path / "clean"


# The generators


def test_there_is_a_generator_for_each_of_the_nine_degradations():
    assert tuple(GENERATORS) == PAIRED_TASKS


@pytest.mark.parametrize("task", GENERATORS)
@pytest.mark.parametrize("size", [(48, 56), (33, 37)])
def test_equal_seeds_give_equal_images_and_others_others(task, size):
    clean = scene(0, *size)
    first, again, other = (GENERATORS[task](clean, rng(seed), None) for seed in (1, 1, 2))
    assert first.image.shape == clean.shape and first.image.isfinite().all()
    assert torch.equal(first.image, again.image) and first.facts == again.facts
    assert not torch.equal(first.image, other.image)
    assert psnr(first.image.clamp(0, 1)[None], clean[None]) < 45  # it does something


@pytest.mark.parametrize(
    ("task", "weak", "strong"),
    [
        ("denoise", 5, 50),
        ("denoise_real", 4000, 60),
        ("jpeg", 90, 10),
        ("deblur", 3, 25),
        ("defocus", 1, 5),
        ("derain", 0.1, 0.8),
        ("dehaze", 0.2, 2.5),
        ("low_light", 0.5, 4),
    ],
)
def test_levels_order_the_damage(task, weak, strong):
    mild, hard = (
        psnr(GENERATORS[task](scene(), rng(3), level).image.clamp(0, 1)[None], scene()[None]) for level in (weak, strong)
    )
    assert mild > hard + 2


def test_kernels_come_with_blurs_only():
    for task, generator in GENERATORS.items():
        kernel = generator(scene(), rng(), None).kernel
        assert (kernel is not None) == (task in ("deblur", "defocus"))


def test_the_kernel_is_what_the_image_was_blurred_by():
    clean = scene(0, 64, 64)
    spoilt = GENERATORS["deblur"](clean, rng(5), 9)
    assert spoilt.kernel is not None
    half = spoilt.kernel.shape[0] // 2
    inside = convolve(clean, spoilt.kernel)
    noise = spoilt.image[:, half:-half, half:-half] - inside
    assert noise.std() == pytest.approx(1 / 255, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_walks_are_kernels_whose_middle_is_their_centre_of_gravity(seed):
    kernel = walk_kernel(rng(seed), 12.0)
    side = kernel.shape[0]
    assert side % 2 == 1 and kernel.min() >= 0 and kernel.sum() == pytest.approx(1)
    at = torch.arange(side, dtype=torch.float64) - side // 2
    assert abs(float((kernel.sum(1) * at).sum())) < 0.1 and abs(float((kernel.sum(0) * at).sum())) < 0.1
    rows = (kernel.sum(1) > 0).nonzero()
    columns = (kernel.sum(0) > 0).nonzero()
    assert max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) == pytest.approx(12, abs=1)


def test_a_round_aperture_is_a_disc_and_a_square_one_a_square():
    disc = blade_kernel(4.0, 6, 0.3, 1.0)
    assert 1 / disc.max() == pytest.approx(math.pi * 16, rel=0.02)
    square = blade_kernel(4.0, 4, math.pi / 4, 0.0)  # a circle of radius 4 around it: sides of 4 sqrt 2
    assert 1 / square.max() == pytest.approx(32, rel=0.05)


def test_convolution_is_that_of_the_definition():
    image, kernel = scene()[:1], walk_kernel(rng(1), 3.0)
    direct = torch.nn.functional.conv2d(image[None], kernel.flip(0, 1)[None, None])[0]
    assert torch.allclose(convolve(image, kernel), direct, atol=1e-12)


def test_the_curve_of_srgb_is_undone():
    values = torch.linspace(0, 1, 256, dtype=torch.float64)
    assert torch.allclose(from_light(to_light(values)), values, atol=1e-12)
    assert to_light(torch.tensor(0.5, dtype=torch.float64)).item() == pytest.approx(0.21404, abs=1e-5)


def test_a_mosaic_keeps_its_samples_and_fills_in_smooth_ramps():
    down, right = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    ramp = torch.stack([0.1 + 0.01 * down, 0.2 + 0.01 * right, 0.3 + 0.005 * (down + right)])
    filled = fill_in(take_mosaic(ramp))
    places = mosaic_places(20, 24)
    assert torch.equal(filled.gather(0, places[None])[0], take_mosaic(ramp))
    # The filters are exact for planes, whatever their slopes.
    assert torch.allclose(filled[:, 4:-4, 4:-4], ramp[:, 4:-4, 4:-4], atol=1e-6)


def test_photons_are_counted_by_poissons_law():
    light = torch.full((200, 200), 0.25, dtype=torch.float64)
    measured = expose(light, rng(), 400, 0.0, 0.0, bits=14)
    assert float(measured.mean()) == pytest.approx(0.25, rel=0.01)
    assert float((measured * 400).var()) == pytest.approx(100, rel=0.03)


def test_a_streak_has_its_length_direction_and_peak():
    shape = streak(21, 1.0, 0.0)
    middle = shape.shape[0] // 2
    assert shape.max() == shape[middle, middle] == 1
    assert shape[:, middle].ge(0.5).sum() == 21 and shape[middle].ge(0.5).sum() == 3
    slanted = streak(21, 1.0, 45.0)
    assert slanted[middle + 5, middle + 5] > 0.9 > 0.1 > slanted[middle + 5, middle - 5]


def test_rain_and_haze_only_add_light():
    clean = scene() * 0.4
    assert (GENERATORS["derain"](clean, rng(2), None).image >= clean - 1e-9).all()
    assert (GENERATORS["dehaze"](clean, rng(2), None).image >= clean - 1e-9).all()


def test_homographies_move_their_points_and_back():
    corners = np.array([[0, 0], [40, 0], [40, 30], [0, 30]], dtype=np.float64)
    seen = corners * 1.3 + np.array([[1, 2], [-2, 0], [3, 1], [0, -1]])
    matrix = homography(corners, seen)
    points = np.c_[corners, np.ones(4)] @ matrix.T
    assert np.allclose(points[:, :2] / points[:, 2:], seen)
    picture = scene()
    assert torch.allclose(through(picture, np.eye(3), (48, 56), "bilinear"), picture, atol=1e-9)


def test_moire_stays_where_the_image_is():
    clean = scene(4, 96, 96)
    spoilt = GENERATORS["demoire"](clean, rng(0), None)
    # Stripes average out over many pixels; what is left lies on the scene.
    coarse = torch.nn.functional.avg_pool2d(torch.stack([spoilt.image, clean]), 24)
    assert (coarse[0] - coarse[1]).abs().mean() < 0.05


# Sets of pairs


def test_sets_are_seeded_and_independent_of_order(folder):
    pairs = SyntheticPairs("derain", folder, size=32, seed=4)
    assert len(pairs) == 30 and len(set(pairs.names)) == 30
    late = SyntheticPairs("derain", folder, size=32, seed=4, keep=True)[7]
    assert torch.equal(pairs[7].degraded, late.degraded) and pairs[7].facts == late.facts
    assert not torch.equal(SyntheticPairs("derain", folder, size=32, seed=5)[7].degraded, late.degraded)
    assert torch.equal(SyntheticPairs("dehaze", folder, size=32, seed=4)[7].clean, late.clean)  # the same crops for all tasks


def test_pairs_have_8_bits_and_the_size_that_was_asked(folder):
    pair = SyntheticPairs("denoise", folder, level=25, size=40)[1]
    assert pair.degraded.shape == pair.clean.shape == (3, 40, 40)
    for image in (pair.degraded, pair.clean):
        assert torch.allclose(image * 255, (image * 255).round(), atol=1e-4)
    assert pair.facts["sigma"] == 25 and pair.facts["task"] == "denoise"
    assert SyntheticPairs("denoise", folder, size=64)[0].clean.shape == (3, 48, 56)  # smaller ones as they are


def test_kept_pairs_are_made_once(folder):
    pairs = SyntheticPairs("denoise", folder, keep=True)
    assert pairs[0] is pairs[0] and pairs[-1] is pairs[29]
    assert len(pairs[:3]) == 3
    with pytest.raises(IndexError):
        pairs[30]


def test_evaluate_takes_sets_by_name(folder):
    found = evaluate("identity", f"synthetic-denoise-50:{folder}", seed=3)
    assert found.data == "synthetic-denoise-50" and len(found.images) == 30
    assert 13 < found.mean["psnr"] < 18
    assert any("seed 3" in note for note in found.notes)


def test_names_of_other_sets_are_none_of_these():
    assert open_synthetic("set14:photos") is None
    assert open_synthetic("photos") is None


def test_bad_files_are_reported_and_skipped(folder):
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "empty.png").touch()
    save(scene(0, 20, 20), folder / "tiny.png")
    pairs = SyntheticPairs("jpeg", folder, level=10, count=4)
    assert [Path(problem.name).name for problem in pairs.problems] == ["broken.png", "empty.png"]
    found = evaluate("identity", pairs)
    assert len(found.images) == 3
    reasons = " ".join(failure.reason for failure in found.failures)
    assert "cut short" in reasons and "empty" in reasons and "32 or more" in reasons


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"task": "denoice"}, ValueError, "no generator makes pairs of 'denoice'; choose one of denoise"),
        ({"size": 8}, ValueError, "size should be 32 or more"),
        ({"count": 0}, ValueError, "count 1 or more"),
        ({"seed": -1}, ValueError, "seed should be 0 or more"),
    ],
)
def test_wrong_arguments_are_told(folder, arguments, error, words):
    with pytest.raises(error, match=words):
        SyntheticPairs(**{"task": "denoise", "folders": folder, **arguments})


def test_folders_without_photographs_are_told(tmp_path):
    with pytest.raises(DatasetError, match="holds no clean photograph"):
        SyntheticPairs("denoise", tmp_path)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="of 1 image files none can be read"):
        SyntheticPairs("denoise", tmp_path)
    with pytest.raises(DatasetError, match="is no folder"):
        SyntheticPairs("denoise", tmp_path / "missing")
