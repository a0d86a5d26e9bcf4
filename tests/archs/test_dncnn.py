"""DnCNN; tests/test_peers.py holds it against other implementations."""

import random

import pytest
import torch
from halo import measured_halo
from outline import outline

from restoralib import load_model
from restoralib.archs.dncnn import VARIANTS, DnCNN, infer_config
from restoralib.checkpoints import CheckpointWarning


def on_meta(config) -> DnCNN:
    return outline(DnCNN, config)


@pytest.mark.parametrize(
    ("name", "parameters", "channels"),
    [
        *((f"dncnn_{sigma}", 555_137, 1) for sigma in (15, 25, 50)),
        ("dncnn_gray_blind", 665_921, 1),
        ("dncnn_color_blind", 668_227, 3),
        ("dncnn3", 665_921, 1),
    ],
)
def test_published_variants(name, parameters, channels):
    variant = VARIANTS[name]
    net = on_meta(variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert infer_config(net.state_dict()).config == variant.config
    assert set(variant.tasks) <= set(net.spec.tasks)
    assert (net.spec.color, net.spec.halo) == ("gray" if channels == 1 else "rgb", variant.config["nb"])


def test_the_result_is_the_image_less_the_stack():
    net = DnCNN(nc=4, nb=3, act_mode="R").double()
    image = torch.rand(2, 1, 6, 5, dtype=torch.float64)
    first, _, middle, _, last = net.model
    assert torch.equal(net(image), image - last(middle(first(image).relu()).relu()))


def test_a_batch_norm_merged_into_its_convolution_gives_the_same():
    torch.manual_seed(0)
    net = DnCNN(2, 2, nc=4, nb=4, act_mode="BR").double().eval()
    for norm in (net.model[3], net.model[6]):
        for value in (norm.weight, norm.bias, norm.running_mean):
            torch.nn.init.normal_(value)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    merged = DnCNN(2, 2, nc=4, nb=4, act_mode="R").double().eval()
    merged.model[0].load_state_dict(net.model[0].state_dict())
    merged.model[6].load_state_dict(net.model[8].state_dict())
    for ours, place in ((merged.model[2], 2), (merged.model[4], 5)):
        conv, norm = net.model[place], net.model[place + 1]
        factor = norm.weight / (norm.running_var + 1e-4).sqrt()
        weight, bias = conv.weight * factor[:, None, None, None], (conv.bias - norm.running_mean) * factor + norm.bias
        ours.load_state_dict({"weight": weight, "bias": bias})
    image = torch.rand(1, 2, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(merged(image), net(image))


@pytest.mark.parametrize("config", [{"nb": 2}, {"nb": 5}, {"nb": 4, "act_mode": "R"}])
def test_halo_is_exact(config):
    net = DnCNN(nc=2, **config).eval()
    assert measured_halo(net) == net.spec.halo


@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_files_load_with_and_without_a_wrappers_prefix(prefix, tmp_path):
    net = DnCNN(nc=4, nb=4, act_mode="R").eval()
    torch.save({prefix + key: value for key, value in net.state_dict().items()}, tmp_path / "dncnn.pth")
    with pytest.warns(CheckpointWarning, match="no weight tells act_mode; act_mode='R' is assumed"):
        loaded, image = load_model(tmp_path / "dncnn.pth"), torch.rand(1, 1, 7, 9)
    with torch.inference_mode():
        assert type(loaded) is DnCNN and torch.equal(loaded(image), net(image))


@pytest.mark.parametrize("mode", ["L", "BL"])
def test_a_leaky_network_is_loaded_where_that_is_said(mode, recwarn, tmp_path):
    net, image = DnCNN(nc=4, nb=4, act_mode=mode).eval(), torch.rand(1, 1, 7, 9)
    torch.save(net.state_dict(), tmp_path / "leaky.pth")
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "leaky.pth", act_mode=mode)(image), net(image)) and not recwarn


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        channels, nb = draw.randint(1, 4), draw.randint(2, 9)
        modes = ["R", "BR"] if nb > 2 else ["R"]  # two convolutions have no norm between them
        config = {"in_nc": channels, "out_nc": channels, "nc": draw.randint(1, 70), "nb": nb, "act_mode": draw.choice(modes)}
        assert infer_config(on_meta(config).state_dict()).config == config


@pytest.mark.parametrize(
    "change",
    [
        {"model.0.weight": torch.zeros(64, 2, 3, 3)},  # FDnCNN
        {"model.0.weight": torch.zeros(())},
        {"model.0.weight": torch.zeros(64, 1, 5, 5)},
        {"model.2.weight": torch.zeros(64, 32, 3, 3)},
        {"model.40.weight": torch.zeros(64, 64, 3, 3)},
        {"extra": torch.zeros(1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta({"act_mode": "R"}).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"in_nc": 3}, "in_nc and out_nc should be equal, for the noise is subtracted; got 3 and 1"),
        ({"nb": 1}, "nb at least 2, got 64 and 1"),
        ({"nc": 0}, "nc should be at least 1"),
        ({"act_mode": "E"}, "act_mode should be one of R, L, BR, BL, got 'E'"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        DnCNN(**config)
