"""SANA's transformer; tests/latent/test_goldens_latent.py holds it against the reference."""

import random

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from restoralib import load_model
from restoralib.archs import find_architecture
from restoralib.archs.sana import QK_NORM, VARIANTS, SanaBlock, SanaTransformer, infer_config, rename_keys
from restoralib.blocks import Border, LinearAttention, rotary_angles
from restoralib.checkpoints import AmbiguousCheckpoint, recognize, skeleton

TINY = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 4,
    "attention_head_dim": 4,
    "num_layers": 2,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 6,
    "cross_attention_dim": 16,
    "caption_channels": 5,
    "sample_size": 8,
}


def tiny(size=(6, 7), **other):
    torch.manual_seed(0)
    net = SanaTransformer(**TINY | other).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net, torch.randn(2, 4, *size), torch.randn(2, 3, 5), torch.tensor([100.0, 900.0])


@pytest.mark.parametrize(
    ("name", "parameters", "keys", "block"),
    [
        ("sana_600m_1024", 591_747_872, 548, 20_646_144),
        ("sana_1600m_1024", 1_604_462_752, 396, 77_920_640),
        ("sana15_1600m_1024", 1_604_641_952, 476, 77_929_600),
        ("sana15_4800m_1024", 4_721_825_952, 1396, 77_929_600),
    ],
)
def test_published_variants(name, parameters, keys, block):
    variant = VARIANTS[name]
    net = skeleton(variant.cls, variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters and len(net.state_dict()) == keys
    assert sum(parameter.numel() for parameter in net.transformer_blocks[0].parameters()) == block
    told = infer_config(net.state_dict())
    assert all(told.config.get(key, variant.config[key]) == variant.config[key] for key in variant.config)
    assert set(told.assumed) == {"attention_head_dim", "cross_attention_head_dim", "interpolation_scale"} and not told.missing
    assert net.spec.role == "denoiser" and net.spec.inputs == ("image", "text", "time") and net.spec.text_channels == 2304


def test_the_larger_releases_have_a_table_of_positions():
    scales = {name: variant.config.get("interpolation_scale") for name, variant in VARIANTS.items()}
    assert {name for name, scale in scales.items() if scale} == {"sana_1600m_2k", "sana_1600m_4k"}
    net = skeleton(SanaTransformer, VARIANTS["sana_1600m_4k"].config)
    assert net.patch_embed.base == 128 and net.patch_embed.interpolation_scale == 2.0


def test_multiply_adds_are_those_measured_on_the_reference():
    net = skeleton(SanaTransformer, VARIANTS["sana_1600m_1024"].config)
    x, text, time = (torch.empty(shape, device="meta") for shape in ((1, 32, 32, 32), (1, 300, 2304), (1,)))
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        net(x, text, time)
    assert counted.get_total_flops() / 2e12 == pytest.approx(1.483, abs=5e-4)


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    for _ in range(200):
        heads, head_dim = draw.randint(1, 4), draw.choice([4, 16, 32, 48])
        width, text = heads * head_dim, draw.random() < 0.8
        config = {
            "in_channels": draw.randint(1, 9),
            "out_channels": draw.randint(1, 9),
            "num_attention_heads": heads,
            "attention_head_dim": head_dim,
            "num_layers": draw.randint(1, 3),
            "num_cross_attention_heads": draw.randint(1, 3),
            "cross_attention_head_dim": draw.randint(1, 8),
            "cross_attention_dim": width if text else None,
            "caption_channels": draw.randint(1, 9),
            "mlp_ratio": draw.choice([1.0, 2.5, 3.0, 4.0]),
            "attention_bias": draw.random() < 0.3,
            "patch_size": draw.randint(1, 3),
            "norm_elementwise_affine": draw.random() < 0.3,
            "guidance_embeds": draw.random() < 0.3,
            "qk_norm": draw.choice([None, QK_NORM]),
        }
        net = skeleton(SanaTransformer, config)
        state = net.state_dict()
        told = recognize(state)
        assert told.cls is SanaTransformer
        assert all(told.config[key] == config[key] for key in config if key not in net.spec.unrecorded)
        assert ("attention_head_dim" in told.missing) == bool(width % 32)
        assert ("cross_attention_head_dim" in told.missing) == text
        given = {key: config[key] for key in told.missing}
        again = skeleton(SanaTransformer, {**told.config, **given})
        assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in state.items()}


