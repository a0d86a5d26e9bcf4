"""SwinIR; tests/test_goldens_archs.py holds it against the reference."""

import pickle
import random
import warnings

import pytest
import torch
import torch.nn.functional as F
from exported import assert_one_graph_serves
from halo import measured_halo
from outline import outline

from restoralib import load_model
from restoralib.archs.swinir import VARIANTS, SwinIR, infer_config, spec
from restoralib.blocks.swin_body import RGB_MEAN
from restoralib.checkpoints import CheckpointWarning

TINY = {"embed_dim": 8, "depths": (2, 1), "num_heads": (2, 1), "window_size": 4, "mlp_ratio": 2}
KINDS = {
    "residual": {},
    "gray, 3conv": {"in_chans": 1, "resi_connection": "3conv"},
    "classical x1": {"upsampler": "pixelshuffle", "upscale": 1},
    "classical x3": {"upsampler": "pixelshuffle", "upscale": 3},
    "classical x4": {"upsampler": "pixelshuffle", "upscale": 4},
    "lightweight x2": {"upsampler": "pixelshuffledirect", "upscale": 2},
    "lightweight x5": {"upsampler": "pixelshuffledirect", "upscale": 5, "qkv_bias": False, "patch_norm": False},
    "real x2": {"upsampler": "nearest+conv", "upscale": 2},
    "real x4, 3conv": {"upsampler": "nearest+conv", "upscale": 4, "resi_connection": "3conv"},
    "JPEG": {"window_size": 7, "img_range": 255.0},
    "small windows": {"img_size": 3},
}
every_kind = pytest.mark.parametrize("kind", [pytest.param(kind, id=name) for name, kind in KINDS.items()])
CLASSICAL = {2: 11_752_487, 3: 11_937_127, 4: 11_900_199, 8: 12_047_911}
PARAMETERS = {
    **{f"classical_x{scale}": count for scale, count in CLASSICAL.items()},
    **{f"classical_div2k_x{scale}": count for scale, count in CLASSICAL.items()},
    "lightweight_x2": 910_152,
    "lightweight_x3": 918_267,
    "lightweight_x4": 929_628,
    "real_x2": 11_678_631,
    "real_x4": 11_715_559,
    "real_large_x4": 28_013_059,
    **{f"gray_denoising_{sigma}": 11_497_681 for sigma in (15, 25, 50)},
    **{f"color_denoising_{sigma}": 11_504_163 for sigma in (15, 25, 50)},
    **{f"gray_jpeg_{quality}": 11_485_585 for quality in (10, 20, 30, 40)},
    **{f"color_jpeg_{quality}": 11_492_067 for quality in (10, 20, 30, 40)},
}


def masks_of(name: str) -> tuple[int, int, int]:
    """The shape of the masks in a published file."""
    if "denoising" in name:
        return 256, 64, 64
    if "jpeg" in name:
        return 324, 49, 49
    return 36 if "div2k" in name else 64, 64, 64


def on_meta(config) -> SwinIR:
    return outline(SwinIR, config)


def tiny(kind, size=(9, 14)) -> tuple[SwinIR, torch.Tensor]:
    """A network with weights of ordinary size everywhere, in eval mode, and two images."""
    torch.manual_seed(0)
    net = SwinIR(**TINY | kind).eval()
    for name, parameter in net.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1 / net.img_range if name == "conv_first.weight" else 0.1)
    return net, torch.rand(2, net.spec.in_channels, *size)


def test_every_published_variant_is_here():
    assert {f"swinir_{name}" for name in PARAMETERS} == set(VARIANTS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_variants(name):
    variant = VARIANTS[f"swinir_{name}"]
    net = on_meta(variant.config)
    state = net.state_dict()
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]
    assert {value.shape for key, value in state.items() if key.endswith("attn_mask")} == {masks_of(name)}
    told = {"img_range": 1.0} | infer_config(state).config
    upscale = variant.config["upscale"] if variant.config["upsampler"] else 1
    assert told == told | variant.config | {"upscale": upscale}
    assert set(variant.tasks) <= set(net.spec.tasks) and spec(**variant.config) == net.spec
    assert net.spec.scale == upscale and net.spec.multiple == variant.config["window_size"]
    assert net.spec.color == ("gray" if name.startswith("gray") else "rgb") and not net.spec.global_ops


