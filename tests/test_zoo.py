"""Models by name: what is listed, what is known of each, and the weights of the package."""

from __future__ import annotations

import hashlib
import json
import logging

import pytest
import torch

import restoralib
from restoralib import zoo
from restoralib.archs import FSRCNN, VARIANTS, NAFNet
from restoralib.checkpoints import CheckpointError, DamagedCheckpoint, UnknownCheckpoint
from restoralib.training import bundle
from restoralib.training.export import export_weights
from restoralib.zoo import TASKS, create_model, list_models, load_bundled, model_info, read_manifest
from restoralib.zoo.bundled import read_entries
from restoralib.zoo.published import PUBLISHED

CONFIG = {"scale_factor": 2, "num_channels": 1, "d": 4, "s": 3, "m": 1}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A manifest with one made model, in place of the package's."""
    net = FSRCNN(**CONFIG).eval()
    export_weights(net, tmp_path / "made.safetensors", arch="fsrcnn", config=CONFIG)
    entry = {
        "name": "fsrcnn_made",
        "file": "made.safetensors",
        "arch": "fsrcnn",
        "cls": "FSRCNN",
        "config": CONFIG,
        "tasks": ["sr2"],
        "serves": ["sr2"],
        "scale": 2,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "bytes": (tmp_path / "made.safetensors").stat().st_size,
        "sha256": hashlib.sha256((tmp_path / "made.safetensors").read_bytes()).hexdigest(),
        "code_license": "Apache-2.0",
        "weights_license": "LicenseRef-research-data",
        "data": "nothing",
        "terms": "made for a test",
        "figures": {"Set5": {"psnr": 1.0}},
    }
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    monkeypatch.setattr(zoo, "BUNDLED", read_manifest(tmp_path))
    return net


# Lists


def test_lists_are_in_natural_order():
    names = list_models("swinir_classical_x*")
    assert names == ["swinir_classical_x2", "swinir_classical_x3", "swinir_classical_x4", "swinir_classical_x8"]
    assert list_models("swinir_color_denoising_*")[-1] == "swinir_color_denoising_50"
    assert list_models("*width*") == sorted(list_models("*width*"))
    assert restoralib.list_models() == list_models() and list_models("nothing*") == []


def test_lists_can_be_narrowed():
    assert list_models("nafnet*", task="deblur", commercial=True) == [
        "nafnet_gopro_width32",
        "nafnet_gopro_width64",
        "nafnet_reds_width64",
    ]
    assert not set(list_models(commercial=True)) & set(list_models("restormer*"))
    assert set(list_models(commercial=True)) | set(list_models(commercial=False)) == set(list_models())
    assert list_models("fsrcnn*", bundled=False, task="sr2") == [
        n for n in ("fsrcnn_s_x2", "fsrcnn_x2") if n not in zoo.BUNDLED
    ]


def test_unknown_names_list_their_neighbours():
    with pytest.raises(ValueError, match="unknown task 'denoising'; did you mean denoise"):
        list_models(task="denoising")
    with pytest.raises(ValueError, match="unknown model 'nafnet_sid_width32'; did you mean nafnet_sidd_width32"):
        create_model("nafnet_sid_width32")
    with pytest.raises(ValueError, match="unknown model '###'; choose one of "):
        model_info("###")


# Facts


def test_every_model_has_its_facts():
    assert PUBLISHED.keys() == VARIANTS.keys()
    for name, published in PUBLISHED.items():
        assert published.page and published.code_license and published.weights_license, name
        free = published.weights_license in zoo._FREE
        assert free != bool(published.terms) or published.weights_license == "NONE", f"{name}: say the terms that are not free"
        assert all(0 < value < 100 for row in published.figures.values() for value in row.values()), name


def test_info_of_a_published_model():
    info = model_info("nafnet_gopro_width64")
    assert (info.cls, info.tasks, info.scale, info.parameters) == ("NAFNetLocal", ("deblur",), 1, 67_888_835)
    assert (info.code_license, info.weights_license, info.commercial, info.notice) == ("MIT", "MIT", True, None)
    assert info.weights.startswith("github.com/megvii-research/NAFNet") and not info.bundled
    assert info.figures == {"GoPro": {"psnr": 33.7103, "ssim": 0.9668}}
    assert info.config == dict(VARIANTS["nafnet_gopro_width64"].config)


