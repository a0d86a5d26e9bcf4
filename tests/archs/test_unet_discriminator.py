"""UNetDiscriminatorSN; tests/test_goldens_archs.py holds it against Real-ESRGAN."""

import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from halo import measured_halo
from torch import nn

from restoralib.archs.unet_discriminator import VARIANTS, UNetDiscriminatorSN, infer_config, rename_keys
from restoralib.checkpoints import CheckpointWarning, load_model, skeleton
from restoralib.ops import pad_to_multiple


def on_meta(**config):
    return skeleton(UNetDiscriminatorSN, config)


def parametrised(state_dict):
    """The names that torch's parametrisation gives."""
    names = {"weight_orig": "original", "weight_u": "0._u", "weight_v": "0._v"}
    for ours, torchs in names.items():
        state_dict = {key.replace(ours, f"parametrizations.weight.{torchs}"): value for key, value in state_dict.items()}
    return state_dict


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = on_meta(**variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_376_897
    inferred = infer_config(net.state_dict())
    assert inferred.cls is variant.cls is UNetDiscriminatorSN and inferred.config == variant.config
    assert tuple(inferred.assumed) == net.spec.unrecorded == ("skip_connection",)
    assert net.spec.role == "discriminator" and not net.spec.tasks


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        config = {"num_in_ch": draw.randint(1, 6), "num_feat": draw.randint(1, 64)}
        state = on_meta(**config).state_dict()
        assert infer_config(state).config == config | {"skip_connection": True}
        assert list(rename_keys(parametrised(state))) == list(state)
        assert infer_config(parametrised(state)).config == config | {"skip_connection": True}


@pytest.mark.parametrize("skip_connection", [True, False])
def test_the_net_is_its_figure(skip_connection):
    torch.manual_seed(0)
    net = UNetDiscriminatorSN(3, 2, skip_connection).double().eval()
    image = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    state = net.state_dict()

    def conv(x, i, stride=1):
        weight = state[f"conv{i}.weight_orig"]
        sigma = state[f"conv{i}.weight_u"] @ weight.flatten(1) @ state[f"conv{i}.weight_v"]
        return F.leaky_relu(F.conv2d(x, weight / sigma, None, stride, 1), 0.2)

    def up(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear")

    use = float(skip_connection)
    x0 = F.leaky_relu(net.conv0(image), 0.2)
    x1 = conv(x0, 1, 2)
    x2 = conv(x1, 2, 2)
    x3 = conv(x2, 3, 2)
    x4 = conv(up(x3), 4) + use * x2
    x5 = conv(up(x4), 5) + use * x1
    x6 = conv(up(x5), 6) + use * x0
    torch.testing.assert_close(net(image), net.conv9(conv(conv(x6, 7), 8)))


class Padded(nn.Module):
    """Takes any size, with zeros that lie too far away to matter."""

    def __init__(self, net):
        super().__init__()
        self.net, self.spec = net, replace(net.spec, halo=net.spec.halo + 8)

    def forward(self, image):
        return self.net(pad_to_multiple(image, 8, "constant"))[..., : image.shape[2], : image.shape[3]]


@pytest.mark.parametrize("skip_connection", [True, False])
def test_halo_is_exact(skip_connection):
    net = UNetDiscriminatorSN(1, 1, skip_connection).eval()
    assert measured_halo(Padded(net)) == net.spec.halo


def test_training_improves_the_singular_vectors_and_evaluation_leaves_them():
    torch.manual_seed(0)
    net, image = UNetDiscriminatorSN(3, 2), torch.rand(1, 3, 8, 8)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.eval()(image)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    for _ in range(30):
        net.train()(image)
    for i in range(1, 9):
        weight = net.get_submodule(f"conv{i}").eval().weight()
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, rel=0.05)


def test_files_of_torchs_parametrisation_load(tmp_path):
    net, image = UNetDiscriminatorSN(3, 2).eval(), torch.rand(1, 3, 8, 16)
    torch.save({"params": parametrised(net.state_dict())}, tmp_path / "netD.pth")
    with pytest.warns(CheckpointWarning, match="no weight tells skip_connection; skip_connection=True is assumed"):
        loaded = load_model(tmp_path / "netD.pth")
    torch.testing.assert_close(loaded(image), net(image))


@pytest.mark.parametrize("size", [(7, 8), (8, 12), (1, 1)])
def test_other_sizes_than_multiples_of_eight_are_named(size):
    net = UNetDiscriminatorSN(3, 2)
    with pytest.raises(ValueError, match=f"sides of multiples of 8 pixels, got {size[0]}x{size[1]}; crop or pad them"):
        net(torch.rand(1, 3, *size))


@pytest.mark.parametrize("sizes", [(0, 4), (3, 0)])
def test_a_network_without_channels_is_refused(sizes):
    with pytest.raises(ValueError, match=f"num_in_ch and num_feat should be at least 1, got {sizes[0]} and {sizes[1]}"):
        UNetDiscriminatorSN(*sizes)


@pytest.mark.parametrize(
    "change", [{"conv0.weight": torch.zeros(())}, {"conv10.weight": torch.zeros(1)}, {"conv1.weight": torch.zeros(1)}]
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(num_in_ch=3, num_feat=2).state_dict() | change) is None
    assert infer_config({}) is None
