"""ConditionalUNet of IR-SDE; tests/test_goldens_archs.py holds it against the authors' code."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.archs import refusion
from restoralib.archs.irsde_unet import VARIANTS, ConditionalUNet, ResBlock, infer_config
from restoralib.checkpoints import skeleton

TINY = {"in_nc": 3, "out_nc": 3, "nf": 8, "depth": 2}


def tiny(size=(8, 12), **other):
    torch.manual_seed(0)
    net = ConditionalUNet(**TINY | other).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net, torch.rand(2, net.spec.in_channels, *size), torch.rand(2, net.spec.in_channels, *size)


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = skeleton(variant.cls, variant.config)
    count, keys, multiple = (135_346_755, 183, 32) if name == "irsde_deshadow" else (137_147_523, 151, 16)
    assert sum(parameter.numel() for parameter in net.parameters()) == count and len(net.state_dict()) == keys
    told = infer_config(net.state_dict())
    assert told.config == variant.config and not told.assumed and not told.missing
    assert set(variant.tasks) <= set(net.spec.tasks) and net.spec.multiple == multiple
    assert net.spec.role == "denoiser" and net.spec.inputs == ("image", "condition", "time")


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    for _ in range(200):
        config = {
            "in_nc": draw.randint(1, 4),
            "out_nc": draw.randint(1, 6),
            "nf": 2 * draw.randint(2, 12),
            "depth": draw.choice([1, 1, 2, 3]),
        }
        assert infer_config(skeleton(ConditionalUNet, config).state_dict()).config == config


def test_padding_is_by_reflection_of_both_parts():
    net, image, condition = tiny((7, 9))
    with torch.inference_mode():
        expected = net(*(F.pad(x, (0, 3, 0, 1), mode="reflect") for x in (image, condition)), 5)[..., :7, :9]
        torch.testing.assert_close(net(image, condition, 5), expected)


def test_the_network_sees_the_difference_and_the_condition():
    net, image, condition = tiny(depth=1)
    seen = []
    net.init_conv.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs))
    net(image, condition, 1)
    torch.testing.assert_close(seen[0], torch.cat((image - condition, condition), 1))


def test_a_block_is_its_formula():
    torch.manual_seed(0)
    block, x, time = ResBlock(4, 6, 8).double(), torch.randn(2, 4, 5, 7).double(), torch.randn(2, 8).double()

    def conv(x, weight, padding=1):
        return F.conv2d(x, weight, padding=padding)

    scale, shift = (F.silu(time) @ block.mlp[1].weight.T + block.mlp[1].bias)[..., None, None].chunk(2, 1)
    hidden = F.silu(conv(x, block.block1.proj.weight) * (1 + scale) + shift)
    expected = F.silu(conv(hidden, block.block2.proj.weight)) + conv(x, block.res_conv.weight, 0)
    torch.testing.assert_close(block(x, time), expected)


def test_times_may_be_numbers_or_tensors():
    net, image, condition = tiny()
    with torch.inference_mode():
        expected = net(image, condition, torch.tensor([7.0, 7.0]))
        for time in (7, 7.0, torch.tensor([7]), torch.tensor([7, 7])):
            torch.testing.assert_close(net(image, condition, time), expected)
        assert not torch.equal(net(image, condition, 8), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(dtype):
    net, image, condition = tiny((16, 24))
    with torch.inference_mode():
        expected = net(image, condition, 93)
        output = net.to(dtype)(image.to(dtype), condition.to(dtype), 93)
    assert output.dtype == dtype and (output - expected).abs().max() < 0.05 * expected.abs().max()


def test_upscale_has_no_effect():
    assert ConditionalUNet(**TINY, upscale=4).spec == ConditionalUNet(**TINY).spec


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": torch.zeros(1, 32)},  # DA-CLIP
        {"init_conv.weight": torch.zeros(8)},
        {"init_conv.weight": torch.zeros(8, 5, 7, 7)},
        {"final_conv.weight": torch.zeros(())},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    state = skeleton(ConditionalUNet, TINY).state_dict()
    assert infer_config(state) and infer_config({}) is None and infer_config(state | change) is None
    assert refusion.infer_config(state) is None


def test_impossible_arguments_are_named():
    for config, message in (
        ({"nf": 9}, "nf should be even and at least 4, got 9"),
        ({"depth": 0}, "depth should be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ConditionalUNet(**TINY | config)
    net, image, condition = tiny()
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3, 8, 12\) and \(2, 3, 8, 10\)"):
        net(image, condition[..., :10], 1)
    with pytest.raises(ValueError, match="time should hold one value, or one for each of 2 images, got 3"):
        net(image, condition, torch.zeros(3))
