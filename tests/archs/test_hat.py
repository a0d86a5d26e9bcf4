"""HAT; tests/test_peers.py holds it against spandrel's."""

import itertools
import random

import pytest
import torch
import torch.nn.functional as F
from exported import assert_one_graph_serves
from outline import outline

from restoralib import restore
from restoralib.archs import swinir
from restoralib.archs.hat import HAB, HAT, OCAB, VARIANTS, infer_config
from restoralib.blocks.channel_attention import ChannelAttention
from restoralib.checkpoints import skeleton

TINY = {
    "embed_dim": 8,
    "depths": (2, 1),
    "num_heads": (2, 4),
    "window_size": 4,
    "compress_ratio": 2,
    "squeeze_factor": 4,
    "conv_scale": 0.3,
    "mlp_ratio": 2.0,
}


def on_meta(config) -> HAT:
    return outline(HAT, config)


def randomized(net, std=0.2):
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return net.double().eval()


@pytest.fixture(scope="module")
def tiny() -> HAT:
    return randomized(HAT(**TINY))


SIZES = {"hat_s_": (9.6e6, 36), "hat_l_": (40.8e6, 72), "hat_": (20.8e6, 36)}  # of the authors' table, and attention blocks


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant, scale = VARIANTS[name], int(name[-1])
    net = on_meta(variant.config)
    parameters, blocks = next(size for prefix, size in SIZES.items() if name.startswith(prefix))
    assert sum(parameter.numel() for parameter in net.parameters()) == pytest.approx(parameters, rel=0.02)
    assert sum(isinstance(module, HAB) for module in net.modules()) == blocks
    told = infer_config(net.state_dict())
    assert told.missing == () and {key: told.config[key] for key in variant.config if key not in net.spec.unrecorded} == {
        key: value for key, value in variant.config.items() if key not in net.spec.unrecorded
    }
    assert (net.spec.scale, net.spec.multiple, net.spec.tasks) == (scale, 16, (f"sr{scale}",))


def test_the_sizes_of_the_small_model_are_those_of_the_paper():
    net = on_meta(VARIANTS["hat_s_x4"].config)
    squeezed = next(module for module in net.modules() if isinstance(module, ChannelAttention))
    assert (squeezed[1].out_channels, net.layers[0].residual_group["blocks"][0].conv_block.cab[0].out_channels) == (6, 6)


def test_pads_by_reflection(tiny):
    image = torch.rand(1, 3, 7, 9, dtype=torch.float64)
    with torch.inference_mode():
        padded = tiny(F.pad(image, (0, 3, 0, 1), mode="reflect"))
        torch.testing.assert_close(tiny(image), padded[..., :14, :18])


def test_every_second_block_is_shifted_unless_one_window_filled_the_patch():
    def shifts(**config):
        return [module.shifted for module in on_meta(TINY | {"depths": (3, 2)} | config).modules() if isinstance(module, HAB)]

    assert shifts() == [False, True, False, False, True]
    assert not any(shifts(img_size=4)) and not any(shifts(depths=(1, 1)))


def test_channel_attention_stands_beside_the_windows():
    """Without the feed-forward and the windows' projection, what a block adds is `conv_scale` times its channel attention."""
    block = randomized(HAB(8, 2, 4, False, 2, 4, 0.3, 2.0, 0.0, 0.0))
    for layer in (block.attn.proj, block.mlp.fc2):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x, index = torch.randn(2, 8, 8, 8, dtype=torch.float64), torch.zeros(16, 16, dtype=torch.int64)
    torch.testing.assert_close(block(x, index, None) - x, 0.3 * block.conv_block(block.norm1(x)))


