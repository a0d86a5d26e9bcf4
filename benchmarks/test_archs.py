"""One benchmark a network in a published configuration, random weights."""

import pytest
import torch

from restoralib.zoo import create_model, model_info

SIDES = {
    "fsrcnn_x4": 256,
    "srresnet_x4": 64,
    "msrresnet_x4": 64,
    "nafnet_sidd_width32": 256,
    "nafnet_gopro_width32": 256,
    "baseline_sidd_width32": 256,
    "swinir_lightweight_x4": 64,
    "restormer_deraining": 128,
}


@pytest.mark.parametrize("name", SIDES)
def test_network(name, timed):
    side = SIDES[name]
    net = create_model(name)
    channels = net.spec.in_channels
    timed(net, torch.rand(1, channels, side, side), pixels=side**2)
    assert model_info(name).parameters == sum(p.numel() for p in net.parameters())
