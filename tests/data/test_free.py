"""Training images free of terms: procedural ones with the statistics of photographs, and those of installed packages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from restoralib.data import free_photographs
from restoralib.data.free import main, write_free_images
from restoralib.data.free_photographs import FREE_PHOTOGRAPHS, FreePhotograph, credits_table, find_photographs
from restoralib.data.photographs import open_photographs
from restoralib.data.procedural import noise_field, procedural_image


def test_an_image_depends_on_its_numbers_alone():
    first = procedural_image(3, 5, 64, 96)
    torch.manual_seed(0)
    np.random.seed(0)
    assert first.shape == (3, 64, 96) and first.dtype == torch.uint8
    assert torch.equal(procedural_image(3, 5, 64, 96), first)
    assert not torch.equal(procedural_image(3, 6, 64, 96), first)
    assert not torch.equal(procedural_image(4, 5, 64, 96), first)


def test_procedural_images_have_the_statistics_of_photographs():
    slopes, tails, chromas = [], [], []
    for number in range(24):
        image = procedural_image(0, number, 128, 128).double() / 255
        light = image.mean(0)
        frequency = torch.hypot(torch.fft.fftfreq(128)[:, None], torch.fft.fftfreq(128)[None]).double()
        band = (frequency > 0.02) & (frequency < 0.4)
        window = torch.hann_window(128, dtype=torch.float64)
        power = torch.fft.fft2((light - light.mean()) * window * window[:, None]).abs() ** 2 + 1e-6
        axis = frequency[band].log() - frequency[band].log().mean()
        slopes.append(((axis * power[band].log()).sum() / axis.square().sum()).item())
        steps = light.diff(dim=1)
        tails.append((steps.pow(4).mean() / steps.pow(2).mean().square().clamp(min=1e-12)).item())
        chromas.append(((image - light).std() / light.std().clamp(min=1e-6)).item())
    # Photographs: power about as 1 / f^2 to 1 / f^3.5; gradients far from Gaussian, whose kurtosis is 3; light before colour.
    assert -3.5 < np.median(slopes) < -2
    assert np.median(tails) > 8
    assert 0.05 < np.median(chromas) < 1


def test_a_field_falls_with_frequency_as_told():
    field = noise_field(128, 128, 1.0, np.random.default_rng(0))
    assert abs(field.mean()) < 1e-5 and abs(field.std() - 1) < 1e-5
    power = np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    low, high = (power[(frequency > f / 1.1) & (frequency < f * 1.1)].mean() for f in (0.04, 0.32))
    assert np.log2(low / high) / 3 == pytest.approx(2, abs=0.35)


@pytest.mark.parametrize("arguments", [(0, 0, 8, 64), (-1, 0), (0, -1)])
def test_sizes_and_numbers_out_of_range_are_told(arguments):
    with pytest.raises(ValueError, match="16 pixels or more"):
        procedural_image(*arguments)


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """A Debian package with one large photograph and a damaged one, and a Python package that is not there."""
    told = ("someone", "CC0-1.0", "copyright")
    monkeypatch.setattr(
        free_photographs,
        "FREE_PHOTOGRAPHS",
        (
            FreePhotograph("large", "deb:pictures", "usr/large.png", *told, 2),
            FreePhotograph("damaged", "deb:pictures", "usr/damaged.png", *told),
            FreePhotograph("absent", "no_such_package", "absent.png", *told),
            FreePhotograph("coffee", "deb:pictures", "usr/large.png", *told),
        ),
    )
    root = tmp_path / "root"
    (root / "usr").mkdir(parents=True)
    Image.fromarray(np.full((700, 1300, 3), 77, np.uint8)).save(root / "usr/large.png")
    (root / "usr/damaged.png").write_bytes((root / "usr/large.png").read_bytes()[:200])
    return root


def test_photographs_are_reduced_and_cut_and_what_is_missing_is_logged(packages, caplog):
    with caplog.at_level("INFO"):
        (found, pieces), *others = find_photographs(root=packages)
    assert not others and found.name == "large"
    assert {name: tuple(piece.shape) for name, piece in pieces.items()} == {
        "large_00": (3, 350, 325),
        "large_01": (3, 350, 325),
    }
    assert all((piece == 77).all() for piece in pieces.values())
    assert "absent: no_such_package is not installed" in caplog.text and "cut short" in caplog.text


def test_photographs_of_installed_packages_are_read():
    pytest.importorskip("skimage")
    found = dict((photograph.name, pieces) for photograph, pieces in find_photographs(root="/nowhere"))
    assert not {"chelsea", "coffee"} & set(found)
    assert found["astronaut"]["astronaut"].shape == (3, 512, 512)
    assert found["rocket"]["rocket"].shape == (3, 214, 320)
    assert set(found["retina"]) == {"retina_00", "retina_01", "retina_10", "retina_11"}
    every = dict((photograph.name, pieces) for photograph, pieces in find_photographs(exclude=["a*"], root="/nowhere"))
    assert {"chelsea", "coffee"} <= set(every) and "astronaut" not in every


def test_all_licences_allow_any_use():
    assert {photograph.license for photograph in FREE_PHOTOGRAPHS} == {
        "public domain", "CC0-1.0", "CC-BY-2.0", "CC-BY-4.0"
    }  # fmt: skip
    lines = credits_table(FREE_PHOTOGRAPHS).splitlines()
    assert len(lines) == len(FREE_PHOTOGRAPHS) == len({photograph.name for photograph in FREE_PHOTOGRAPHS})
    assert all(photograph.credit and photograph.stated for photograph in FREE_PHOTOGRAPHS)


def test_a_folder_for_the_recipes(packages, tmp_path):
    folder = tmp_path / "free"
    main([str(folder), "--procedural", "3", "--size", "32", "--seed", "9", "--root", str(packages)])
    assert sorted(path.name for path in folder.iterdir()) == [
        "CREDITS.txt",
        "free_large_00.png",
        "free_large_01.png",
        *(f"procedural_9_{number:05}.png" for number in range(3)),
    ]
    assert (folder / "CREDITS.txt").read_text() == "large: someone, CC0-1.0 (copyright), from deb:pictures\n"
    held_out, rest = open_photographs(folder)
    assert len(held_out) + len(rest) == 5
    assert torch.equal(rest[3], procedural_image(9, 2, 32, 32))


def test_a_folder_with_other_images_is_refused(packages, tmp_path, capsys):
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "mine.png")
    with pytest.raises(ValueError, match=r"holds other images, such as mine\.png"):
        write_free_images(tmp_path, procedural=1, size=16, root=packages)
    with pytest.raises(ValueError, match="0 procedural images or more, got -1"):
        write_free_images(tmp_path / "new", procedural=-1)
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--procedural", "1"])
    assert "name a folder of its own" in capsys.readouterr().err
