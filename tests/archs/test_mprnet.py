"""MPRNet; tests/test_goldens_archs.py holds it against the reference."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib import restore
from restoralib.archs.mprnet import CAB, VARIANTS, MPRNet, infer_config
from restoralib.checkpoints import skeleton

TINY = {"n_feat": 8, "scale_unetfeats": 4, "scale_orsnetfeats": 6, "num_cab": 2, "reduction": 2}
WITH_BIAS = TINY | {"bias": True, "kernel_size": 5}


def on_meta(config) -> MPRNet:
    return skeleton(MPRNet, config)


def tiny(config=TINY) -> MPRNet:
    torch.manual_seed(0)
    return MPRNet(**config).double().eval()


def image(height, width, batch=1, channels=3):
    torch.manual_seed(1)
    return torch.rand(batch, channels, height, width, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "parameters", "task"),
    [("deraining", 3_637_249, "derain"), ("deblurring", 20_127_073, "deblur"), ("denoising", 15_741_025, "denoise_real")],
)
def test_published_variants(name, parameters, task):
    variant = VARIANTS[f"mprnet_{name}"]
    net = on_meta(variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == 316
    assert infer_config(net.state_dict()).config == variant.config
    assert net.spec.tasks == variant.tasks == (task,)
    assert (net.spec.halo, net.spec.multiple) == (None, 8)


def test_one_activation_serves_all_blocks():
    net = tiny()
    blocks = [module for module in net.modules() if isinstance(module, CAB)]
    slopes = [key for key in net.state_dict() if key.endswith(".body.1.weight")]
    # One in front of each stage, 6 an encoder, 8 a decoder, num_cab in each of three blocks.
    assert len(blocks) == len(slopes) == 3 + 2 * (6 + 8) + 3 * TINY["num_cab"]
    assert len({block.body[1] for block in blocks}) == 1 and blocks[0].body[1].weight.shape == (1,)
    assert sum(name.endswith(".body.1.weight") for name, _ in net.named_parameters()) == 1


def test_keys_of_a_block_begin_with_its_attention():
    keys = [key for key in tiny(WITH_BIAS).state_dict() if key.startswith("stage1_decoder.skip_attn2.")]
    assert [key.removeprefix("stage1_decoder.skip_attn2.") for key in keys] == [
        *("CA.conv_du.0.weight", "CA.conv_du.0.bias", "CA.conv_du.2.weight", "CA.conv_du.2.bias"),
        *("body.0.weight", "body.0.bias", "body.1.weight", "body.2.weight", "body.2.bias"),
    ]


def test_what_never_has_a_bias():
    without = {name for name, layer in tiny(WITH_BIAS).named_modules() if isinstance(layer, nn.Conv2d) and layer.bias is None}
    resized = {f"stage{stage}_encoder.down{step}.down.1" for stage in (1, 2) for step in (12, 23)}
    resized |= {f"stage{stage}_decoder.up{step}.up.1" for stage in (1, 2) for step in (21, 32)}
    resized |= {f"stage3_orsnet.up_{side}{step}.up.1" for side in ("enc", "dec") for step in ("1", "2.0", "2.1")}
    assert without == resized | {f"stage3_orsnet.orb{i}.body.2" for i in (1, 2, 3)}


@pytest.mark.parametrize("config", [TINY, WITH_BIAS])
def test_training_gives_all_stages_and_evaluation_the_last(config):
    net, x = tiny(config), image(13, 18, batch=2)
    alone = net(x)
    stages = net.train()(x)
    assert isinstance(stages, list) and [stage.shape for stage in stages] == 3 * [x.shape]
    assert torch.equal(alone, stages[0])
    assert not torch.equal(stages[1], stages[2])


def stage_images(net, x):
    """The first two stages' images as the paper's figure has it: patch after patch."""
    height, width = x.shape[-2:]
    halves = [x[..., : height // 2, :], x[..., height // 2 :, :]]
    encoded, decoded, features, images = [], [], [], []
    for half in halves:
        left, right = (
            net.stage1_encoder(net.shallow_feat1(quarter)) for quarter in (half[..., : width // 2], half[..., width // 2 :])
        )
        encoded.append([torch.cat(pair, -1) for pair in zip(left, right, strict=True)])
        decoded.append(net.stage1_decoder(encoded[-1]))
        attended, restored = net.sam12(decoded[-1][0], half)
        features.append(attended)
        images.append(restored)
    second = [
        net.stage2_encoder(net.concat12(torch.cat((net.shallow_feat2(half), attended), 1)), enc, dec)
        for half, attended, enc, dec in zip(halves, features, encoded, decoded, strict=True)
    ]
    decoded = net.stage2_decoder([torch.cat(pair, -2) for pair in zip(*second, strict=True)])
    return net.sam23(decoded[0], x)[1], torch.cat(images, -2)


@pytest.mark.parametrize("size", [(8, 8), (24, 40), (40, 16)])
def test_patches_run_together_as_one_after_the_other(size):
    net, x = tiny().train(), image(*size, batch=3)
    torch.testing.assert_close(net(x)[1:], list(stage_images(net, x)), rtol=1e-12, atol=1e-12)


def test_stage_one_keeps_the_halves_apart():
    net, x = tiny().train(), image(32, 32)
    changed = x.clone()
    changed[..., :16, :] = 0
    difference = [(a - b).abs().amax((0, 1, 3)) for a, b in zip(net(x), net(changed), strict=True)]
    assert difference[2][16:].max() == 0 and difference[2][:16].min() > 0
    assert difference[1].min() > 0 and difference[0].min() > 0


@pytest.mark.parametrize("size", [(9, 17), (20, 31), (8, 23)])
def test_pads_by_reflection_as_the_authors_scripts(size):
    net, (height, width) = tiny(), size
    x = image(height, width)
    padded = F.pad(x, (0, -width % 8, 0, -height % 8), mode="reflect")
    assert torch.equal(net(x), net(padded)[..., :height, :width])


def test_down_is_bilinear():
    down = tiny().stage1_encoder.down12.down
    x = image(12, 20, channels=8)
    smaller = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
    torch.testing.assert_close(down(x), down[1](smaller), rtol=1e-12, atol=1e-12)


def test_channels_last_memory_is_kept():
    net = tiny().to(memory_format=torch.channels_last)
    x = image(16, 24).contiguous(memory_format=torch.channels_last)
    kept = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and "conv_du" not in name:
            module.register_forward_hook(
                lambda module, inputs, output: kept.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
            )
    torch.testing.assert_close(net(x), tiny()(x))
    assert kept and all(kept)


def test_exact_tiles_are_refused_for_where_the_patches_meet_depends_on_the_image():
    net, x = tiny(), image(48, 48)[0]
    with torch.inference_mode():
        whole = net(x[None])[0].clamp(0, 1)
    torch.testing.assert_close(restore(x, net, exact=True, dtype="float64"), whole)
    with pytest.raises(ValueError, match=r"cannot tile this network: channel attention, halves and quarters"):
        restore(x, net, exact=True, tile=32)
    assert restore(x, net, tile=32, dtype="float64").shape == x.shape


def test_patches_alone_make_tiles_differ():
    """Channel attention put out of action, a tile is still split elsewhere than the image is."""
    net, x = tiny(), image(64, 16)
    for module in net.modules():
        if isinstance(module, CAB):
            module.CA = nn.Identity()
    whole, tile = net(x), net(x[..., :48, :])
    assert (whole - torch.cat((tile, whole[..., 48:, :]), -2))[..., 24:32, :].abs().max() > 1e-6


@pytest.mark.slow
def test_dynamic_sizes_compile_in_one_graph():
    net = tiny(TINY | {"num_cab": 1})
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    with torch.inference_mode():
        for size in ((21, 13), (13, 30)):
            torch.testing.assert_close(compiled(image(*size)), net(image(*size)))


@pytest.mark.parametrize("draws", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(draws)
    for _ in range(draws):
        reduction = draw.choice([1, 2, 4, 8])
        in_c = draw.choice([1, 3])
        config = {
            "in_c": in_c,
            "out_c": draw.choice([in_c, 1, 3]),
            "n_feat": reduction * draw.randint(8, 12),
            "scale_unetfeats": draw.randint(0, 24),
            "scale_orsnetfeats": draw.randint(0, 24),
            "num_cab": draw.randint(1, 3),
            "kernel_size": draw.choice([1, 3, 5]),
            "reduction": reduction,
            "bias": draw.random() < 0.5,
        }
        assert infer_config(on_meta(config).state_dict()).config == config


def test_any_reduction_gives_the_same_widths():
    draw = random.Random(0)
    for _ in range(10):
        n_feat = draw.randint(4, 40)
        config = TINY | {"n_feat": n_feat, "num_cab": 1, "reduction": draw.randint(1, n_feat)}
        state = on_meta(config).state_dict()
        again = on_meta(infer_config(state).config).state_dict()
        assert [(key, value.shape) for key, value in state.items()] == [(key, value.shape) for key, value in again.items()]


@pytest.mark.parametrize(
    "change",
    [
        {"stage4.weight": torch.zeros(1)},
        {"tail.weight": torch.zeros(())},
        {"tail.weight": torch.zeros(3, 4, 3, 3)},  # narrower than the stages before it
        {"shallow_feat1.0.weight": torch.zeros(8, 3)},
        {"sam12.conv4.weight": torch.zeros(8, 8, 1, 1)},
        {"stage2_encoder.encoder_level2.1.CA.conv_du.0.weight": torch.zeros(0, 8, 1, 1)},
        {"stage2_encoder.encoder_level2.1.CA.conv_du.0.weight": torch.zeros(7, 12, 1, 1)},  # no one reduction gives all
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    assert infer_config(on_meta(TINY).state_dict() | change) is None
    assert infer_config({}) is None


@pytest.mark.parametrize("missing", ["shallow_feat1.0.weight", "tail.weight", "stage1_encoder.down12.down.1.weight"])
def test_what_lacks_the_tell_tale_keys_is_not_taken_for_it(missing):
    state = dict(on_meta(TINY).state_dict())
    del state[missing]
    assert infer_config(state) is None


@pytest.mark.parametrize(("in_c", "out_c", "stages"), [(1, 1, [1, 3, 3]), (1, 3, [3, 3, 3]), (3, 1, [3, 3, 3])])
def test_one_channel_is_broadcast_to_the_others(in_c, out_c, stages):
    net = tiny(TINY | {"in_c": in_c, "out_c": out_c}).train()
    assert [stage.shape[1] for stage in net(image(8, 8, channels=in_c))] == stages
    assert net.spec.out_channels == stages[0] and (net.spec.color == "gray") == (in_c == out_c == 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"in_c": 4, "out_c": 4}, "in_c should be 3 or 1, got 4"),
        ({"out_c": 6}, "out_c should be in_c = 3 or 1, got 6"),
        ({"reduction": 9}, "reduction should be from 1 to n_feat = 8, got 9"),
        ({"reduction": 0}, "reduction should be from 1 to n_feat = 8, got 0"),
        ({"kernel_size": 4}, "kernel_size should be odd, got 4"),
        ({"scale_unetfeats": -2}, "num_cab should be at least 0, got -2, 6 and 2"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        MPRNet(**(TINY | config))
