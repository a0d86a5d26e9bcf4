"""Exported files: for any size the network's own result, what they say of themselves, and words where there can be none."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from restoralib import archs, create_model, load_model, restore
from restoralib.archs import ARCHITECTURES, FSRCNN, NetSpec
from restoralib.export import (
    Description,
    NotExportable,
    OnnxModel,
    Sizes,
    export_onnx,
    export_program,
    export_safetensors,
    quantize_onnx,
    read_description,
)
from restoralib.export.tracing import NEAR, check_sizes, sizes_to_try, trace

sys.path.append(str(Path(__file__).parent / "archs"))
import exports

CONFIG = {"scale_factor": 3, "d": 8, "s": 4, "m": 1}


def make_net():
    torch.manual_seed(0)
    return FSRCNN(**CONFIG).eval()


class Padded(nn.Module):
    """A small network with all that makes graphs of one size: padding, halving, doubling, a cut and a sum with the image."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 2, 2), nn.Conv2d(8, 12, 1)
        self.spec = NetSpec(multiple=2, halo=2, tasks=("denoise",))

    def forward(self, image):
        height, width = image.shape[-2:]
        x = nn.functional.pixel_shuffle(self.up(self.down(archs.nafnet.pad_to_multiple(image, 2))), 2)
        return x[..., :height, :width] + image