@pytest.mark.parametrize(("window", "overlap"), [(2, 2), (4, 2), (3, 0)])
def test_windows_ask_larger_windows_about_the_same_centre(window, overlap):
    """The overlapping cross-attention, head by head and window by window, with zeros beyond the image."""
    block = randomized(OCAB(6, 2, window, overlap))
    torch.nn.init.zeros_(block.mlp.fc2.weight)
    torch.nn.init.zeros_(block.mlp.fc2.bias)
    side, margin = window + overlap, overlap // 2
    index = torch.randint(0, (2 * window + overlap - 1) ** 2, (window**2, side**2))
    x = torch.randn(1, 6, 2 * window, 3 * window, dtype=torch.float64)
    expected = x.clone()
    queries, keys, values = block.qkv(block.norm1(x[0].permute(1, 2, 0))).split(6, -1)
    keys, values = (F.pad(part, (0, 0, margin, margin, margin, margin)) for part in (keys, values))
    for top, left in itertools.product(range(0, 2 * window, window), range(0, 3 * window, window)):
        q = queries[top : top + window, left : left + window].flatten(0, 1)
        k, v = (part[top : top + side, left : left + side].flatten(0, 1) for part in (keys, values))
        heads = []
        for head in range(2):
            channels = slice(3 * head, 3 * head + 3)
            logits = q[:, channels] @ k[:, channels].T / 3**0.5 + block.relative_position_bias_table[index, head]
            heads.append(logits.softmax(-1) @ v[:, channels])
        mixed = block.proj(torch.cat(heads, -1)).T.view(6, window, window)
        expected[0, :, top : top + window, left : left + window] += mixed
    torch.testing.assert_close(block(x, index), expected)


def test_pairs_of_one_distance_share_a_bias(tiny):
    """Rows are the authors': counted from the table's end where a row or a column is negative."""
    window, larger = 4, 6
    index = tiny.relative_position_index_OCA.view(window, window, larger, larger)
    for place in itertools.product(range(window), range(window), range(larger), range(larger)):
        row, column = (place[axis + 2] - place[axis] + 1 - (larger - window) for axis in (0, 1))
        assert index[place] == (window + larger - 1) * row + column


@pytest.mark.filterwarnings("ignore:the model's result spans")
@pytest.mark.parametrize("change", [{}, {"resi_connection": "identity", "depths": (1, 2)}])
def test_tiles_can_be_exact(change):
    """Beyond the reach of its windows only the means of the channel attention see; the wrapped windows of a shift do not."""
    net = randomized(HAT(**TINY | {"upscale": 1} | change))
    image = torch.rand(1, 3, 76, 31, dtype=torch.float64)
    whole = restore(image, net, dtype="float64", tile=None)
    tiled = restore(image, net, dtype="float64", tile=(64, 10_000), exact=True)
    assert (tiled - whole).abs().max() <= 1e-12
    assert (restore(image, net, dtype="float64", tile=(64, 10_000)) - whole).abs().max() > 1e-9  # so the test tests something


def test_paths_are_dropped_in_training_alone(tiny):
    net, image = HAT(**TINY | {"drop_path_rate": 0.8}).double(), torch.rand(1, 3, 8, 8, dtype=torch.float64)
    net.load_state_dict(tiny.state_dict())
    with torch.inference_mode():
        assert torch.equal(net.eval()(image), tiny(image)) and not torch.equal(net.train()(image), tiny(image))
    rates = [module.drop_path.rate for module in net.modules() if isinstance(module, HAB)]
    assert rates == pytest.approx([0, 0.4, 0.8])


def test_blocks_can_be_computed_again_in_the_backward_pass(tiny):
    gradients = []
    for use_checkpoint in (False, True):
        net = HAT(**TINY | {"use_checkpoint": use_checkpoint, "drop_path_rate": 0.0}).double().train()
        net.load_state_dict(tiny.state_dict())
        net(torch.linspace(0, 1, 192, dtype=torch.float64).view(1, 3, 8, 8)).square().sum().backward()
        gradients.append(net.conv_first.weight.grad)
    torch.testing.assert_close(*gradients)


