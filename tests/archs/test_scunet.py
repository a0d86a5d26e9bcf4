"""SCUNet; tests/test_peers.py holds it against other implementations."""

import random

import pytest
import torch
import torch.nn.functional as F
from exported import assert_one_graph_serves
from outline import outline

from restoralib.archs.scunet import VARIANTS, SCBlock, SCUNet, infer_config

TINY = {"config": (1, 1, 1, 1, 1, 1, 1)}


def on_meta(config) -> SCUNet:
    return outline(SCUNet, config)


@pytest.fixture(scope="module")
def tiny() -> SCUNet:
    torch.manual_seed(0)
    net = SCUNet(config=(2, 1, 1, 2, 1, 1, 1)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = on_meta(variant.config)
    gray = "gray" in name
    assert sum(parameter.numel() for parameter in net.parameters()) == (17_943_768 if gray else 17_946_072)
    assert len(net.state_dict()) == 2 + 6 + 28 * 19
    assert infer_config(net.state_dict()).config == variant.config
    assert set(variant.tasks) <= set(net.spec.tasks)
    assert (net.spec.in_channels, net.spec.multiple) == (1 if gray else 3, 64)


def test_pads_by_repetition(tiny):
    image = torch.rand(1, 3, 40, 61)
    with torch.inference_mode():
        torch.testing.assert_close(tiny(image), tiny(F.pad(image, (0, 3, 0, 24), mode="replicate"))[..., :40, :61])


def test_every_second_block_of_a_level_is_shifted_unless_one_window_filled_the_patch():
    def shifts(**config):
        net = on_meta({"config": (3, 2, 1, 2, 1, 2, 1)} | config)
        return [module.trans_block.shifted for module in net.modules() if isinstance(module, SCBlock)]

    third = [False, True, False]
    assert shifts() == [*third, False, True, False, False, True, False, False, True, False]
    assert shifts(input_resolution=64) == [*third, False, True, False, False, False, False, False, True, False]
    assert not any(shifts(input_resolution=8))


def test_paths_are_dropped_in_training_alone(tiny):
    net, image = SCUNet(config=(2, 1, 1, 2, 1, 1, 1), drop_path_rate=0.8), torch.rand(1, 3, 64, 64)
    net.load_state_dict(tiny.state_dict())
    with torch.inference_mode():
        assert torch.equal(net.eval()(image), tiny(image)) and not torch.equal(net.train()(image), tiny(image))
    rates = [module.trans_block.drop_path.rate for module in net.modules() if isinstance(module, SCBlock)]
    assert rates == pytest.approx([0.8 * block / 8 for block in range(9)])


@pytest.mark.parametrize(
    ("config", "phases"),
    [
        ((1, 1, 1, 2, 1, 1, 1), (13,)),
        pytest.param((1,) * 7, range(64), marks=pytest.mark.slow),
        pytest.param((1, 1, 2, 2, 1, 2, 2), (3, 29, 60), marks=pytest.mark.slow),
    ],
)
def test_the_halo_is_measured(config, phases):
    """Along the width alone, in strips of one row of windows; heads of 32 features make it too dear otherwise.

    Of the grid of 64 only two pixels see as far, such as those that are tried first.
    """
    torch.manual_seed(0)
    net = SCUNet(config=config).eval()
    start = -(-net.spec.halo // 64) * 64
    image = torch.rand(1, 3, 64, 2 * start + 64, requires_grad=True)
    output, farthest = net(image), 0
    for pixel in (start + phase for phase in phases):
        (gradient,) = torch.autograd.grad(output[0, :, :, pixel].sum(), image, retain_graph=True)
        columns = gradient[0].abs().sum((0, 1)).nonzero()
        farthest = max(farthest, int((columns - pixel).abs().max()))
    assert farthest == net.spec.halo


@pytest.mark.slow
def test_one_graph_serves_all_sizes():
    net = SCUNet(config=(2, 1, 1, 1, 1, 1, 1)).eval()
    assert_one_graph_serves(net, 64, (128, 192), (192, 128), least=1, most=16)


@pytest.mark.parametrize("draws", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        config = tuple(draw.choice([1, 1, 2]) for _ in range(7))
        told = {"in_nc": draw.randint(1, 4), "config": config, "dim": draw.choice([64, 128, 192])}
        assert infer_config(on_meta(told).state_dict()).config == told


@pytest.mark.parametrize(
    "change",
    [
        {"m_head.0.weight": torch.zeros(64)},
        {"m_head.0.weight": torch.zeros(64, 0, 3, 3)},
        {"m_head.0.weight": torch.zeros(96, 3, 3, 3)},
        {"m_down1.0.res.0.weight": torch.zeros(64, 64, 3, 3)},  # DRUNet
        {"extra": torch.zeros(1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(TINY).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"config": (1, 1, 1)}, "config should be seven positive numbers of blocks"),
        ({"config": (1, 1, 1, 0, 1, 1, 1)}, "config should be seven positive numbers of blocks"),
        ({"dim": 96}, "dim a multiple of 64, got 3 and 96"),
        ({"in_nc": 0}, "in_nc should be at least 1"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        SCUNet(**config)
