"""SR3's U-Net; tests/test_goldens_archs.py holds it against the implementation."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib import load_model
from restoralib.archs.sr3 import VARIANTS, ResnetBlockWithAttention, SelfAttention, SR3UNet, infer_config
from restoralib.checkpoints import AmbiguousCheckpoint, skeleton

TINY = {"inner_channel": 8, "norm_groups": 4, "channel_mults": (1, 2, 2), "attn_res": (64,), "res_blocks": 1}


def tiny(size=(8, 12), **other):
    torch.manual_seed(0)
    net = SR3UNet(**TINY | other).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net, torch.randn(2, 6, *size), torch.tensor([[0.1], [0.9]])


@pytest.mark.parametrize(
    ("name", "parameters", "keys"), [("sr3_faces_16_128", 97_807_491, 362), ("sr3_faces_64_512", 155_334_339, 229)]
)
def test_published_variants(name, parameters, keys):
    variant = VARIANTS[name]
    net = skeleton(variant.cls, variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters and len(net.state_dict()) == keys
    told = infer_config(net.state_dict())
    assert told.config == variant.config and set(told.assumed) == {"norm_groups"} and not told.missing
    assert net.spec.tasks == variant.tasks == ("sr8",) and net.spec.multiple == 16
    assert net.spec.role == "denoiser" and net.spec.inputs == ("image", "level")


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    for number in range(200):
        size = draw.choice([8, 16, 128, 13, 31, 100])
        config = {
            "in_channel": draw.choice([2, 6]),
            "out_channel": draw.choice([1, 3]),
            "inner_channel": draw.choice([8, 32]),
            "norm_groups": 8,
            "channel_mults": tuple(draw.randint(1, 3) for _ in range(draw.randint(1, 3))),
            "attn_res": tuple(
                side for level in range(3) for side in (size >> level, size // 4 << level) if draw.random() < 0.4
            ),
            "res_blocks": draw.randint(0, 2),
            "image_size": size,
        }
        net = skeleton(SR3UNet, config)
        told = infer_config(net.state_dict())
        assert all(told.config[key] == config[key] for key in config if key not in ("norm_groups", "attn_res", "image_size"))
        assert bool(told.missing) == (config["inner_channel"] == 8) or told.assumed
        attended = [key for key in net.state_dict() if key.endswith("qkv.weight")]
        if number % 10 == 0 or (size in (13, 31, 100) and number % 3 == 0):
            again = skeleton(SR3UNet, told.config | {"norm_groups": 8})
            assert [key for key in again.state_dict() if key.endswith("qkv.weight")] == attended


def test_attention_is_where_the_nominal_size_says_whatever_the_image():
    net, image, level = tiny(image_size=32, attn_res=16)
    attended = [isinstance(layer.attn, SelfAttention) for layer in net.modules() if isinstance(layer, ResnetBlockWithAttention)]
    assert attended == [False, True, False, True, False, False, False, True, True, False, False]
    assert net(image, level).shape == (2, 3, 8, 12)


def test_attention_is_its_formula():
    torch.manual_seed(0)
    attention, x = SelfAttention(8, 4).double(), torch.randn(2, 8, 3, 5, dtype=torch.float64)
    q, k, v = attention.qkv(attention.norm(x)).flatten(2).chunk(3, dim=1)
    weights = torch.einsum("bcn,bcm->bnm", q, k).div(8**0.5).softmax(-1)
    expected = x + attention.out(torch.einsum("bnm,bcm->bcn", weights, v).reshape(x.shape))
    torch.testing.assert_close(attention(x), expected)


def test_padding_is_by_reflection_and_only_where_it_is_needed():
    net, image, level = tiny((7, 9))
    with torch.inference_mode():
        padded = F.pad(image, (0, 3, 0, 1), mode="reflect")
        torch.testing.assert_close(net(image, level), net(padded, level)[..., :7, :9])
        torch.testing.assert_close(net(image, level), net(image, level.flatten()))
        torch.testing.assert_close(net(image, 0.1)[:1], net(image, level)[:1])


def test_files_of_the_whole_diffusion_load(tmp_path):
    net, image, level = tiny()
    tables = ("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod")
    tables += ("log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod")
    tables += ("posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2")
    state = {f"denoise_fn.{key}": value for key, value in net.state_dict().items()} | {key: torch.ones(2000) for key in tables}
    torch.save(state, tmp_path / "I1_E1_gen.pth")
    with pytest.raises(AmbiguousCheckpoint, match="no weight of a SR3UNet tells norm_groups"):
        load_model(tmp_path / "I1_E1_gen.pth")
    loaded = load_model(tmp_path / "I1_E1_gen.pth", norm_groups=4)
    with torch.inference_mode():
        assert torch.equal(loaded(image, level), net(image, level))


@pytest.mark.parametrize(
    "change",
    [
        {"time_mlp.1.weight": torch.zeros(32, 8)},  # the implementation's DDPM
        {"downs.0.weight": torch.zeros(8)},
        {"noise_level_mlp.1.weight": torch.zeros(32, 0)},
        {"ups.0.res_block.block1.block.3.weight": torch.zeros(17, 8, 3, 3)},
        {"ups.99.conv.weight": torch.zeros(8, 8, 3, 3)},
        {"ups.0.attn.norm.weight": torch.zeros(16)},  # attention at the deepest level on the way up alone
    ],
)
def test_other_networks_are_not_taken_for_it(change):
    state = skeleton(SR3UNet, TINY).state_dict()
    assert infer_config(state) and infer_config({}) is None and infer_config(state | change) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"norm_groups": 3}, "norm_groups should divide all widths, got 3 for 8 channels"),
        ({"norm_groups": 16}, "got 16 for 8 channels"),
        ({"with_noise_level_emb": False}, "with_noise_level_emb should be True"),
        ({"channel_mults": ()}, "there should be levels and blocks"),
    ],
)
def test_impossible_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        SR3UNet(**(TINY | config))
