"""NAFNet's family; tests/test_goldens_archs.py holds it against the authors' code."""

import random
from functools import partial

import pytest
import torch
from halo import measured_halo
from outline import outline
from torch import nn

from restoralib.archs.nafnet import VARIANTS, Baseline, BaselineLocal, NAFNet, NAFNetLocal, PlainNet, infer_config
from restoralib.blocks.channel_attention import SCA, ChannelAttention
from restoralib.blocks.tlc import LocalMean

TINY = {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1, 2], "dec_blk_nums": [1, 1]}
CLASSES = [PlainNet, Baseline, BaselineLocal, NAFNet, NAFNetLocal]
PUBLISHED = {
    "nafnet_sidd_width32": (NAFNet, 29_159_715, 664),
    "nafnet_sidd_width64": (NAFNet, 115_982_915, 664),
    "nafnet_gopro_width32": (NAFNetLocal, 17_111_907, 664),
    "nafnet_gopro_width64": (NAFNetLocal, 67_888_835, 664),
    "nafnet_reds_width64": (NAFNetLocal, 67_888_835, 664),
    "baseline_sidd_width32": (Baseline, 29_056_227, 736),
    "baseline_sidd_width64": (Baseline, 194_419_779, 736),
    "baseline_gopro_width32": (BaselineLocal, 17_023_875, 736),
    "baseline_gopro_width64": (BaselineLocal, 112_036_291, 736),
    "plainnet_width32": (PlainNet, 25_082_147, 448),
}
every_class = pytest.mark.parametrize("cls", CLASSES)


