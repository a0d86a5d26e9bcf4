"""RLFN: its figure, its sizes, its range."""

import random

import pytest
import torch
import torch.nn.functional as F

from restoralib.archs.rlfn import ESA, RLFB, RLFN, VARIANTS, infer_config
from restoralib.checkpoints import load_model, skeleton

TINY = {"feature_channels": 6, "mid_channels": 5, "num_blocks": 2, "esa_channels": 4}
PARAMETERS = {
    "rlfn_x2": 526_856,
    "rlfn_x4": 543_740,
    "rlfn_s_x2": 454_620,
    "rlfn_s_x4": 470_208,
    "rlfn_ntire_x4": 317_218,
}


def on_meta(**config):
    return skeleton(RLFN, config)


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = on_meta(**variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]
    inferred = infer_config(net.state_dict())
    assert inferred.cls is variant.cls is RLFN and inferred.config == variant.config
    assert not inferred.assumed and not inferred.missing and not net.spec.unrecorded
    assert net.spec.tasks == variant.tasks and name.endswith(f"_x{net.spec.scale}")


def test_keys_are_the_authors_in_their_order():
    layers = ["c1_r", "c2_r", "c3_r", "c5", *(f"esa.{name}" for name in ("conv1", "conv_f", "conv2", "conv3", "conv4"))]
    layers = ["conv_1", *(f"block_1.{layer}" for layer in layers), "conv_2", "upsampler.0"]
    expected = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert list(on_meta(num_blocks=1).state_dict()) == expected


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        channels = draw.choice([1, 3, 4])
        config = {
            "in_channels": channels,
            "out_channels": channels,
            "feature_channels": draw.randint(1, 64),
            "upscale": draw.randint(1, 5),
            "mid_channels": draw.randint(1, 64),
            "num_blocks": draw.randint(1, 4),
            "esa_channels": draw.randint(1, 32),
        }
        assert infer_config(on_meta(**config).state_dict()).config == config


def test_other_channels_out_than_in_come_back():
    config = TINY | {"in_channels": 1, "out_channels": 3, "upscale": 4}
    assert infer_config(on_meta(**config).state_dict()).config == config


def test_esa_is_its_figure():
    block, x = ESA(6, 4).double(), torch.randn(2, 6, 27, 33, dtype=torch.float64)
    reduced = block.conv1(x)
    small = F.max_pool2d(F.conv2d(reduced, block.conv2.weight, block.conv2.bias, stride=2), 7, 3)
    assert small.shape[2:] == (3, 4)
    large = F.interpolate(block.conv3(small), (27, 33), mode="bilinear", align_corners=False)
    torch.testing.assert_close(block(x), x * torch.sigmoid(block.conv4(large + block.conv_f(reduced))))


def test_a_block_is_its_figure():
    block, x = RLFB(6, 5, 4).double(), torch.randn(2, 6, 15, 16, dtype=torch.float64)
    local = x
    for conv in (block.c1_r, block.c2_r, block.c3_r):
        local = F.leaky_relu(conv(local), 0.05)
    torch.testing.assert_close(block(x), block.esa(block.c5(local + x)))


def test_the_net_is_its_figure_on_the_range_of_eight_bits():
    net, image = RLFN(**TINY, upscale=3).double(), torch.rand(1, 3, 16, 20, dtype=torch.float64)
    shallow = net.conv_1(255 * image)
    x = net.conv_2(net.block_2(net.block_1(shallow))) + shallow
    expected = F.pixel_shuffle(F.conv2d(x, net.upsampler[0].weight, net.upsampler[0].bias, padding=1), 3) / 255
    torch.testing.assert_close(net(image), expected)


@pytest.mark.parametrize("size", [(1, 1), (14, 40), (40, 14), (8, 9)])
def test_small_images_are_padded_to_fifteen_pixels(size):
    net, image = RLFN(**TINY, upscale=2), torch.rand(1, 3, *size)
    height, width = (max(15, side) for side in size)
    rows = torch.arange(height).clamp(max=size[0] - 1) if 15 - size[0] >= size[0] else _reflected(size[0], height)
    columns = torch.arange(width).clamp(max=size[1] - 1) if 15 - size[1] >= size[1] else _reflected(size[1], width)
    expected = net(image[:, :, rows][..., columns])[..., : 2 * size[0], : 2 * size[1]]
    torch.testing.assert_close(net(image), expected)


def _reflected(length, total):
    """Indices of a side that goes on mirrored about its last pixel."""
    return torch.tensor([i if i < length else 2 * (length - 1) - i for i in range(total)])


def test_the_file_of_the_challenge_loads(tmp_path):
    net, image = RLFN(**VARIANTS["rlfn_ntire_x4"].config), torch.rand(1, 3, 15, 17)
    torch.save(net.state_dict(), tmp_path / "rlfn.pth")
    loaded = load_model(tmp_path / "rlfn.pth")
    torch.testing.assert_close(loaded(image), net(image))


@pytest.mark.slow
def test_compiles_with_dynamic_sizes_and_is_exported():
    torch.compiler.reset()
    net = RLFN(**TINY | {"num_blocks": 1}, upscale=2).eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    sizes = {2: torch.export.Dim("height", min=21, max=512), 3: torch.export.Dim("width", min=21, max=512)}
    exported = torch.export.export(net, (torch.rand(1, 3, 24, 32),), dynamic_shapes=(sizes,)).module()
    with torch.inference_mode():
        for size in ((24, 32), (25, 41)):
            image = torch.rand(1, 3, *size)
            torch.testing.assert_close(exported(image), net(image))
            torch.testing.assert_close(compiled(image), net(image))


def test_one_channel_is_grey():
    assert RLFN(1, 1, 4, 2, esa_channels=2).spec.color == "gray" and RLFN(**TINY, upscale=2).spec.color == "rgb"


@pytest.mark.parametrize(
    "change",
    [
        {"block_1.esa.conv_max.weight": torch.zeros(1)},  # RFDN
        {"conv_1.weight": torch.zeros(())},
        {"conv_1.weight": torch.zeros(6, 0, 3, 3)},
        {"upsampler.0.weight": torch.zeros(0, 6, 3, 3)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(**TINY).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize("name", ["in_channels", "feature_channels", "mid_channels", "num_blocks", "esa_channels", "upscale"])
def test_impossible_arguments_are_named(name):
    with pytest.raises(ValueError, match=f"{name} should be at least 1, got 0"):
        RLFN(**{name: 0})