def draw_config(draw: random.Random) -> dict:
    groups = draw.randint(1, 2)
    upsampler = draw.choice(["", "pixelshuffle", "pixelshuffledirect", "nearest+conv"])
    scales = {
        "": [1, 2, 4],
        "pixelshuffle": [1, 2, 3, 4, 8, 16],
        "pixelshuffledirect": [1, 2, 3, 4, 5, 8],
        "nearest+conv": [2, 4],
    }
    return {
        "in_chans": draw.choice([1, 3, 4]),
        "embed_dim": draw.choice([12, 24, 60]),
        "depths": tuple(draw.randint(1, 3) for _ in range(groups)),
        "num_heads": tuple(draw.choice([1, 2, 3, 6]) for _ in range(groups)),
        "window_size": draw.choice([1, 2, 3, 4, 7, 8]),
        "mlp_ratio": draw.choice([1, 1.5, 2, 2.5, 4]),
        "upscale": draw.choice(scales[upsampler]),
        "upsampler": upsampler,
        "resi_connection": draw.choice(["1conv", "3conv"]),
        "qkv_bias": draw.random() < 0.5,
        "patch_norm": draw.random() < 0.5,
    }


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        config = draw_config(draw) | {"img_size": draw.choice([9, 16, 30])}
        net = on_meta(config)
        told = infer_config(net.state_dict())
        recorded = {key: value for key, value in config.items() if key not in net.spec.unrecorded}
        assert told.config == told.config | recorded and not told.missing
        assert set(config) - set(recorded) <= {"img_size", "upscale"}


def test_any_expansion_factor_gives_the_same_widths():
    draw = random.Random(0)
    for _ in range(30):
        config = TINY | {"embed_dim": 2 * draw.randint(2, 30), "mlp_ratio": draw.uniform(0.5, 5)}
        told = infer_config(on_meta(config).state_dict()).config
        assert int(told["embed_dim"] * told["mlp_ratio"]) == int(config["embed_dim"] * config["mlp_ratio"])


@every_kind
@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 33])
def test_any_size_is_scaled(kind, size):
    net, image = tiny(kind, (size, size))
    scale = kind.get("upscale", 1)
    with torch.inference_mode():
        output = net(image[:1])
    assert output.shape == (1, net.spec.out_channels, scale * size, scale * size) and output.isfinite().all()


@pytest.mark.parametrize("kind", [{}, KINDS["classical x3"], KINDS["small windows"]])
def test_pads_by_reflection(kind):
    net, image = tiny(kind)
    padded = F.pad(image, (0, -14 % net.spec.multiple, 0, -9 % net.spec.multiple), mode="reflect")
    scale = net.spec.scale
    with torch.inference_mode():
        torch.testing.assert_close(net(image), net(padded)[..., : 9 * scale, : 14 * scale])


@every_kind
def test_every_parameter_gets_a_gradient(kind):
    net, image = tiny(kind | {"drop_path_rate": 0.0})
    output = net.train()(image)
    output.backward(torch.randn_like(output))
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@every_kind
def test_bfloat16_autocast_stays_near(kind):
    net, image = tiny(kind)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        output = net(image).float()
    with torch.inference_mode():
        torch.testing.assert_close(output, net(image), atol=0.05, rtol=0.05)


@pytest.mark.slow
def test_compiles_in_one_graph():
    net, image = tiny({"depths": (2,), "num_heads": (2,), "upsampler": "pixelshuffledirect"})
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), net(image))


@pytest.mark.slow
def test_one_compiled_graph_serves_many_sizes():
    net, _ = tiny({"depths": (2,), "num_heads": (2,), "upsampler": "pixelshuffledirect"})
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True, dynamic=True)
    for size in ((9, 14), (22, 17), (13, 30)):
        with torch.no_grad(), torch.compiler.set_stance("default" if size == (9, 14) else "fail_on_recompile"):
            image = torch.rand(2, 3, *size)
            torch.testing.assert_close(compiled(image), net(image))


