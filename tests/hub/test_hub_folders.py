"""Networks as folders of the Hub: what is saved comes back, hostile folders are refused, a server is asked as the Hub is."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from restoralib import create_model, restore
from restoralib.archs import FSRCNN, NAFNet, SwinIR, find_architecture
from restoralib.checkpoints import CheckpointError, load_model
from restoralib.hub import CONFIG_SCHEMA, Offline, from_pretrained, push_to_hub, save_pretrained
from restoralib.hub.schema import violations

CONFIG = {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]}


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RESTORALIB_HOME", str(tmp_path / "home"))
    for name in ("HF_HUB_OFFLINE", "RESTORALIB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return NAFNet(**CONFIG).eval()


def same(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_what_is_saved_comes_back(tmp_path, net):
    folder = save_pretrained(
        net, tmp_path / "net", licence="MIT", data="Photographs of mine.", figures={"Set5": {"psnr": 30.1}}
    )
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    back = from_pretrained(folder)
    assert type(back) is NAFNet and not back.training and same(net, back)
    image = torch.rand(3, 20, 30)
    assert torch.equal(restore(image, back), restore(image, net))
    assert same(load_model(folder / "model.safetensors"), net)
    told = json.loads((folder / "config.json").read_text())
    assert (told["arch"], told["class"]) == ("nafnet", "NAFNet") and violations(told, CONFIG_SCHEMA) == []


@pytest.mark.parametrize("name", ["fsrcnn_x3", "nafnet_denoise"])
def test_bundled_models_pass_through_a_folder(tmp_path, name):
    net = create_model(name, weights="bundled")
    assert same(from_pretrained(save_pretrained(net, tmp_path / name)), net)


def test_arguments_that_no_weight_tells_are_asked_for(tmp_path):
    net = FSRCNN(scale_factor=3)
    with pytest.raises(ValueError, match=r"scale_factor.*pass"):
        save_pretrained(net, tmp_path / "net")
    assert not (tmp_path / "net" / "config.json").exists()
    back = from_pretrained(save_pretrained(net, tmp_path / "net", config={"scale_factor": 3}))
    assert back.spec.scale == 3 and same(back, net)


def test_half_precision_halves_the_file(tmp_path, net):
    whole = save_pretrained(net, tmp_path / "whole") / "model.safetensors"
    half = save_pretrained(net, tmp_path / "half", half=True)
    assert (half / "model.safetensors").stat().st_size < 0.8 * whole.stat().st_size
    back = from_pretrained(half)
    assert all(value.dtype == torch.float32 for value in back.state_dict().values())


def test_other_networks_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"Conv2d is in no architecture of restoralib.*register_arch"):
        save_pretrained(nn.Conv2d(3, 3, 1), tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_what_is_there_is_kept_unless_told_otherwise(tmp_path, net):
    folder = save_pretrained(net, tmp_path / "net")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_pretrained(net, folder)
    save_pretrained(net, folder, overwrite=True, licence="MIT")
    assert 'license: "mit"' in (folder / "README.md").read_text()
    (folder / "README.md").write_text("# My own page")
    save_pretrained(net, folder, overwrite=True)
    assert (folder / "README.md").read_text() == "# My own page"


def test_the_page_has_the_metadata_of_the_hub(tmp_path, net):
    page = (
        save_pretrained(net, tmp_path / "net", name="org/net", licence="Apache-2.0", terms="None.") / "README.md"
    ).read_text()
    yaml = pytest.importorskip("yaml")
    _, head, text = page.split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["library_name"] == "restoralib" and front["pipeline_tag"] == "image-to-image"
    assert front["license"] == "apache-2.0" and {"image-restoration", "nafnet"} <= set(front["tags"])
    assert "# org/net" in text and 'from_pretrained("org/net")' in text and "## Terms\n\nNone." in text
    own = yaml.safe_load(
        (save_pretrained(net, tmp_path / "own", licence="LicenseRef-research-data") / "README.md").read_text().split("---\n")[1]
    )
    assert (own["license"], own["license_name"]) == ("other", "licenseref-research-data")
    assert "not stated" in (save_pretrained(net, tmp_path / "none") / "README.md").read_text()


# Folders that are not as they should be


def edited(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.update(changes)
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class": "system"}, "neither restoralib nor a plug-in here has"),
        ({"class": "os.system"}, "'class' should match"),
        ({"arch": "subprocess", "class": "Popen"}, "neither restoralib nor a plug-in here has"),
        ({"class": None}, "it lacks 'class'"),
        ({"library_name": "timm"}, "'library_name' should be 'restoralib', got 'timm'"),
        ({"format": 2}, "'format' should be 1, got 2"),
        ({"auto_map": {"AutoModel": "code.py"}}, "it has an unknown 'auto_map'"),
        ({"config": {"width": {"a": 1}}}, "'width' should be null or boolean or number"),
        ({"config": {"depth": 3}}, "arguments of NAFNet"),
        ({"config": {**CONFIG, "width": 10**9}}, "width|absurd"),
        ({"config": {**CONFIG, "width": 8}}, "width"),
        ({"config": []}, "'config' should be object"),
        ({"class": "Baseline"}, "it holds a NAFNet, and config.json says Baseline"),
    ],
)
def test_configs_are_data_and_checked(tmp_path, net, changes, words):
    folder = save_pretrained(net, tmp_path / "net")
    edited(folder, **changes)
    with pytest.raises(CheckpointError, match=words):
        from_pretrained(folder)


def test_damaged_files_are_told(tmp_path, net):
    folder = save_pretrained(net, tmp_path / "net")
    text = (folder / "config.json").read_text()
    for content, words in [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "it should be object"),
        (" " * 2**21, "1,048,576"),
    ]:
        (folder / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=words):
            from_pretrained(folder)
    (folder / "config.json").write_text(text)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(CheckpointError):
        from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors; it has README.md, config.json, pytorch_model.bin"):
        from_pretrained(folder)
    with pytest.raises(FileNotFoundError, match="no folder here and no name on the Hub"):
        from_pretrained(tmp_path / "absent")
    with pytest.raises(ValueError, match="has no revision"):
        from_pretrained(folder, revision="main")


def test_the_validator_agrees_with_jsonschema():
    jsonschema = pytest.importorskip("jsonschema")
    base = {"library_name": "restoralib", "format": 1, "arch": "nafnet", "class": "NAFNet", "config": {"width": 4}}
    changes = [
        {},
        {"format": True},
        {"format": "1"},
        {"scale": 0},
        {"scale": 2.5},
        {"tasks": ["a", 1]},
        {"config": {"a": None}},
    ]
    changes += [
        {"class": "1x"},
        {"arch": ""},
        {"more": 1},
        {"config": {"a": {}}},
        {"restoralib_version": "x" * 101},
        {"tasks": []},
    ]
    for change in changes:
        value = {**base, **change}
        assert bool(violations(value, CONFIG_SCHEMA)) != jsonschema.Draft202012Validator(CONFIG_SCHEMA).is_valid(value), change


# The Hub


@pytest.fixture
def hub(tmp_path, net, monkeypatch):
    """A server that answers for files as the Hub does."""
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    folder = save_pretrained(net, tmp_path / "served")
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body):
            seen.append(self.path)
            start, _, name = self.path.partition("/resolve/main/")
            file = folder / name
            if start != "/org/net" or not file.is_file():
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound" if start == "/org/net" else "RepoNotFound")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            data = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", "1" * 40)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            self.answer(True)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    yield SimpleNamespace(seen=seen, folder=folder)
    server.shutdown()
    server.server_close()


def test_a_network_comes_from_the_hub_and_then_from_its_cache(hub, net, tmp_path, monkeypatch):
    with pytest.raises(Offline, match=r"config.json of org/net is not in the cache, and local_files_only=True"):
        from_pretrained("org/net", local_files_only=True)
    assert not hub.seen
    assert same(from_pretrained("org/net"), net)
    assert any(path.startswith("/org/net/") for path in hub.seen) and (tmp_path / "home" / "hub").is_dir()
    hub.seen.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert same(from_pretrained("org/net"), net) and not hub.seen


def test_what_the_hub_has_not_is_told(hub):
    with pytest.raises(FileNotFoundError, match="the Hub has no org/other"):
        from_pretrained("org/other")
    (hub.folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"org/net has no config.json.*fetch\('hf:org/net/FILE'\)"):
        from_pretrained("org/net")


def test_pushing_makes_a_repository_and_uploads_the_folder(net, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    done = {}

    class Api:
        def __init__(self, endpoint=None, token=None):
            done["endpoint"] = endpoint

        def create_repo(self, repository, **options):
            done["made"] = (repository, options)

        def file_exists(self, *_, **__):
            return False

        def upload_folder(self, *, repo_id, folder_path, **options):
            done["options"] = options
            done["net"] = from_pretrained(folder_path)
            done["page"] = (__import__("pathlib").Path(folder_path) / "README.md").read_text()
            return SimpleNamespace(commit_url=f"https://host/{repo_id}/commit/1")

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert push_to_hub(net, "org/net", licence="MIT", private=True).endswith("/org/net/commit/1")
    assert done["endpoint"] == "https://mirror.example"
    assert done["made"] == ("org/net", {"private": True, "exist_ok": True})
    assert same(done["net"], net) and "# org/net" in done["page"] and done["options"]["ignore_patterns"] == []
    with pytest.raises(ValueError, match="named 'org/name'"):
        push_to_hub(net, "net", licence="MIT")
    with pytest.raises(ValueError, match="under which licence"):
        push_to_hub(net, "org/net", licence="")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Offline, match="cannot be pushed"):
        push_to_hub(net, "org/net", licence="MIT")


def test_without_huggingface_hub_the_extra_is_named_and_folders_work(tmp_path, net, monkeypatch):
    folder = save_pretrained(net, tmp_path / "net")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert same(from_pretrained(folder), net)
    with pytest.raises(ImportError, match=r'pip install "restoralib\[hub\]"'):
        from_pretrained("org/net")


@pytest.mark.slow
def test_every_network_passes_through_a_folder(tmp_path):
    """One configuration of each class, as large as memory allows."""
    from restoralib.archs import VARIANTS

    done = set()
    for name, variant in VARIANTS.items():
        if variant.cls in done:
            continue
        net = create_model(name)
        if sum(parameter.numel() for parameter in net.parameters()) > 50e6:
            continue
        done.add(variant.cls)
        assert find_architecture(type(net)) and same(from_pretrained(save_pretrained(net, tmp_path / name)), net), name
    assert len(done) > 30 and SwinIR in done
