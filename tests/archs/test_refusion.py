"""ConditionalNAFNet of Refusion; tests/test_goldens_archs.py holds it against the authors' code."""

import random

import pytest
import torch
from torch import nn

from restoralib.archs import irsde_unet, nafnet
from restoralib.archs.refusion import VARIANTS, ConditionalNAFBlock, ConditionalNAFNet, infer_config
from restoralib.blocks import NAFBlock
from restoralib.checkpoints import skeleton

TINY = {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1, 2], "dec_blk_nums": [1, 1]}


def tiny(size=(8, 12), **other):
    torch.manual_seed(0)
    net = ConditionalNAFNet(**TINY | other).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net, torch.rand(2, net.spec.in_channels, *size), torch.rand(2, net.spec.in_channels, *size)


def test_published_variant():
    variant = VARIANTS["refusion"]
    net = skeleton(variant.cls, variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == 76_608_387 and len(net.state_dict()) == 668
    told = infer_config(net.state_dict())
    assert told.config == variant.config and not told.assumed and not told.missing
    assert net.spec.role == "denoiser" and net.spec.inputs == ("image", "condition", "time") and net.spec.multiple == 16


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    for _ in range(200):
        levels = draw.randint(0, 2)
        config = {
            "img_channel": draw.randint(1, 6),
            "width": 2 * draw.randint(2, 20),
            "middle_blk_num": draw.randint(0, 2),
            "enc_blk_nums": [draw.randint(0, 2) for _ in range(levels)],
            "dec_blk_nums": [draw.randint(0, 2) for _ in range(levels)],
        }
        assert infer_config(skeleton(ConditionalNAFNet, config).state_dict()).config == config


def test_padding_is_zeros_at_the_right_and_at_the_bottom():
    net, image, condition = tiny((7, 9))
    padded = [nn.functional.pad(x, (0, 3, 0, 1)) for x in (image, condition)]
    with torch.inference_mode():
        torch.testing.assert_close(net(image, condition, 5), net(*padded, 5)[..., :7, :9])


def test_without_modulation_the_block_is_nafnets():
    torch.manual_seed(0)
    block, plain = ConditionalNAFBlock(6, 8).double(), NAFBlock(6).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    nn.init.zeros_(block.mlp[1].weight)
    nn.init.zeros_(block.mlp[1].bias)
    state = {
        key.replace(".g", ".weight"): value.flatten() if key.endswith(".g") else value
        for key, value in block.state_dict().items()
    }
    plain.load_state_dict(plain.state_dict() | {key: value for key, value in state.items() if not key.startswith("mlp")})
    plain.norm1.eps = plain.norm2.eps = 1e-5
    x, time = torch.randn(2, 6, 5, 7).double(), torch.randn(2, 8).double()
    torch.testing.assert_close(block(x, time), plain(x))
    nn.init.ones_(block.mlp[1].bias)
    assert not torch.allclose(block(x, time), plain(x))


def test_the_input_is_not_added():
    net, image, condition = tiny()
    nn.init.zeros_(net.ending.weight)
    nn.init.zeros_(net.ending.bias)
    assert not net(image, condition, 3).any()


def test_times_may_be_numbers_or_tensors():
    net, image, condition = tiny()
    with torch.inference_mode():
        expected = net(image, condition, torch.tensor([7.0, 7.0]))
        for time in (7, 7.0, torch.tensor([7]), torch.tensor([7, 7])):
            torch.testing.assert_close(net(image, condition, time), expected)
        assert not torch.equal(net(image, condition, 8), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(dtype):
    net, image, condition = tiny()
    with torch.inference_mode():
        expected = net(image, condition, 93)
        output = net.to(dtype)(image.to(dtype), condition.to(dtype), 93)
    assert output.dtype == dtype and (output - expected).abs().max() < 0.05 * expected.abs().max()


def test_other_networks_are_not_taken_for_it():
    state = skeleton(ConditionalNAFNet, TINY).state_dict()
    assert infer_config({}) is None and nafnet.infer_config(state) is None and irsde_unet.infer_config(state) is None
    assert infer_config(skeleton(nafnet.NAFNet, TINY).state_dict()) is None
    for change in ({"intro.weight": torch.zeros(())}, {"ending.weight": torch.zeros(())}, {"extra.weight": torch.zeros(3)}):
        assert infer_config(state | change) is None


def test_impossible_arguments_are_named():
    for config, message in (
        ({"width": 5}, "width should be even and at least 4, got 5"),
        ({"enc_blk_nums": [1]}, "as many entries, got 1 and 2"),
    ):
        with pytest.raises(ValueError, match=message):
            ConditionalNAFNet(**TINY | config)
    net, image, condition = tiny()
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3, 8, 12\) and \(1, 3, 8, 12\)"):
        net(image, condition[:1], 1)
