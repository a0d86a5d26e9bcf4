"""Every network against the stored outputs of its reference implementation; goldens/network.py explains the files."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from goldens.network import Golden

from restoralib import archs
from restoralib.checkpoints import load_model, load_weights, recognize, skeleton

# Networks of later issues. Whatever else the library does not have fails.
TO_COME = {
    *("MPRNet", "DehazeFormer", "RRDBNet", "SRVGGNetCompact", "UNetDiscriminatorSN", "VGGStyleDiscriminator", "DMCNN"),
    *("RetinexNet", "DecomNet", "RelightNet", "SNRAware", "snr_map", "DiffIRS1", "DiffIRS2"),
    *("GuidedUNet", "PaletteUNet", "SR3UNet", "ConditionalUNet", "ConditionalNAFNet"),
}

# Classes with the keys of a sister class: the caller has to say which is meant.
SISTERS = {"NAFNet", "NAFNetLocal", "Baseline", "BaselineLocal"}


def find_class(name):
    if name in TO_COME:
        pytest.skip(f"{name} is still to come")
    return getattr(archs, name)


def arguments(cls, config, without=()):
    """All constructor arguments, defaults among them, as JSON has them."""
    parameters = inspect.signature(cls).parameters.values()
    values = {parameter.name: parameter.default for parameter in parameters} | dict(config)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if name not in without}


def check_recognised(cls, config, shapes, unrecorded=()):
    state = {key: torch.empty(shape) for key, shape in shapes}
    told = recognize(state, arch=cls.__name__ if cls.__name__ in SISTERS else None)
    net = skeleton(cls, config)
    free = {*net.spec.unrecorded, *unrecorded}
    assert told.cls is cls
    assert arguments(cls, told.config, free) == arguments(cls, config, free)


def test_golden_archs_give_the_references_outputs(archs_golden, tmp_path, record_property):
    if archs_golden.suffix == ".json":
        pytest.skip("holds no numbers")
    golden = Golden(archs_golden)
    cls, config, state = find_class(golden.metadata["class"]), golden.config, golden.state_dict()
    if "layout" in golden.metadata:
        torch.save(state, tmp_path / "layout.pth")
        net = load_model(tmp_path / "layout.pth", **golden.json("unrecorded", {}))
        assert type(net) is cls
    else:
        net = cls(**config)
        load_weights(net, state)
        keys = [[key, list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in net.state_dict().items()]
        assert keys == golden.keys
    assert sum(parameter.numel() for parameter in net.parameters()) == int(golden.metadata["params"])

    bounds = {
        torch.float32: max(1e-4, 3 * float(golden.metadata.get("fp32_error", 0))),
        torch.float64: float(golden.metadata.get("tolerance", 1e-5)),
    }
    for dtype, bound in bounds.items():
        errors = golden.errors(net, dtype)
        record_property(str(dtype), max(errors.values()))  # for --junitxml -o junit_family=xunit1
        assert max(errors.values()) <= bound, errors


def test_golden_archs_are_recognised(archs_golden):
    if archs_golden.suffix == ".json":
        published = json.loads(archs_golden.read_text())
        cls = find_class(published["class"])
        net = skeleton(cls, published["config"])
        assert [[key, list(value.shape)] for key, value in net.state_dict().items()] == published["keys"]
        assert sum(parameter.numel() for parameter in net.parameters()) == published["params"]
        check_recognised(cls, published["config"], published["keys"])
        return
    golden = Golden(archs_golden)
    cls = find_class(golden.metadata["class"])
    unfilled = golden.json("unfilled", ())
    shapes = [(key, shape) for key, shape, _ in golden.keys if key not in unfilled]
    check_recognised(cls, golden.config, shapes, golden.json("unrecorded", {}))


def test_a_golden_of_an_unknown_class_fails():
    with pytest.raises(AttributeError):
        find_class("NoSuchNet")


def test_a_published_list_of_keys_is_compared(tmp_path):
    config = {"img_channel": 3, "width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]}
    net = archs.NAFNet(**config)
    keys = [[key, list(value.shape)] for key, value in net.state_dict().items()]
    params = sum(parameter.numel() for parameter in net.parameters())
    path, published = tmp_path / "nafnet.published.json", {"class": "NAFNet", "config": config, "params": params, "keys": keys}
    path.write_text(json.dumps(published))
    test_golden_archs_are_recognised(path)
    path.write_text(json.dumps(published | {"keys": keys[::-1]}))
    with pytest.raises(AssertionError):
        test_golden_archs_are_recognised(path)
