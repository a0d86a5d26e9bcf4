"""Every stored result of the latent networks and of the functions around them, by one runner a `class` of the files."""

from __future__ import annotations

import json
import warnings

import goldens_dcae
import goldens_sana
import goldens_stablesr
import pytest
import torch
from goldens.network import Golden, check_recognised, keys_of, relative_error, shapes_of
from torch import nn

from restoralib.archs import VARIANTS, find_architecture
from restoralib.checkpoints import CheckpointWarning, load_model, load_weights, recognize, skeleton

# By `class`: a network or a block, which is built with `config` and run in float64 and float32; or a function that takes the
# file and gives all its outputs by their names.
RUNNERS = {
    **goldens_dcae.RUNNERS,
    **goldens_sana.RUNNERS,
    **goldens_stablesr.RUNNERS,
}
# By name of a list of keys: the published configuration that has them. Others have to be recognised.
PUBLISHED = {
    **goldens_dcae.PUBLISHED,
    **goldens_sana.PUBLISHED,
    **goldens_stablesr.PUBLISHED,
}


def find_runner(name):
    if name not in RUNNERS:
        pytest.fail(f"no runner for the class {name!r}")
    return RUNNERS[name]


def build(golden, cls, folder):
    """The network with the weights of the golden, by the path that a published checkpoint takes."""
    state = golden.state_dict()
    if "layout" in golden.metadata:
        torch.save({"state_dict": state}, folder / "layout.pt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CheckpointWarning)  # what weights do not tell is assumed
            net = load_model(folder / "layout.pt", **golden.json("unrecorded", {}))
        assert type(net) is cls
        assert shapes_of(net) == shapes_of(skeleton(cls, golden.config))
        return net
    net = cls(**golden.config)
    load_weights(net, state)
    assert keys_of(net) == golden.keys
    return net


def test_golden_latents_give_the_references_outputs(latent_golden, tmp_path, record_property):
    if latent_golden.suffix == ".json":
        pytest.skip("holds no numbers")
    golden = Golden(latent_golden)
    runner = find_runner(golden.metadata["class"])
    bounds = {
        torch.float32: max(1e-4, 3 * float(golden.metadata.get("fp32_error", 0))),
        torch.float64: float(golden.metadata.get("tolerance", 1e-5)),
    }
    if not (isinstance(runner, type) and issubclass(runner, nn.Module)):
        ours = runner(golden)
        expected = set(golden.json("outputs", {"output": ""}))
        assert set(ours) == expected, f"expected {expected}, got {set(ours)}"
        errors = {name: relative_error(ours[name], golden.tensors[name]) for name in expected}
        record_property(str(torch.float64), max(errors.values()))
        assert max(errors.values()) <= bounds[torch.float64], errors
        return
    net = build(golden, runner, tmp_path)
    assert sum(parameter.numel() for parameter in net.parameters()) == int(golden.metadata["params"])
    for dtype, bound in bounds.items():
        errors = golden.errors(net, dtype)
        record_property(str(dtype), max(errors.values()))  # for --junitxml -o junit_family=xunit1
        assert max(errors.values()) <= bound, errors


def test_golden_latents_are_recognised(latent_golden):
    if latent_golden.suffix == ".json":
        return check_key_list(latent_golden)
    golden = Golden(latent_golden)
    cls = find_runner(golden.metadata["class"])
    if not isinstance(cls, type) or find_architecture(cls) is None:
        pytest.skip("is of a part or of a function")
    unfilled = golden.json("unfilled", ())
    shapes = [(key, shape) for key, shape, _ in golden.keys if key not in unfilled]
    return check_recognised(cls, golden.config, shapes, golden.json("unrecorded", {}))


def check_key_list(path):
    """The keys of a published model: all names and shapes are ours, in our order unless the layout is another one."""
    keys = json.loads(path.read_text())
    state = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, shape, dtype in keys}
    told = recognize(state)
    name = path.name.partition(".")[0]
    variant = VARIANTS[PUBLISHED[name]] if name in PUBLISHED else told
    assert told.cls is variant.cls
    net = skeleton(variant.cls, variant.config)
    shapes = shapes_of(net)
    assert shapes == shapes_of(skeleton(told.cls, told.config))
    entry = find_architecture(told.cls)
    renamed = {key: value.shape for key, value in entry.rename_keys(state).items()}
    assert renamed == {key: shape for key, shape in shapes.items() if key in renamed or "num_batches_tracked" not in key}
    if renamed.keys() == state.keys():
        assert keys_of(net) == keys


def test_a_golden_of_an_unknown_class_fails():
    with pytest.raises(pytest.fail.Exception, match="no runner for the class 'NoSuchNet'"):
        find_runner("NoSuchNet")


def test_a_list_of_keys_in_another_order_fails(tmp_path):
    config = {"latent_channels": 4}
    for half in ("encoder", "decoder"):
        config |= {
            f"{half}_block_out_channels": [8, 8],
            f"{half}_layers_per_block": [1, 1],
            f"{half}_qkv_multiscales": [[], []],
        }
    keys = keys_of(skeleton(goldens_dcae.DCAE, config))
    path = tmp_path / "small.keys.json"
    path.write_text(json.dumps(keys))
    check_key_list(path)
    path.write_text(json.dumps(keys[::-1]))
    with pytest.raises(AssertionError):
        check_key_list(path)
