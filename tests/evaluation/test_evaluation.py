"""Evaluation: the papers' figures, what is made of clean images, and what happens to bad ones."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from restoralib import cli, evaluation
from restoralib.archs import FSRCNN, SRCNN, NetSpec
from restoralib.data import Pair
from restoralib.evaluation import add_table_noise, evaluate, read_evaluations
from restoralib.metrics import PROTOCOLS, luma_8_bits, psnr, to_8_bits
from restoralib.ops import resize, rgb_to_y
from restoralib.restoration import Cancelled

SHARED = Path(os.environ.get("RESTORALIB_EVAL_DATA") or Path(__file__).parents[3] / "shared" / "data" / "eval")


def picture(seed: int, height: int = 40, width: int = 48, channels: int = 3) -> Tensor:
    """A soft picture of 8-bit levels, (c, h, w)."""
    coarse = torch.rand(1, channels, 16, 18, generator=torch.Generator().manual_seed(seed))
    return to_8_bits(nn.functional.interpolate(coarse, (height, width), mode="bicubic"))[0]


def save(image: Tensor, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three clean images, the last one grey and of odd sides."""
    for seed, name in enumerate(("a", "b")):
        save(picture(seed), tmp_path / "clean" / f"{name}.png")
    save(picture(2, 41, 47, 1), tmp_path / "clean" / "gray.png")
    return tmp_path / "clean"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, ["evaluate", *(str(argument) for argument in arguments)])


class Doubling(nn.Module):
    """Bicubic enlargement as a network of colours or of luma, which counts its calls."""

    def __init__(self, scale: int = 2, channels: int = 3) -> None:
        super().__init__()
        self.scale = scale
        self.spec = NetSpec(scale=scale, in_channels=channels, out_channels=channels, color="rgb" if channels == 3 else "y")
        self.calls: list[tuple[int, ...]] = []
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        self.calls.append(tuple(image.shape))
        return resize(image, self.scale)


# The proof: figures that every paper prints

PRINTED = {
    ("Set5", 2): (33.66, 0.9299),
    ("Set5", 3): (30.39, 0.8682),
    ("Set5", 4): (28.42, 0.8104),
    ("Set14", 2): (30.24, None),
    ("Set14", 3): (27.55, None),
    ("Set14", 4): (26.00, None),
}
RGB = {
    ("Set5", 2): (33.68, 0.9305),
    ("Set5", 3): (30.40, 0.8690),
    ("Set5", 4): (28.43, 0.8113),
    ("Set14", 2): (30.33, 0.8700),
    ("Set14", 3): (27.63, 0.7760),
    ("Set14", 4): (26.09, 0.7050),
}


def hr(dataset: str) -> Path:
    path = SHARED / dataset / "HR"
    if not path.is_dir():
        pytest.skip(f"needs the photographs of {path}; RESTORALIB_EVAL_DATA names another folder")
    return path


@pytest.mark.parametrize(("dataset", "scale"), [(name, scale) for name, scale in PRINTED if name == "Set5"] + [("Set14", 4)])
def test_bicubic_has_the_figures_that_every_paper_prints(dataset, scale):
    decibels, similarity = PRINTED[dataset, scale]
    mean = evaluate("bicubic", hr(dataset), scale=scale).mean
    assert mean["psnr_y"] == pytest.approx(decibels, abs=0.01)
    assert similarity is None or mean["ssim_y"] == pytest.approx(similarity, abs=0.0001)


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "scale"), [("Set14", 2), ("Set14", 3)])
def test_bicubic_has_the_figures_that_every_paper_prints_on_set14(dataset, scale):
    assert evaluate("bicubic", hr(dataset), scale=scale).mean["psnr_y"] == pytest.approx(PRINTED[dataset, scale][0], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "scale"), list(RGB))
def test_bicubic_by_the_protocol_of_rgb_networks(dataset, scale):
    found = evaluate("bicubic", hr(dataset), scale=scale, protocol="rgb")
    assert found.protocol == "basicsr-y"
    assert found.mean["psnr_y"] == pytest.approx(RGB[dataset, scale][0], abs=0.006)
    assert found.mean["ssim_y"] == pytest.approx(RGB[dataset, scale][1], abs=0.0001)


