"""EDSR: its figure, its two layouts, its range."""

import random
import warnings

import pytest
import torch
import torch.nn.functional as F
from halo import measured_halo
from torch import nn

from restoralib.archs.edsr import EDSR, VARIANTS, infer_config, rename_keys
from restoralib.blocks.mean_shift import DIV2K_MEAN
from restoralib.checkpoints import CheckpointWarning, load_model, skeleton

TINY = {"n_resblocks": 2, "n_feats": 4}
PARAMETERS = {  # those of the mean are not trained
    "edsr_baseline_x2": 1_369_859,
    "edsr_baseline_x3": 1_554_499,
    "edsr_baseline_x4": 1_517_571,
    "edsr_x2": 40_729_603,
    "edsr_x3": 43_680_003,
    "edsr_x4": 43_089_923,
}


def on_meta(**config):
    return skeleton(EDSR, config)


def basicsr(state_dict):
    """The names of BasicSR, which does not save the mean."""
    last = max(int(key.split(".")[1]) for key in state_dict if key.startswith("body."))
    names = {
        "head.0.": "conv_first.",
        ".body.0.": ".conv1.",
        ".body.2.": ".conv2.",
        f"body.{last}.": "conv_after_body.",
        "tail.0.": "upsample.",
        "tail.1.": "conv_last.",
    }
    state_dict = {key: value for key, value in state_dict.items() if "_mean." not in key}
    for ours, theirs in names.items():
        state_dict = {key.replace(ours, theirs): value for key, value in state_dict.items()}
    return state_dict


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants(name):
    variant = VARIANTS[name]
    net = on_meta(**variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]
    inferred = infer_config(net.state_dict())
    assert inferred.cls is variant.cls is EDSR and inferred.config == variant.config
    assert set(inferred.assumed) == {"res_scale", "rgb_range"} and net.spec.unrecorded == ("res_scale",)
    assert net.spec.tasks == variant.tasks and name.endswith(f"_x{net.spec.scale}")


def test_keys_are_the_authors_in_their_order():
    layers = ["sub_mean", "add_mean", "head.0", "body.0.body.0", "body.0.body.2", "body.1", "tail.0.0", "tail.0.2", "tail.1"]
    expected = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert list(on_meta(n_resblocks=1, n_feats=4, scale=4).state_dict()) == expected


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back_from_both_layouts(draws):
    draw = random.Random(0)
    for _ in range(draws):
        config = {
            "n_resblocks": draw.randint(1, 4),
            "n_feats": draw.randint(1, 64),
            "scale": draw.choice([1, 2, 3, 4, 8]),
            "res_scale": 1,
            "rgb_range": 255,
            "n_colors": 3,
        }
        state_dict = on_meta(**config).state_dict()
        assert infer_config(state_dict).config == config
        assert list(rename_keys(basicsr(state_dict))) == list(state_dict)
        assert infer_config(basicsr(state_dict)).config == config


@pytest.mark.parametrize(("res_scale", "scale"), [(1, 2), (0.1, 3), (0.1, 4)])
def test_the_net_is_its_figure(res_scale, scale):
    net, image = EDSR(**TINY, scale=scale, res_scale=res_scale).double(), torch.rand(1, 3, 5, 6, dtype=torch.float64)
    mean = 255 * torch.tensor(DIV2K_MEAN)[:, None, None]
    shallow = x = net.head(255 * image - mean)
    for block in net.body[:-1]:
        x = x + res_scale * block.body[2](F.relu(block.body[0](x)))
    x = shallow + net.body[-1](x)
    for conv in net.tail[0]:
        x = conv(x)
    torch.testing.assert_close(net(image), (net.tail[1](x) + mean) / 255)


@pytest.mark.parametrize("rgb_range", [255, 1, 0.5, 65535])
def test_the_range_is_read_from_the_mean(rgb_range, tmp_path):
    net, image = EDSR(**TINY, rgb_range=rgb_range), torch.rand(1, 3, 5, 6)
    assert infer_config(net.state_dict()).config["rgb_range"] == rgb_range
    torch.save(net.state_dict(), tmp_path / "edsr.pt")
    with pytest.warns(CheckpointWarning, match="no weight tells res_scale; res_scale=1 is assumed") as told:
        loaded = load_model(tmp_path / "edsr.pt")
    assert len(told) == 1
    torch.testing.assert_close(loaded(image), net(image))


def test_another_mean_is_loaded_and_the_range_assumed(tmp_path):
    net, image = EDSR(**TINY), torch.rand(1, 3, 5, 6)
    net.sub_mean.bias.mul_(torch.tensor([1.1, 1.2, 1.3]))
    torch.save(net.state_dict(), tmp_path / "edsr.pt")
    with pytest.warns(CheckpointWarning, match="no weight tells rgb_range; rgb_range=255 is assumed"):
        loaded = load_model(tmp_path / "edsr.pt", res_scale=1)
    torch.testing.assert_close(loaded(image), net(image))


def test_basicsrs_files_load(tmp_path):
    net, image = EDSR(n_resblocks=2, n_feats=256, scale=2, res_scale=0.1), torch.rand(1, 3, 5, 6)
    torch.save({"params": basicsr(net.state_dict())}, tmp_path / "edsr.pth")
    with pytest.warns(CheckpointWarning, match=r"res_scale=0\.1 is assumed"):
        loaded = load_model(tmp_path / "edsr.pth")
    torch.testing.assert_close(loaded(image), net(image))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(tmp_path / "edsr.pth", res_scale=1)(image).isfinite().all()


def test_a_net_without_weights_gives_the_mean():
    net = EDSR(**TINY)
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    expected = torch.tensor(DIV2K_MEAN)[None, :, None, None].expand(1, 3, 8, 12)
    torch.testing.assert_close(net(torch.rand(1, 3, 2, 3)), expected)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n_resblocks", [1, 2])
def test_halo_is_exact(scale, n_resblocks):
    net = EDSR(n_resblocks=n_resblocks, n_feats=2, scale=scale)
    assert measured_halo(net) == net.spec.halo


@pytest.mark.slow
def test_compiles_with_dynamic_sizes_and_is_exported():
    torch.compiler.reset()
    net = EDSR(**TINY, scale=3).eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    sizes = {2: torch.export.Dim("height", min=2, max=512), 3: torch.export.Dim("width", min=2, max=512)}
    exported = torch.export.export(net, (torch.rand(1, 3, 8, 12),), dynamic_shapes=(sizes,)).module()
    with torch.inference_mode():
        for size in ((8, 12), (9, 31)):
            image = torch.rand(1, 3, *size)
            torch.testing.assert_close(exported(image), net(image))
            torch.testing.assert_close(compiled(image), net(image))


@pytest.mark.parametrize(
    "change",
    [
        {"body.0.body.3.conv_du.0.weight": torch.zeros(1)},  # RCAN
        {"head.0.weight": torch.zeros(())},
        {"head.0.weight": torch.zeros(4, 1, 3, 3)},
        {"tail.0.0.weight": torch.zeros(20, 4, 3, 3)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(**TINY).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_colors": 1}, "n_colors should be 3, for the mean that is taken is that of RGB images; got 1"),
        ({"n_resblocks": 0}, "n_resblocks and n_feats should be at least 1 and rgb_range more than 0, got 0, 64 and 255"),
        ({"scale": 6}, "scale should be a power of two or 3, got 6"),
    ],
)
def test_impossible_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        EDSR(**arguments)
