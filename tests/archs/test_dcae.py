"""DC-AE; tests/latent/test_goldens_latent.py holds it against diffusers and against the original code."""

import random

import pytest
import torch
import torch.nn.functional as F
from exported import assert_one_graph_serves
from halo import measured_halo
from torch import nn

from restoralib.archs import DCAE
from restoralib.archs.dcae import (
    VARIANTS,
    Downsample,
    EfficientViTBlock,
    MultiscaleLinearAttention,
    ResBlock,
    Upsample,
    infer_config,
    rename_keys,
)
from restoralib.checkpoints import skeleton


def config(*, types="ResBlock", widths=(8, 8, 16), depths=(1, 1, 1), scales=((), (), ()), **others):
    """One for both halves."""
    halves = {"block_types": types, "block_out_channels": widths, "layers_per_block": depths, "qkv_multiscales": scales}
    given = {f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in halves.items()}
    return {"latent_channels": 4, "attention_head_dim": 4} | given | others


ATTENDING = config(types=("ResBlock", "EfficientViTBlock", "EfficientViTBlock"), scales=((), (3,), (5,)))


@torch.no_grad()
def randomized(net):
    for parameter in net.parameters():
        parameter.normal_(0, 0.3)
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return net.eval()


def test_parts_have_the_published_parameters():
    for name, encoder, decoder in (
        ("dc_ae_f32c32_sana_1_1", 153_027_104, 159_223_171),
        ("dc_ae_f32c32_in_1_0", 123_172_384, 200_184_076),
        ("dc_ae_f64c128_in_1_0", 264_550_528, 412_345_612),
        ("dc_ae_f128c512_in_1_0", 415_661_056, 705_021_196),
    ):
        net = skeleton(DCAE, VARIANTS[name].config)
        assert [sum(p.numel() for p in half.parameters()) for half in (net.encoder, net.decoder)] == [encoder, decoder]
        size, channels = name.split("_")[2].split("c")
        assert net.factor == int(size[1:]) and net.channels == int(channels) and net.channels / net.factor**2 == 1 / 32
    buffers = sum(b.numel() for name, b in skeleton(DCAE, VARIANTS["dc_ae_f32c32_in_1_0"].config).named_buffers() if b.ndim)
    assert buffers == 12_800


def test_published_scaling_factors():
    factors = [variant.config["scaling_factor"] for variant in VARIANTS.values()]
    assert factors == [0.41407, 0.41407, 0.3189, 0.4552, 0.2889, 0.4538, 0.4883, 0.3620]
    assert skeleton(DCAE, VARIANTS["dc_ae_f64c128_mix_1_0"].config).scaling_factor == 0.4538


def test_the_attention_is_its_formula_with_heads_cut_from_the_concatenation():
    attention = randomized(MultiscaleLinearAttention(8, 4, (3, 5))).double()
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    q, k, v = (torch.einsum("oc,bchw->bohw", layer.weight, x) for layer in (attention.to_q, attention.to_k, attention.to_v))
    qkv = torch.cat([q, k, v], 1)
    scales = [qkv, *(aggregate.proj_out(aggregate.proj_in(qkv)) for aggregate in attention.to_qkv_multiscale)]
    heads = torch.cat(scales, 1).flatten(2).split(12, 1)  # 3 d channels each
    assert len(heads) == 6
    seen = []
    for head in heads:
        q, k, v = head[:, :4].relu(), head[:, 4:8].relu(), head[:, 8:]
        weights = q.mT @ k  # the quadratic form
        seen.append((weights @ v.mT / (weights.sum(-1, keepdim=True) + 1e-15)).mT)
    seen = torch.cat(seen, 1).unflatten(2, (5, 6))
    expected = x + attention.norm_out(torch.einsum("oc,bchw->bohw", attention.to_out.weight, seen))
    torch.testing.assert_close(attention(x), expected)


