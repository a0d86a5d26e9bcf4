"""The bars: how they come to be, who reaches them, what is left out, and what the command prints and writes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from restoralib import cli
from restoralib.data.alignment import moved
from restoralib.evaluation import TRIALS, Row, Standing, Trial, lay_out_bars, measure_bars, told_bars, write_bars
from restoralib.evaluation.bars import bars_to_json
from restoralib.evaluation.classical import CLASSICAL
from restoralib.evaluation.generators import GENERATORS
from restoralib.evaluation.plug_and_play import DiffPIRDeblur
from restoralib.evaluation.synthetic import SyntheticPair, SyntheticPairs
from restoralib.images import read_image
from restoralib.metrics import psnr


def scene(seed: int, height: int = 40, width: int = 44) -> Tensor:
    coarse = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 1)


def save(image: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy()).save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Photographs, pairs of rain and of a screen, and a small Set5."""
    for seed in range(2):
        save(scene(seed), tmp_path / "data" / "CBSD68" / f"{seed}.png")
        save(scene(seed), tmp_path / "data" / "Set5" / "HR" / f"{seed}.png")
        save(scene(seed), tmp_path / "data" / "rain" / "gt" / f"{seed}.png")
        rainy = scene(seed)
        rainy[:, :, 7::9] = 1.0  # lines that a median takes away
        save(rainy, tmp_path / "data" / "rain" / "lq" / f"{seed}.png")
        save(scene(seed), tmp_path / "data" / "moire" / "gt" / f"{seed}.png")
        save((moved(scene(seed), 1, 1) * 0.8 + 0.1).clamp(0, 1), tmp_path / "data" / "moire" / "lq" / f"{seed}.png")
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, ["bars", *(str(argument) for argument in arguments)])


class Oracle:
    """A model that knows the clean images, by the nearest."""

    def __init__(self, *clean: Tensor) -> None:
        self.clean = clean

    def __call__(self, image: Tensor) -> Tensor:
        known = [clean for clean in self.clean if clean.shape == image.shape[1:]]
        return min(known, key=lambda one: (one - image[0]).abs().mean())[None].to(image) if known else image


def by_title(standings, title: str) -> Standing:
    return next(standing for standing in standings if standing.trial.title == title)


# The table of bars


def test_every_degradation_and_scale_has_a_bar():
    tasks = {trial.task for trial in TRIALS}
    assert tasks == {*GENERATORS, "sr2", "sr3", "sr4"}
    assert len({(trial.task, trial.title) for trial in TRIALS}) == len(TRIALS)
    for trial in TRIALS:
        assert {*trial.methods, *trial.shown} <= set(CLASSICAL), trial


def test_the_bar_is_the_best_of_input_and_methods_and_the_margin_without_loss_of_ssim():
    rows = (
        Row("untouched", "input", 20.0, 0.80),
        Row("median3", "classical", 22.0, 0.70),
        Row("told", "shown", 40.0, 0.99),
        Row("net", "model", 23.0, 0.80),
    )
    standing = Standing(Trial("derain", "x", "rule", margin=1.0), 3, rows)
    assert standing.bar == (23.0, 0.80) and standing.best == rows[1]
    assert standing.reached(rows[3])
    assert not standing.reached(Row("net", "model", 22.99, 0.9))
    assert not standing.reached(Row("net", "model", 30.0, 0.79))
    published = Standing(
        Trial("sr4", "Set5", "rule"), 5, (Row("bicubic", "input", 28.4, 0.81), Row("F", "published", 30.7, 0.86))
    )
    assert published.bar == pytest.approx((31.7, 0.86))
    assert all(math.isnan(value) for value in Standing(Trial("derain", "x", "rule")).bar)


# Measuring


def test_untouched_classical_and_model_are_measured_on_the_same_pairs(folder):
    model = Oracle(*(scene(seed) for seed in range(2)))
    standings = measure_bars(folder, tasks=["derain"], models={"derain": model}, count=3, size=40)
    real = by_title(standings, "real")
    rows = {row.method: row for row in real.rows}
    assert list(rows) == ["untouched", "median3", "median5", "derain: Oracle"]
    assert rows["median3"].psnr > rows["untouched"].psnr + 3
    assert real.bar[0] == pytest.approx(max(rows[name].psnr for name in ("untouched", "median3", "median5")) + 1)
    assert real.reached(rows["derain: Oracle"])
    made = by_title(standings, "synthetic")
    assert made.images == 3 and {row.role for row in made.rows} == {"input", "classical", "model"}
    assert [one.data for one in made.evaluations] == ["synthetic-derain"] * 4


