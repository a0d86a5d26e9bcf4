"""RRDBNet; tests/test_goldens_archs.py holds it against BasicSR and the two releases of ESRGAN."""

import random

import pytest
import torch
import torch.nn.functional as F
from halo import measured_halo
from torch import nn

from restoralib.archs.rrdbnet import VARIANTS, RRDBNet, infer_config, rename_keys
from restoralib.checkpoints import load_model, skeleton

TINY = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 2, "num_grow_ch": 3}
PARAMETERS = {  # by scale and blocks
    (4, 23): 16_697_987,
    (2, 23): 16_703_171,
    (4, 6): 4_467_779,
}


def on_meta(**config):
    return skeleton(RRDBNet, config)


def second_release(state_dict):
    names = {"conv_body": "trunk_conv", "conv_up": "upconv", "conv_hr": "HRconv", "body.": "RRDB_trunk.", "rdb": "RDB"}
    for new, old in names.items():
        state_dict = {key.replace(new, old): value for key, value in state_dict.items()}
    return state_dict


def first_release(state_dict, num_block=2):
    ends = {"conv_first": 0, "conv_body": f"1.sub.{num_block}", "conv_up1": 3, "conv_up2": 6, "conv_hr": 8, "conv_last": 10}
    renamed = {}
    for key, value in state_dict.items():
        layer, part = key.rsplit(".", 1)
        inner = layer.replace("body.", "1.sub.").replace("rdb", "RDB") + ".0"
        renamed[f"model.{ends.get(layer, inner)}.{part}"] = value
    return renamed


LAYOUTS = {"first": first_release, "second": second_release}


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = on_meta(**variant.config)
    scale, num_block = variant.config["scale"], variant.config["num_block"]
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[scale, num_block]
    assert len(net.state_dict()) == 2 * (15 * num_block + 6)
    inferred = infer_config(net.state_dict())
    assert inferred.cls is variant.cls is RRDBNet and inferred.config == variant.config
    assert not inferred.assumed and not inferred.missing and not net.spec.unrecorded
    assert net.spec.tasks == variant.tasks == (f"sr{scale}",)


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back_from_every_layout(draws):
    draw = random.Random(0)
    for _ in range(draws):
        channels = draw.choice([1, 3, 4])
        config = {
            "num_in_ch": channels,
            "num_out_ch": channels,
            "scale": draw.choice([1, 2, 4]),
            "num_feat": draw.randint(1, 64),
            "num_block": draw.choice([1, 1, 2]),
            "num_grow_ch": draw.randint(1, 32),
        }
        state_dict = on_meta(**config).state_dict()
        assert infer_config(state_dict).config == config
        for layout in (second_release(state_dict), first_release(state_dict, config["num_block"])):
            assert layout.keys().isdisjoint(k for k in state_dict if not k.startswith(("conv_first", "conv_last")))
            assert list(rename_keys(layout)) == list(state_dict)
            assert infer_config(layout).config == config


def test_other_channels_in_than_out_are_scale_four():
    config = TINY | {"num_in_ch": 4, "scale": 4}
    assert infer_config(on_meta(**config).state_dict()).config == config


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prefix", ["", "module.", "netG.module."])
def test_both_releases_load_from_files(layout, prefix, tmp_path):
    net, image = RRDBNet(**TINY), torch.rand(1, 3, 5, 6)
    state = LAYOUTS[layout](net.state_dict())
    torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "esrgan.pth")
    loaded = load_model(tmp_path / "esrgan.pth")
    assert type(loaded) is RRDBNet
    torch.testing.assert_close(loaded(image), net(image))


def test_the_net_is_its_figure():
    net, image = RRDBNet(**TINY).double(), torch.rand(1, 3, 4, 6, dtype=torch.float64)
    shallow = net.conv_first(image)
    x = shallow + net.conv_body(net.body(shallow))
    for conv in (net.conv_up1, net.conv_up2):
        x = F.leaky_relu(conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3)), 0.2)
    torch.testing.assert_close(net(image), net.conv_last(F.leaky_relu(net.conv_hr(x), 0.2)))