# Protocols


def test_the_classic_protocol_rounds_the_luma_once_and_leaves_a_border_out(folder):
    found = evaluate("bicubic", folder, scale=2)
    assert found.protocol == "classic-luma" and list(found.mean) == ["psnr_y", "ssim_y"]
    for image, clean in zip(found.images, (picture(0), picture(1), picture(2, 41, 47, 1)[:, :40, :46]), strict=True):
        luma = luma_8_bits(clean[None].double())
        restored = to_8_bits(resize(resize(luma, 1 / 2), 2))
        assert image.figures["psnr_y"] == pytest.approx(psnr(restored, luma, crop=2).item(), abs=1e-5)


def test_the_protocol_of_rgb_networks_takes_colours_in_8_bits_and_grey_as_colour(folder):
    found = evaluate("bicubic", folder, scale=2, protocol="rgb", metrics=["psnr_y"])
    for image, clean in zip(found.images, (picture(0), picture(1), picture(2, 41, 47, 1)[:, :40, :46]), strict=True):
        clean = clean[None].double().expand(-1, 3, -1, -1)
        restored = to_8_bits(resize(to_8_bits(resize(clean, 1 / 2)), 2))
        assert image.figures["psnr_y"] == pytest.approx(psnr(rgb_to_y(restored), rgb_to_y(clean), crop=2).item(), abs=1e-5)


@pytest.mark.parametrize("protocol", ["classic", "rgb"])
def test_networks_of_luma_and_of_colours_are_measured_by_both_protocols(folder, protocol):
    bicubic, luma, colours = (
        evaluate(model, folder, scale=2, protocol=protocol).mean["psnr_y"]
        for model in ("bicubic", Doubling(2, 1), Doubling(2, 3))
    )
    assert luma == pytest.approx(bicubic, abs=0.005)
    assert colours == pytest.approx(bicubic, abs=0.05)


def test_a_network_of_luma_gets_the_luma_itself_even_of_grey(folder):
    luma = Doubling(2, 1)
    assert evaluate(luma, folder, scale=2).mean == evaluate("bicubic", folder, scale=2).mean
    assert {shape[1] for shape in luma.calls} == {1}


def test_the_scale_is_the_models_where_it_is_not_said(folder):
    found = evaluate(FSRCNN(scale_factor=3).eval(), folder)
    assert found.settings["scale"] == 3 and found.protocol == "classic-luma"


def test_srcnn_gets_the_enlarged_image(folder):
    net = SRCNN().eval()
    for weight in net.parameters():
        nn.init.zeros_(weight)
    net.conv1.weight.data[0, 0, 4, 4] = net.conv2.weight.data[0, 0, 2, 2] = net.conv3.weight.data[0, 0, 2, 2] = 1
    found, bicubic = (evaluate(model, folder, scale=2) for model in (net, "bicubic"))
    assert found.mean["psnr_y"] == pytest.approx(bicubic.mean["psnr_y"], abs=1e-3)


def test_measures_of_colours_stand_beside_those_of_luma(folder):
    found = evaluate(Doubling(2, 1), folder, scale=2, metrics=["psnr_y", "psnr", "psnr_b", "psnr_b_y"])
    assert set(found.mean) == {"psnr_y", "psnr", "psnr_b", "psnr_b_y"} and not found.failures
    assert found.images[0].figures["psnr_y"] > found.images[0].figures["psnr"]


def test_a_model_left_in_training_mode_is_evaluated_and_stays_in_it():
    net = nn.Sequential(nn.Dropout(0.9))
    net.spec = NetSpec()
    found = evaluate(net, {"a": picture(0)}, noise=0)
    assert math.isinf(found.mean["psnr"]) and net.training


# Noise


@pytest.mark.parametrize("kind", ["paper", "paper-bgr", "uint8"])
def test_noise_is_drawn_as_the_papers_draw_it(kind):
    clean = picture(0).double()
    np.random.seed(0)
    array = clean.permute(1, 2, 0).numpy()
    if kind == "paper-bgr":
        expected = (array[..., ::-1] + np.random.normal(0, 25 / 255, array.shape))[..., ::-1]
    else:
        expected = array + np.random.normal(0, 25 / 255, array.shape)
    if kind == "uint8":
        expected = np.clip(expected * 255, 0, 255).round() / 255
    noisy = add_table_noise(clean, 25, kind=kind)
    assert np.allclose(noisy.permute(1, 2, 0).numpy(), expected, atol=1e-12, rtol=0)
    assert (noisy.min() < 0 or noisy.max() > 1) == (kind != "uint8")