@pytest.mark.slow
def test_exports_for_all_multiples_of_the_window():
    net, _ = tiny({"depths": (2,), "num_heads": (2,), "upsampler": "pixelshuffledirect"})
    assert_one_graph_serves(net, 4, (24, 32), (12, 40), (36, 16), least=3)


@pytest.mark.parametrize("kind", [{}, KINDS["JPEG"]])
def test_a_pickle_gives_the_same(kind):
    net, image = tiny(kind)
    again = pickle.loads(pickle.dumps(net))
    with torch.inference_mode():
        assert torch.equal(again(image), net(image)) and again.spec == net.spec


class WithoutFaint(torch.autograd.Function):
    """The image itself; of its gradient, what comes through a wall of -100 counts as nothing."""

    @staticmethod
    def forward(context, image):
        return image.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * (gradient.abs() > 1e-30 * gradient.abs().max())


@pytest.mark.parametrize(
    "kind",
    [
        {"window_size": 3, "upsampler": "pixelshuffledirect", "upscale": 2},
        {"depths": (2,), "num_heads": (1,), "resi_connection": "3conv"},
        {"depths": (1, 3), "num_heads": (1, 1), "window_size": 2, "upsampler": "nearest+conv", "upscale": 2},
        {"depths": (1,), "num_heads": (1,), "window_size": 2, "upsampler": "pixelshuffle"},
        {"img_size": 2},
    ],
)
def test_the_halo_is_measured(kind):
    torch.manual_seed(0)
    net = SwinIR(**TINY | {"in_chans": 1} | kind).eval()
    net.register_forward_pre_hook(lambda net, images: WithoutFaint.apply(*images))
    assert measured_halo(net) == net.spec.halo


