"""Architectures of other packages: found by entry points when something unknown is asked for; broken ones are left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from restoralib import archs, create_model, list_models, load_model, restore
from restoralib.archs import FSRCNN, Architecture, Inferred, NetSpec, Variant, load_plugins, register_arch
from restoralib.checkpoints import UnknownCheckpoint, write_weights
from restoralib.hub import from_pretrained, save_pretrained
from restoralib.zoo import model_info

MODULE = """
import torch
from torch import nn
from restoralib.archs import Architecture, Inferred, NetSpec, Variant

class Madeup(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.made_in = nn.Conv2d(3, width, 3, padding=1)
        self.made_out = nn.Conv2d(width, 3, 3, padding=1)
        self.spec = NetSpec(halo=2, tasks=("derain",))

    def forward(self, image):
        return image + self.made_out(self.made_in(image).relu())

def infer_config(state_dict):
    if "made_in.weight" not in state_dict:
        return None
    return Inferred(Madeup, {"width": len(state_dict["made_in.weight"])})

ARCHITECTURE = Architecture((Madeup,), {"madeup_rain": Variant(Madeup, {"width": 6}, ("derain",))}, infer_config)
"""


@pytest.fixture
def table():
    """The table as it is, with what is added taken out again."""
    before = dict(archs._ARCHITECTURES), dict(archs._VARIANTS)
    load_plugins.cache_clear()
    yield
    for live, was in zip((archs._ARCHITECTURES, archs._VARIANTS), before, strict=True):
        live.clear()
        live.update(was)
    load_plugins.cache_clear()


@pytest.fixture
def installed(tmp_path, monkeypatch, table) -> Path:
    """A distribution with a plug-in that works, one that cannot be imported, and one that is none."""
    site = tmp_path / "site"
    info = site / "madeup-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: madeup\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[restoralib.archs]\nbroken = madeup_broken:ARCHITECTURE\nmadeup = madeup_net:ARCHITECTURE\nnone = madeup_net:Madeup\n"
        "nafnet = madeup_net:ARCHITECTURE\n"
    )
    (site / "madeup_net.py").write_text(MODULE)
    (site / "madeup_broken.py").write_text("raise RuntimeError('it is broken')")
    monkeypatch.syspath_prepend(site)
    yield site
    for name in ("madeup_net", "madeup_broken"):
        sys.modules.pop(name, None)


@pytest.mark.filterwarnings("ignore:the plug-in")
def test_an_unknown_name_finds_the_plugin(installed):
    assert "madeup_net" not in sys.modules
    net = create_model("madeup_rain")
    assert type(net).__name__ == "Madeup" and net.made_in.out_channels == 6
    assert "madeup_rain" in list_models(task="derain")
    info = model_info("madeup_rain")
    assert info.weights_license == "LicenseRef-unknown" and not info.commercial
    assert restore(torch.rand(3, 9, 9), net.eval()).shape == (3, 9, 9)


@pytest.mark.filterwarnings("ignore:the plug-in")
def test_an_unknown_checkpoint_finds_the_plugin(installed, tmp_path):
    sys.path_importer_cache.clear()
    namespace: dict = {}
    exec(compile(MODULE, "madeup", "exec"), namespace)
    net = namespace["Madeup"](5)
    torch.save({"state_dict": {f"net.{key}": value for key, value in net.state_dict().items()}}, tmp_path / "net.pth")
    found = load_model(tmp_path / "net.pth")
    assert type(found).__module__ == "madeup_net" and found.made_in.out_channels == 5
    folder = save_pretrained(found, tmp_path / "folder")
    assert type(from_pretrained(folder)) is type(found)
    load_plugins.cache_clear()
    archs._ARCHITECTURES.pop("madeup")
    archs._VARIANTS.pop("madeup_rain")
    assert type(load_model(tmp_path / "folder" / "model.safetensors")) is type(found)  # by what the file records
    assert type(load_model(tmp_path / "net.pth", arch="Madeup")) is type(found)


def test_broken_plugins_warn_and_the_others_work(installed):
    with pytest.warns(UserWarning) as caught:
        assert load_plugins() == ("madeup",)
    texts = sorted(str(warning.message) for warning in caught)
    assert texts[0].startswith(
        "the plug-in 'broken' of madeup 1.0 is left out, for it cannot be loaded (RuntimeError: it is broken)"
    )
    assert "'nafnet'" in texts[1] and "there is an architecture 'nafnet' already" in texts[1]
    assert "'none'" in texts[2] and "should be an Architecture, got type" in texts[2]
    assert load_plugins() == ("madeup",)  # once, without another warning


def test_an_import_and_a_known_model_load_no_plugin(installed):
    code = (
        "import sys, restoralib, restoralib.archs, restoralib.zoo\n"
        "restoralib.create_model('fsrcnn_x2', weights='bundled')\n"
        "sys.exit('madeup_net' in sys.modules or 'madeup_broken' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env={"PYTHONPATH": str(installed), "PATH": ""}, capture_output=True
    )
    assert done.returncode == 0, done.stderr


class Own(nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.own = nn.Conv2d(3, width, 1)
        self.spec = NetSpec(out_channels=width, halo=0)

    def forward(self, image):
        return self.own(image)


def infer_own(state_dict):
    return Inferred(Own, {"width": len(state_dict["own.weight"])}) if "own.weight" in state_dict else None


def test_an_architecture_of_ones_own(table, tmp_path):
    entry = Architecture((Own,), {"own_small": Variant(Own, {"width": 3})}, infer_own)
    register_arch("own", entry)
    register_arch("own", entry)  # again, as when a notebook's cell is run twice
    net = create_model("own_small")
    write_weights(net, tmp_path / "own.safetensors", arch="own", config={"width": 3})
    assert type(load_model(tmp_path / "own.safetensors")) is Own
    torch.save(net.state_dict(), tmp_path / "own.pth")
    assert type(load_model(tmp_path / "own.pth")) is Own


def test_entries_that_cannot_be_are_refused(table):
    class NAFNet(Own):
        pass

    for name, entry, error, words in [
        ("nafnet", Architecture((Own,), {}, infer_own), ValueError, "there is an architecture 'nafnet' already"),
        ("own", Architecture((NAFNet,), {}, infer_own), ValueError, "there is a class 'NAFNet' already"),
        ("own", Architecture((Own,), {"fsrcnn_x2": Variant(Own, {})}, infer_own), ValueError, "a variant 'fsrcnn_x2' already"),
        ("own", Architecture((Own,), {"own_a": Variant(FSRCNN, {})}, infer_own), ValueError, "'own_a' is of a class"),
        ("my own", Architecture((Own,), {}, infer_own), ValueError, "should be an identifier"),
        ("own", Architecture((), {}, infer_own), TypeError, "should be nn.Modules"),
        ("own", Architecture((int,), {}, infer_own), TypeError, "should be nn.Modules"),
        ("own", Own, TypeError, "should be an Architecture, got type"),
    ]:
        with pytest.raises(error, match=words):
            register_arch(name, entry)
    assert "own" not in archs.ARCHITECTURES


def test_a_detector_that_breaks_does_not_break_others(table, tmp_path):
    def broken(state_dict):
        raise AttributeError("nobody foresaw this")

    register_arch("own", Architecture((Own,), {}, broken))
    torch.save(Own().state_dict(), tmp_path / "own.pth")
    with pytest.raises(UnknownCheckpoint):
        load_model(tmp_path / "own.pth")


def test_torch_hub_loads_from_a_clone():
    root = Path(__file__).parents[1]
    net = torch.hub.load(str(root), "fsrcnn_x2", source="local", pretrained=True)
    assert type(net).__name__ == "FSRCNN" and not net.training
    wider = torch.hub.load(str(root), "nafnet_sidd_width32", source="local", width=4)
    assert wider.intro.out_channels == 4
    assert torch.hub.load(str(root), "restore", torch.rand(3, 8, 8), net, source="local").shape == (3, 16, 16)
    with pytest.raises(ValueError, match="no weights of nafnet_sidd_width32 are bundled"):
        torch.hub.load(str(root), "nafnet_sidd_width32", source="local", pretrained=True)
    with pytest.raises(ValueError, match="leave it out"):
        torch.hub.load(str(root), "fsrcnn_x2", source="local", pretrained=True, weights="a.pth")