def test_info_of_a_model_that_may_not_be_used_commercially():
    info = model_info("restormer_deraining")
    assert not info.commercial and info.weights_license == "LicenseRef-Restormer-Academic"
    assert "not for commercial use" in info.notice and "\n" not in info.notice


def test_tasks_are_those_of_the_models():
    assert {task for variant in VARIANTS.values() for task in variant.tasks} <= TASKS.keys()
    assert {"denoise", "deblur", "derain", "dehaze", "low_light", "sr4", "auto"} <= TASKS.keys()
    for task, name in TASKS.items():
        assert name is None or (task in model_info(name).tasks and model_info(name).bundled)


# Building


def test_models_are_built_by_name():
    net = create_model("fsrcnn_x3", d=8)
    assert type(net) is FSRCNN and net.spec.scale == 3 and net.training
    assert net.first_part[0].out_channels == 8
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        create_model("fsrcnn_x3", depth=8)


def test_a_file_is_loaded_for_a_name(tmp_path, caplog):
    path = tmp_path / "fsrcnn.pth"
    net = create_model("fsrcnn_x3").eval()
    torch.save({"module." + key: value for key, value in net.state_dict().items()}, path)
    with caplog.at_level(logging.INFO, "restoralib.zoo"):
        loaded = create_model("fsrcnn_x3", weights=path)
    image = torch.rand(1, 1, 8, 9)
    assert torch.equal(loaded(image), net(image)) and not loaded.training
    # The scale is the name's, although no weight tells it; so is the licence.
    assert loaded.spec.scale == 3
    (record,) = caplog.records
    assert "fsrcnn_x3: LicenseRef-unknown" in record.message and record.levelno == logging.WARNING


