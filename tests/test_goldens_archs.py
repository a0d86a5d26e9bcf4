"""Every network against the stored outputs of its reference implementation; goldens/network.py explains the files."""

from __future__ import annotations

import json

import pytest
import torch
from goldens.network import Golden, check_recognised, keys_of, shapes_of
from torch import nn

from restoralib import archs
from restoralib.checkpoints import load_model, load_weights, skeleton


def find_class(name):
    return getattr(archs, name)


class Function(nn.Module):
    """A function in the place of a network."""

    def __init__(self, function, config):
        super().__init__()
        self.function, self.config = function, config

    def forward(self, *inputs):
        return self.function(*inputs, **self.config)


def test_golden_archs_give_the_references_outputs(archs_golden, tmp_path, record_property):
    if archs_golden.suffix == ".json":
        pytest.skip("holds no numbers")
    golden = Golden(archs_golden)
    cls, config, state = find_class(golden.metadata["class"]), golden.config, golden.state_dict()
    if not golden.keys:
        net = Function(cls, config)
    elif "layout" in golden.metadata:
        torch.save(state, tmp_path / "layout.pth")
        net = load_model(tmp_path / "layout.pth", **golden.json("unrecorded", {}))
        assert type(net) is cls
    else:
        net = cls(**config)
        load_weights(net, state)
        assert keys_of(net) == golden.keys
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
    if not golden.keys:
        pytest.skip("is of a function")
    unfilled = golden.json("unfilled", ())
    shapes = [(key, shape) for key, shape, _ in golden.keys if key not in unfilled]
    check_recognised(cls, golden.config, shapes, golden.json("unrecorded", {}))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (
            "SwinIR",
            {"embed_dim": 30, "depths": [2], "num_heads": [1], "window_size": 4, "mlp_ratio": 2.66, "img_size": [8, 12]},
        ),
        ("SwinIR", {"embed_dim": 4, "depths": [2], "num_heads": [1], "window_size": 8, "img_size": 6, "upscale": 2}),
        ("Restormer", {"dim": 8, "num_blocks": [1] * 4, "heads": [1] * 4, "ffn_expansion_factor": 2.665}),
    ],
)
def test_what_rounds_to_the_same_weights_is_recognised(name, config):
    cls = getattr(archs, name)
    check_recognised(cls, config, shapes_of(skeleton(cls, config)).items())


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
