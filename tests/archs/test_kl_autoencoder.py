"""KLAutoencoder; tests/latent holds it against diffusers' stored results, tests/test_peers.py against the package."""

import random

import pytest
import torch
import torch.nn.functional as F

from restoralib.archs.kl_autoencoder import VARIANTS, KLAutoencoder, infer_config, rename_keys, sample_latent
from restoralib.checkpoints import load_model, skeleton

DOWN, UP = ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"), ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")
TINY = {
    "down_block_types": (DOWN[0], DOWN[1], DOWN[0]),
    "up_block_types": (UP[0], UP[0], UP[1]),
    "block_out_channels": (32, 32, 64),
    "layers_per_block": 1,
}
# In order, what the authors' names are made of; written apart from `rename_keys`.
ORIGINAL = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "down_blocks": "down",
    "resnets": "block",
    "attentions": "attn",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
    "conv_shortcut": "nin_shortcut",
    "conv_norm_out": "norm_out",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def made(**config):
    torch.manual_seed(0)
    net = KLAutoencoder(**config).double().eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


def in_the_authors_layout(net):
    """Levels of the decoder counted from the widest map, attention by 1x1 convolutions."""
    last, state = len(net.decoder.up_blocks) - 1, {}
    for key, value in net.state_dict().items():
        for level in range(last + 1):
            if key.startswith(f"decoder.up_blocks.{level}."):
                key = key.replace(f"up_blocks.{level}", f"up.{last - level}")
                break
        if ".to_" in key and value.ndim == 2:
            value = value[..., None, None]
        for ours, theirs in ORIGINAL.items():
            key = key.replace(ours, theirs)
        state[key] = value
    return state


def test_the_published_network_has_the_published_counts():
    net = skeleton(KLAutoencoder, VARIANTS["kl_f8"].config)
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert parts == {"encoder": 34_163_592, "decoder": 49_490_179, "quant_conv": 72, "post_quant_conv": 20}
    assert (net.factor, net.channels, net.scaling_factor) == (8, 4, 0.18215)


def test_latents_are_an_eighth_and_encode_is_the_mean():
    net = made(**TINY)
    image = torch.rand(2, 3, 24, 16, dtype=torch.float64) * 2 - 1
    moments = net.moments(image)
    assert moments.shape == (2, 8, 6, 4)
    torch.testing.assert_close(net.encode(image), moments[:, :4], rtol=0, atol=0)
    assert net.decode(net.encode(image)).shape == image.shape


def test_the_whole_network_pads_and_takes_0_to_1():
    net, image = made(**TINY), torch.rand(1, 3, 10, 7, dtype=torch.float64)
    padded = F.pad(2 * image - 1, (0, 1, 0, 2), mode="reflect")
    expected = (net.decode(net.encode(padded)) + 1) / 2
    torch.testing.assert_close(net(image), expected[..., :10, :7], rtol=0, atol=0)


def test_the_encoder_halves_towards_the_right_and_the_bottom():
    """What the last pixel says reaches the last latent, and no zero stands in front of the first."""
    net = made(block_out_channels=(32, 32), down_block_types=DOWN[:1] * 2, up_block_types=UP[:1] * 2)
    layer, x = net.encoder.down_blocks[0].downsamplers[0], torch.rand(1, 32, 4, 6, dtype=torch.float64)
    expected = F.conv2d(F.pad(x, (0, 1, 0, 1)), layer.conv.weight, layer.conv.bias, stride=2)
    torch.testing.assert_close(layer(x), expected)


def test_a_latent_is_drawn_from_clamped_moments():
    mean, noise = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
    for log_variance, std in (
        (0.5, torch.tensor(0.25).exp()),
        (-100.0, torch.tensor(-15.0).exp()),
        (99.0, torch.tensor(10.0).exp()),
    ):
        moments = torch.cat((mean, torch.full_like(mean, log_variance)), 1)
        torch.testing.assert_close(sample_latent(moments, noise), mean + std * noise)


def test_files_in_the_authors_layout_load(tmp_path):
    net, image = made(**TINY), torch.rand(1, 3, 8, 12, dtype=torch.float64)
    state = in_the_authors_layout(net)
    assert "decoder.up.0.attn.1.q.weight" in state and state["encoder.mid.attn_1.proj_out.weight"].ndim == 4
    assert list(rename_keys(state)) != list(state) and set(rename_keys(state)) == set(net.state_dict())
    # As released: with the networks of its training beside it, in a wrapper of Lightning.
    beside = {"loss.logvar": torch.zeros(()), "loss.discriminator.main.0.weight": torch.zeros(2, 3, 4, 4)}
    torch.save({"state_dict": state | beside, "global_step": 3}, tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt", scaling_factor=0.18215).double()
    assert type(loaded) is KLAutoencoder
    torch.testing.assert_close(loaded(image), net.float().double()(image))


def test_old_names_of_diffusers_load():
    net = made(**TINY)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in net.state_dict().items():
        for new, name in old.items():
            key = key.replace(new, name)
        state[key] = value
    renamed = rename_keys(state)
    assert list(renamed) == list(net.state_dict())
    assert infer_config(state).config["block_out_channels"] == (32, 32, 64)


def test_random_configurations_come_back():
    rng = random.Random(0)
    for _ in range(60):
        levels = rng.randint(1, 4)
        config = {
            "in_channels": rng.choice([1, 3, 4]),
            "out_channels": rng.choice([1, 3]),
            "down_block_types": tuple(rng.choice(DOWN) for _ in range(levels)),
            "up_block_types": tuple(rng.choice(UP) for _ in range(levels)),
            "block_out_channels": tuple(32 * rng.randint(1, 4) for _ in range(levels)),
            "layers_per_block": rng.randint(1, 3),
            "latent_channels": rng.choice([3, 4, 16]),
            "norm_num_groups": 32,
            "scaling_factor": 0.18215,
            "use_quant_conv": rng.random() < 0.5,
            "use_post_quant_conv": rng.random() < 0.5,
            "mid_block_add_attention": rng.random() < 0.5,
        }
        told = infer_config(skeleton(KLAutoencoder, config).state_dict())
        assert told.cls is KLAutoencoder and told.config == config and set(told.assumed) == {"scaling_factor"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"block_out_channels": (32,)}, "name the same levels, got 1, 3 and 3"),
        ({"down_block_types": ("X",) * 3}, "unknown kind of level 'X'; choose DownEncoderBlock2D or"),
        ({"act_fn": "tanh"}, "unknown act_fn 'tanh'; choose one of silu"),
        ({"block_out_channels": (32, 40, 64)}, r"multiple of 32 channels wide, got \[32, 40, 64\]"),
        ({"latent_channels": 0}, "at least 1"),
    ],
)
def test_arguments_that_make_no_network_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        KLAutoencoder(**TINY | change)


def test_sides_that_cannot_be_halved_are_refused_by_encode():
    with pytest.raises(ValueError, match=r"multiples of 4, got 9x8; pad it first"):
        made(**TINY).encode(torch.zeros(1, 3, 9, 8, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1, 7, 4, 4), (4, 4, 4)])
def test_latents_of_other_shapes_are_refused(shape):
    net = made(**TINY)
    with pytest.raises(ValueError, match=rf"decodes latents \(b, {net.channels}, h, w\), got"):
        net.decode(torch.zeros(shape, dtype=torch.float64))