def test_screens_are_aligned_first(folder):
    standing = by_title(measure_bars(folder, tasks=["demoire"], count=1, size=40), "real, aligned")
    untouched = next(row for row in standing.rows if row.role == "input")
    assert untouched.psnr > 38  # nothing but a shift and other colours is wrong with these


def test_super_resolution_is_measured_on_the_luma_beside_the_paper(folder):
    standing = by_title(measure_bars(folder, tasks=["sr4"]), "Set5")
    assert [row.role for row in standing.rows] == ["input", "published", "model"]
    assert standing.evaluations[0].protocol == "classic-luma"
    assert standing.bar[0] == pytest.approx(31.71)
    assert standing.models[0].method.startswith("sr4: ")


def test_what_is_missing_is_told_and_the_others_go_on(folder, monkeypatch):
    from restoralib.evaluation import bars

    monkeypatch.setattr(bars, "TASKS", {"derain": None})
    (folder / "rain" / "lq" / "0.png").write_bytes(b"no image")
    standings = measure_bars(folder, tasks=["derain", "dehaze"], without=["median5"], count=2, size=40)
    real = by_title(standings, "real")
    assert real.images == 1 and not real.models
    told = " ".join(real.notes)
    assert "no weights for 'derain'" in told and "median5 is left out, as was asked" in told and "0.png" in told
    lost = next(one for one in standings if one.trial.task == "dehaze" and one.trial.title == "real")
    assert not lost.rows and "not measured" in lost.notes[0] and "haze is no folder" in lost.notes[0]


def test_a_missing_package_leaves_its_method_out(folder, monkeypatch):
    from restoralib.evaluation.classical import equalisation

    def missing(module, method):
        raise ImportError(f'{method} needs skimage; pip install "restoralib[bench]"')

    monkeypatch.setattr(equalisation, "bench_package", missing)
    standing = by_title(measure_bars(folder, tasks=["low_light"], count=2, size=40), "synthetic")
    assert {row.method for row in standing.rows if row.role == "classical"} == {"gamma", "gamma_mean"}
    assert any('pip install "restoralib[bench]"' in note for note in standing.notes)


def test_an_image_that_fails_for_one_counts_for_none(folder):
    refused = read_image(folder / "rain" / "lq" / "1.png").color

    class Picky:
        def __call__(self, image: Tensor) -> Tensor:
            if torch.allclose(image[0], refused.float(), atol=1e-3):
                raise ValueError("not this one")
            return image

    standing = by_title(measure_bars(folder, tasks=["derain"], models={"derain": Picky()}, count=1, size=40), "real")
    alone = by_title(measure_bars(folder, tasks=["derain"], count=1, size=40), "real")
    assert standing.images == 1 and alone.images == 2
    assert any("not this one" in note for note in standing.notes)
    untouched, model = (next(row for row in standing.rows if row.role == role) for role in ("input", "model"))
    assert model.psnr == pytest.approx(untouched.psnr)  # the same one image for both
    assert untouched.psnr != alone.rows[0].psnr


def test_a_second_run_measures_only_what_is_new(folder, tmp_path):
    calls = []

    class Counting:
        def __init__(self, name: str) -> None:
            self.__qualname__ = self.__name__ = name

        def __call__(self, image: Tensor) -> Tensor:
            calls.append(self.__name__)
            return image

    asked = {"tasks": ["derain"], "output": tmp_path / "runs", "count": 2, "size": 40}
    first = measure_bars(folder, models={"derain": Counting("one")}, **asked)
    before = len(calls)
    again = measure_bars(folder, models={"derain": Counting("one")}, **asked)
    assert len(calls) - before <= 2  # the scale is asked for, no image restored anew
    assert [standing.rows for standing in again] == [standing.rows for standing in first]
    measure_bars(folder, models={"derain": Counting("two")}, **asked)
    assert "two" in calls


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tasks": ["derian"]}, "unknown task 'derian'; choose among denoise"),
        ({"models": {"derian": "identity"}}, "unknown task 'derian'"),
        ({"without": ["bm4d"]}, "unknown classical method 'bm4d'; choose among bm3d"),
    ],
)
def test_unknown_names_are_told(folder, arguments, words):
    with pytest.raises(ValueError, match=words):
        measure_bars(folder, **arguments)


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        measure_bars(tmp_path / "nowhere")


