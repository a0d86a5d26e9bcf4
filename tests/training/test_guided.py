"""The recipe of a network that is told the degradation."""

import logging
from functools import partial

import pytest
import torch
from torch import nn

from restoralib import restore
from restoralib.data.photographs import read_photographs
from restoralib.training import guided
from restoralib.training.guided import DEGRADE, NamedNAFNet, gaps, load_guided


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of soft random pictures with edges."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    generator = torch.Generator().manual_seed(0)
    for number in range(6):
        coarse = torch.rand(1, 3, 12, 14, generator=generator)
        picture = nn.functional.interpolate(coarse, (48, 57), mode="bicubic" if number % 2 else "nearest").clamp(0, 1)[0]
        Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return folder


def run(photographs, out, steps, *more):
    arguments = ["--steps", str(steps), "--batch", "4", "--patch", "16", "--every", "150"]
    guided.main([str(photographs), "--out", str(out), *arguments, *map(str, more)])


def test_the_right_name_restores_better_than_the_wrong_one(photographs, tmp_path, caplog):
    out = tmp_path / "guided.safetensors"
    caplog.set_level(logging.INFO)
    run(photographs, out, 150, "--measure", photographs)
    net = load_guided(out)
    figures = gaps(net, read_photographs(photographs).values())
    for name in ("denoise", "deblur"):
        assert figures[name]["right"] > max(figures[name]["wrong"], figures[name]["degraded"]) + 0.5
        assert f"{name}: degraded {figures[name]['degraded']:.2f} dB, right {figures[name]['right']:.2f} dB" in caplog.text

    clean = next(iter(read_photographs(photographs).values()))[None].float() / 255
    degraded = DEGRADE["deblur"](clean, torch.Generator())
    with torch.inference_mode():
        expected = net(degraded, ["deblur"]).clamp(0, 1)
    torch.testing.assert_close(restore(degraded, partial(net, names="deblur")), expected, atol=1e-5, rtol=0)


def test_a_trained_file_is_measured_only_and_a_state_goes_on(photographs, tmp_path, caplog):
    out = tmp_path / "guided.safetensors"
    caplog.set_level(logging.INFO)
    run(photographs, out, 2)
    first = load_guided(out).state_dict()
    run(photographs, out, 3)  # the file is there
    assert all(torch.equal(value, first[key]) for key, value in load_guided(out).state_dict().items())
    out.unlink()
    run(photographs, out, 3)
    assert "resumed at step 2" in caplog.text
    assert any(not torch.equal(value, first[key]) for key, value in load_guided(out).state_dict().items())


def test_degradations_are_what_the_recipe_says():
    clean = torch.full((1, 3, 200, 200), 0.5)
    noisy = DEGRADE["denoise"](clean, torch.Generator().manual_seed(0))
    assert float((noisy - clean).std() * 255) == pytest.approx(35, rel=0.01)
    line = torch.zeros(1, 1, 41, 41)
    line[..., 20] = 1
    line = DEGRADE["deblur"](line, torch.Generator())[0, 0, 20]
    place = torch.arange(41) - 20.0
    assert float(((line * place**2).sum() / line.sum()).sqrt()) == pytest.approx(1.5, abs=0.05)
    assert set(DEGRADE) <= set(NamedNAFNet(4, width=4).table.names)
