"""The U-Net of guided diffusion; tests/test_goldens_archs.py holds it against the authors' code."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib import load_model
from restoralib.archs import palette, sr3
from restoralib.archs.guided_diffusion import VARIANTS, GuidedUNet, infer_config
from restoralib.blocks import AttentionBlock, TimedResBlock
from restoralib.checkpoints import AmbiguousCheckpoint, CheckpointWarning, skeleton

TINY = {
    "image_size": 16,
    "in_channels": 3,
    "model_channels": 32,
    "out_channels": 6,
    "num_res_blocks": 1,
    "attention_resolutions": (2,),
    "channel_mult": (1, 2, 2),
}
KINDS = {
    "convolutions": {},
    "means and neighbours": {"conv_resample": False},
    "residual": {"resblock_updown": True, "use_scale_shift_norm": True, "num_head_channels": 32},
    "no blocks in the encoder": {"num_res_blocks": 0, "attention_resolutions": (1, 4)},
    "one level": {"channel_mult": (2,)},
}
every_kind = pytest.mark.parametrize("kind", [pytest.param(kind, id=name) for name, kind in KINDS.items()])


def tiny(kind, size=(8, 12)):
    """A network with weights of ordinary size everywhere, two noisy images and their times."""
    torch.manual_seed(0)
    net = GuidedUNet(**TINY | kind).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net, torch.randn(2, net.spec.in_channels, *size), torch.tensor([3.0, 701.0])


def shapes(net):
    return {key: value.shape for key, value in net.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "parameters", "keys"),
    [  # the paper has 296, 422, 554 and 559 million
        ("adm_imagenet64", 295_904_454, 541),
        ("adm_imagenet128", 421_529_606, 493),
        ("adm_imagenet256", 553_838_086, 567),
        ("adm_imagenet256_uncond", 552_814_086, 566),
        ("adm_imagenet512", 558_997_638, 645),
        ("adm_ffhq_10m", 93_563_910, 362),
    ],
)
def test_published_variants(name, parameters, keys):
    variant = VARIANTS[name]
    net = skeleton(variant.cls, variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters and len(net.state_dict()) == keys
    told = infer_config(net.state_dict())
    assert told.config == told.config | variant.config and not told.missing
    heads = "num_heads" if name == "adm_imagenet128" else "num_head_channels"
    assert set(told.assumed) == {heads, "use_new_attention_order"} and all(name in why for why in told.assumed.values())
    labels = ("label",) if variant.config["num_classes"] else ()
    assert net.spec.role == "denoiser" and net.spec.inputs == ("image", "time", *labels)
    assert net.spec.multiple == 2 ** (len(variant.config["channel_mult"]) - 1) and net.spec.halo is None


def draw_config(draw):
    unit = draw.choice([32, 64, 48, 80])
    wholes = [factor / 2 for factor in range(1, 9) if unit * factor % 64 == 0]
    levels = draw.randint(1, 3)
    return TINY | {
        "in_channels": draw.choice([1, 3, 6]),
        "model_channels": unit,
        "out_channels": draw.choice([3, 6]),
        "num_res_blocks": draw.choice([0, 1, 1, 2]),
        "attention_resolutions": tuple(factor for factor in (1, 2, 4) if draw.random() < 0.4),
        "channel_mult": tuple(draw.choice(wholes) for _ in range(levels)),
        "conv_resample": draw.random() < 0.7,
        "num_classes": draw.choice([None, 1, 10]),
        "use_scale_shift_norm": draw.random() < 0.5,
        "resblock_updown": draw.random() < 0.5,
    }


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    for number in range(200):
        config = draw_config(draw)
        net = skeleton(GuidedUNet, config)
        told = infer_config(net.state_dict())
        for key in ("in_channels", "model_channels", "out_channels", "num_res_blocks", "channel_mult", "num_classes"):
            assert told.config[key] == config[key], key
        for key in ("use_scale_shift_norm", "resblock_updown"):
            assert told.config[key] == config[key] or (key == "resblock_updown" and len(config["channel_mult"]) == 1), key
        levels = len(config["channel_mult"])
        attended = tuple(factor for factor in config["attention_resolutions"] if factor < 2**levels)
        assert told.config["attention_resolutions"] == attended
        if levels > 1 and not config["resblock_updown"]:
            assert told.config["conv_resample"] == config["conv_resample"]
        if number % 10 == 0:  # slow, and what is told above decides it
            again = skeleton(GuidedUNet, told.config)
            assert shapes(again) == shapes(net) and again.spec == net.spec


@pytest.mark.parametrize(("unit", "missing"), [(64, ()), (32, ("num_heads",))])
def test_heads_are_64_wide_where_that_can_be(unit, missing, tmp_path):
    net = GuidedUNet(**TINY | {"model_channels": unit, "attention_resolutions": (1,), "channel_mult": (1, 2)})
    told = infer_config(net.state_dict())
    assert told.missing == missing and ("num_head_channels" in told.assumed) == (not missing)
    torch.save(net.state_dict(), tmp_path / "unet.pt")
    if missing:
        with pytest.raises(AmbiguousCheckpoint, match="num_heads"):
            load_model(tmp_path / "unet.pt")
        loaded = load_model(tmp_path / "unet.pt", num_heads=4, use_new_attention_order=True)
    else:
        with pytest.warns(CheckpointWarning, match="num_head_channels=64 is assumed"):
            assert load_model(tmp_path / "unet.pt", use_new_attention_order=False).middle_block[1].heads == 2
        loaded = load_model(tmp_path / "unet.pt", num_heads=4, num_head_channels=-1, use_new_attention_order=True)
    assert loaded.middle_block[1].heads == 4 and loaded.middle_block[1].new_order


def by_the_figure(net, image, emb):
    """Encoder, middle and decoder over a plain list of skips, without padding."""
    skips, x = [], image
    for block in net.input_blocks:
        x = block(x, emb)
        skips.append(x)
    x = net.middle_block(x, emb)
    for block in net.output_blocks:
        x = block(torch.cat([x, skips.pop()], 1), emb)
    assert not skips
    return net.out(x)


@every_kind
def test_sizes_that_can_be_halved_are_not_padded(kind):
    net, image, time = tiny(kind)
    with torch.inference_mode():
        assert torch.equal(net(image, time), by_the_figure(net, image, net.time_embed(time)))


@every_kind
def test_other_sizes_are_padded_by_reflection(kind):
    net, image, time = tiny(kind, (7, 9))
    multiple = net.spec.multiple
    padded = F.pad(image, (0, -9 % multiple, 0, -7 % multiple), mode="reflect")
    with torch.inference_mode():
        torch.testing.assert_close(net(image, time), net(padded, time)[..., :7, :9])


def test_layers_lie_where_the_configuration_says():
    net = GuidedUNet(**TINY | {"num_res_blocks": 2, "attention_resolutions": (4,), "num_heads": 2, "num_heads_upsample": 4})
    attended = [[isinstance(layer, AttentionBlock) for layer in block].count(True) for block in net.input_blocks]
    assert attended == [0, 0, 0, 0, 0, 0, 0, 1, 1]
    heads = [layer.heads for layer in net.modules() if isinstance(layer, AttentionBlock)]
    assert heads == [2, 2, 2, 4, 4, 4]  # encoder, middle, decoder
    widths = [block[0].skip_connection.in_channels for block in net.output_blocks]
    assert widths == [128, 128, 128, 128, 128, 96, 96, 64, 64]
    residual = GuidedUNet(**TINY | {"resblock_updown": True})
    changes = [layer.resample for layer in residual.modules() if isinstance(layer, TimedResBlock) and layer.resample]
    assert len(changes) == 4


def test_times_are_numbers_or_tensors_of_any_type():
    net, image, _ = tiny({})
    with torch.inference_mode():
        expected = net(image, torch.tensor([7.0, 7.0]))
        for time in (
            7,
            7.0,
            torch.tensor(7),
            torch.tensor([7]),
            torch.tensor([[7], [7]]),
            torch.tensor([7, 7], dtype=torch.half),
        ):
            torch.testing.assert_close(net(image, time), expected)
        with pytest.raises(ValueError, match="time should hold one value, or one for each of 2 images, got 3"):
            net(image, torch.zeros(3))


def test_labels_are_wanted_exactly_with_classes():
    net, image, time = tiny({"num_classes": 4})
    with torch.inference_mode():
        first, other = (net(image, time, torch.tensor([label, 0])) for label in (1, 2))
        assert torch.equal(first[1], other[1]) and not torch.equal(first[0], other[0])
        with pytest.raises(ValueError, match="num_classes=4 needs a label for each image"):
            net(image, time)
        plain, *_ = tiny({})
        with pytest.raises(ValueError, match="num_classes=None takes no label"):
            plain(image, time, torch.tensor([0, 0]))


def test_a_new_network_gives_zero():
    assert not GuidedUNet(**TINY)(torch.randn(1, 3, 8, 8), 5).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(dtype):
    net, image, time = tiny(KINDS["residual"])
    with torch.inference_mode():
        expected = net(image, time)
        output = net.to(dtype)(image.to(dtype), time)
    assert output.dtype == dtype and (output - expected).abs().max() < 0.05 * expected.abs().max()


def test_checkpoints_in_training_change_no_gradient():
    plain, image, time = tiny({})
    saving, *_ = tiny({"use_checkpoint": True})
    for net in (plain, saving):
        net.train()(image, time).square().sum().backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.slow
def test_exports_for_all_sizes_that_can_be_halved():
    net, image, time = tiny({"channel_mult": (1, 1)}, (12, 16))
    rows, columns = (torch.export.Dim(name, min=2, max=100) for name in ("rows", "columns"))
    exported = torch.export.export(net, (image, time), dynamic_shapes=({2: 2 * rows, 3: 2 * columns}, None), strict=False)
    other = torch.randn(2, 3, 20, 6)
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(other, time), net(other, time))


@pytest.mark.parametrize(
    "change",
    [
        {"input_blocks.1.0.spade.mlp_shared.0.weight": torch.zeros(128, 8, 3, 3)},  # StableSR
        {"input_blocks.1.1.transformer_blocks.0.norm1.weight": torch.zeros(32)},  # Stable Diffusion
        {"out.2.weight": torch.zeros(())},
        {"time_embed.0.weight": torch.zeros(128, 0)},
        {"output_blocks.5.0.out_layers.3.weight": torch.zeros(())},
        {"output_blocks.9.0.in_layers.0.weight": torch.zeros(32)},
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    state = skeleton(GuidedUNet, TINY).state_dict()
    assert infer_config(state) and infer_config(state | change) is None
    assert infer_config({}) is None and palette.infer_config(state) is None and sr3.infer_config(state) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_channels": 40}, r"multiple of 32 channels wide, got \[40, 80, 80\]"),
        ({"channel_mult": ()}, "multiple of 32 channels"),
        ({"channel_mult": (0.25,)}, r"got \[8\] from 32 channels times \[0.25\]"),
        ({"num_res_blocks": -1}, "num_res_blocks should be at least 0, got -1"),
        ({"num_heads": 3}, "3 heads do not divide 64 channels"),
        ({"num_head_channels": 48}, "num_head_channels should divide 64 channels, got 48"),
        ({"dims": 3}, "dims should be 2, for images, got 3"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        GuidedUNet(**(TINY | config))
