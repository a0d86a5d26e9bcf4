"""What the manifest tells beside the figures: where models fail and what they were to reach; and weights entered anew."""

import json

import pytest

from restoralib.archs import FSRCNN
from restoralib.training import bundle, cards
from restoralib.training.export import export_weights
from restoralib.zoo.bundled import read_entries

FIGURES = {"Set5, luma-classic x4": {"psnr": 30.59, "psnr of bicubic": 28.42}}
BAR = {"set": "Set5, luma-classic x4", "measure": "psnr", "bar": 29.42, "of": "bicubic and 1 dB"}


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """A folder of weights with the manifest of one model, in place of the package's."""
    for module in (bundle, cards):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    entry = {"name": "fsrcnn_x4", "serves": ["sr4"], "figures": FIGURES, "failures": ["Noise is enlarged, too."]}
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    return tmp_path


def test_failures_and_bars_are_entered_from_a_file(weights, tmp_path):
    about = tmp_path / "about.json"
    told = {"fsrcnn_x4": {"failures": ["Traces of JPEG are enlarged with the rest."], "bars": [BAR]}}
    about.write_text(json.dumps(told))
    cards.main([str(about)])
    (entry,) = read_entries(weights)
    assert entry["failures"] == told["fsrcnn_x4"]["failures"] and entry["bars"] == [BAR] and entry["figures"] == FIGURES
    cards.describe({"fsrcnn_x4": {"bars": []}})
    (entry,) = read_entries(weights)
    assert entry["bars"] == [] and entry["failures"] == told["fsrcnn_x4"]["failures"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"fsrcnn_x9": {"bars": []}}, "fsrcnn_x9 is not bundled; choose among fsrcnn_x4"),
        ({"fsrcnn_x4": {}}, "expected failures and bars of fsrcnn_x4, got nothing"),
        ({"fsrcnn_x4": {"figures": {}}}, "got figures"),
        ({"fsrcnn_x4": {"failures": []}}, "tell of one kind of image at least"),
        ({"fsrcnn_x4": {"failures": "Noise."}}, "should have a list of failures"),
        ({"fsrcnn_x4": {"failures": ["noise"]}}, "from a capital to a full stop, got 'noise'"),
        ({"fsrcnn_x4": {"failures": ["Two\nlines."]}}, "should be one line"),
        ({"fsrcnn_x4": {"failures": ["Noise."], "bars": [{**BAR, "set": "Set6"}]}}, "no figure 'psnr' on 'Set6'"),
        ({"fsrcnn_x4": {"bars": [{**BAR, "measure": "ssim"}]}}, "its sets are Set5, luma-classic x4"),
        ({"fsrcnn_x4": {"bars": [{**BAR, "bar": "29"}]}}, r"bar \(a number\)"),
        ({"fsrcnn_x4": {"bars": [{"set": "Set5"}]}}, "should have set, measure, bar"),
    ],
)
def test_what_cannot_be_entered_is_told_and_changes_nothing(weights, told, words):
    before = (weights / "manifest.json").read_text()
    with pytest.raises(ValueError, match=words):
        cards.describe(told)
    assert (weights / "manifest.json").read_text() == before


def test_a_file_that_cannot_be_read_is_told(weights, tmp_path, capsys):
    (tmp_path / "about.json").write_text("{")
    for name in ("about.json", "absent.json"):
        with pytest.raises(SystemExit):
            cards.main([str(tmp_path / name)])
    assert "Expecting property name" in (errors := capsys.readouterr().err) and "No such file" in errors


def test_new_weights_keep_the_failures_of_the_name_but_neither_figures_nor_bars(weights, tmp_path):
    cards.describe({"fsrcnn_x4": {"bars": [BAR]}})
    config = {"scale_factor": 4, "num_channels": 1, "d": 8, "s": 4, "m": 1}
    export_weights(FSRCNN(**config), tmp_path / "new.safetensors", arch="fsrcnn", config=config)
    bundle.add("fsrcnn_x4", tmp_path / "new.safetensors", commit="abc", data="made up", terms="none", weights_license="MIT")
    (entry,) = read_entries(weights)
    assert entry["failures"] == ["Noise is enlarged, too."] and entry["figures"] == {} and "bars" not in entry
    assert entry["weights_license"] == "MIT" and (weights / "fsrcnn_x4.safetensors").stat().st_size == entry["bytes"]


def test_what_bars_measured_is_entered_with_the_bars(weights, tmp_path):
    trial = {
        "task": "sr4",
        "set": "Set5",
        "rule": "best + 1 dB",
        "images": 5,
        "bar": {"psnr": 29.424, "ssim": 0.81, "by": "bicubic"},
        "rows": [
            {"method": "bicubic", "role": "input", "psnr": 28.424, "ssim": 0.81},
            {"method": "FSRCNN, its paper", "role": "published", "psnr": 30.71, "ssim": 0.86},
            {"method": "sr4: fsrcnn_x4", "role": "model", "psnr": 30.589, "ssim": 0.8686},
            {"method": "sr4: foreign.pth", "role": "model", "psnr": 40.0, "ssim": 0.99},
        ],
    }
    (tmp_path / "bars.json").write_text(json.dumps([trial, {**trial, "set": "synthetic", "task": "jpeg"}]))
    for _ in range(2):  # the second time it replaces what the first entered
        cards.main(["--measured", str(tmp_path / "bars.json")])
    (entry,) = read_entries(weights)
    assert entry["figures"]["Set5, luma-classic x4"] == {"psnr of bicubic": 28.42, "psnr": 30.59, "ssim": 0.8686}
    assert entry["figures"]["synthetic (5 images)"]["psnr"] == 30.59
    bars = {bar["set"]: bar for bar in entry["bars"]}
    assert len(entry["bars"]) == 2
    assert bars["Set5, luma-classic x4"] == {
        "set": "Set5, luma-classic x4",
        "measure": "psnr",
        "bar": 29.42,
        "of": "best + 1 dB",
    }


def test_nothing_to_enter_is_told(weights, capsys):
    with pytest.raises(SystemExit):
        cards.main([])
    assert "name a file of failures and bars" in capsys.readouterr().err