def test_noise_is_the_same_for_every_image_and_another_for_another_seed():
    images = {"a": picture(0), "b": picture(0)}
    first, second = (evaluate("noisy", images, noise=25, seed=seed) for seed in (0, 1))
    assert first.images[0].figures == first.images[1].figures != second.images[0].figures
    assert first.protocol == "rgb" and first.mean["psnr"] == pytest.approx(20.4, abs=0.3)


def test_strong_unclipped_noise_reaches_the_model_whole():
    seen = []

    def watch(image: Tensor) -> Tensor:
        seen.append(float(image.max()))
        return image

    found = evaluate(watch, {"a": picture(0)}, noise=150)
    assert not found.failures and max(seen) > 2.5


# Pairs, and sets without truth


def write_pairs(root: Path, count: int = 3) -> Path:
    for seed in range(count):
        save(picture(seed), root / "gt" / f"{seed}.png")
        save((picture(seed) * 0.9), root / "lq" / f"{seed}.png")
    return root


def test_a_folder_of_pairs_is_measured_as_it_is(tmp_path):
    found = evaluate("identity", write_pairs(tmp_path / "mine"))
    assert (found.data, found.protocol, len(found.images)) == ("mine", "rgb", 3)
    given = to_8_bits(picture(0) * 0.9)
    assert found.images[0].figures["psnr"] == pytest.approx(psnr(given[None], picture(0)[None]).item(), abs=1e-4)


def test_one_side_of_a_set_alone_is_no_folder_of_pairs(folder, tmp_path):
    folder.rename(tmp_path / "HR")
    with pytest.raises(ValueError, match=r"no whole pair: .*a\.png is missing; name the folder of clean images \(.*HR\)"):
        evaluate("bicubic", tmp_path, scale=2)


def test_layouts_are_opened_by_their_names(tmp_path):
    for seed, name in enumerate(("baby", "bird", "butterfly", "head", "woman")):
        save(picture(seed), tmp_path / "HR" / f"{name}.png")
    found = evaluate("bicubic", f"set5:{tmp_path}", scale=2)
    assert (found.data, len(found.images), found.failures) == ("set5", 5, ())
    with pytest.raises(ValueError, match="unknown layout 'st5'; did you mean set5"):
        evaluate("bicubic", f"st5:{tmp_path}", scale=2)


def test_images_that_a_set_lacks_are_failures_and_a_note_says_that_it_is_not_whole(run, tmp_path):
    for seed, name in enumerate(("baby", "head")):
        save(picture(seed), tmp_path / "HR" / f"{name}.png")
    found = evaluate("bicubic", f"set5:{tmp_path}", scale=2)
    assert [Path(failure.name).name for failure in found.failures] == ["bird.png", "butterfly.png", "woman.png"]
    words = "holds 2 pairs of set5 (test), papers count 5; the means are not those of the papers' set"
    assert found.notes[0].endswith(words) and "3 of 5 images" in found.notes[1]
    result = run("-m", "bicubic", "-d", f"set5:{tmp_path}", "--scale", 2)
    assert result.exit_code == 1 and "woman.png: is missing" in result.output and words in result.output


def test_without_truth_only_measures_without_a_target_are_taken():
    pair = Pair("real", picture(0, 200, 200), None)
    found = evaluate("identity", [pair], metrics=["psnr", "niqe"])
    assert list(found.images[0].figures) == ["niqe"]
    (failure,) = found.failures
    assert failure.metric == "psnr" and "this image has none" in failure.reason
    assert "psnr: no image has this figure" in found.notes
    found = evaluate("identity", [pair], metrics=["psnr"])
    assert not found.images and math.isnan(found.mean["psnr"]) and found.failures[0].metric is None


# Bad input


