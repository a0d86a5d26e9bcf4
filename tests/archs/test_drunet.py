"""DRUNet; tests/test_peers.py holds it against other implementations."""

import functools
import random

import pytest
import torch
import torch.nn.functional as F
from exported import assert_one_graph_serves
from halo import measured_halo
from outline import outline

from restoralib import restore
from restoralib.archs.drunet import SIGMA, VARIANTS, DRUNet, infer_config
from restoralib.checkpoints import CheckpointWarning, UnknownCheckpoint, load_model

TINY = {"nc": (4, 6, 8, 10), "nb": 1}
MODES = [(down, up) for down in ("strideconv", "avgpool") for up in ("convtranspose", "upconv", "pixelshuffle")]


def on_meta(config) -> DRUNet:
    return outline(DRUNet, config)


def tiny(**config) -> DRUNet:
    torch.manual_seed(0)
    return DRUNet(**TINY | config).eval()


@pytest.mark.parametrize(
    ("name", "parameters", "channels"),
    [
        ("drunet_color", 32_640_960, 3),
        ("drunet_gray", 32_638_656, 1),
        ("drunet_deblocking_color", 32_640_960, 3),
        ("drunet_deblocking_grayscale", 32_638_656, 1),
    ],
)
def test_published_variants(name, parameters, channels):
    variant = VARIANTS[name]
    net = on_meta(variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == 2 + 3 + 3 + 2 * 7 * 4
    assert infer_config(net.state_dict()).config == variant.config
    assert set(variant.tasks) <= set(net.spec.tasks)
    assert (net.spec.in_channels, net.spec.out_channels, net.spec.multiple, net.spec.halo) == (channels, channels, 8, 185)


def test_the_level_is_a_channel_behind_the_image():
    net, image = tiny(), torch.rand(2, 3, 16, 8)
    blind = tiny(in_nc=4, out_nc=4)
    state = net.state_dict()
    blind.load_state_dict(state | {"m_tail.weight": torch.cat((state["m_tail.weight"], torch.zeros(1, 4, 3, 3)))})
    with torch.inference_mode():
        level = torch.tensor([0.1, 0.2])
        stacked = torch.cat((image, level[:, None, None, None].expand(2, 1, 16, 8)), 1)
        torch.testing.assert_close(net(image, sigma=level), blind(stacked)[:, :3])


def test_the_level_is_a_number_a_vector_or_a_map():
    net, image = tiny(), torch.rand(2, 3, 9, 13)
    with torch.inference_mode():
        expected = net(image, 0.25)
        assert not torch.equal(net(image, 0.3), expected)
        for sigma in (torch.tensor(0.25), torch.tensor([0.25]), torch.full((2,), 0.25), torch.full((2, 1, 9, 13), 0.25)):
            assert torch.equal(net(image, sigma), expected)
        torch.testing.assert_close(net(image, torch.tensor([0.25, 0.5]))[1:], net(image[1:], 0.5))
        assert torch.equal(net(image), net(image, SIGMA)) and SIGMA == 25 / 255
        ramp = torch.linspace(0, 1, 13).expand(1, 1, 9, 13)
        assert not torch.equal(net(image, ramp), net(image, ramp.flip(-1)))


@pytest.mark.parametrize("shape", [(2, 9), (3,), (2, 1, 9, 9), (3, 1, 9, 13), (2, 3, 9, 13), (2, 1, 13)])
def test_levels_of_another_shape_are_refused(shape):
    words = rf"sigma should be a number, \(b,\) or \(b, 1, h, w\), got shape \({', '.join(map(str, shape))}"
    with pytest.raises(ValueError, match=words):
        tiny()(torch.rand(2, 3, 9, 13), torch.rand(shape))


def test_a_blind_network_takes_no_level():
    net, image = tiny(in_nc=3), torch.rand(1, 3, 8, 8)
    assert net(image).shape == image.shape
    with pytest.raises(ValueError, match="this network is blind"):
        net(image, 0.1)


def test_restore_runs_it_at_the_default_level_or_at_one_that_is_bound():
    net, image = tiny(), torch.rand(3, 20, 12)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0.02, 0.02)
    with torch.inference_mode():
        torch.testing.assert_close(restore(image, net, tile=None), net(image[None])[0].clamp(0, 1))
        level = torch.tensor(0.4, dtype=torch.float64)
        restored = restore(image[:, :19, :11], functools.partial(net.train(), sigma=level), tile=None)
        torch.testing.assert_close(restored, net(image[None, :, :19, :11], 0.4)[0].clamp(0, 1))
        assert net.training and (restored - restore(image[:, :19, :11], net)).abs().max() > 1e-3