@pytest.mark.parametrize(("scale", "factor"), [(2, 2), (1, 4)])
def test_smaller_scales_unshuffle_the_image_and_pad_it_by_reflection(scale, factor):
    net = RRDBNet(**TINY, scale=scale)
    image = torch.rand(1, 3, 4 * factor - 1, 3 * factor + 1)
    padded = F.pad(image, (0, factor - 1, 0, 1), mode="reflect")
    small = RRDBNet(**TINY | {"num_in_ch": 3 * factor**2})
    small.load_state_dict(net.state_dict())
    expected = small(F.pixel_unshuffle(padded, factor))[..., : scale * image.shape[2], : scale * image.shape[3]]
    assert torch.equal(net(image), expected)


def test_blocks_start_near_a_multiple_of_their_input():
    torch.manual_seed(0)
    block, x = RRDBNet(3, 3, num_block=1).body[0], torch.randn(1, 64, 8, 8)
    assert (block(x) - 1.2 * x).std() < 0.01 * x.std()


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("num_block", [1, 2])
def test_halo_is_exact(scale, num_block):
    net = RRDBNet(1, 1, scale, num_feat=1, num_block=num_block, num_grow_ch=1)
    assert net.spec.multiple == {4: 1, 2: 2, 1: 4}[scale]
    if scale * num_block > 1:  # the largest takes seconds
        assert measured_halo(net) == net.spec.halo


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_gradients_are_right(scale):
    net = RRDBNet(1, 1, scale, num_feat=2, num_block=1, num_grow_ch=2).double()
    image = torch.rand(1, 1, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *_: net(image), (image, *net.parameters()), fast_mode=True)


@pytest.mark.slow
def test_compiles_with_dynamic_sizes_and_is_exported():
    torch.compiler.reset()
    net = RRDBNet(**TINY | {"num_block": 1}, scale=2).eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    height, width = (torch.export.Dim(name, min=2, max=512) for name in ("height", "width"))
    even = torch.rand(1, 3, 8, 12)
    exported = torch.export.export(net, (even,), dynamic_shapes=({2: 2 * height, 3: 2 * width},)).module()
    with torch.inference_mode():
        for size in ((8, 12), (10, 14)):
            image = torch.rand(1, 3, *size)
            torch.testing.assert_close(exported(image), net(image))
            torch.testing.assert_close(compiled(image), net(image))


def test_one_channel_is_grey():
    assert RRDBNet(1, 1, 4, 4, 1, 2).spec.color == "gray" and RRDBNet(1, 3, 4, 4, 1, 2).spec.color == "rgb"


@pytest.mark.parametrize(
    "change",
    [
        {"conv_after_body.weight": torch.zeros(1)},  # SwinIR, EDSR
        {"upconv1.weight": torch.zeros(1)},  # MSRResNet
        {"conv_first.weight": torch.zeros(())},
        {"body.0.rdb1.conv1.weight": torch.zeros(3)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(**TINY).state_dict() | change) is None
    assert infer_config({}) is None


def test_keys_that_would_fall_together_are_left_alone():
    state = {"model.1.sub.0.weight": torch.zeros(1), "model.1.sub.1.weight": torch.zeros(1)}
    assert rename_keys(state) == state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 3}, "scale should be 1, 2 or 4, got 3"),
        ({"num_block": 0}, "num_block should be at least 1, got 0"),
        ({"num_in_ch": 0}, "num_in_ch should be at least 1, got 0"),
    ],
)
def test_impossible_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        RRDBNet(**TINY | change)


def test_layers_may_be_frozen_and_run_in_place_safely():
    net, image = RRDBNet(**TINY), torch.rand(1, 3, 5, 6)
    kept = image.clone()
    nn.Module.requires_grad_(net, False)
    net(image)
    assert torch.equal(image, kept)