def test_an_empty_folder_measures_nothing_and_says_why(tmp_path):
    standings = measure_bars(tmp_path, tasks=["derain", "sr4"])
    assert not any(standing.rows for standing in standings)
    assert all("not measured" in standing.notes[0] for standing in standings)
    assert "holds no clean photograph" in standings[0].notes[0]


# With the kernel told


def test_diffpir_with_the_kernel_told_sharpens(folder):
    pair = SyntheticPairs("deblur", folder / "CBSD68", level=7, count=1)[0]
    model = DiffPIRDeblur(steps=6)
    restored = model.for_pair(pair)(pair.degraded[None])
    assert restored.shape == pair.degraded[None].shape
    assert psnr(restored, pair.clean[None]) > psnr(pair.degraded[None], pair.clean[None]) + 2


def test_diffpir_without_a_kernel_says_so():
    with pytest.raises(ValueError, match="nobody knows the kernel that blurred a"):
        DiffPIRDeblur().for_pair(SyntheticPair("a", None, None))
    with pytest.raises(ValueError, match="pass kernel"):
        DiffPIRDeblur()(torch.zeros(1, 3, 16, 16))


# What is written


@pytest.fixture
def standings() -> list[Standing]:
    rows = (Row("untouched", "input", 20.0, 0.8), Row("median3", "classical", 22.0, 0.7), Row("net", "model", 24.0, 0.9))
    return [
        Standing(Trial("derain", "real", "rule"), 3, rows),
        Standing(Trial("dehaze", "real", "rule"), 3, rows[:1], ("no weights",)),
        Standing(Trial("jpeg", "real", "rule"), notes=("not measured: nothing there",)),
    ]


def test_the_table_tells_bar_model_and_distance(standings):
    table = lay_out_bars(standings)
    assert (
        "| derain | real | 3 | 20.00 / 0.8000 | median3 22.00 / 0.7000 | 23.00 / 0.8000 | net | 24.00 / 0.9000 | +1.00 | yes |"
        in table
    )
    assert "| no weights |" in table and "not measured" in table and "- dehaze, real: no weights" in table
    assert told_bars(standings)[0] == "derain, real (rule): net 24.00 / 0.9000 reaches 23.00 / 0.8000 (+1.00 dB)"


def test_files_hold_what_the_table_tells(standings, tmp_path):
    for suffix in ("json", "csv", "md"):
        write_bars(tmp_path / "out" / f"bars.{suffix}", standings)
    entries = json.loads((tmp_path / "out" / "bars.json").read_text(encoding="utf-8"))
    assert entries == bars_to_json(standings)
    assert entries[0]["bar"] == {"psnr": 23.0, "ssim": 0.8, "by": "median3"} and entries[0]["models"][0]["reached"]
    assert entries[2]["bar"]["psnr"] is None
    lines = list(csv.DictReader((tmp_path / "out" / "bars.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["method"] for line in lines] == ["untouched", "median3", "net", "untouched", ""]
    assert (tmp_path / "out" / "bars.md").read_text(encoding="utf-8") == lay_out_bars(standings)
    with pytest.raises(ValueError, match=r"\.json, \.csv or \.md"):
        write_bars(tmp_path / "bars.txt", standings)


# The command


def test_the_command_prints_and_writes_the_bars(run, folder):
    result = run(
        folder, "-t", "derain", "--count", 2, "--size", 40, "-w", "bars.json", "--report", "page", "--without", "median5"
    )
    assert result.exit_code == 0, result.output
    assert "| derain | real | 2 |" in result.output and "median3" in result.output
    assert len(json.loads(Path("bars.json").read_text(encoding="utf-8"))) == 2
    page = Path("page/index.html").read_text(encoding="utf-8")
    assert "synthetic-derain" in page and "untouched" in page


def test_the_command_takes_models_by_task(run, folder):
    result = run(folder, "-t", "derain", "-m", "derain=median5", "--count", 2, "--size", 40)
    assert result.exit_code == 0 and "derain: median5" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "derain"], "--model expects TASK=MODEL"),
        (["-t", "derian"], "unknown task 'derian'"),
        (["-w", "bars.xlsx"], "not as bars.xlsx"),
    ],
)
def test_the_command_refuses_in_words(run, folder, arguments, words):
    result = run(folder, *arguments)
    assert result.exit_code == 1 and words in " ".join(result.output.split())


def test_the_command_reports_unreadable_files(run, folder):
    (folder / "rain" / "lq" / "0.png").write_bytes(b"no image")
    result = run(folder, "-t", "derain", "--count", 2, "--size", 40)
    assert result.exit_code == 1 and "| derain | real | 1 |" in result.output and "0.png" in result.output