def test_a_thousand_files_with_three_broken_ones_finish_and_list_the_three(tmp_path):
    clean = picture(0, 12, 12)
    whole = save(clean, tmp_path / "many" / "0000.png").read_bytes()
    for number in range(1, 1000):
        (tmp_path / "many" / f"{number:04}.png").write_bytes(whole)
    broken = {"0007": b"", "0500": whole[: len(whole) // 2], "0999": b"no image at all"}
    for name, content in broken.items():
        (tmp_path / "many" / f"{name}.png").write_bytes(content)
    found = evaluate("identity", tmp_path / "many", noise=25, metrics=["psnr"])
    assert len(found.images) == 997
    assert [failure.name for failure in found.failures] == list(broken)
    for failure, words in zip(found.failures, ("is empty", "cut short", "no PNG, JPEG"), strict=True):
        assert f"{failure.name}.png" in failure.reason and words in failure.reason
    assert found.notes[0] == "3 of 1000 images failed and are in no mean"
    assert found.mean["psnr"] == pytest.approx(found.images[0].figures["psnr"])


def test_equal_images_have_infinite_psnr_which_json_tells_as_null(tmp_path):
    found = evaluate("identity", {"same": picture(0)}, noise=0)
    assert found.mean == {"psnr": math.inf, "ssim": 1.0}
    found.write_json(tmp_path / "out.json")
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["mean"] == {"psnr": None, "ssim": 1.0} and told["images"][0]["notes"] == {"psnr": "inf"}
    assert told["notes"] == ["psnr: infinite for 1 images, which equal their targets"]
    (again,) = read_evaluations(tmp_path / "out.json")
    assert again == found


def test_constant_images_have_documented_values():
    found = evaluate("identity", {"flat": torch.full((3, 200, 200), 0.5)}, noise=0, metrics=["ssim", "niqe"])
    assert found.mean["ssim"] == 1 and math.isnan(found.mean["niqe"]) and not found.failures
    assert found.to_json()["mean"]["niqe"] is None and found.notes == ("niqe: not defined for 1 images",)


def test_an_image_smaller_than_the_window_is_listed_with_the_measure_that_failed():
    found = evaluate("noisy", {"tiny": picture(0, 10, 30), "whole": picture(1)}, noise=25)
    assert [image.name for image in found.images] == ["tiny", "whole"] and list(found.images[0].figures) == ["psnr"]
    (failure,) = found.failures
    assert (failure.name, failure.metric) == ("tiny", "ssim") and "11x11" in failure.reason
    assert "ssim: the mean is over 1 of 2 images" in found.notes
    (failure,) = evaluate("bicubic", {"tiny": picture(0, 12, 30)}, scale=2).failures
    assert failure.reason == (
        "SSIM with a window of 11 pixels needs 11x11 pixels, got 8x26; classic-luma leaves out a border of 2 pixels"
    )


def test_bad_pairs_are_listed_with_their_reasons():
    good, nan = picture(0), picture(0)
    nan[0, 3, 4] = math.nan
    pairs = {
        "sizes": (Pair("sizes", good[:, :30], good), "the restored image is 30x48 and the target 40x48"),
        "grey": (Pair("grey", good[:1], good), "compare grey with grey"),
        "nan": (Pair("nan", nan, good), "the degraded image holds NaN"),
        "range": (Pair("range", good, good * 255), r"should lie in \[0, 1\]"),
        "shape": (Pair("shape", good[0], good), "should be"),
        "empty": (Pair("empty", good, good[:, :0]), "the clean image should be .* got"),
        "good": (Pair("good", good, good), None),
    }
    found = evaluate("identity", [pair for pair, _ in pairs.values()])
    assert [image.name for image in found.images] == ["good"]
    for failure in found.failures:
        with pytest.raises(ValueError, match=pairs[failure.name][1]):
            raise ValueError(failure.reason)
    assert len(found.failures) == 6


def test_a_model_that_gives_nan_fails_image_by_image():
    def spoil(image: Tensor) -> Tensor:
        return image * (math.nan if image.mean() > 0.5 else 1)

    found = evaluate(spoil, {"dark": picture(0) * 0.3, "bright": picture(0) * 0.3 + 0.7}, noise=0)
    assert [image.name for image in found.images] == ["dark"]
    assert [failure.name for failure in found.failures] == ["bright"] and "NaN" in found.failures[0].reason


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": 0}, "whole number from 1"),
        ({"noise": -1}, "standard deviation of 0 or more"),
        ({"noise": 25, "noise_protocol": "bgr"}, "unknown noise protocol 'bgr'"),
        ({}, "clean images alone; say how to degrade them"),
        ({"scale": 2}, "enlarges by 1, the evaluation is at scale 2"),
        ({"noise": 25, "metrics": ["psrn"]}, "unknown metric 'psrn'; did you mean psnr"),
        ({"noise": 25, "metrics": []}, "at least one metric"),
        ({"noise": 25, "protocol": "matlab"}, "unknown protocol 'matlab'; did you mean matlab-y"),
        ({"noise": 25, "sheets": True}, "go into a folder; pass output"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_any_image(folder, arguments, words):
    with pytest.raises(ValueError, match=words):
        evaluate("identity", folder, **arguments)


def test_bicubic_needs_a_scale_and_pairs_take_no_noise(folder, tmp_path):
    with pytest.raises(ValueError, match="bicubic enlarges; say by how much"):
        evaluate("bicubic", folder)
    with pytest.raises(ValueError, match="degraded images of its own"):
        evaluate("identity", write_pairs(tmp_path / "pairs"), noise=25)
    with pytest.raises(ValueError, match="is no folder"):
        evaluate("identity", tmp_path / "nowhere", noise=25)
    with pytest.raises(TypeError, match=r"restoralib\.data\.Pairs"):
        evaluate("identity", [torch.rand(3, 8, 8)], noise=25)


def test_missing_weights_of_a_measure_are_named_before_any_image(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORALIB_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    called = []
    with pytest.raises(FileNotFoundError, match=r"alexnet-owt-7be5be79\.pth.*--weights alexnet=PATH"):
        evaluate(lambda image: called.append(image) or image, folder, noise=25, metrics=["psnr", "lpips"])
    assert not called


def test_lpips_and_dists_are_measured_with_weights_of_the_callers(tmp_path):
    from restoralib.blocks.features import feature_skeleton

    stack = feature_skeleton("squeezenet1_1").to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(value.shape, generator=generator) * 0.05 for key, value in stack.state_dict().items()}
    torch.save(state, tmp_path / "squeeze.pth")
    images = {"a": picture(0), "gray": picture(1, channels=1)}
    options = {"metrics": ["lpips_squeeze"], "weights": {"squeezenet1_1": tmp_path / "squeeze.pth"}}
    same, noisy = (evaluate("identity", images, noise=noise, **options) for noise in (0, 50))
    assert same.mean["lpips_squeeze"] == 0 < noisy.mean["lpips_squeeze"] and not noisy.failures


# What is kept


def test_a_second_run_goes_on_where_the_first_was_stopped(folder, tmp_path):
    net, output = Doubling(), tmp_path / "out"
    with pytest.raises(Cancelled, match="after 2 of 3"):
        evaluate(net, folder, scale=2, output=output, progress=lambda done, total, name: done < 2)
    assert len(net.calls) == 2
    whole = evaluate(net, folder, scale=2, output=output)
    assert len(net.calls) == 3 and not list(output.rglob("*.part"))
    again = evaluate(net, folder, scale=2, output=output)
    assert len(net.calls) == 3 and again == whole
    fresh = evaluate(net, folder, scale=2)
    assert [image.figures for image in fresh.images] == [image.figures for image in whole.images]


def test_what_changed_is_measured_again(folder, tmp_path):
    net, output = Doubling(), tmp_path / "out"
    evaluate(net, folder, scale=2, output=output)
    save(picture(9), folder / "b.png")
    (output / "images" / "a.json").write_text('{"name": "a", "psnr')  # as a crash of the machine may leave it
    found = evaluate(net, folder, scale=2, output=output)
    assert len(net.calls) == 5 and len(found.images) == 3
    evaluate(net, folder, scale=2, output=output, metrics=["psnr_y"])
    assert len(net.calls) == 5
    evaluate(net, folder, scale=2, output=output, metrics=["psnr_y", "psnr"])
    assert len(net.calls) == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": 3}, "scale was 2 and is 3"),
        ({"protocol": "rgb"}, "protocol was 'classic-luma' and is 'basicsr-y'"),
        ({"noise": 5.0}, "noise was None and is 5.0"),
        ({"name": "other"}, "model was 'bicubic' and is 'other'"),
    ],
)
def test_a_folder_of_another_run_is_refused(folder, tmp_path, change, words):
    evaluate("bicubic", folder, scale=2, output=tmp_path / "out")
    with pytest.raises(ValueError, match=f"results of another run: {words} now; name another output"):
        evaluate("bicubic", folder, **{"scale": 2, "output": tmp_path / "out", **change})


def test_other_weights_are_another_model(folder, tmp_path):
    torch.manual_seed(0)
    evaluate(FSRCNN(scale_factor=2).eval(), folder, output=tmp_path / "out")
    with pytest.raises(ValueError, match="model digest was"):
        evaluate(FSRCNN(scale_factor=2).eval(), folder, output=tmp_path / "out")


def test_sheets_show_input_result_target_and_error(folder, tmp_path):
    found = evaluate("bicubic", folder, scale=2, output=tmp_path / "out", sheets=True)
    for image, (width, height) in zip(found.images, [(48, 40), (48, 40), (46, 40)], strict=True):
        with Image.open(tmp_path / "out" / image.pictures["sheet"]) as sheet:
            assert sheet.size == (4 * width + 3 * 8, height)
    restored = evaluation.pictures.error_map(torch.full((3, 2, 2), 0.5), torch.full((3, 2, 2), 0.3))
    assert torch.allclose(restored, torch.ones(3, 2, 2))


def test_odd_names_get_files_of_their_own(tmp_path):
    names = ["../up", "a/b", "a_b", "<b>", "CON", "x" * 300, "ü"]
    found = evaluate("noisy", {name: picture(0) for name in names}, noise=25, output=tmp_path / "out", sheets=True)
    assert [image.name for image in found.images] == names and not found.failures
    assert (
        len(list((tmp_path / "out" / "images").iterdir())) == len(names) == len(list((tmp_path / "out" / "sheets").iterdir()))
    )
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_the_csv_has_a_line_an_image_and_the_means(folder, tmp_path):
    (folder / "broken.png").write_bytes(b"")
    evaluate("bicubic", folder, scale=2, output=tmp_path / "out")
    with (tmp_path / "out" / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["a", "b", "gray", "broken", "mean by classic-luma"]
    assert "is empty" in rows[3]["failure"]
    assert float(rows[4]["psnr_y"]) == pytest.approx(sum(float(row["psnr_y"]) for row in rows[:3]) / 3)


def test_a_file_of_something_else_is_no_result(tmp_path):
    for content in ("{", "[1]", "{}", '{"images": 3}'):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(ValueError, match="holds no result"):
            read_evaluations(tmp_path / "x.json")
    with pytest.raises(FileNotFoundError, match=r"nothing\.json is no file; give what `restoralib evaluate --json`"):
        read_evaluations(tmp_path / "nothing.json")


# The command line, the bundled weights, RestoraVision's tables


def test_the_command_writes_json_and_its_exit_code_tells_of_failures(run, folder, tmp_path):
    result = run("-m", "bicubic", "-d", folder, "--scale", 4, "--metrics", "psnr_y,ssim_y", "--json", "out.json")
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "out.json").read_text())
    assert set(told["mean"]) == {"psnr_y", "ssim_y"} and told["protocol"] == "classic-luma" and len(told["images"]) == 3
    assert told["images"][0]["name"] == "a" and told["images"][0]["psnr_y"] > 20
    (folder / "broken.png").write_bytes(b"")
    result = run("-m", "noisy", "-d", folder, "--noise", 25, "--seed", 0, "--noise-protocol", "uint8", "--json", "out.json")
    assert result.exit_code == 1 and "broken.png is empty" in result.output
    told = json.loads((tmp_path / "out.json").read_text())
    assert [failure["name"] for failure in told["failures"]] == ["broken"]
    assert told["settings"]["noise_protocol"] == "uint8"


