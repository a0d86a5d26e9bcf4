"""Alignment of photographed pairs: shifts and colours that were put in are found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from restoralib.data import Pair, align, find_alignment
from restoralib.data.alignment import find_shift, moved
from restoralib.evaluation import evaluate
from restoralib.metrics import psnr


def scene(height: int = 72, width: int = 80) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 24, 26, generator=generator, dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 1)


def striped(image: Tensor, strength: float = 0.05) -> Tensor:
    """With slow coloured stripes, as moire has them."""
    rows = torch.arange(image.shape[-2], dtype=image.dtype)[:, None]
    columns = torch.arange(image.shape[-1], dtype=image.dtype)
    phase = torch.tensor([0.0, 2.0, 4.0], dtype=image.dtype)[:, None, None]
    return image + strength * torch.sin(0.5 * rows + 0.3 * columns + phase)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, -3.0), (0.5, 0.3), (-2.25, 1.75)])
def test_shifts_are_found_to_a_fraction_of_a_pixel(shift):
    found = find_shift(striped(moved(scene(), *shift)), scene())
    assert found == pytest.approx(shift, abs=0.2)


def test_colours_are_matched_by_a_line_for_each_channel():
    gain, offset = torch.tensor([0.8, 0.9, 0.7]), torch.tensor([0.05, 0.0, 0.1])
    photograph = moved(scene(), 1, -2) * gain[:, None, None] + offset[:, None, None]
    found = find_alignment(striped(photograph), scene())
    assert found.gain == pytest.approx(gain.tolist(), abs=0.03)
    assert found.offset == pytest.approx(offset.tolist(), abs=0.03)


def test_an_aligned_pair_differs_by_its_stripes_alone():
    photograph = striped(moved(scene(), 2.5, -1.0) * 0.8 + 0.1, 0.03)
    given, truth = align(photograph, scene())
    assert given.shape == truth.shape == (3, 56, 64)
    assert torch.equal(given, photograph[:, 8:-8, 8:-8])
    stripes = psnr(given.clamp(0, 1)[None], given.clamp(0, 1)[None] - 0.03 / 2**0.5)
    assert psnr(given.clamp(0, 1)[None], truth[None]) > stripes - 1.5


def test_moving_by_whole_pixels_only_moves():
    image = scene()
    assert torch.equal(moved(image, 3, -2)[:, 5:-5, 5:-5], image[:, 2:-8, 7:-3])


def test_a_flat_image_is_no_trouble():
    flat = torch.full((3, 40, 40), 0.5)
    given, truth = align(flat, flat)
    assert torch.allclose(given, truth) and truth.isfinite().all()


@pytest.mark.parametrize(
    ("degraded", "clean", "words"),
    [
        (torch.zeros(3, 40, 40), torch.zeros(3, 40, 41), "of one shape"),
        (torch.zeros(3, 20, 20), torch.zeros(3, 20, 20), "too small for shifts of 4"),
    ],
)
def test_what_cannot_be_aligned_is_told(degraded, clean, words):
    with pytest.raises(ValueError, match=words):
        find_alignment(degraded, clean)


def test_evaluate_aligns_where_it_is_asked_to():
    pair = Pair("a", (moved(scene(), 1, 1) * 0.9).float(), scene().float())
    plain, aligned = (evaluate("identity", [pair], align=asked) for asked in (False, True))
    assert aligned.mean["psnr"] > plain.mean["psnr"] + 10
    assert "aligned" in aligned.settings["input"] and "align" not in plain.settings
    with pytest.raises(ValueError, match="align is for pairs"):
        evaluate("bicubic", {"a": scene()}, scale=2, align=True)
