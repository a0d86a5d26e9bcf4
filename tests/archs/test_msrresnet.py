"""MSRResNet; tests/test_goldens_archs.py holds it against BasicSR."""

import random

import pytest
import torch
import torch.nn.functional as F
from halo import measured_halo
from torch import nn

from restoralib.archs.msrresnet import VARIANTS, MSRResNet, infer_config, rename_keys

TINY = {"num_feat": 4, "num_block": 2}
PARAMETERS = {"msrresnet_x2": 1_369_859, "msrresnet_x3": 1_554_499, "msrresnet_x4": 1_517_571}


def on_meta(**config):
    with torch.device("meta"):
        return MSRResNet(**config)


def first_release(state_dict):
    return {key.replace("body.", "recon_trunk.").replace("conv_hr.", "HRconv."): state_dict[key] for key in state_dict}


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = on_meta(**variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]
    inferred = infer_config(net.state_dict())
    assert inferred.cls is variant.cls is MSRResNet and inferred.config == variant.config
    assert not inferred.assumed and not inferred.missing and not net.spec.unrecorded
    assert net.spec.tasks == variant.tasks and name.endswith(f"_x{net.spec.scale}")


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        channels = draw.randint(1, 6)
        config = {
            "num_in_ch": draw.choice([1, channels]),
            "num_out_ch": channels,
            "num_feat": draw.randint(1, 64),
            "num_block": draw.randint(0, 4),
            "upscale": draw.choice([2, 3, 4]),
        }
        state_dict = on_meta(**config).state_dict()
        assert infer_config(state_dict).config == config
        if config["num_block"]:
            assert infer_config(first_release(state_dict)).config == config
            assert list(rename_keys(first_release(state_dict))) == list(state_dict)


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 33, 64, 65])
def test_any_size_is_enlarged(size, upscale):
    output = MSRResNet(**TINY, upscale=upscale)(torch.rand(1, 3, size, 5))
    assert output.shape == (1, 3, upscale * size, upscale * 5) and output.isfinite().all()


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_its_base_is_the_image_enlarged_bilinearly(upscale):
    net, image = MSRResNet(1, 3, **TINY, upscale=upscale), torch.rand(1, 1, 5, 6)
    nn.init.zeros_(net.conv_last.weight)
    expected = F.interpolate(image, size=(5 * upscale, 6 * upscale), mode="bilinear").expand(1, 3, -1, -1)
    torch.testing.assert_close(net(image), expected)


@pytest.mark.parametrize("upscale", [3, 4])
def test_every_parameter_gets_a_gradient(upscale):
    net = MSRResNet(**TINY, upscale=upscale)
    (net(torch.rand(2, 3, 9, 7)) - 0.5).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize("num_block", [0, 2])
def test_halo_is_exact(upscale, num_block):
    net = MSRResNet(1, 1, num_feat=2, num_block=num_block, upscale=upscale)
    assert measured_halo(net) == net.spec.halo


def test_runs_in_bfloat16():
    net, image = MSRResNet(**TINY), torch.rand(1, 3, 9, 7)
    expected = net(image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(image).float(), expected, atol=0.02, rtol=0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"conv_after_body.weight": torch.zeros(1)},  # EDSR
        {"body.0.rdb1.conv1.weight": torch.zeros(1)},  # RRDBNet
        {"conv_first.weight": torch.zeros(())},
        {"upconv1.weight": torch.zeros(20, 4, 3, 3)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(MSRResNet(**TINY).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"upscale": 8}, "upscale should be 2, 3 or 4, got 8"), ({"num_out_ch": 1}, "num_in_ch should be 1 or num_out_ch = 1")],
)
def test_impossible_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MSRResNet(**arguments)
