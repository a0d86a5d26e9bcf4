"""FSRCNN; tests/test_goldens_archs.py holds it against the port."""

import random

import pytest
import torch
from halo import measured_halo

from restoralib.archs.fsrcnn import FSRCNN, VARIANTS, infer_config


def without_scale(config):
    return {name: value for name, value in config.items() if name != "scale_factor"}


@pytest.mark.parametrize(("config", "parameters"), [({}, 12809), ({"d": 32, "s": 5, "m": 1}, 4086)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_parameters_are_the_papers(config, parameters, scale):
    assert sum(parameter.numel() for parameter in FSRCNN(scale, **config).parameters()) == parameters


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 33, 64, 65])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_any_size_is_enlarged(size, scale):
    output = FSRCNN(scale, d=8, s=4, m=1)(torch.rand(1, 1, size, 9))
    assert output.shape == (1, 1, scale * size, scale * 9) and output.isfinite().all()


def test_every_parameter_gets_a_gradient():
    net = FSRCNN(2, 3, d=8, s=4, m=2)
    (net(torch.rand(2, 3, 9, 7)) - 0.5).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("m", [0, 2])
def test_halo_is_exact(scale, m):
    net = FSRCNN(scale, d=2, s=2, m=m)
    assert measured_halo(net) == net.spec.halo


@pytest.mark.slow
def test_compiles_in_one_graph():
    net, image = FSRCNN(3, d=8, s=4, m=1), torch.rand(1, 1, 9, 7)
    torch.testing.assert_close(torch.compile(net, backend="aot_eager", fullgraph=True)(image), net(image))


def test_runs_in_bfloat16():
    net, image = FSRCNN(3, d=8, s=4, m=1), torch.rand(1, 1, 9, 7)
    expected = net(image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(image).float(), expected, atol=0.02, rtol=0.05)


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = FSRCNN(**variant.config)
    inferred = infer_config(net.state_dict())
    assert inferred.cls is FSRCNN and inferred.config == without_scale(variant.config)
    assert inferred.missing == net.spec.unrecorded == ("scale_factor",)
    assert name.endswith(f"_x{net.spec.scale}") and net.spec.tasks == variant.tasks == (f"sr{net.spec.scale}",)
    assert net.spec.color == "y"


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        config = {name: draw.randint(1, 70) for name in ("num_channels", "d", "s")} | {"m": draw.randint(0, 8)}
        with torch.device("meta"):
            net = FSRCNN(draw.randint(1, 8), **config)
        assert infer_config(net.state_dict()).config == config


@pytest.mark.parametrize(
    "change",
    [
        {"last_part.weight": torch.zeros(56, 1, 5, 5)},
        {"mid_part.0.weight": torch.zeros(())},
        {"mid_part.12.weight": torch.zeros(12, 12, 3, 3)},
        {"extra": torch.zeros(1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(FSRCNN(2).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize("config", [{"scale_factor": 0}, {"scale_factor": 1.5}, {"d": 0}, {"m": -1}])
def test_impossible_arguments_are_named(config):
    name = next(iter(config))
    with pytest.raises(ValueError, match=f"{name} should be a whole number"):
        FSRCNN(**{"scale_factor": 2, **config})
