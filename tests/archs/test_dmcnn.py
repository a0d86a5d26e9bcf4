"""DMCNN; tests/test_goldens_archs.py holds it against the port, in both modes."""

import pytest
import torch
import torch.nn.functional as F
from exported import assert_one_graph_serves
from torch import nn

from restoralib import load_model
from restoralib.archs.dmcnn import DMCNN, VARIANTS, infer_config, spec


def ordinary(tied=False) -> DMCNN:
    """A network with weights that no level's share gets lost in."""
    torch.manual_seed(0)
    net = DMCNN(tied).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.05)
    return net


@pytest.mark.parametrize(("tied", "parameters"), [(False, 1_425_839), (True, 650_287)])
def test_parameters_are_the_papers_and_the_ports(tied, parameters):
    net = DMCNN(tied)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == 100
    told = infer_config(net.state_dict())
    assert (told.cls, told.config, told.assumed, told.missing) == (DMCNN, {"tied": False}, {}, ())
    assert net.spec == spec(tied) and net.spec.unrecorded == ("tied",)
    assert net.spec.tasks == VARIANTS["dmcnn"].tasks == ("demoire",)


def test_the_port_shares_mappings_and_the_last_three_steps_down():
    net = DMCNN(tied=True)
    assert net.s31 is net.s41 is net.s51 and net.s21 is not net.s31
    for level in range(1, 6):
        mapping = net.get_submodule(f"s{level}3")
        assert len({id(layer) for layer in mapping if isinstance(layer, nn.Conv2d)}) == 1
    assert len({id(layer) for layer in DMCNN().modules() if isinstance(layer, nn.Conv2d)}) == 40


def test_a_file_of_the_tied_network_gives_the_same_untied(tmp_path):
    tied = ordinary(tied=True)
    torch.save(tied.state_dict(), tmp_path / "port.pth")
    loaded = load_model(tmp_path / "port.pth")
    assert sum(parameter.numel() for parameter in loaded.parameters()) == 1_425_839
    again = load_model(tmp_path / "port.pth", tied=True)
    assert sum(parameter.numel() for parameter in again.parameters()) == 650_287
    image = torch.rand(1, 3, 20, 17)
    with torch.inference_mode():
        assert torch.equal(loaded(image), tied(image)) and torch.equal(again(image), tied(image))


def test_the_result_is_the_sum_of_five_resolutions():
    net, image = ordinary().double(), torch.rand(1, 3, 32, 48, dtype=torch.float64)
    x, total = image, 0
    with torch.inference_mode():
        for level in range(1, 6):
            x = net.get_submodule(f"s{level}1")(x)
            assert x.shape[2:] == (32 >> level - 1, 48 >> level - 1) and x.min() < 0  # no activation behind the step
            share = net.get_submodule(f"s{level}2")(net.get_submodule(f"s{level}3")(x))
            assert share.shape == image.shape
            total = total + share
        torch.testing.assert_close(net(image), total)


def test_nothing_is_added_to_the_sum():
    net = DMCNN()
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    assert not net(torch.rand(1, 3, 16, 16)).any()


def test_initial_weights_are_the_ports():
    weights = torch.cat([layer.weight.flatten() for layer in DMCNN().modules() if hasattr(layer, "weight")]).detach()
    assert weights.std() == pytest.approx(0.01, rel=0.01) and weights.mean().abs() < 1e-4


def test_pads_by_reflection_to_multiples_of_16():
    net, image = ordinary(), torch.rand(1, 3, 18, 30)
    padded = F.pad(image, (0, 2, 0, 14), mode="reflect")
    with torch.inference_mode():
        torch.testing.assert_close(net(image), net(padded)[..., :18, :30])


def test_the_halo_is_measured():
    """NaN on one side of every phase of the grid spoils all that depends on it, in strips along either axis."""
    net = ordinary(tied=True)
    halo, multiple = net.spec.halo, net.spec.multiple
    middle = -(-halo // multiple) * multiple + multiple
    strips = torch.zeros(2 * multiple, 3, multiple, 2 * middle + multiple)
    for phase in range(multiple):
        strips[phase, ..., middle + phase :] = torch.nan
        strips[multiple + phase, ..., : middle + phase] = torch.nan
    for images in (strips, strips.mT):
        with torch.inference_mode():
            spoiled = net(images).isnan().any(1)
        spoiled = spoiled.any(1) if images is strips else spoiled.any(2)
        farthest = 0
        for phase in range(multiple):
            columns = spoiled[phase].nonzero().flatten(), spoiled[multiple + phase].nonzero().flatten()
            farthest = max(farthest, middle + phase - int(columns[0].min()), int(columns[1].max()) - (middle + phase - 1))
        assert farthest == halo


@pytest.mark.parametrize(
    "change",
    [
        {"s13.0.weight": torch.zeros(32, 32, 5, 5)},
        {"s52.8.bias": torch.zeros(())},
        {"s61.0.weight": torch.zeros(64, 64, 3, 3)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(DMCNN().state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.slow
def test_one_graph_serves_all_sizes():
    assert_one_graph_serves(ordinary(tied=True), 16, (48, 32), (32, 64), (80, 48))
