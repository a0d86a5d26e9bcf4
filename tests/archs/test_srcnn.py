"""SRCNN; tests/test_goldens_archs.py holds it against the port."""

import pytest
import torch
from halo import measured_halo

from restoralib.archs.srcnn import SRCNN, VARIANTS, infer_config


def test_parameters_are_the_papers():
    assert sum(parameter.numel() for parameter in SRCNN().parameters()) == 57281


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 33, 64, 65])
def test_any_size_is_kept(size):
    image = torch.rand(1, 1, size, 9)
    output = SRCNN()(image)
    assert output.shape == image.shape and output.isfinite().all()


def test_every_parameter_gets_a_gradient():
    net = SRCNN()
    net(torch.rand(2, 1, 9, 7)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in net.parameters())


def test_halo_is_exact():
    assert measured_halo(SRCNN()) == SRCNN().spec.halo == 8


@pytest.mark.parametrize(("channels", "color"), [(1, "y"), (3, "rgb")])
def test_it_works_on_the_enlarged_luma(channels, color):
    spec = SRCNN(channels).spec
    assert (spec.color, spec.scale, spec.in_channels, spec.out_channels) == (color, 1, channels, channels)


@pytest.mark.slow
def test_compiles_in_one_graph():
    net, image = SRCNN(), torch.rand(1, 1, 9, 7)
    torch.testing.assert_close(torch.compile(net, backend="aot_eager", fullgraph=True)(image), net(image))


def test_runs_in_bfloat16():
    net, image = SRCNN(), torch.rand(1, 1, 9, 7)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(image).float(), net(image.float()).float(), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_weights_tell_the_channels(channels):
    inferred = infer_config(SRCNN(channels).state_dict())
    assert inferred.cls is SRCNN and inferred.config == {"num_channels": channels} and not inferred.missing


def test_published_variants():
    assert list(VARIANTS) == ["srcnn_x2", "srcnn_x3", "srcnn_x4"]
    assert all(infer_config(SRCNN(**variant.config).state_dict()).config == variant.config for variant in VARIANTS.values())


@pytest.mark.parametrize(
    "change",
    [
        {"conv2.weight": torch.zeros(32, 64, 1, 1)},  # the paper's 9-1-5
        {"conv1.weight": torch.zeros(64, 3, 9, 9)},
        {"conv3.bias": torch.zeros(())},
        {"conv4.weight": torch.zeros(1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(SRCNN().state_dict() | change) is None
    assert infer_config({}) is None
