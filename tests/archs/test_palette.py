"""Palette's U-Net; tests/test_goldens_archs.py holds it against the implementation."""

import random

import pytest
import torch
from torch import nn

from restoralib import load_model
from restoralib.archs import guided_diffusion
from restoralib.archs.palette import VARIANTS, PaletteUNet, infer_config
from restoralib.checkpoints import CheckpointWarning, skeleton

TINY = {
    "image_size": 16,
    "in_channel": 6,
    "inner_channel": 32,
    "out_channel": 3,
    "res_blocks": 1,
    "attn_res": (2,),
    "channel_mults": (1, 1),
}


def tiny(size=(8, 12)):
    torch.manual_seed(0)
    net = PaletteUNet(**TINY).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net, torch.randn(2, 6, *size), torch.tensor([[0.1], [0.9]])


def test_published_variant():
    variant = VARIANTS["palette_inpainting_celebahq"]
    net = skeleton(variant.cls, variant.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == 62_641_347 and len(net.state_dict()) == 326
    told = infer_config(net.state_dict())
    assert told.config == told.config | variant.config and set(told.assumed) == {"num_head_channels", "use_new_attention_order"}
    attended = [key for key in net.state_dict() if key.endswith("qkv.weight")]
    assert attended == ["middle_block.1.qkv.weight"] and net.middle_block[1].heads == 16
    assert net.spec.role == "denoiser" and net.spec.inputs == ("image", "level")


@pytest.mark.slow
def test_random_configurations_come_back():
    draw = random.Random(0)
    for _ in range(200):
        config = TINY | {
            "in_channel": draw.choice([2, 6]),
            "inner_channel": draw.choice([32, 64]),
            "out_channel": draw.choice([1, 3]),
            "res_blocks": draw.choice([0, 1, 1, 2]),
            "attn_res": draw.choice([(), (1,), (2,), (1, 2)]),
            "channel_mults": (draw.randint(1, 3), draw.randint(1, 3)),
            "conv_resample": draw.random() < 0.7,
            "use_scale_shift_norm": draw.random() < 0.5,
            "resblock_updown": draw.random() < 0.5,
        }
        config["conv_resample"] |= config["resblock_updown"]  # where it has no effect
        told = infer_config(skeleton(PaletteUNet, config).state_dict())
        assert told.config == told.config | config | {"image_size": 256} and not told.missing


def test_the_level_is_embedded_as_it_is():
    net, image, levels = tiny()
    twin = guided_diffusion.GuidedUNet(
        image_size=16,
        in_channels=6,
        model_channels=32,
        out_channels=3,
        num_res_blocks=1,
        attention_resolutions=(2,),
        channel_mult=(1, 1),
        use_scale_shift_norm=True,
        resblock_updown=True,
    ).eval()
    twin.load_state_dict({key.replace("cond_embed", "time_embed"): value for key, value in net.state_dict().items()})
    with torch.inference_mode():
        expected = net(image, levels)
        assert torch.equal(expected, net(image, levels.flatten())) and torch.equal(expected, twin(image, levels.flatten()))
        torch.testing.assert_close(net(image, 0.1)[:1], expected[:1])
        with pytest.raises(ValueError, match="level should hold one value, or one for each of 2 images, got 4"):
            net(image, torch.zeros(4, 1))


def test_files_of_the_whole_diffusion_load(tmp_path):
    net, image, levels = tiny()
    tables = ("gammas", "sqrt_recip_gammas", "sqrt_recipm1_gammas", "posterior_log_variance_clipped")
    tables += ("posterior_mean_coef1", "posterior_mean_coef2")
    state = {f"denoise_fn.{key}": value for key, value in net.state_dict().items()} | {key: torch.ones(2000) for key in tables}
    torch.save(state, tmp_path / "100_Network.pth")
    with pytest.warns(CheckpointWarning, match="num_head_channels=32 is assumed"):
        loaded = load_model(tmp_path / "100_Network.pth", use_new_attention_order=False)
    with torch.inference_mode():
        assert torch.equal(loaded(image, levels), net(image, levels))


def test_other_networks_are_not_taken_for_it():
    state = skeleton(PaletteUNet, TINY).state_dict()
    assert guided_diffusion.infer_config(state) is None and infer_config({}) is None
    assert infer_config(state | {"label_emb.weight": torch.zeros(5, 128)}) is None
    assert infer_config(state | {"input_blocks.0.0.weight": torch.zeros(3)}) is None