def filled(net):
    """With random weights everywhere: a new net ignores its blocks, for beta and gamma start at zero."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net


def on_meta(cls, **config):
    return outline(cls, config)


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant, (cls, parameters, keys) = VARIANTS[name], PUBLISHED[name]
    net = on_meta(variant.cls, **variant.config)
    assert variant.cls is cls and sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == keys
    inferred = infer_config(net.state_dict())
    told = {argument: value for argument, value in inferred.config.items() if argument not in net.spec.unrecorded}
    assert inferred.cls is cls and told == variant.config and not inferred.missing
    assert set(inferred.assumed) <= set(net.spec.unrecorded) and bool(inferred.assumed) == cls.__name__.endswith("Local")
    assert set(variant.tasks) <= set(net.spec.tasks)


@pytest.mark.parametrize("cls", [PlainNet, Baseline, NAFNet])
@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(cls, draws):
    draw = random.Random(0)
    for _ in range(draws):
        levels = draw.randint(0, 2)
        config = {
            "img_channel": draw.randint(1, 6),
            "width": 2 * draw.randint(1, 20),
            "middle_blk_num": draw.randint(1, 2),
            "enc_blk_nums": [draw.randint(0, 2) for _ in range(levels)],
            "dec_blk_nums": [draw.randint(0, 2) for _ in range(levels)],
        }
        if cls is not NAFNet:
            config |= {"dw_expand": draw.randint(1, 3), "ffn_expand": draw.randint(1, 3)}
        inferred = infer_config(on_meta(cls, **config).state_dict())
        assert inferred.cls is cls and inferred.config == config and not inferred.assumed and not inferred.missing


@every_class
@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 33, 64, 65])
def test_any_size_is_kept(cls, size):
    net = filled(cls(**TINY))
    image = torch.rand(1, 3, size, 10)
    output = net(image)
    assert output.shape == image.shape and output.isfinite().all()
    assert net.spec.multiple == 4


def test_padding_is_zeros_at_the_right_and_at_the_bottom():
    net, image = filled(NAFNet(**TINY)), torch.rand(1, 3, 9, 14)
    padded = torch.zeros(1, 3, 12, 16)
    padded[..., :9, :14] = image
    torch.testing.assert_close(net(image), net(padded)[..., :9, :14])


@every_class
def test_every_parameter_gets_a_gradient(cls):
    net = cls(**TINY)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.02, 0.1)  # no ReLU is dead and no sigmoid saturates
    net(torch.rand(2, 3, 9, 10)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@every_class
def test_a_new_net_ignores_its_blocks(cls):
    net, image = cls(**TINY), torch.rand(1, 3, 8, 8)
    expected = net(image)
    nn.init.normal_(net.middle_blks[0].conv1.weight)
    assert torch.equal(net(image), expected)


@every_class
def test_runs_in_bfloat16(cls):
    local = {"train_size": (1, 3, 8, 8)} if cls.__name__.endswith("Local") else {}
    net, image = filled(cls(width=4, enc_blk_nums=[1], dec_blk_nums=[1], **local)), torch.rand(1, 3, 33, 6)
    expected = net(image)
    with torch.autocast("cpu", torch.bfloat16):
        output = net(image)
    assert output.isfinite().all() and (output - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("cls", [Baseline, NAFNetLocal])
def test_half_precision_survives_activations_of_any_size(cls):
    net = filled(cls(**TINY))
    nn.init.constant_(net.intro.weight, 500)
    image = torch.rand(1, 3, 8, 8)
    expected = net(image)
    assert expected.isfinite().all() and net.half()(image.half()).isfinite().all()


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize(("encoder", "middle", "decoder"), [(1, 1, 1), (0, 2, 1)])
def test_the_halo_of_plainnet_is_exact(levels, encoder, middle, decoder):
    blocks = {"enc_blk_nums": [encoder] * levels, "dec_blk_nums": [decoder] * levels, "middle_blk_num": middle}
    net = PlainNet(img_channel=1, width=2, **blocks)
    assert measured_halo(net) == net.spec.halo


def test_specs_name_what_is_global():
    assert [cls().spec.global_ops for cls in CLASSES] == [(), ("SCA",), ("TLC",), ("SCA",), ("TLC",)]
    assert NAFNetLocal().spec.unrecorded == ("train_size", "fast_imp")


@pytest.mark.parametrize("train_size", [(1, 3, 16, 16), (2, 3, 50, 37), (1, 3, 33, 64), (5, 7)])
def test_windows_follow_the_maps_of_the_training_patches(train_size):
    heights = {}

    def note(name, module, inputs):
        heights[name] = inputs[0].shape[2:]

    plain = NAFNet(**TINY)
    for name, module in plain.named_modules():
        if isinstance(module, SCA):
            module.register_forward_pre_hook(partial(note, name))
    sides = train_size[-2:]
    plain(torch.zeros(1, 3, *sides))
    local, fast = (NAFNetLocal(**TINY, train_size=train_size, fast_imp=fast_imp) for fast_imp in (False, True))
    assert len(heights) == 6
    for name, seen in heights.items():
        pool, fast_pool = local.get_submodule(name)[0], fast.get_submodule(name)[0]
        assert pool.window == tuple(at_level * int(1.5 * side) // side for at_level, side in zip(seen, sides, strict=True))
        assert pool.max_strides is None and fast_pool.window == pool.window
        assert fast_pool.max_strides == tuple(max(1, 5 * a // side) for a, side in zip(seen, sides, strict=True))


@pytest.mark.parametrize(("cls", "local"), [(NAFNet, NAFNetLocal), (Baseline, BaselineLocal)])
def test_local_means_begin_beyond_the_window(cls, local):
    """With the default training patches of 256x256, 384x384 is the last size that the plain net treats alike."""
    plain, net = filled(cls(width=2)), filled(local(width=2))
    assert plain.state_dict().keys() == net.state_dict().keys()
    for size, alike in [((384, 384), True), ((1, 384), True), ((385, 384), False), ((3, 385), False)]:
        image = torch.rand(1, 3, *size)
        assert torch.equal(plain(image), net(image)) == alike


def test_the_constructor_of_a_local_net_draws_no_more_numbers():
    torch.manual_seed(0)
    NAFNet(**TINY)
    expected = torch.rand(1)
    torch.manual_seed(0)
    NAFNetLocal(**TINY)
    assert torch.equal(torch.rand(1), expected)


def test_every_attention_of_a_local_net_is_local():
    for net in (NAFNetLocal(**TINY), BaselineLocal(**TINY)):
        pools = [module[0] for module in net.modules() if isinstance(module, SCA | ChannelAttention)]
        assert len(pools) == 6 and all(isinstance(pool, LocalMean) for pool in pools)


@pytest.mark.parametrize(
    "change",
    [
        {"time_mlp.1.weight": torch.zeros(64, 8)},  # Refusion's ConditionalNAFNet
        {"encoders.0.0.mlp.1.weight": torch.zeros(8, 4)},
        {"body.0.module.blk.beta": torch.zeros(1, 4, 1, 1)},  # NAFSSR
        {"intro.weight": torch.zeros(())},
        {"encoders.0.0.conv1.weight": torch.zeros(0, 0, 1, 1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(NAFNet(**TINY).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"enc_blk_nums": [1, 1]}, "as many entries, got 2 and 0"),
        ({"train_size": (256,)}, "should end with the height and the width"),
        ({"train_size": (1, 3, 0, 256)}, "should end with the height and the width"),
    ],
)
def test_impossible_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NAFNetLocal(**arguments)
