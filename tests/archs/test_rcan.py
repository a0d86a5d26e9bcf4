"""RCAN; tests/test_peers.py holds it against spandrel's."""

import random

import pytest
import torch
import torch.nn.functional as F

from restoralib import restore
from restoralib.archs.rcan import RCAN, VARIANTS, infer_config, rename_keys
from restoralib.blocks.mean_shift import DIV2K_MEAN
from restoralib.checkpoints import load_model, skeleton

TINY = {"n_resgroups": 2, "n_resblocks": 2, "n_feats": 8, "reduction": 2}
PARAMETERS = {  # those of the mean are not trained
    "rcan_x2": 15_444_643,
    "rcan_x3": 15_629_283,
    "rcan_x4": 15_592_355,
    "rcan_x8": 15_740_067,
}


def on_meta(**config):
    return skeleton(RCAN, config)


def basicsr(state_dict):
    """The names of BasicSR, which does not save the mean."""
    renamed = {}
    for key, value in state_dict.items():
        name = key.split(".")
        if name[0] == "head":
            name = ["conv_first", name[-1]]
        elif name[0] == "tail":
            name = ["upsample", *name[2:]] if name[1] == "0" else ["conv_last", name[-1]]
        elif name[0] == "body" and len(name) == 3:
            name = ["conv_after_body", name[-1]]
        elif name[0] == "body" and len(name) == 5:
            name = ["body", name[1], "conv", name[-1]]
        elif name[0] == "body":
            inner = ["rcab", "3", "attention", str(int(name[7]) + 1)] if name[5] == "3" else ["rcab", name[5]]
            name = ["body", name[1], "residual_group", name[3], *inner, name[-1]]
        else:
            continue
        renamed[".".join(name)] = value
    return renamed


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = on_meta(**variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]
    inferred = infer_config(net.state_dict())
    assert inferred.cls is variant.cls is RCAN and inferred.config == variant.config
    assert set(inferred.assumed) == {"rgb_range"} and not net.spec.unrecorded
    assert net.spec.tasks == variant.tasks and name.endswith(f"_x{net.spec.scale}")
    assert (net.spec.halo, net.spec.global_ops) == (None, ("CALayer",))


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back_from_both_layouts(draws):
    draw = random.Random(0)
    for _ in range(draws):
        config = {
            "n_resgroups": draw.choice([1, 1, 2]),
            "n_resblocks": draw.choice([1, 1, 2]),
            "n_feats": draw.choice([16, 32, 48, 64]),
            "reduction": draw.choice([1, 2, 4, 8, 16]),
            "scale": draw.choice([1, 2, 3, 4, 8]),
            "rgb_range": 255,
            "n_colors": 3,
        }
        state_dict = on_meta(**config).state_dict()
        assert infer_config(state_dict).config == config
        renamed = basicsr(state_dict)
        assert list(rename_keys(renamed)) == list(state_dict)
        assert infer_config(renamed).config == config


def test_any_reduction_gives_the_same_bottleneck():
    for n_feats in (1, 7, 30):
        for reduction in range(1, n_feats + 1):
            state = on_meta(n_resgroups=1, n_resblocks=1, n_feats=n_feats, reduction=reduction).state_dict()
            assert n_feats // infer_config(state).config["reduction"] == n_feats // reduction


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_net_is_its_figure(scale):
    net, image = RCAN(**TINY, scale=scale).double(), torch.rand(1, 3, 5, 6, dtype=torch.float64)
    mean = 255 * torch.tensor(DIV2K_MEAN)[:, None, None]
    shallow = x = net.head(255 * image - mean)
    for group in net.body[:-1]:
        inner = x
        for block in group.body[:-1]:
            branch = block.body[2](F.relu(block.body[0](inner)))
            down, _, up, _ = block.body[3].conv_du
            inner = inner + branch * torch.sigmoid(up(F.relu(down(branch.mean((2, 3), keepdim=True)))))
        x = x + group.body[-1](inner)
    x = net.tail(shallow + net.body[-1](x))
    torch.testing.assert_close(net(image), (x + mean) / 255)


def test_files_of_both_layouts_load_without_a_question(tmp_path, recwarn):
    net, image = RCAN(**TINY, scale=2), torch.rand(1, 3, 5, 6)
    torch.save(net.state_dict(), tmp_path / "rcan.pt")
    torch.save({"params": basicsr(net.state_dict())}, tmp_path / "basicsr.pth")
    for file in ("rcan.pt", "basicsr.pth"):
        torch.testing.assert_close(load_model(tmp_path / file)(image), net(image))
    assert not recwarn.list


def test_tiles_can_be_exact():
    torch.manual_seed(0)
    net = RCAN(n_resgroups=1, n_resblocks=1, n_feats=4, reduction=1, scale=2).eval()
    image = torch.rand(3, 60, 52)
    whole = restore(image, net, tile=None)
    torch.testing.assert_close(restore(image, net, tile=32, exact=True), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_compiles_with_dynamic_sizes_and_is_exported():
    torch.compiler.reset()
    net = RCAN(n_resgroups=1, n_resblocks=1, n_feats=4, reduction=1, scale=3).eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    sizes = {2: torch.export.Dim("height", min=2, max=512), 3: torch.export.Dim("width", min=2, max=512)}
    exported = torch.export.export(net, (torch.rand(1, 3, 8, 12),), dynamic_shapes=(sizes,)).module()
    with torch.inference_mode():
        for size in ((8, 12), (9, 31)):
            image = torch.rand(1, 3, *size)
            torch.testing.assert_close(exported(image), net(image))
            torch.testing.assert_close(compiled(image), net(image))


@pytest.mark.parametrize(
    "change",
    [
        {"extra.weight": torch.zeros(1)},
        {"head.0.weight": torch.zeros(())},
        {"body.0.body.0.body.3.conv_du.0.weight": torch.zeros(0, 8, 1, 1)},
        {"tail.0.0.weight": torch.zeros(20, 8, 3, 3)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(**TINY).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_colors": 4}, "n_colors should be 3, for the mean that is taken is that of RGB images; got 4"),
        ({"n_resgroups": 0}, "n_resgroups and n_resblocks should be at least 1 and rgb_range more than 0, got 0, 20 and 255"),
        ({"n_feats": 8}, "reduction should be from 1 to n_feats = 8, got 16"),
        ({"scale": 6}, "scale should be a power of two or 3, got 6"),
    ],
)
def test_impossible_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RCAN(**arguments)
