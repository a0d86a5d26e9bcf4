"""SRVGGNetCompact; tests/test_goldens_archs.py holds it against Real-ESRGAN."""

import random

import pytest
import torch
import torch.nn.functional as F
from halo import measured_halo
from torch import nn

from restoralib.archs.srvgg import VARIANTS, SRVGGNetCompact, infer_config
from restoralib.checkpoints import AmbiguousCheckpoint, interpolate_weights, load_model, skeleton

TINY = {"num_feat": 4, "num_conv": 2}


def on_meta(**config):
    return skeleton(SRVGGNetCompact, config)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("realesr_animevideov3", 621_424), ("realesr_general_x4v3", 1_213_296), ("realesr_general_wdn_x4v3", 1_213_296)],
)
def test_published_variants(name, parameters):
    variant = VARIANTS[name]
    net = on_meta(**variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    inferred = infer_config(net.state_dict())
    assert inferred.cls is variant.cls is SRVGGNetCompact and inferred.config == variant.config
    assert not inferred.assumed and not inferred.missing and not net.spec.unrecorded
    assert net.spec.tasks == variant.tasks == ("sr4",)


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        channels = draw.choice([1, 2, 3, 4])
        config = {
            "num_in_ch": channels,
            "num_out_ch": channels,
            "num_feat": draw.randint(1, 64),
            "num_conv": draw.randint(0, 8),
            "upscale": draw.randint(1, 5),
            "act_type": draw.choice(["prelu", "relu", "leakyrelu"]),
        }
        net = on_meta(**config)
        told = infer_config(net.state_dict())
        assert told.missing == net.spec.unrecorded == (() if config["act_type"] == "prelu" else ("act_type",))
        assert told.config == {name: value for name, value in config.items() if name not in told.missing}


@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
def test_one_channel_may_be_added_to_three(upscale):
    config = {"num_in_ch": 1, "num_out_ch": 3, "num_feat": 4, "num_conv": 1, "upscale": upscale, "act_type": "prelu"}
    assert infer_config(on_meta(**config).state_dict()).config == config
    assert SRVGGNetCompact(**config)(torch.rand(1, 1, 2, 3)).shape == (1, 3, 2 * upscale, 3 * upscale)


@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
def test_its_base_is_the_image_enlarged_to_nearest_neighbours(upscale):
    net, image = SRVGGNetCompact(**TINY, upscale=upscale), torch.rand(1, 3, 5, 6)
    nn.init.zeros_(net.body[-1].weight)
    nn.init.zeros_(net.body[-1].bias)
    assert torch.equal(net(image), image.repeat_interleave(upscale, 2).repeat_interleave(upscale, 3))


@pytest.mark.parametrize(("act_type", "slope"), [("relu", 0.0), ("leakyrelu", 0.1), ("prelu", 0.25)])
def test_the_net_is_its_figure(act_type, slope):
    net = SRVGGNetCompact(**TINY, upscale=2, act_type=act_type).double()
    image = x = torch.rand(1, 3, 4, 5, dtype=torch.float64)
    for i in (0, 2, 4):
        x = F.leaky_relu(net.body[i](x), slope)
    x = F.pixel_shuffle(net.body[6](x), 2) + F.interpolate(image, scale_factor=2, mode="nearest")
    torch.testing.assert_close(net(image), x)


def test_activations_without_slopes_have_to_be_said(tmp_path):
    net, image = SRVGGNetCompact(**TINY, act_type="leakyrelu"), torch.rand(1, 3, 4, 5)
    torch.save({"params": net.state_dict()}, tmp_path / "compact.pth")
    with pytest.raises(AmbiguousCheckpoint, match="no weight of a SRVGGNetCompact tells act_type"):
        load_model(tmp_path / "compact.pth")
    loaded = load_model(tmp_path / "compact.pth", act_type="leakyrelu")
    torch.testing.assert_close(loaded(image), net(image))


@pytest.mark.parametrize("upscale", [1, 2, 3, 4])
@pytest.mark.parametrize("num_conv", [0, 3])
def test_halo_is_exact(upscale, num_conv):
    net = SRVGGNetCompact(1, 1, num_feat=2, num_conv=num_conv, upscale=upscale)
    assert measured_halo(net) == net.spec.halo


@pytest.mark.slow
def test_compiles_with_dynamic_sizes_and_is_exported():
    torch.compiler.reset()
    net = SRVGGNetCompact(**TINY, upscale=3).eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    sizes = {2: torch.export.Dim("height", min=2, max=512), 3: torch.export.Dim("width", min=2, max=512)}
    exported = torch.export.export(net, (torch.rand(1, 3, 8, 12),), dynamic_shapes=(sizes,)).module()
    with torch.inference_mode():
        for size in ((8, 12), (9, 31)):
            image = torch.rand(1, 3, *size)
            torch.testing.assert_close(exported(image), net(image))
            torch.testing.assert_close(compiled(image), net(image))


def test_one_channel_is_grey():
    assert SRVGGNetCompact(1, 1, 4, 2).spec.color == "gray" and SRVGGNetCompact(1, 3, 4, 2).spec.color == "rgb"


@pytest.mark.parametrize(
    "change",
    [
        {"body.7.weight": torch.zeros(4)},
        {"body.0.conv1.weight": torch.zeros(1)},  # MSRResNet
        {"body.1.weight": torch.zeros(4, 4, 3, 3)},
        {"body.0.weight": torch.zeros(())},
        {"body.6.weight": torch.zeros(47, 4, 3, 3)},
        {"body.6.weight": torch.zeros(0, 4, 3, 3)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(**TINY).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"act_type": "gelu"}, "act_type should be one of relu, prelu, leakyrelu, got 'gelu'"),
        ({"num_in_ch": 4}, "num_in_ch should be 1 or num_out_ch = 3, got 4: the image is added"),
        ({"num_feat": 0}, "num_in_ch and num_feat should be at least 1, got 3 and 0"),
        ({"upscale": 0}, "upscale should be at least 1 and num_conv at least 0, got 0 and 16"),
    ],
)
def test_impossible_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SRVGGNetCompact(**arguments)


