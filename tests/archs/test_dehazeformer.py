"""DehazeFormer; tests/test_goldens_archs.py holds it against the reference."""

import math
import random
import warnings

import pytest
import torch
import torch.nn.functional as F
from exported import assert_one_graph_serves
from outline import outline
from torch import nn

from restoralib import load_model
from restoralib.archs import dehazeformer
from restoralib.archs.dehazeformer import (
    VARIANTS,
    DehazeFormer,
    RescaleNorm,
    SKFusion,
    WindowMHSA,
    infer_config,
    reflected_windows,
    spec,
)
from restoralib.checkpoints import CheckpointWarning, skeleton

TINY = {
    "window_size": 4,
    "embed_dims": (8, 16, 16, 16, 8),
    "depths": (1, 2, 2, 1, 1),
    "num_heads": (2, 4, 2, 1, 1),
    "attn_ratio": (0, 1, 0.5, 0, 0),
    "conv_type": ("DWConv", "Conv", "DWConv", "Conv", "DWConv"),
}
SIZES = {
    "t": (687_404, 286),
    "s": (1_284_884, 548),
    "b": (2_517_612, 1074),
    "d": (4_983_068, 2126),
    "w": (9_686_724, 1074),
    "m": (4_635_952, 806),
    "l": (25_451_652, 1154),
}


def tiny(**change) -> DehazeFormer:
    """A network with weights of ordinary size everywhere, in eval mode."""
    torch.manual_seed(0)
    net = DehazeFormer(**TINY | change).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    config = VARIANTS[name].config
    net = outline(DehazeFormer, config)
    parameters, _ = SIZES[name.split("_")[1]]
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert infer_config(net.state_dict()).config == config
    assert net.spec == spec(**config) and net.spec.tasks == VARIANTS[name].tasks == ("dehaze",)
    assert (net.spec.multiple, net.spec.halo, net.spec.global_ops) == (32, None, ("RescaleNorm", "SKFusion"))


def test_names_are_those_of_weights_with_figures_and_the_other_sizes():
    data = ("indoor", "outdoor", "reside6k", "rshaze")
    expected = {f"dehazeformer_{size}_{name}" for size in "tsbm" for name in data}
    assert set(VARIANTS) == expected | {"dehazeformer_l_indoor", "dehazeformer_d", "dehazeformer_w"}
    assert VARIANTS["dehazeformer_b_indoor"].config == infer_config(skeleton(DehazeFormer, {}).state_dict()).config


# Blocks


