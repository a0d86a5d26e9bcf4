"""Zero-DCE and Zero-DCE++: the papers' structure and counts, and the authors' way to run them."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.archs.zero_dce import VARIANTS, ZeroDCE, ZeroDCEPlusPlus, bend, infer_config
from restoralib.checkpoints import CheckpointWarning, load_model, skeleton


def tiny(cls=ZeroDCE, **config):
    torch.manual_seed(0)
    net = cls(number_f=4, **config).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.double()


def image(height, width):
    return torch.rand(1, 3, height, width, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "cls", "parameters", "keys"),
    [("zero_dce", ZeroDCE, 79_416, 14), ("zero_dce_pp", ZeroDCEPlusPlus, 10_561, 28)],
)
def test_published_variants(name, cls, parameters, keys):
    net = skeleton(cls, VARIANTS[name].config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == keys and next(iter(net.state_dict())).startswith("e_conv1.")
    told = infer_config(net.state_dict())
    assert (told.cls, told.config) == (cls, VARIANTS[name].config)
    assert net.spec.tasks == VARIANTS[name].tasks == ("low_light",)


def test_layers_are_joined_as_in_the_figure():
    net, dark = tiny(), image(9, 14)

    def layer(number, *inputs):
        return getattr(net, f"e_conv{number}")(torch.cat(inputs, 1))

    x1 = F.relu(layer(1, dark))
    x2 = F.relu(layer(2, x1))
    x3 = F.relu(layer(3, x2))
    x4 = F.relu(layer(4, x3))
    x5 = F.relu(layer(5, x3, x4))
    x6 = F.relu(layer(6, x2, x5))
    curves = torch.tanh(layer(7, x1, x6))
    enhanced = dark
    for step in range(8):
        r = curves[:, 3 * step : 3 * step + 3]
        enhanced = enhanced + r * (enhanced**2 - enhanced)
    for ours, expected in zip(net(dark), (enhanced, curves), strict=True):
        torch.testing.assert_close(ours, expected)


def test_curves_rise_from_zero_to_one():
    levels = torch.linspace(0, 1, 101).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    for curve in (-1.0, -0.4, 0.0, 0.7, 1.0):
        bent = bend(levels, torch.full_like(levels, curve))
        assert (bent[..., 0] == 0).all() and (bent[..., -1] == 1).all()
        assert (bent.diff(dim=-1) >= -1e-7).all()
        assert ((bent - levels) * -curve >= 0).all(), "negative parameters brighten"


@pytest.mark.parametrize(("cls", "config"), [(ZeroDCE, {}), (ZeroDCEPlusPlus, {}), (ZeroDCEPlusPlus, {"scale_factor": 3})])
def test_images_stay_in_range(cls, config):
    enhanced, _ = tiny(cls, **config)(image(21, 30))
    assert enhanced.min() >= 0 and enhanced.max() <= 1


@pytest.mark.parametrize("cls", [ZeroDCE, ZeroDCEPlusPlus])
def test_halo_is_exact(cls):
    net, dark = tiny(cls), image(41, 41)
    dark[..., 20, 20] = torch.nan
    rows, columns = net(dark)[0][0, 0].isnan().nonzero().T
    assert [int(axis.min()) for axis in (rows, columns)] == [20 - net.spec.halo] * 2
    assert [int(axis.max()) for axis in (rows, columns)] == [20 + net.spec.halo] * 2


@pytest.mark.parametrize("size", [(36, 24), (12, 60)])
def test_a_small_image_gives_the_map_as_in_the_authors_test(size):
    net, dark = tiny(ZeroDCEPlusPlus, scale_factor=12), image(*size)
    small = F.interpolate(dark, scale_factor=1 / 12, mode="bilinear")
    curve = nn.UpsamplingBilinear2d(scale_factor=12)(net.estimate(small))
    enhanced = dark
    for _ in range(8):
        enhanced = enhanced + curve * (enhanced**2 - enhanced)
    for ours, expected in zip(net(dark), (enhanced, curve), strict=True):
        torch.testing.assert_close(ours, expected)
    assert net.spec.halo is None and net.spec.multiple == 12


def test_other_sizes_are_padded_by_reflection():
    net, dark = tiny(ZeroDCEPlusPlus, scale_factor=12), image(30, 17)
    padded = F.pad(dark, (0, 7, 0, 6), mode="reflect")
    torch.testing.assert_close(net(dark)[0], net(padded)[0][..., :30, :17])


def test_what_no_weight_tells_is_assumed_and_can_be_said(tmp_path):
    torch.save(ZeroDCEPlusPlus(number_f=4).state_dict(), tmp_path / "Epoch99.pth")
    with pytest.warns(CheckpointWarning) as warned:
        net = load_model(tmp_path / "Epoch99.pth")
    assert ["scale_factor=12" in str(told.message) for told in warned] == [True, False]
    assert (net.scale_factor, net.iterations) == (12, 8)
    net = load_model(tmp_path / "Epoch99.pth", scale_factor=1, iterations=4)
    assert (net.scale_factor, net.iterations, net.spec.halo) == (1, 4, 7)


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        cls = draw.choice([ZeroDCE, ZeroDCEPlusPlus])
        config = {"number_f": draw.randint(1, 70), "iterations": draw.randint(1, 12) if cls is ZeroDCE else 8}
        told = infer_config(skeleton(cls, config).state_dict())
        assert told.cls is cls and {name: told.config[name] for name in config} == config


@pytest.mark.parametrize(
    ("cls", "change"),
    [
        (ZeroDCE, {"e_conv8.weight": torch.zeros(3, 64, 3, 3)}),
        (ZeroDCE, {"e_conv1.weight": torch.zeros(32, 4, 3, 3)}),
        (ZeroDCE, {"e_conv7.weight": torch.zeros(25, 64, 3, 3)}),
        (ZeroDCE, {"e_conv4.weight": torch.zeros(())}),
        (ZeroDCEPlusPlus, {"e_conv1.weight": torch.zeros(32, 3, 3, 3)}),
        (ZeroDCEPlusPlus, {"e_conv7.point_conv.weight": torch.zeros(24, 64, 1, 1)}),
        (ZeroDCEPlusPlus, {"e_conv7.point_conv.weight": torch.zeros(())}),
    ],
)
def test_other_networks_are_not_taken_for_it(cls, change):
    assert infer_config(skeleton(cls, {}).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize("config", [{"number_f": 0}, {"iterations": 1.5}, {"scale_factor": 0}])
def test_impossible_arguments_are_named(config):
    (name,) = config
    with pytest.raises(ValueError, match=f"{name} should be a whole number of at least 1, got"):
        ZeroDCEPlusPlus(**config)
    if name != "scale_factor":
        with pytest.raises(ValueError, match=f"{name} should be a whole number of at least 1, got"):
            ZeroDCE(**config)