def test_the_command_takes_several_models_and_sets(run, folder, tmp_path):
    other = write_pairs(tmp_path / "pairs")
    result = run("-m", "identity", "-m", "noisy", "-d", folder, "--noise", 25, "--json", "all.json", "-o", "runs")
    assert result.exit_code == 0, result.output
    assert [found.model for found in read_evaluations(tmp_path / "all.json")] == ["identity", "noisy"]
    assert len(list((tmp_path / "runs").iterdir())) == 2
    result = run("-m", "identity", "-d", other, "--csv", "images.csv")
    assert result.exit_code == 0 and (tmp_path / "images.csv").exists(), result.output
    result = run("-m", "identity", "-m", "noisy", "-d", other, "--csv", "images.csv")
    assert result.exit_code == 1 and "--csv is for one model" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "bicubic"], "bicubic enlarges"),
        (["-m", "bicubic", "--scale", "4", "--weights", "resnet=x"], "--weights expects NETWORK=FILE"),
        (["-m", "bicubik", "--scale", "4"], "unknown model 'bicubik'"),
        (["-m", "bicubicc", "--scale", "4"], "or did you mean bicubic, which is no network?"),
        (["-m", "bicubic", "--scale", "4", "--preset", "restoravision"], "says what is measured"),
    ],
)
def test_the_command_refuses_in_words(run, folder, arguments, words):
    result = run("-d", folder, *arguments)
    assert result.exit_code == 1 and words in " ".join(result.output.split())