@pytest.mark.parametrize("strength", [0, 0.25, 1, 1.5])
def test_weights_are_interpolated_key_by_key(strength):
    general, wdn = SRVGGNetCompact(**TINY), SRVGGNetCompact(**TINY)
    state = interpolate_weights(general.state_dict(), wdn.state_dict(), strength)
    assert list(state) == list(general.state_dict())
    for key, value in state.items():
        expected = strength * general.state_dict()[key] + (1 - strength) * wdn.state_dict()[key]
        torch.testing.assert_close(value, expected)
    general.load_state_dict(state)


def test_interpolation_keeps_counters_and_types():
    a = {"weight": torch.full((2,), 3.0, dtype=torch.float16), "num_batches_tracked": torch.tensor(5)}
    b = {"weight": torch.full((2,), 1.0), "num_batches_tracked": torch.tensor(9)}
    state = interpolate_weights(a, b, 0.5)
    assert state["num_batches_tracked"] == 5 and state["weight"].dtype == torch.float16
    assert state["weight"].tolist() == [2.0, 2.0] and a["weight"].tolist() == [3.0, 3.0]


def test_weights_of_different_networks_are_not_interpolated():
    a = SRVGGNetCompact(**TINY).state_dict()
    with pytest.raises(ValueError, match=r"a and b should be weights of the same network; .*1 missing: body.6.weight"):
        interpolate_weights(a, {key: value for key, value in a.items() if key != "body.6.weight"}, 0.5)
    with pytest.raises(ValueError, match=r"body.6.weight is \(12, 4, 3, 3\) and should be \(48, 4, 3, 3\)"):
        interpolate_weights(a, a | {"body.6.weight": torch.zeros(12, 4, 3, 3)}, 0.5)