class Picky(nn.Module):
    """A network that looks at the image before it decides what to do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.spec = NetSpec()

    def forward(self, image):
        return self.conv(image) if image.mean() > 0.5 else image


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("onnx") / "fsrcnn.onnx"
    described = export_onnx(make_net(), path, name="fsrcnn_x3", licence="MIT", check=False)
    assert described.sizes == Sizes(1, 2) and [file.name for file in path.parent.iterdir()] == ["fsrcnn.onnx"]
    return path


def test_an_onnx_file_gives_the_same_as_the_network_at_other_sizes(onnx_file):
    assert check_sizes(OnnxModel(onnx_file).run, make_net(), Sizes(1, 2), count=3) < 1e-5


def test_an_onnx_file_says_what_it_is(onnx_file):
    import onnx

    graph = onnx.load(onnx_file)
    said = {entry.key: entry.value for entry in graph.metadata_props}
    expected = {"name": "fsrcnn_x3", "class": "FSRCNN", "scale": "3", "multiple": "1", "weights_license": "MIT", "range": "0 1"}
    assert expected.items() <= said.items() and said["color"] == "y"
    assert read_description(said).spec == make_net().spec
    (image,) = graph.graph.input
    assert image.name == "image" and [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim][2:] == [
        "height",
        "width",
    ]
    assert graph.graph.output[0].name == "restored" and graph.opset_import[0].version == 18


@pytest.mark.parametrize("size", [(3, 21, 34), (1, 9, 8)])
def test_restore_takes_an_onnx_file_as_a_model(onnx_file, size):
    image, net = torch.rand(size), make_net()
    torch.testing.assert_close(restore(image, str(onnx_file)), restore(image, net), atol=1e-5, rtol=0)
    torch.testing.assert_close(restore(image, OnnxModel(onnx_file), tile=8), restore(image, net, tile=8), atol=1e-5, rtol=0)
    assert restore(torch.rand(3, 1, 1), OnnxModel(onnx_file)).shape == (3, 3, 3)  # smaller than the graph takes


def test_an_onnx_model_is_copied_and_sent_to_other_processes(onnx_file):
    model, images = OnnxModel(onnx_file, threads=1), torch.rand(2, 1, 12, 10)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(images), model(images)) and again.spec == model.spec
    assert model(images.double()).dtype == torch.float64


def test_other_files_and_images_are_refused_in_words(onnx_file, tmp_path):
    import onnx

    with pytest.raises(ValueError, match=r"expected an image \(b, 1, h, w\), got \(1, 3, 8, 8\)"):
        OnnxModel(onnx_file)(torch.rand(1, 3, 8, 8))
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        OnnxModel(tmp_path / "absent.onnx")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        restore(torch.rand(3, 8, 8), tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ValueError, match=r"text\.onnx: ONNX Runtime cannot open it"):
        OnnxModel(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match="has no NoSuchProvider here; it has"):
        OnnxModel(onnx_file, providers=["NoSuchProvider"])
    graph = onnx.load(onnx_file)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match="was not exported by restoralib; say its scale"):
        OnnxModel(tmp_path / "foreign.onnx")
    foreign = OnnxModel(tmp_path / "foreign.onnx", spec=NetSpec(scale=3, in_channels=1, out_channels=1))
    assert foreign(torch.rand(1, 1, 5, 6)).shape == (1, 1, 15, 18)
    with pytest.raises(ValueError, match="opset should be at least 18, got 11"):
        export_onnx(make_net(), tmp_path / "old.onnx", opset=11)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        export_onnx(make_net(), tmp_path / "nowhere" / "net.onnx", check=False)


def test_without_the_extra_the_error_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'onnxruntime is not installed; pip install "restoralib\[onnx\]"'):
        OnnxModel(tmp_path / "net.onnx")


def test_eight_bits_stay_near_and_are_told(onnx_file, tmp_path):
    images = [torch.rand(3, 24, 30), torch.rand(1, 1, 16, 17)]
    described = quantize_onnx(onnx_file, images, tmp_path / "small.onnx", keep_ends=False)
    small, whole, image = OnnxModel(tmp_path / "small.onnx"), OnnxModel(onnx_file), torch.rand(1, 1, 20, 26)
    assert described == small.description and described.quantized == "int8" and described.name == "fsrcnn_x3"
    error, result = (small(image) - whole(image)).square().mean(), whole(image)
    assert 0 < error < 0.02 * result.var() and small(image).shape == result.shape
    with pytest.raises(ValueError, match="holds int8 already"):
        quantize_onnx(tmp_path / "small.onnx", images, tmp_path / "smaller.onnx")
    with pytest.raises(ValueError, match="there are no images"):
        quantize_onnx(onnx_file, [], tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="unknown method 'guess'; choose one of minmax"):
        quantize_onnx(onnx_file, images, tmp_path / "none.onnx", method="guess")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["small.onnx"]


def test_a_program_runs_without_the_networks_code_at_any_size(tmp_path):
    torch.manual_seed(0)
    net = Padded().train()
    described = export_program(net, tmp_path / "net.pt2", licence="MIT")
    assert described.sizes == Sizes(1, 3) and net.training
    about = {"restoralib.json": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=about).module()
    for size in ((3, 3), (8, 8), (13, 4), (40, 41)):
        image = torch.rand(1, 3, *size)
        torch.testing.assert_close(program(image)[0], net(image), atol=1e-5, rtol=1e-4)
    said = json.loads(about["restoralib.json"])
    assert read_description(said) == described and said["name"] == "Padded" and said["tasks"] == "denoise"


def test_a_network_that_decides_by_its_image_is_refused_with_the_reason(tmp_path):
    with pytest.raises(NotExportable, match=r"Picky is not exported: .*[Dd]ata-dependent"):
        export_program(Picky().eval(), tmp_path / "net.pt2")
    with pytest.raises(TypeError, match="a module with a spec, got Conv2d"):
        export_program(nn.Conv2d(3, 3, 1), tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_gives_something_else_is_found_out():
    net = make_net()
    with pytest.raises(NotExportable, match=r"the graph's result differs by .* at"):
        check_sizes(lambda image: net(image) * 1.001, net, Sizes())
    with pytest.raises(NotExportable, match="the graph gives"):
        check_sizes(lambda image: net(image)[..., 1:], net, Sizes())


def test_graphs_are_tried_off_their_grid():
    first, *others = sizes_to_try(NetSpec(multiple=8), Sizes(1, 9), count=3)
    assert len({first, *others}) == 4 and any(side % 8 for size in others for side in size)
    assert all(side % 8 == 0 and side > 16 for size in sizes_to_try(NetSpec(multiple=8), Sizes(8, 16), 3) for side in size)
    assert sizes_to_try(NetSpec(input_size=(96, 96)), Sizes(only=(96, 96)), 2) == [(96, 96)] * 3


def test_sizes_read_as_a_table_has_them():
    texts = {Sizes(): "any", Sizes(1, 9): "any from 9 pixels", Sizes(8, 8): "multiples of 8", Sizes(only=(96, 96)): "96x96"}
    assert all(str(sizes) == text for sizes, text in texts.items())
    assert str(Sizes(8, 16)) == "multiples of 8 from 16 pixels"


def test_a_description_survives_text_and_damage_is_told():
    described = Description("a", "B", NetSpec(scale=2, halo=None, global_ops=("mean",)), Sizes(only=(4, 6)), "MIT")
    said = described.to_metadata()
    assert read_description(said) == described and read_description({"author": "somebody"}) is None
    for change, words in (
        ({"spec": "{"}, "damaged"),
        ({"format": "9"}, "later format"),
        ({"spec": '{"scale": [], "halo": null}'}, "damaged"),
    ):
        with pytest.raises(ValueError, match=words):
            read_description(said | change)


def test_weights_are_read_back_with_nothing_to_guess(tmp_path):
    net, image = make_net(), torch.rand(1, 1, 9, 8)
    with pytest.raises(ValueError, match="no weight of a FSRCNN tells scale_factor; pass"):
        export_safetensors(net, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="the network was not built with"):
        export_safetensors(net, tmp_path / "net.safetensors", config=CONFIG | {"scale_factor": 4})
    with pytest.raises(ValueError, match=r"should end in \.safetensors, got net\.pth"):
        export_safetensors(net, tmp_path / "net.pth", config=CONFIG)
    with pytest.raises(TypeError, match="load_model knows no Padded"):
        export_safetensors(Padded(), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())
    export_safetensors(net, tmp_path / "net.safetensors", config=CONFIG, licence="MIT")
    again = load_model(tmp_path / "net.safetensors")
    assert again.spec == net.spec and torch.equal(again(image), net(image))
    # What was loaded knows how it was built.
    export_safetensors(again, tmp_path / "half.safetensors", half=True, name="mine")
    third = load_model(tmp_path / "half.safetensors")
    torch.testing.assert_close(third(image), net(image), atol=1e-2, rtol=1e-2)
    with safe_open(tmp_path / "half.safetensors", "pt") as file:
        said = file.metadata()
    assert (
        said["name"] == "mine" and said["scale"] == "3" and said["weights_license"] == "unknown" and said["class"] == "FSRCNN"
    )


def test_models_of_the_zoo_know_how_they_were_built(tmp_path):
    for net in (create_model("fsrcnn_x4"), create_model("fsrcnn_x4", weights="bundled")):
        described = export_safetensors(net, tmp_path / "net.safetensors")
        assert described.spec.scale == 4 and load_model(tmp_path / "net.safetensors").spec == net.spec


def test_the_table_of_the_documentation_holds_what_was_found():
    table, classes = exports.read(), {cls.__name__ for entry in ARCHITECTURES.values() for cls in entry.classes}
    assert table.keys() <= classes and len(table) > 1
    for name, entry in table.items():
        for kind in ("program", "onnx"):
            if entry[kind] is None:
                assert entry.get(f"{kind}_reason") or entry.get("program_reason"), name
            else:
                assert entry[f"{kind}_error"] <= NEAR, name


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(exports.read()))
def test_every_network_of_the_table_is_exported_as_it_says(name, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from test_all import make

    stored, found = exports.read()[name], exports.survey(make(name), tmp_path)
    assert {key: found[key] for key in ("program", "onnx")} == {key: stored[key] for key in ("program", "onnx")}


@pytest.mark.slow
def test_a_network_with_padding_and_a_pyramid_is_traced_once_for_all_sizes():
    from test_all import make

    net = make("NAFNet")
    program, sizes = trace(net)
    assert sizes == Sizes(1, 5) and check_sizes(program.module(), net, sizes, count=3) <= NEAR