def test_the_tables_of_restoravision(run, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORALIB_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    clean = folder.rename(tmp_path / "Set5")
    pairs = write_pairs(tmp_path / "gopro")
    result = run(
        *("--preset", "restoravision", "-m", "bicubic", "-m", "sr4", "-m", "identity"),
        *("-d", clean, "-d", pairs, "--json", "all.json", "--report", "page"),
    )
    assert result.exit_code == 0, result.output
    text = result.output
    assert text.index("Super-resolution x4, luma") < text.index("Super-resolution x4, colours") < text.index("## Deblurring")
    assert "| *FSRCNN, its paper* | 30.71 | 0.8657 |" in text and "| *NAFNet, its paper* | 33.69 | 0.9670 |" in text
    assert "two row labels swapped" in text and "27.30" in text and "LPIPS is left out" in text
    protocols = [(found.model, found.protocol) for found in read_evaluations(tmp_path / "all.json")]
    assert protocols == [
        *(("bicubic", "classic-luma"), ("sr4", "classic-luma")),
        *(("bicubic", "basicsr-rgb"), ("sr4", "basicsr-rgb")),
        ("identity", "gopro"),
    ]
    assert "two row labels swapped" in (tmp_path / "page" / "index.html").read_text()


def test_the_bundled_weights_are_measured_as_the_manifest_tells(tmp_path):
    for dataset in ("Set5/HR", "CBSD68"):
        save(picture(3, 48, 48), tmp_path / dataset / "a.png")
    rows = evaluation.evaluate_bundled(tmp_path, sigmas=[25])
    kinds = {"luma-classic x2", "luma-classic x3", "luma-classic x4"}
    assert {row.protocol for row in rows} == kinds | {"rgb sigma 25 8-bit", "rgb sigma 25 8-bit latent", "rgb clean"}
    noisy, restored = (row for row in rows if row.protocol == "rgb sigma 25 8-bit")
    assert (noisy.method, restored.method, restored.dataset) == ("noisy", "NAFNet (bundled)", "CBSD68 (1)")
    assert restored.psnr > noisy.psnr + 0.5
    methods = [row.method for row in rows if row.protocol.endswith("latent")]
    assert methods == ["noisy", "its autoencoder alone", "4 steps", "SanaTransformer (bundled)"]
    assert rows[-1].method == "DCAE (bundled)"
    with pytest.raises(FileNotFoundError, match="holds none of"):
        evaluation.evaluate_bundled(tmp_path / "CBSD68")


def test_every_measure_and_protocol_goes_with_every_other():
    images = {"a": picture(0, 161, 163)}
    names = [name for name, measure in evaluation.MEASURES.items() if measure.network is None and measure.target]
    for protocol in PROTOCOLS:
        found = evaluate("noisy", images, noise=5, protocol=protocol, metrics=names)
        assert not found.failures and list(found.mean) == names and found.protocol == protocol