def original_layout(state, layers):
    """The authors' keys for a state dict, with what their files hold besides."""
    names = {
        "patch_embed.proj": "x_embedder.proj",
        "caption_projection.linear_1": "y_embedder.y_proj.fc1",
        "caption_projection.linear_2": "y_embedder.y_proj.fc2",
        "time_embed.emb.timestep_embedder.linear_1": "t_embedder.mlp.0",
        "time_embed.emb.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "time_embed.linear": "t_block.1",
        "caption_norm": "attention_y_norm",
        "proj_out": "final_layer.linear",
    }
    out = {f"{new}.{kind}": state[f"{old}.{kind}"] for old, new in names.items() for kind in ("weight", "bias")
           if f"{old}.{kind}" in state}  # fmt: skip
    out["final_layer.scale_shift_table"] = state["scale_shift_table"]
    for i in range(layers):
        ours, theirs = f"transformer_blocks.{i}.", f"blocks.{i}."
        out[theirs + "scale_shift_table"] = state[ours + "scale_shift_table"]
        out[theirs + "attn.qkv.weight"] = torch.cat([state[f"{ours}attn1.to_{name}.weight"] for name in "qkv"])
        for old, new in (("q", "q"), ("k", "k")):
            if f"{ours}attn1.norm_{old}.weight" in state:
                out[f"{theirs}attn.{new}_norm.weight"] = state[f"{ours}attn1.norm_{old}.weight"]
                out[f"{theirs}cross_attn.{new}_norm.weight"] = state[f"{ours}attn2.norm_{old}.weight"]
        for kind in ("weight", "bias"):
            out[f"{theirs}attn.proj.{kind}"] = state[f"{ours}attn1.to_out.0.{kind}"]
            out[f"{theirs}cross_attn.q_linear.{kind}"] = state[f"{ours}attn2.to_q.{kind}"]
            out[f"{theirs}cross_attn.kv_linear.{kind}"] = torch.cat([state[f"{ours}attn2.to_{name}.{kind}"] for name in "kv"])
            out[f"{theirs}cross_attn.proj.{kind}"] = state[f"{ours}attn2.to_out.0.{kind}"]
            for part in ("inverted", "depth", "point"):
                if f"{ours}ff.conv_{part}.{kind}" in state:
                    out[f"{theirs}mlp.{part}_conv.conv.{kind}"] = state[f"{ours}ff.conv_{part}.{kind}"]
    dropped = {"y_embedder.y_embedding": (300, 5), "pos_embed": (1, 4, 16), "logvar_linear.weight": (1, 16)}
    return out | {key: torch.zeros(shape) for key, shape in dropped.items()}


@pytest.mark.parametrize("qk_norm", [None, QK_NORM])
def test_the_authors_layout_loads(qk_norm, tmp_path):
    net, x, text, time = tiny(qk_norm=qk_norm)
    theirs = original_layout(net.state_dict(), 2)
    assert {key: value.shape for key, value in rename_keys(theirs).items()} == {
        key: value.shape for key, value in net.state_dict().items()
    }
    torch.save({"state_dict": theirs}, tmp_path / "Sana.pth")
    heads = {key: TINY[key] for key in TINY if "head" in key}
    loaded = load_model(tmp_path / "Sana.pth", interpolation_scale=None, **heads)
    with torch.inference_mode():
        assert torch.equal(loaded(x, text, time), net(x, text, time))
    del theirs["blocks.1.attn.qkv.weight"]
    assert infer_config(theirs) is None or infer_config(theirs).config["num_layers"] == 1


def test_heads_have_to_be_given_where_no_release_has_the_width(tmp_path):
    torch.save(tiny()[0].state_dict(), tmp_path / "net.pth")
    with pytest.raises(AmbiguousCheckpoint, match="num_attention_heads"):
        load_model(tmp_path / "net.pth")