@pytest.mark.parametrize("kind", [{}, {"window_size": 7}, {"upsampler": "pixelshuffledirect"}])
@pytest.mark.parametrize("held", ["masks of the same size", "masks of another size", "no masks", "neither masks nor indices"])
def test_files_may_lack_the_masks_or_hold_those_of_another_size(kind, held, tmp_path):
    net, image = tiny(kind | {"img_size": 42})
    state = dict(net.state_dict())
    if held == "masks of another size":
        other = tiny(kind | {"img_size": 29})[0].state_dict()
        masks = {key: value for key, value in other.items() if key.endswith("attn_mask")}
        assert masks and all(value.shape != state[key].shape for key, value in masks.items())
        state |= masks
    elif held != "masks of the same size":
        endings = ("attn_mask",) if held == "no masks" else SwinIR.derived_suffixes
        state = {key: value for key, value in state.items() if not key.endswith(endings)}
    torch.save({"params": state}, tmp_path / "weights.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        loaded = load_model(tmp_path / "weights.pth", img_range=1.0)
    with torch.inference_mode():
        assert torch.equal(loaded(image), net(image))


def test_the_training_size_changes_no_result():
    net, image = tiny({})
    for img_size in (5, 20, (16, 33)):
        other = SwinIR(**TINY, img_size=img_size).eval()
        state = {key: value for key, value in net.state_dict().items() if not key.endswith("attn_mask")}
        assert all(key.endswith("attn_mask") for key in other.load_state_dict(state, strict=False).missing_keys)
        with torch.inference_mode():
            assert torch.equal(other(image), net(image))


@pytest.mark.parametrize("kind", [{}, {"upsampler": "pixelshuffle"}, {"in_chans": 1}])
def test_images_are_in_0_to_1_whatever_the_range_inside(kind):
    net, image = tiny(kind)
    wide = SwinIR(**TINY | kind, img_range=255.0).eval()
    state = net.state_dict()
    scales = {"conv_first.weight": 1 / 255, "conv_last.weight": 255, "conv_last.bias": 255}
    wide.load_state_dict({key: value * scales.get(key, 1) for key, value in state.items()})
    net, wide, image = net.double(), wide.double(), image.double()
    with torch.inference_mode():
        torch.testing.assert_close(wide(image), net(image), rtol=1e-6, atol=1e-6)


def test_the_mean_of_div2k_is_that_of_rgb_images_alone():
    for channels, mean in ((3, RGB_MEAN), (1, [0.0]), (4, [0.0] * 4)):
        net = SwinIR(**TINY, in_chans=channels)
        assert net.mean.flatten().tolist() == pytest.approx(mean) and "mean" not in net.state_dict()
        # A network without weights gives the mean, or with no upsampler the image.
        for parameter in net.parameters():
            torch.nn.init.zeros_(parameter)
        image = torch.rand(1, channels, 5, 5)
        torch.testing.assert_close(net(image), image)


def test_paths_are_dropped_in_training_alone():
    net, image = tiny({"drop_path_rate": 0.9})
    plain = SwinIR(**TINY, drop_path_rate=0.0)
    plain.load_state_dict(net.state_dict())
    with torch.inference_mode():
        expected = plain(image)
        assert torch.equal(net(image), expected) and torch.equal(plain.train()(image), expected)
        assert not torch.equal(net.train()(image), expected)
    rates = [layer.drop_path.rate for block in net.layers for layer in block.residual_group["blocks"]]
    assert rates == pytest.approx([0, 0.45, 0.9])


def test_checkpoints_in_training_change_no_gradient():
    plain, image = tiny({"drop_path_rate": 0.0})
    saving = SwinIR(**TINY, drop_path_rate=0.0, use_checkpoint=True)
    saving.load_state_dict(plain.state_dict())
    for net in (plain, saving):
        net.train()(image).square().sum().backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_table_of_positions_fits_its_size_alone():
    net, image = tiny({"ape": True, "img_size": 12}, (12, 12))
    assert net.spec.input_size == (12, 12)
    with torch.inference_mode():
        output = net(image)
        net.absolute_pos_embed.zero_()
        assert not torch.equal(net(image), output)
        plain, _ = tiny({"img_size": 12})
        plain.load_state_dict({key: value for key, value in net.state_dict().items() if key != "absolute_pos_embed"})
        assert torch.equal(net(image), plain(image))
        with pytest.raises(ValueError, match="with ape, the padded image should be 12 x 12, got 16 x 12"):
            net(torch.rand(1, 3, 13, 12))


@pytest.mark.parametrize(
    "change",
    [
        {"layers.0.residual_group.blocks.0.conv_block.cab.0.weight": torch.zeros(2, 8, 3, 3)},  # HAT
        {"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.zeros(48, 2)},
        {"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.zeros(65**2, 2)},  # 33 pixels
        {"conv_first.weight": torch.zeros(8)},
        {"conv_first.weight": torch.zeros(8, 0, 3, 3)},
        {"layers.0.residual_group.blocks.0.mlp.fc1.weight": torch.zeros(0, 8)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    state = on_meta(TINY).state_dict()
    assert infer_config(state) and infer_config(state | change) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"upsampler": "nearest+conv", "upscale": 3}, "upscale should be 2 or 4 with 'nearest.conv', got 3"),
        ({"upsampler": "nearest+conv", "upscale": 8}, "got 8"),
        ({"upsampler": "pixelshuffle", "upscale": 5}, "5"),
        ({"upsampler": "pixelshuffle", "upscale": 6}, "6"),
        ({"upsampler": "pixelshuffle", "upscale": 0}, "upscale should be at least 1, got 0"),
        ({"upsampler": "pixelshuffledirect", "upscale": -1}, "upscale should be at least 1, got -1"),
        ({"upsampler": "bicubic"}, "unknown upsampler 'bicubic'"),
        ({"resi_connection": "2conv"}, "resi_connection should be '1conv' or '3conv'"),
        ({"depths": (2,)}, "as many of each"),
        ({"depths": (), "num_heads": ()}, "should be positive"),
        ({"depths": (2, 0)}, "should be positive"),
        ({"num_heads": (3, 1)}, "dim should be a multiple of num_heads, got 8 and 3"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        SwinIR(**(TINY | config))


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="window"):
        SwinIR(**TINY, window=8)