def test_the_norm_gives_back_what_it_takes_out():
    norm = RescaleNorm(6).double()
    x = 3 * torch.randn(2, 6, 5, 7, dtype=torch.float64) + 100
    normed, scale, shift = norm(x)
    for image, result in zip(x, normed, strict=True):
        torch.testing.assert_close(result, (image - image.mean()) / (image.var(correction=0) + 1e-5).sqrt())
    std = (x.var((1, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(scale, norm.meta1(std))
    torch.testing.assert_close(shift, norm.meta2(x.mean((1, 2, 3), keepdim=True)))
    assert scale.shape == shift.shape == (2, 6, 1, 1)


def test_the_norm_keeps_its_digits_where_the_mean_is_large():
    norm, x = RescaleNorm(4), torch.randn(1, 4, 16, 16, dtype=torch.float64) + 1000
    single = norm(x.float())[0].double()
    torch.testing.assert_close(single, norm.double()(x.float().double())[0], rtol=0, atol=1e-3)
    assert norm.half()((60 * torch.randn(1, 4, 64, 64)).half())[0].isfinite().all()  # squares of 3600 add up


def pad_and_cut(x, window, shift):
    """The reference's way: reflection at the top and left, then to whole windows; (b, windows, n, c)."""
    right, bottom = (-(side + shift) % window for side in (x.shape[3], x.shape[2]))
    x = F.pad(x, (shift, right, shift, bottom), mode="reflect")
    x = x.unfold(2, window, window).unfold(3, window, window)
    return x.permute(0, 2, 3, 4, 5, 1).flatten(1, 2).flatten(2, 3)


@pytest.mark.parametrize(("window", "shift"), [(8, 0), (8, 4), (7, 3), (4, 2), (1, 0)])
@pytest.mark.parametrize("size", [(8, 8), (9, 16), (17, 12), (31, 10)])
def test_windows_are_those_of_a_reflected_map(window, shift, size):
    x = torch.rand(2, 3, *size)
    plan = reflected_windows(*size, window, shift)
    flat = x.flatten(2).mT
    windows = flat[:, plan.order].view(2, -1, window**2, 3)
    assert torch.equal(windows, pad_and_cut(x, window, shift))
    assert torch.equal(windows.flatten(1, 2)[:, plan.inverse], flat)


def test_maps_smaller_than_the_windows_are_reflected_to_and_fro():
    plan = reflected_windows(2, 3, 8, 4)
    rows, columns = plan.order.view(8, 8) // 3, plan.order.view(8, 8) % 3
    assert rows[:, 0].tolist() == [0, 1] * 4 and columns[0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1][0:8]


def test_attention_is_the_papers():
    torch.manual_seed(0)
    attention = WindowMHSA(6, 2, 3).double()
    qk, v = torch.randn(1, 12, 6, 9, dtype=torch.float64), torch.randn(1, 6, 6, 9, dtype=torch.float64)
    result = attention(qk, v, reflected_windows(6, 9, 3, 0))
    window = (slice(None), slice(3, 6), slice(6, 9))
    q, k, values = (x[0][window].flatten(1).mT for x in (qk[:, :6], qk[:, 6:], v))
    place = torch.cartesian_prod(torch.arange(3), torch.arange(3)).double()
    offset = place[:, None] - place
    bias = attention.meta(offset.sign() * (1 + offset.abs()).log())
    for head in (0, 1):
        part = slice(3 * head, 3 * head + 3)
        weights = (q[:, part] @ k[:, part].mT / math.sqrt(3) + bias[..., head]).softmax(-1)
        torch.testing.assert_close(result[0][window].flatten(1).mT[:, part], weights @ values[:, part], rtol=1e-6, atol=1e-6)


def test_fusion_weighs_two_maps_by_what_they_share():
    fusion = SKFusion(8)
    assert fusion.mlp[0].out_channels == 4 and SKFusion(96).mlp[0].out_channels == 12
    x = torch.rand(2, 8, 5, 5)
    torch.testing.assert_close(fusion(x, x), x)  # the weights of both add up to one
    nn.init.zeros_(fusion.mlp[2].weight)
    torch.testing.assert_close(fusion(x, 3 * x), 2 * x)


# The network


@pytest.mark.parametrize(
    ("depth", "ratio", "attention"),
    [(4, 0, 0), (4, 0.5, 2), (4, 1, 4), (8, 0.25, 2), (8, 0.75, 6), (3, 0.5, 1), (3, 0.9, 2), (10, 0.7, 7), (10, 0.3, 3)],
)
def test_the_last_blocks_have_attention_and_odd_ones_are_shifted(depth, ratio, attention):
    net = DehazeFormer(**TINY | {"depths": (depth, 1, 1, 1, 1), "attn_ratio": (ratio, 0, 0, 0, 0)})
    attends = [block.attn.attends for block in net.layer1.blocks]
    assert attends == [index >= depth - ratio * depth for index in range(depth)] and sum(attends) == attention
    for index, (block, shift) in enumerate(zip(net.layer1.blocks, net.layer1.shifts, strict=True)):
        assert (block.norm1 is None) != block.attn.attends
        assert shift == ((2 * (index % 2)) if block.attn.attends else None)


def test_full_convolutions_alone_have_no_further_layers():
    net = DehazeFormer(**TINY)
    assert {name for name, _ in net.layer4.blocks[0].attn.named_children()} == {"conv"}
    assert {name for name, _ in net.layer1.blocks[0].attn.named_children()} == {"conv", "V", "proj"}
    assert [*dict(net.layer2.blocks[0].attn.named_children())] == ["conv", "V", "proj", "QK", "attn"]


def test_the_reconstruction_is_k_x_minus_b_plus_x_in_the_range_of_the_reference():
    net, image = tiny().double(), torch.rand(1, 3, 16, 20, dtype=torch.float64)
    with torch.inference_mode():
        x = 2 * image - 1
        k, b = net.features(x).split((1, 3), 1)
        torch.testing.assert_close(net(image), (k * x - b + x) / 2 + 0.5)
        nn.init.zeros_(net.patch_unembed.proj[0].weight)
        nn.init.zeros_(net.patch_unembed.proj[0].bias)
        torch.testing.assert_close(net(image), image)


def test_pads_by_reflection_to_multiples_of_4():
    net, image = tiny().double(), torch.rand(2, 3, 37, 29, dtype=torch.float64)
    padded = F.pad(image, (0, 3, 0, 3), mode="reflect")
    with torch.inference_mode():
        torch.testing.assert_close(net(image), net(padded)[..., :37, :29])


@pytest.mark.parametrize(("kind", "smallest"), [("DWConv", 12), ("Conv", 8)])
def test_only_what_the_convolutions_cannot_reflect_is_padded_further(kind, smallest):
    net = tiny(conv_type=(kind,) * 5).double()
    assert net.smallest == smallest
    with torch.inference_mode():
        for side in (1, smallest - 4, smallest - 3, smallest, smallest + 1):
            image = torch.rand(1, 3, side, 16, dtype=torch.float64)
            rows = max(smallest, side + -side % 4) - side
            mode = "reflect" if rows < side else "replicate"
            padded = F.pad(image, (0, 0, 0, rows), mode=mode)
            torch.testing.assert_close(net(image), net(padded)[..., :side, :])


def test_the_grid_is_that_of_the_windows():
    assert spec().multiple == 32 and spec(window_size=7).multiple == 28
    assert spec(attn_ratio=(0.5, 0, 0, 0, 0)).multiple == 8 and spec(attn_ratio=(0, 0, 0, 1, 0)).multiple == 16
    plain = spec(attn_ratio=(0,) * 5)
    assert plain.multiple == 4 and plain.global_ops == ("SKFusion",)
    assert spec(depths=[4, 4, 4, 2, 2], attn_ratio=[0, 0.5, 1, 0, 0]).tasks == ("dehaze",) and spec(window_size=7).tasks == ()


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    for _ in range(200):
        first, second, third = (8 * draw.randint(1, 6) for _ in range(3))
        depths = tuple(draw.choice([1, 1, 2, 3]) for _ in range(5))
        config = {
            "in_chans": draw.choice([1, 3]),
            "window_size": draw.choice([2, 3, 4]),
            "embed_dims": (first, second, third, second, first),
            "mlp_ratios": tuple(draw.choice([1, 1.5, 2, 2.5, 4]) for _ in range(5)),
            "depths": depths,
            "num_heads": tuple(draw.choice([1, 2, 4, 8]) for _ in range(5)),
            "attn_ratio": tuple(draw.choice([0, 0.25, 1 / 3, 0.5, 0.7, draw.random(), 1]) for _ in range(5)),
            "conv_type": tuple(draw.choice(["DWConv", "Conv"]) for _ in range(5)),
        }
        config["out_chans"] = config["in_chans"] + 1
        told = infer_config(skeleton(DehazeFormer, config).state_dict()).config
        attends, told_attends = (
            [dehazeformer._attends(*stage) for stage in zip(depths, ratios, strict=True)]
            for ratios in (config["attn_ratio"], told["attn_ratio"])
        )
        assert attends == told_attends
        used = [any(stage) for stage in attends]
        assert told["num_heads"] == tuple(
            heads if uses else usual for heads, usual, uses in zip(config["num_heads"], (2, 4, 6, 1, 1), used, strict=True)
        )
        assert told["window_size"] == (config["window_size"] if any(used) else 8)
        loose = ("attn_ratio", "num_heads", "window_size")
        assert all(told[key] == value for key, value in config.items() if key not in loose)


def test_every_number_of_blocks_with_attention_has_a_ratio():
    for depth in range(1, 65):
        for count in range(depth + 1):
            assert sum(dehazeformer._attends(depth, dehazeformer._attention_ratio(depth, count))) == count
    for dim in range(1, 100):
        for hidden in range(1, 400, 7):
            assert int(dim * dehazeformer._least_ratio(hidden, dim)) == hidden


@pytest.mark.parametrize("window", [4, 8])
def test_files_may_lack_the_positions(window, tmp_path):
    net = tiny(window_size=window)
    held = {"module." + key: value for key, value in net.state_dict().items()}
    torch.save({"state_dict": held}, tmp_path / "whole.pth")
    lacking = {key: value for key, value in held.items() if not key.endswith("relative_positions")}
    torch.save({"state_dict": lacking}, tmp_path / "lacking.pth")
    image = torch.rand(1, 3, 20, 17)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        assert torch.equal(load_model(tmp_path / "whole.pth")(image), net(image))
        assert torch.equal(load_model(tmp_path / "lacking.pth", window_size=window)(image), net(image))
        with pytest.warns(CheckpointWarning, match="windows of 8 pixels"):
            assumed = load_model(tmp_path / "lacking.pth")
        assert torch.equal(assumed(image), net(image)) == (window == 8)


def test_positions_of_a_file_are_not_believed():
    net, image = tiny(), torch.rand(1, 3, 16, 16)
    other = tiny()
    state = {key: value + 7 if key.endswith("relative_positions") else value for key, value in net.state_dict().items()}
    other.load_state_dict(state)
    with torch.inference_mode():
        assert torch.equal(other(image), net(image))


@pytest.mark.parametrize(
    "change",
    [
        {"layer1.blocks.0.norm2.weight": torch.zeros(8)},
        {"patch_unembed.proj.0.weight": torch.zeros(3, 8, 3, 3)},
        {"patch_embed.proj.weight": torch.zeros(8)},
        {"patch_embed.proj.weight": torch.zeros(8, 0, 3, 3)},
        {"layer2.blocks.1.attn.attn.relative_positions": torch.zeros(16, 16)},
        {"layer2.blocks.1.attn.attn.relative_positions": torch.zeros(64, 64, 2)},  # of another size than the others
        {"layer2.blocks.1.attn.attn.meta.2.bias": torch.zeros(5)},
        {"layer3.blocks.0.attn.QK.weight": torch.zeros(32, 16, 1, 1), "layer3.blocks.2.mlp.mlp.0.weight": torch.zeros(1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    state = skeleton(DehazeFormer, TINY).state_dict()
    assert infer_config(state) and infer_config(state | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"out_chans": 3}, "out_chans should be in_chans . 1, for K and B of K x - B . x, got 3 and 3"),
        ({"in_chans": 0, "out_chans": 1}, "in_chans should be at least 1, got 0"),
        ({"mlp_ratios": (1, 1, 0.01, 1, 1)}, "mlp_ratios should leave a channel or more"),
        ({"window_size": 0}, "window_size should be at least 1, got 0"),
        ({"depths": (1, 1, 1)}, "depths should have five entries, one for each stage"),
        ({"depths": (1, 1, 0, 1, 1)}, "depths should be at least 1"),
        ({"embed_dims": (8, 16, 16, 8, 8)}, "the last two of embed_dims should be the second and the first"),
        ({"conv_type": ("DWConv",) * 4 + ("conv",)}, "conv_type should be one of DWConv, Conv, got 'conv'"),
        ({"attn_ratio": (0, 0, 2, 0, 0)}, "attn_ratio should lie between 0 and 1, got 2"),
        ({"num_heads": (1, 3, 1, 1, 1)}, "should be multiples of num_heads where there is attention, got 16 and 3"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        DehazeFormer(**TINY | config)
    DehazeFormer(**TINY | {"num_heads": (3, 4, 2, 3, 3)})  # of no effect without attention


@pytest.mark.slow
def test_one_graph_serves_all_sizes():
    assert_one_graph_serves(tiny(), 4, (24, 32), (20, 44), (48, 16), least=4)