def test_the_pieces_make_the_forward_pass():
    net, x, text, time = tiny(qk_norm=QK_NORM, patch_size=2, out_channels=3, size=(6, 8))
    mask = torch.tensor([[1, 1, 0], [1, 0, 1]])
    with torch.inference_mode():
        expected = net(x, text, time, mask)
        tokens, (modulation, e), (context, bias) = net.embed(x), net.times(time), net.text(text, mask)
        assert tokens.shape == (2, 12, 16) and modulation.shape == (2, 96) and e.shape == (2, 16) and bias.shape == (2, 1, 3)
        for block in net.transformer_blocks:
            whole, state = block(tokens, context, modulation, (3, 4), bias)
            modulated = block.modulated(tokens, modulation)
            torch.testing.assert_close(block.attn1.update(modulated), state)
            tokens = block.attend(tokens, modulated, state, modulation)
            tokens = block.mix(block.cross(tokens, context, bias), modulation, (3, 4))
            assert torch.equal(tokens, whole) and state.s.shape == (2, 4, 4, 4)
        assert torch.equal(net.unembed(tokens, e, (3, 4)), expected) and expected.shape == (2, 3, 6, 8)


def test_a_tile_with_the_state_and_the_border_of_the_one_above_gives_the_whole():
    # The upper tile sees nothing of the lower one, which sees all: attention first, then the 3x3 convolution.
    net, x, text, time = tiny(size=(6, 5))
    net, x, text, time = net.double(), x.double(), text.double(), time.double()
    block = net.transformer_blocks[0]
    with torch.inference_mode():
        tokens, (modulation, _), (context, _) = net.embed(x), net.times(time), net.text(text)
        whole, _ = block(tokens, context, modulation, (6, 5))
        upper, lower = tokens.split((20, 10), 1)
        total = block.attn1.update(block.modulated(tokens, modulation))
        above = block.cross(block.attend(upper, block.modulated(upper, modulation), total, modulation), context)
        row = block.modulated(above[:, -5:], modulation, for_mix=True).mT.unflatten(2, (1, 5))
        state = block.attn1.update(block.modulated(upper, modulation))
        ours, after = block(lower, context, modulation, (2, 5), state=state, border=Border(top=row))
    torch.testing.assert_close(ours, whole[:, -10:])
    torch.testing.assert_close(after, total)


def test_weights_and_positions_reach_the_sums():
    block, tokens = SanaBlock(8, 2, 4, 0.0, 1, 8, 8).double(), torch.randn(1, 6, 8).double()
    context, modulation = torch.randn(1, 2, 8).double(), torch.randn(1, 48).double()
    weight, rotation = torch.full((1, 6), 0.5), rotary_angles(torch.arange(6), 4)
    _, plain = block(tokens, context, modulation, (2, 3))
    _, half = block(tokens, context, modulation, (2, 3), weight=weight)
    turned_tokens, turned = block(tokens, context, modulation, (2, 3), rotation=rotation)
    torch.testing.assert_close(half.s, plain.s / 2)
    torch.testing.assert_close(turned.z, plain.z)
    assert not torch.allclose(turned.s, plain.s) and turned_tokens.isfinite().all()


def test_a_tile_has_its_part_of_the_table_of_positions():
    net, x, _, _ = tiny(size=(6, 8), patch_size=2, interpolation_scale=2.0)
    with torch.inference_mode():
        whole = net.embed(x).unflatten(1, (3, 4))
        tile = net.embed(x[..., 2:, 4:], origin=(1, 2), whole=(3, 4)).unflatten(1, (2, 2))
        torch.testing.assert_close(tile, whole[:, 1:, 2:])
        assert not torch.allclose(net.embed(x[..., 2:, 4:]).unflatten(1, (2, 2)), tile)


def test_sides_are_padded_to_patches_and_cropped():
    net, x, text, time = tiny(size=(5, 7), patch_size=2)
    with torch.inference_mode():
        padded = torch.cat((torch.cat((x, x[..., -2:-1, :]), -2), torch.cat((x, x[..., -2:-1, :]), -2)[..., -2:-1]), -1)
        assert torch.equal(net(x, text, time), net(padded, text, time)[..., :5, :7])


def test_hidden_vectors_of_a_text_do_not_count():
    net, x, text, time = tiny()
    mask = torch.tensor([[True, False, True]])
    with torch.inference_mode():
        expected = net(x, text[:, [0, 2]], time)
        torch.testing.assert_close(net(x, text, time, mask), expected)
        torch.testing.assert_close(net(x, text, time, mask.float().expand(2, -1)), expected)