def test_weights_that_are_free_need_no_warning(tmp_path, caplog):
    torch.save(create_model("srresnet_x2", channels=4, num_rcb=1).state_dict(), tmp_path / "srresnet.pth")
    create_model("srresnet_x2", channels=4, num_rcb=1, weights=tmp_path / "srresnet.pth")
    assert not caplog.records


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    export_weights(FSRCNN(2), path, arch="fsrcnn", config={"scale_factor": 2})
    with pytest.raises(ValueError, match="the file tells scale_factor=2, so scale_factor=3 cannot be"):
        create_model("fsrcnn_x3", weights=path)
    with pytest.raises(UnknownCheckpoint, match=r"weights\.safetensors: it holds a FSRCNN, and srcnn_x2 is a SRCNN"):
        create_model("srcnn_x2", weights=path)
    torch.save(NAFNet(width=2).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: the weights do not fit FSRCNN"):
        create_model("fsrcnn_x3", weights=path)


# Weights of the package


def test_bundled_weights_are_listed_described_and_loaded(made, caplog):
    assert list_models(bundled=True) == ["fsrcnn_made"] and "fsrcnn_made" in list_models(
        "fsrcnn*", task="sr2", commercial=False
    )
    info = model_info("fsrcnn_made")
    assert (info.scale, info.bundled, info.weights) == (2, True, "bundled (made.safetensors)")
    assert info.figures == {"Set5": {"psnr": 1.0}}
    zoo._tell_once.cache_clear()
    with caplog.at_level(logging.INFO, "restoralib.zoo"):
        net = load_bundled("fsrcnn_made")
        load_bundled("fsrcnn_made")
    (record,) = caplog.records  # at the first load only
    assert record.message == info.notice and "made for a test" in info.notice and record.levelno == logging.INFO
    image = torch.rand(1, 1, 8, 9)
    assert torch.equal(net(image), made(image)) and not net.training


def test_weights_that_are_not_bundled_are_to_be_brought(made):
    with pytest.raises(ValueError, match=r"no weights of nafnet_sidd_width32 are bundled, those of fsrcnn_made are; .*megvii"):
        create_model("nafnet_sidd_width32", weights="bundled")
    with pytest.raises(ValueError, match="those of fsrcnn_made are; none were published, so it has to be trained"):
        create_model("plainnet_width32", weights="bundled")


def test_altered_bundled_weights_are_refused(made, tmp_path):
    content = bytearray((tmp_path / "made.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "made.safetensors").write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match="not the manifest's; reinstall restoralib"):
        load_bundled("fsrcnn_made")


def test_a_folder_without_manifest_has_no_models(tmp_path):
    assert read_manifest(tmp_path) == {}


def test_weights_are_entered_with_their_data_and_terms(tmp_path, monkeypatch):
    config, about = {"scale_factor": 2}, ["--commit", "1a2b", "--data", "Zürich", "--terms", "for research"]
    export_weights(FSRCNN(2), tmp_path / "made.safetensors", arch="fsrcnn", config=config)
    monkeypatch.setattr(bundle, "WEIGHTS", tmp_path)
    with pytest.raises(SystemExit):
        bundle.main(["fsrcnn_x2", str(tmp_path / "made.safetensors"), *about[:4]])
    assert read_manifest(tmp_path) == {}
    bundle.main(["fsrcnn_x2", str(tmp_path / "made.safetensors"), *about])
    offer = read_manifest(tmp_path)["fsrcnn_x2"].offer
    assert (offer.data, offer.terms, offer.figures) == ("Zürich", "for research", {})
    measured = {"FSRCNN (bundled)": 36.98, "bicubic": 33.66}
    rows = [{"dataset": "Set5", "protocol": "x2", "method": m, "psnr": v, "ssim": 0.95} for m, v in measured.items()]
    (tmp_path / "figures.json").write_text(json.dumps(rows), encoding="utf-8")
    bundle.main(["--figures", str(tmp_path / "figures.json")])
    assert read_manifest(tmp_path)["fsrcnn_x2"].offer.figures == {
        "Set5, x2": {"psnr": 36.98, "ssim": 0.95, "psnr of bicubic": 33.66}
    }


def test_the_tool_keeps_the_committed_manifest_as_it_is(tmp_path, monkeypatch):
    committed = (bundle.WEIGHTS / "manifest.json").read_bytes()
    entries = read_entries(bundle.WEIGHTS)
    monkeypatch.setattr(bundle, "WEIGHTS", tmp_path)
    bundle.write_manifest(entries)
    assert (tmp_path / "manifest.json").read_bytes() == committed


@pytest.mark.parametrize("name", zoo.BUNDLED)
def test_the_packages_own_weights_load_and_are_what_the_manifest_says(name):
    bundled, info = zoo.BUNDLED[name], model_info(name)
    entry = next(entry for entry in json.loads((bundled.file.parent / "manifest.json").read_text()) if entry["name"] == name)
    assert entry["parameters"] == info.parameters and entry["scale"] == info.scale
    assert entry["bytes"] == bundled.file.stat().st_size
    assert set(info.tasks) <= TASKS.keys() and info.code_license and info.data and entry["recipe"] and entry["commit"]
    if name in VARIANTS:
        assert bundled.variant.cls is VARIANTS[name].cls and dict(bundled.variant.config) == dict(VARIANTS[name].config)
    net = load_bundled(name)
    with torch.inference_mode():
        output = net(torch.full((1, net.spec.in_channels, 16, 16), 0.5))
    if info.role == "classifier":
        assert output.shape == (1, net.spec.out_channels) and output.isfinite().all()
        return
    # An even grey may be haze or darkness, and then it changes.
    allowed = 0.5 if set(info.tasks) & {"dehaze", "derain", "low_light"} else 0.1
    assert (output - 0.5).abs().max() < allowed, "a grey image should stay grey"


@pytest.mark.parametrize(
    ("name", "role"),
    [("nafnet_sidd_width32", "restorer"), ("adm_imagenet64", "denoiser"), ("esrgan_discriminator_128", "discriminator")],
)
def test_info_tells_what_a_network_is_for(name, role):
    assert model_info(name).role == role


def test_what_new_weights_serve_is_taken_from_those_before(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "WEIGHTS", tmp_path)
    for name, scale in (("fsrcnn_x2", 2), ("fsrcnn_x3", 3)):
        config = {**CONFIG, "scale_factor": scale}
        export_weights(FSRCNN(**config), tmp_path / "made.safetensors", arch="fsrcnn", config=config)
        monkeypatch.setitem(bundle.ENTRIES, name, {"tasks": ["sr2"], "serves": ["sr2"], "scale": scale, "recipe": "made"})
        bundle.add(name, tmp_path / "made.safetensors", commit="1a2b3c", data="none", terms="", weights_license="Apache-2.0")
    read = read_manifest(tmp_path)
    assert read["fsrcnn_x2"].serves == () and read["fsrcnn_x3"].serves == ("sr2",)
    assert read["fsrcnn_x3"].offer.weights_license == "Apache-2.0" and read["fsrcnn_x2"].variant.tasks == ("sr2",)