def test_ape_takes_one_size():
    net = HAT(**TINY | {"ape": True, "img_size": (8, 12)}).eval()
    assert net.spec.input_size == (8, 12) and net(torch.rand(1, 3, 8, 12)).shape == (1, 3, 16, 24)
    with pytest.raises(ValueError, match="with ape, the padded image should be 8 x 12, got 8 x 8"):
        net(torch.rand(1, 3, 8, 8))


def test_files_may_lack_the_positions(tiny):
    state = {key: value for key, value in tiny.state_dict().items() if not key.endswith(HAT.derived_suffixes)}
    assert infer_config(state).config == infer_config(tiny.state_dict()).config
    net = HAT(**TINY).double().eval()
    net.load_state_dict(state | {"relative_position_index_SA": torch.zeros(16, 16, dtype=torch.int64)})
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(net(image), tiny(image))


@pytest.mark.slow
def test_one_graph_serves_all_sizes():
    assert_one_graph_serves(HAT(**TINY).eval(), 4, (12, 20), (16, 8), most=16)


@pytest.mark.parametrize("draws", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        groups = draw.choice([1, 1, 2, 3])
        dim = draw.choice([8, 12, 24])
        window = draw.choice([2, 4, 6, 8])
        told = {
            "in_chans": draw.choice([1, 3, 4]),
            "embed_dim": dim,
            "depths": tuple(draw.choice([1, 1, 2]) for _ in range(groups)),
            "num_heads": tuple(draw.choice([1, 2, 4]) for _ in range(groups)),
            "window_size": window,
            "compress_ratio": draw.choice([1, 2, 4, dim]),
            "squeeze_factor": draw.choice([1, 2, 4, dim]),
            "overlap_ratio": draw.choice([0, 0.5] if window % 4 == 0 else [0]),
            "mlp_ratio": draw.choice([1, 1.5, 2, 4]),
            "qkv_bias": draw.random() < 0.5,
            "patch_norm": draw.random() < 0.5,
            "ape": draw.random() < 0.3,
            "img_size": 2 * window,
            "upscale": draw.choice([1, 2, 3, 4, 8]),
            "resi_connection": draw.choice(["1conv", "identity"]),
        }
        found = infer_config(on_meta(told).state_dict()).config
        assert found.pop("upsampler") == "pixelshuffle"
        if not told["ape"]:
            found.pop("img_size"), told.pop("img_size")
        assert found == told


@pytest.mark.parametrize(
    "change",
    [
        {"conv_first.weight": torch.zeros(8)},
        {"conv_first.weight": torch.zeros(8, 0, 3, 3)},
        {"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.zeros(48, 2)},
        {"layers.0.residual_group.overlap_attn.relative_position_bias_table": torch.zeros(36, 2)},
        {"layers.0.residual_group.blocks.0.attn.rpb.weight": torch.zeros(8)},
        {"extra": torch.zeros(1)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    state = on_meta(TINY).state_dict()
    assert infer_config(state) is not None and swinir.infer_config(state) is None
    assert infer_config(state | change) is None
    assert infer_config({}) is None and infer_config(skeleton(swinir.SwinIR, {"embed_dim": 12}).state_dict()) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"depths": (2,), "num_heads": (2, 2)}, "depths and num_heads should be positive, as many of each"),
        ({"num_heads": (2, 3)}, "embed_dim should be a multiple of all num_heads, got 8"),
        ({"overlap_ratio": 0.25}, "window_size times overlap_ratio should be an even number of pixels, got 4 times 0.25"),
        ({"window_size": 8, "img_size": 4}, "img_size should be at least window_size = 8, got 4"),
        ({"compress_ratio": 9}, "compress_ratio should be from 1 to embed_dim = 8, got 9"),
        ({"squeeze_factor": 0}, "squeeze_factor should be from 1 to embed_dim = 8, got 0"),
        ({"upsampler": "nearest+conv"}, "upsampler should be 'pixelshuffle', got 'nearest"),
        ({"resi_connection": "3conv"}, "resi_connection should be '1conv' or 'identity', got '3conv'"),
        ({"upscale": 5}, "scale should be a power of two or 3, got 5"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        HAT(**TINY | config)