def test_times_and_texts_of_one_serve_the_batch():
    net, x, text, _ = tiny()
    with torch.inference_mode():
        expected = net(x, text[:1].expand(2, -1, -1), torch.tensor([500.0, 500.0]))
        torch.testing.assert_close(net(x, text[:1], 500), expected)
        torch.testing.assert_close(net(x, text[:1], torch.tensor(500.0), torch.ones(1, 3)), expected)


def test_checkpointing_gives_the_same_gradients():
    gradients = []
    for keep_little in (False, True):
        net, x, text, time = tiny()
        net.train().gradient_checkpointing = keep_little
        net(x, text, time).square().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


def test_float16_outputs_of_attention_are_cut_to_its_range():
    attention = LinearAttention(8, 2, 4).half()
    nn.init.constant_(attention.to_v.weight, 1e3)
    nn.init.constant_(attention.to_out[0].weight, 1e3)
    for layer in (attention.to_q, attention.to_k):
        nn.init.constant_(layer.weight, 1.0)
    out, state = attention(torch.ones(1, 5, 8).half())
    assert out.max() == 65504 and out.isfinite().all() and state.s.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(dtype):
    net, x, text, time = tiny()
    with torch.inference_mode():
        expected = net(x, text, time)
        low = net.to(dtype)(x.to(dtype), text.to(dtype), time)
    # A query all of whose features round to zero or away from it sees nothing or something: not all pixels are near.
    assert low.dtype == dtype and low.isfinite().all() and (low.float() - expected).abs().median() < 0.1 * expected.std()


def test_qk_norm_is_over_all_heads():
    attention = LinearAttention(8, 2, 4, qk_norm=True).double()
    x = torch.randn(1, 5, 8).double()
    k = x @ attention.to_k.weight.T
    expected = (k / (k.square().mean(-1, keepdim=True) + 1e-5).sqrt()).relu().sum(1).view(1, 2, 4)
    torch.testing.assert_close(attention.update(x).z, expected)


def test_guided_networks_are_told_the_scale():
    net, x, text, time = tiny(guidance_embeds=True)
    with torch.inference_mode():
        assert not torch.allclose(net(x, text, time, guidance=4.5), net(x, text, time, guidance=1))
        with pytest.raises(ValueError, match="needs guidance"):
            net(x, text, time)
        with pytest.raises(ValueError, match="takes no guidance"):
            tiny()[0](x, text, time, guidance=4.5)
    assert net.spec.inputs == ("image", "text", "time", "mask", "guidance")


def test_blocks_without_a_text_ignore_it():
    net, x, text, time = tiny(cross_attention_dim=None)
    with torch.inference_mode():
        assert torch.equal(net(x, text, time), net(x, 2 * text, time))


def test_bad_arguments_are_told():
    for other, words in [
        ({"qk_norm": "layer_norm"}, "rms_norm_across_heads"),
        ({"cross_attention_dim": 12}, "the width 4 x 4 = 16"),
        ({"num_layers": 0}, "at least 1"),
        ({"cross_attention_head_dim": None}, "needs num_cross_attention_heads and cross_attention_head_dim"),
        ({"num_attention_heads": 1, "attention_head_dim": 6, "cross_attention_dim": 6, "interpolation_scale": 1.0}, "by 4"),
    ]:
        with pytest.raises(ValueError, match=words):
            SanaTransformer(**TINY | other)


def test_bad_inputs_are_told():
    net, x, text, time = tiny(patch_size=2)
    for arguments, words in [
        ((x[:, :3], text, time), r"latents should be \(b, 4, h, w\)"),
        ((x, text[..., :4], time), r"a text should be \(b, m, 5\)"),
        ((x, text, time[:1].expand(3)), "timestep should hold one value"),
        ((x, text, time, torch.ones(2, 4)), r"a mask should be \(b, 3\)"),
        ((x, text[:1].expand(3, -1, -1), time), "one text and mask, or one for each of 2 latents, got 3 texts"),
        ((x, text, time, torch.ones(3, 3)), "got 3 masks"),
    ]:
        with pytest.raises(ValueError, match=words):
            net(*arguments)
    with pytest.raises(ValueError, match="multiples of the patch size 2"):
        net.embed(torch.rand(1, 4, 3, 4))


def test_other_networks_are_not_taken_for_it():
    state = tiny()[0].state_dict()
    assert infer_config({}) is None and infer_config(state | {"other.weight": torch.zeros(1)}) is None
    assert find_architecture(SanaTransformer).infer_config(state) is not None