def test_an_image_in_two_parts_has_the_attention_of_the_whole():
    attention = randomized(MultiscaleLinearAttention(8, 4, ())).double()
    x = torch.randn(1, 8, 6, 7, dtype=torch.float64)
    state = attention.update(x[..., 3:, :], attention.update(x[..., :3, :]))
    torch.testing.assert_close(
        torch.cat([attention.read(x[..., :3, :], state), attention.read(x[..., 3:, :], state)], 2), attention(x)
    )
    state = attention.update(x, core=(slice(0, 3), slice(None)))
    torch.testing.assert_close(attention.read(x[..., :3, :], state), attention(x[..., :3, :]))


def test_half_precision_does_not_overflow_the_sums():
    attention = MultiscaleLinearAttention(8, 4, ()).to(torch.bfloat16)
    for layer in (attention.to_q, attention.to_k, attention.to_v):
        nn.init.constant_(layer.weight, 8.0)
    x = torch.full((1, 8, 64, 64), 8.0, dtype=torch.bfloat16)
    with torch.inference_mode():
        sums = attention.update(x).z
        assert sums.dtype == torch.float32 and sums.max() > 65504  # more than float16 holds
        assert attention(x).isfinite().all()


@pytest.mark.parametrize(("inside", "outside", "unshuffle"), [(4, 8, True), (8, 8, False), (8, 4, True)])
def test_resampling_keeps_a_shortcut_without_weights(inside, outside, unshuffle):
    x = torch.randn(2, inside, 6, 4)
    down = Downsample(inside, outside, unshuffle)
    nn.init.zeros_(down.conv.weight), nn.init.zeros_(down.conv.bias)
    cells = F.pixel_unshuffle(x, 2)
    group = 4 * inside // outside
    expected = torch.stack([cells[:, i * group : (i + 1) * group].mean(1) for i in range(outside)], 1)
    torch.testing.assert_close(down(x), expected)

    up = Upsample(inside, outside, unshuffle)
    nn.init.zeros_(up.conv.weight), nn.init.zeros_(up.conv.bias)
    channels = torch.stack([x[:, i * inside // (4 * outside)] for i in range(4 * outside)], 1)
    torch.testing.assert_close(up(x), F.pixel_shuffle(channels, 2))


def test_blocks_add_to_their_input():
    for block in (ResBlock(8), EfficientViTBlock(8, 4)):
        for name, parameter in block.named_parameters():
            if name.endswith(("norm.weight", "norm_out.weight")):
                nn.init.zeros_(parameter)
        x = torch.randn(1, 8, 4, 5)
        torch.testing.assert_close(block(x), x)


def test_forward_is_there_and_back():
    net = randomized(DCAE(**ATTENDING))
    image = torch.rand(2, 3, 16, 24)
    expected = (net.decode(net.encode(2 * image - 1)) + 1) / 2
    torch.testing.assert_close(net(image), expected)
    odd = image[..., :13, :21]
    padded = F.pad(odd, (0, 3, 0, 3), mode="replicate")
    torch.testing.assert_close(net(odd), net(padded)[..., :13, :21])
    assert net.encode(2 * image - 1).shape == (2, 4, 4, 6)
    assert DCAE(**ATTENDING, scaling_factor=0.5).scaling_factor == 0.5


@pytest.mark.parametrize("depths", [(1, 1, 1), (0, 1, 1), (0, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize(("down", "up"), [("conv", "interpolate"), ("pixel_unshuffle", "pixel_shuffle")])
def test_halo_is_exact_without_attention(depths, down, up):
    net = DCAE(**config(depths=depths, downsample_block_type=down, upsample_block_type=up, widths=(4, 4, 4)))
    assert net.spec.global_ops == () and measured_halo(net) == net.spec.halo


@pytest.mark.slow
def test_one_exported_graph_serves_all_sizes_on_the_grid():
    assert_one_graph_serves(DCAE(**ATTENDING).eval(), 4, (12, 20), (8, 40), (44, 16))


def test_with_attention_every_pixel_sees_the_image():
    spec = DCAE(**ATTENDING).spec
    assert spec.halo is None and spec.global_ops == ("linear attention",) and spec.role == "autoencoder" and spec.multiple == 4


@pytest.mark.parametrize("name", VARIANTS)
def test_published_variants_are_recognised(name):
    variant = VARIANTS[name]
    told = infer_config(skeleton(DCAE, variant.config).state_dict())
    open_ = told.config | {"scaling_factor": variant.config["scaling_factor"]}
    assert open_ == variant.config
    assert set(told.assumed) >= {"scaling_factor", "decoder_act_fns"}
    if "mix" in name:
        assert f"{variant.config['scaling_factor']} in {name}" in told.assumed["scaling_factor"]


def draw_config(draw):
    stages = draw.randint(2, 5)

    def half(norms):
        types = [draw.choice(["ResBlock", "EfficientViTBlock"]) for _ in range(stages)]
        depths = [draw.randint(1, 2) for _ in range(stages)]
        depths[0] *= draw.randint(0, 1)
        if stages > 2:
            depths[-1] *= draw.randint(0, 1)
        widths = [8]
        for _ in range(stages - 1):
            widths.append(widths[-1] * draw.choice([1, 2, 4]))
        if not depths[0]:
            types[0], widths[0], norms[0] = "ResBlock", widths[1] // 2, norms[1]
        if not depths[-1]:
            types[-1], norms[-1] = "ResBlock", norms[-2]
        scales = [
            tuple(draw.choice([3, 5]) for _ in range(draw.randint(0, 2))) if block == "EfficientViTBlock" else ()
            for block in types
        ]
        return {
            "block_types": tuple(types),
            "block_out_channels": tuple(widths),
            "layers_per_block": tuple(depths),
            "qkv_multiscales": tuple(scales),
        }

    norms = [draw.choice(["rms_norm", "batch_norm"]) for _ in range(stages)]
    encoder, decoder = half(["rms_norm"] * stages), half(norms)
    return (
        {f"encoder_{name}": value for name, value in encoder.items()}
        | {f"decoder_{name}": value for name, value in decoder.items()}
        | {
            "in_channels": draw.randint(1, 4),
            "latent_channels": draw.choice([2, 4, 8]),
            "upsample_block_type": draw.choice(["pixel_shuffle", "interpolate"]),
            "downsample_block_type": draw.choice(["pixel_unshuffle", "conv"]),
            "decoder_norm_types": tuple(norms),
            "attention_head_dim": draw.choice([4, 8]),
        }
    )


@pytest.mark.parametrize("draws", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_configurations_come_back(draws):
    draw = random.Random(0)
    for _ in range(draws):
        given = draw_config(draw)
        net = skeleton(DCAE, given)
        told = infer_config(net.state_dict()).config
        norms = given["decoder_norm_types"]
        given["decoder_norm_types"] = norms[0] if len(set(norms)) == 1 else norms
        unsure = {"attention_head_dim"} if not any("multiscale" in key for key in net.state_dict()) else set()
        assert {name: told[name] for name in given.keys() - unsure} == {name: given[name] for name in given.keys() - unsure}


def original_layout(net):
    """The state dict as the original code has it."""
    renamed = {}
    state = net.state_dict()
    for key, value in state.items():
        key = key.replace("encoder.conv_in.", "encoder.project_in.conv.").replace(
            "decoder.conv_in.", "decoder.project_in.main.conv."
        )
        key = key.replace("encoder.conv_out.", "encoder.project_out.main.op_list.0.conv.")
        key = key.replace("decoder.norm_out.", "decoder.project_out.op_list.0.")
        key = key.replace("decoder.conv_out.", "decoder.project_out.op_list.2.conv.")
        if "_blocks." in key:
            half, _, stage, layer, rest = key.split(".", 4)
            place = f"{half}.stages.{stage}.op_list.{layer}."
            inner = "conv.conv." if half == "decoder" else "conv."
            if rest.startswith("attn.to_q."):
                rest = "context_module.main.qkv.conv.weight"
                value = torch.cat([state[key.replace("to_q", f"to_{letter}")] for letter in "qkv"])[..., None, None]
            elif rest.startswith(("attn.to_k.", "attn.to_v.")):
                continue
            elif rest.startswith("attn.to_out."):
                rest, value = "context_module.main.proj.conv.weight", value[..., None, None]
            else:
                for ours, theirs in (
                    ("conv.", "main." + inner),
                    ("conv1.", "main.conv1.conv."),
                    ("conv2.", "main.conv2.conv."),
                    ("norm.", "main.conv2.norm."),
                    ("attn.norm_out.", "context_module.main.proj.norm."),
                    ("attn.to_qkv_multiscale.0.proj_in.", "context_module.main.aggreg.0.0."),
                    ("attn.to_qkv_multiscale.0.proj_out.", "context_module.main.aggreg.0.1."),
                    ("conv_out.norm.", "local_module.main.point_conv.norm."),
                    ("conv_out.conv_inverted.", "local_module.main.inverted_conv.conv."),
                    ("conv_out.conv_depth.", "local_module.main.depth_conv.conv."),
                    ("conv_out.conv_point.", "local_module.main.point_conv.conv."),
                ):
                    if rest.startswith(ours):
                        rest = theirs + rest.removeprefix(ours)
                        break
            key = place + rest
        renamed[key] = value
    return renamed


def test_the_original_layout_is_renamed():
    net = randomized(DCAE(**ATTENDING))
    original = original_layout(net)
    assert not original.keys() & net.state_dict().keys()
    renamed = rename_keys(original)
    assert renamed.keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in renamed.items())
    assert infer_config(original) == infer_config(net.state_dict())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder_block_out_channels": (8,)}, "one entry a stage, and two at least"),
        ({"encoder_layers_per_block": (1, 0, 1)}, "only the first and the last stage may be empty"),
        ({"encoder_layers_per_block": (0, 0, 0)}, "only the first and the last stage may be empty"),
        ({"decoder_block_types": "ViTBlock"}, "decoder_block_types should be ResBlock or EfficientViTBlock, got 'ViTBlock'"),
        ({"decoder_block_types": ("ResBlock",)}, "decoder_block_types should have 3 entries"),
        ({"decoder_norm_types": "layer_norm"}, "decoder_norm_types should be rms_norm or batch_norm"),
        ({"decoder_act_fns": "tanh"}, "decoder_act_fns should be silu or"),
        ({"upsample_block_type": "conv"}, "upsample_block_type should be pixel_shuffle or interpolate"),
        ({"downsample_block_type": "pool"}, "downsample_block_type should be pixel_unshuffle or conv"),
        ({"decoder_conv_act_fn": "?"}, "decoder_conv_act_fn should be"),
        ({"encoder_qkv_multiscales": ((), (), (4,))}, "should be odd numbers"),
        ({"latent_channels": 5}, "puts its last 16 channels into 5 groups"),
        ({"latent_channels": 0}, "should be positive"),
        ({"encoder_block_out_channels": (8, 12, 20)}, "should be a multiple of the encoder's next"),
        ({"encoder_block_out_channels": (8, 8, 2), "latent_channels": 2}, "multiples of 4"),
        ({"encoder_block_types": "EfficientViTBlock", "attention_head_dim": 32}, "should have 32 channels or more, got 8"),
        (
            {"decoder_block_out_channels": (8, 8), "decoder_layers_per_block": (1, 1), "decoder_qkv_multiscales": ((), ())},
            "as many stages, got 3 and 2",
        ),
    ],
)
def test_errors_say_what_is_wrong(change, words):
    with pytest.raises(ValueError, match=words):
        DCAE(**config() | change)


def test_wrong_images_and_latents_are_refused():
    net = DCAE(**config())
    with pytest.raises(ValueError, match=r"sides that are multiples of 4, got \(1, 3, 16, 18\)"):
        net.encode(torch.rand(1, 3, 16, 18))
    with pytest.raises(ValueError, match=r"encode expects \(b, 3, h, w\)"):
        net.encode(torch.rand(1, 1, 16, 16))
    with pytest.raises(ValueError, match=r"a latent \(b, 4, h, w\), got \(1, 32, 4, 4\)"):
        net.decode(torch.rand(1, 32, 4, 4))


def test_other_networks_are_not_taken_for_it():
    state = DCAE(**ATTENDING).state_dict()
    assert infer_config({}) is None
    assert infer_config(state | {"quant_conv.weight": torch.zeros(8, 8, 1, 1)}) is None
    assert infer_config({key: value for key, value in state.items() if not key.startswith("encoder.")}) is None
    assert infer_config({key: value for key, value in state.items() if not key.startswith("encoder.down_blocks.1.")}) is None