def test_pads_by_repetition():
    net, image = tiny(), torch.rand(1, 3, 9, 17)
    with torch.inference_mode():
        torch.testing.assert_close(net(image), net(F.pad(image, (0, 7, 0, 7), mode="replicate"))[..., :9, :17])


@pytest.mark.parametrize(("down", "up"), MODES)
def test_halo_is_exact(down, up):
    net = DRUNet(2, 1, (1, 1, 1, 1), 1, downsample_mode=down, upsample_mode=up)
    assert measured_halo(net) == net.spec.halo


def test_without_a_bias_it_scales_with_image_and_level():
    net, image = tiny().double(), torch.rand(1, 3, 16, 16, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(net(3 * image, 0.3), 3 * net(image, 0.1))


@pytest.mark.slow
def test_one_graph_serves_all_sizes():
    assert_one_graph_serves(tiny(), 8, (24, 32), (16, 40), (64, 24), most=64)


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        out_nc = draw.randint(1, 4)
        down, up = draw.choice(MODES)
        config = {
            "in_nc": out_nc + draw.randint(0, 1),
            "out_nc": out_nc,
            "nc": tuple(draw.randint(1, 40) for _ in range(4)),
            "nb": draw.randint(1, 4),
            "act_mode": "R",
            "downsample_mode": down,
            "upsample_mode": up,
        }
        assert infer_config(on_meta(config).state_dict()).config == config


def test_relu_is_assumed_and_another_activation_taken(tmp_path):
    net, image = tiny(act_mode="L"), torch.rand(1, 3, 8, 9)
    torch.save({"params": net.state_dict()}, tmp_path / "leaky.pth")
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "leaky.pth", act_mode="L")(image), net(image))
        with pytest.warns(CheckpointWarning, match="no weight tells act_mode; act_mode='R' is assumed"):
            assert not torch.equal(load_model(tmp_path / "leaky.pth")(image), net(image))


@pytest.mark.filterwarnings("ignore:no weight tells act_mode")
@pytest.mark.parametrize("up", ["convtranspose", "upconv", "pixelshuffle"])
def test_a_missing_layer_is_named_and_not_taken_for_another_way_to_enlarge(up, tmp_path):
    state = tiny(upsample_mode=up).state_dict()
    key = next(key for key in state if key.startswith("m_up1") and ".res." in key)
    torch.save({name: value for name, value in state.items() if name != key}, tmp_path / "lacking.pth")
    with pytest.raises(UnknownCheckpoint, match=f"1 missing: {key}"):
        load_model(tmp_path / "lacking.pth")


@pytest.mark.parametrize(
    "change",
    [
        {"m_head.weight": torch.zeros(4, 6, 3, 3)},
        {"m_head.weight": torch.zeros(4)},
        {"m_tail.weight": torch.zeros(0, 4, 3, 3)},
        {"m_body.res.0.weight": torch.zeros(())},
        {"m_down1.0.trans_block.ln1.weight": torch.zeros(4)},  # SCUNet
        {"extra": torch.zeros(1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(TINY).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"in_nc": 6}, "in_nc should be out_nc . 1, or out_nc for a blind network, got 6 and 3"),
        ({"nc": (1, 2, 3)}, "nc should be four positive numbers"),
        ({"nb": 0}, "nb at least 1"),
        ({"act_mode": "BR"}, "act_mode should be one of R, L, got 'BR'"),
        ({"downsample_mode": "maxpool"}, "downsample_mode should be one of strideconv, avgpool, got 'maxpool'"),
        ({"upsample_mode": "bilinear"}, "upsample_mode should be one of convtranspose, upconv, pixelshuffle"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        DRUNet(**config)
