"""VGGStyleDiscriminator; tests/test_goldens_archs.py holds it against BasicSR."""

import random

import pytest
import torch
import torch.nn.functional as F

from restoralib.archs.vgg_discriminator import VARIANTS, VGGStyleDiscriminator, infer_config
from restoralib.checkpoints import skeleton


def on_meta(**config):
    return skeleton(VGGStyleDiscriminator, config)


@pytest.mark.parametrize(("size", "parameters"), [(128, 14_499_401), (256, 21_055_049)])
def test_published_variants(size, parameters):
    variant = VARIANTS[f"esrgan_discriminator_{size}"]
    net = on_meta(**variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    inferred = infer_config(net.state_dict())
    assert inferred.cls is variant.cls is VGGStyleDiscriminator and inferred.config == variant.config
    assert net.spec.input_size == (size, size) and net.spec.role == "discriminator"


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        config = {"num_in_ch": draw.randint(1, 6), "num_feat": draw.randint(1, 64), "input_size": draw.choice([128, 256])}
        assert infer_config(on_meta(**config).state_dict()).config == config


@pytest.mark.parametrize(("size", "stages"), [(128, 5), (256, 6)])
def test_the_net_is_its_figure(size, stages):
    torch.manual_seed(0)
    net, image = VGGStyleDiscriminator(3, 1, size).double().eval(), torch.rand(2, 3, size, size, dtype=torch.float64)
    x = F.leaky_relu(net.conv0_0(image), 0.2)
    x = F.leaky_relu(net.bn0_1(net.conv0_1(x)), 0.2)
    for stage in range(1, stages):
        for half in (0, 1):
            conv, norm = (net.get_submodule(f"{name}{stage}_{half}") for name in ("conv", "bn"))
            x = F.leaky_relu(norm(conv(x)), 0.2)
    assert x.shape[2:] == (4, 4)
    torch.testing.assert_close(net(image), net.linear2(F.leaky_relu(net.linear1(x.flatten(1)), 0.2)))


@pytest.mark.parametrize("input_size", [128, 256])
@pytest.mark.parametrize("size", [(127, 128), (64, 64), (1, 1)])
def test_other_images_are_named(input_size, size):
    net = VGGStyleDiscriminator(3, 1, input_size)
    words = f"takes images of {input_size}x{input_size} pixels, got {size[0]}x{size[1]}; crop or resize them"
    with pytest.raises(ValueError, match=words):
        net(torch.rand(1, 3, *size))


def test_other_input_sizes_are_named():
    with pytest.raises(ValueError, match="input_size should be 128 or 256, got 192"):
        VGGStyleDiscriminator(3, 64, 192)


@pytest.mark.parametrize("sizes", [(0, 4), (3, 0)])
def test_a_network_without_channels_is_refused(sizes):
    with pytest.raises(ValueError, match=f"num_in_ch and num_feat should be at least 1, got {sizes[0]} and {sizes[1]}"):
        VGGStyleDiscriminator(*sizes)


@pytest.mark.parametrize("change", [{"conv0_0.weight": torch.zeros(())}, {"conv6_0.weight": torch.zeros(1)}])
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(num_in_ch=3, num_feat=2).state_dict() | change) is None
    assert infer_config({}) is None
