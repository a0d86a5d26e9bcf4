"""StableSR's networks; tests/latent holds them against the authors' stored results."""

import random
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.archs import KLAutoencoder, StableSRAutoencoder, StableSRGuidanceEncoder, StableSRUNet
from restoralib.archs.stablesr import SPADE, VARIANTS, FeatureWrapping, SPADEResBlock, infer_config
from restoralib.checkpoints import UnknownCheckpoint, load_model, skeleton

UNET = {
    "image_size": 8,
    "in_channels": 4,
    "model_channels": 32,
    "out_channels": 4,
    "num_res_blocks": 1,
    "attention_resolutions": (2,),
    "channel_mult": (1, 2, 1),
    "num_head_channels": 16,
    "context_dim": 6,
    "semb_channels": 8,
    "use_linear_in_transformer": True,
}
ENCODER = {
    "image_size": 8,
    "in_channels": 4,
    "model_channels": 32,
    "out_channels": 8,
    "num_res_blocks": 1,
    "attention_resolutions": (1,),
    "channel_mult": (1, 1, 2),
    "num_heads": 2,
}
AUTOENCODER = {"ch": 32, "ch_mult": (1, 1, 2, 2), "num_res_blocks": 1, "num_fuse_block": 1}


def made(cls, config):
    torch.manual_seed(0)
    net = cls(**config).double().eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def count(modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def of_kind(net, kind):
    return [module for module in net.modules() if isinstance(module, kind)]


def test_spade_is_its_formula():
    layer, x, guidance = made(SPADE, {"norm_nc": 64, "label_nc": 3}), normal(2, 64, 5, 4), normal(2, 3, 5, 4)
    grouped = x.view(2, 32, -1)
    std = (grouped.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    normed = ((grouped - grouped.mean(2, keepdim=True)) / std).view_as(x)
    normed = normed * layer.param_free_norm.weight[:, None, None] + layer.param_free_norm.bias[:, None, None]
    hidden = layer.mlp_shared[0](guidance).relu()
    torch.testing.assert_close(layer(x, guidance), normed * (1 + layer.mlp_gamma(hidden)) + layer.mlp_beta(hidden))


def test_feature_wrapping_adds_with_its_weight():
    layer, encoder, decoder = made(FeatureWrapping, {"in_ch": 32, "out_ch": 32}), normal(1, 32, 4, 4), normal(1, 32, 4, 4)
    once = layer(encoder, decoder, 1.0) - decoder
    torch.testing.assert_close(layer(encoder, decoder, 0.25), decoder + 0.25 * once)
    torch.testing.assert_close(layer(encoder, decoder, 0.0), decoder, rtol=0, atol=0)


def test_published_counts_of_the_parts():
    unet = skeleton(StableSRUNet, VARIANTS["stablesr_unet"].config)
    assert len(of_kind(unet, SPADEResBlock)) == 22
    assert count(of_kind(unet, SPADE)) == 53_020_160
    autoencoder = skeleton(StableSRAutoencoder, VARIANTS["stablesr_autoencoder"].config)
    assert count(of_kind(autoencoder, FeatureWrapping)) == 44_393_728
    assert count([autoencoder]) - 44_393_728 == 83_653_863  # that of Stable Diffusion
    encoder = skeleton(StableSRGuidanceEncoder, VARIANTS["stablesr_guidance_encoder"].config)
    assert round((53_020_160 + 44_393_728 + count([encoder])) / 1e6, 1) == 149.9


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (12, 7)])
def test_maps_of_any_size_fit_the_unet(size):
    encoder, unet = made(StableSRGuidanceEncoder, ENCODER), made(StableSRUNet, UNET)
    latent, time = normal(2, 4, *size), torch.tensor([999.0, 3.0])
    maps = encoder(latent, time)
    assert [tuple(each.shape[-2:]) for each in maps] == [tuple(-(-side // step) for side in size) for step in (1, 2, 4)]
    context = normal(1, 3, 6)
    result = unet(latent, time, context, maps)
    assert result.shape == latent.shape
    torch.testing.assert_close(unet(latent, time, context, *maps), result, rtol=0, atol=0)
    torch.testing.assert_close(unet(latent, time, context.expand(2, -1, -1), maps), result)


def test_sizes_between_are_padded_by_reflection():
    unet = made(StableSRUNet, UNET)
    latent, maps = normal(1, 4, 6, 7), [normal(1, 8, 6, 7), normal(1, 8, 3, 4), normal(1, 8, 2, 2)]
    padded = [F.pad(latent, (0, 1, 0, 2), "reflect"), F.pad(maps[0], (0, 1, 0, 2), "reflect")]
    padded.append(F.pad(maps[1], (0, 0, 0, 1), "reflect"))
    context = normal(1, 2, 6)
    expected = unet(padded[0], 5.0, context, [*padded[1:], maps[2]])
    torch.testing.assert_close(unet(latent, 5.0, context, maps), expected[..., :6, :7], rtol=0, atol=0)


def test_every_level_is_guided_by_its_own_map():
    """Where two levels are as wide as each other, too, which the authors' code tells apart by the width alone."""
    unet = made(StableSRUNet, UNET)
    latent, context = normal(1, 4, 8, 1), normal(1, 2, 6)  # one latent wide: all maps are one wide
    maps = [normal(1, 8, 8, 1), normal(1, 8, 4, 1), normal(1, 8, 2, 1)]
    whole = unet(latent, 5.0, context, maps)
    for level in range(3):
        changed = [each + (index == level) for index, each in enumerate(maps)]
        assert not torch.allclose(unet(latent, 5.0, context, changed), whole)


def test_maps_are_taken_before_each_halving_and_behind_the_middle():
    encoder = made(StableSRGuidanceEncoder, ENCODER)
    latent, time = normal(1, 4, 8, 12), torch.tensor([41.0])
    emb = encoder.time_embed(time)
    features, x = [], latent
    for index, block in enumerate(encoder.input_blocks):
        x = block(x, emb)
        if index + 1 < len(encoder.input_blocks) and hasattr(encoder.input_blocks[index + 1][0], "op"):
            features.append(x)
    features.append(encoder.middle_block(x, emb))
    expected = [layer(feature, emb) for layer, feature in zip(encoder.fea_tran, features, strict=True)]
    for ours, theirs in zip(encoder(latent, time), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_checkpointing_changes_no_gradient():
    context, latent = normal(1, 3, 6), normal(1, 4, 8, 8)
    gradients = []
    for use_checkpoint in (False, True):
        encoder = made(StableSRGuidanceEncoder, ENCODER | {"use_checkpoint": use_checkpoint}).train()
        unet = made(StableSRUNet, UNET | {"use_checkpoint": use_checkpoint}).train()
        unet(latent, 7.0, context, encoder(latent, 7.0)).square().sum().backward()
        gradients.append([parameter.grad for net in (encoder, unet) for parameter in net.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_without_weight_the_decoder_is_the_plain_autoencoder(tmp_path):
    net, image = made(StableSRAutoencoder, AUTOENCODER), normal(1, 3, 16, 24).clamp(-1, 1)
    plain = {key: value for key, value in net.state_dict().items() if "fusion_layer" not in key}
    torch.save(plain, tmp_path / "vae.ckpt")
    kl = load_model(tmp_path / "vae.ckpt", scaling_factor=0.18215).double()
    assert type(kl) is KLAutoencoder
    net.float().double()
    latent = net.encode(image)
    torch.testing.assert_close(kl.encode(image), latent)
    for result in (net.decode(latent), net.decode(latent, image, 0.0)):
        torch.testing.assert_close(kl.decode(latent), result)
    wrapped = net.decode(latent, image)  # by fusion_w
    assert not torch.allclose(wrapped, kl.decode(latent))
    torch.testing.assert_close(net.decode(latent, image, net.fusion_w), wrapped, rtol=0, atol=0)
    torch.testing.assert_close(net((image + 1) / 2), (wrapped + 1) / 2)


def test_random_configurations_come_back():
    rng = random.Random(0)
    for _ in range(20):
        levels = rng.randint(1, 4)
        body = {
            "image_size": 32,
            "in_channels": rng.choice([4, 16]),
            "model_channels": 64,
            "num_res_blocks": rng.randint(1, 2),
            "channel_mult": tuple(rng.randint(1, 3) for _ in range(levels)),
            "attention_resolutions": tuple(2**level for level in range(levels) if rng.random() < 0.5),
            "use_scale_shift_norm": rng.random() < 0.5,
            "conv_resample": levels == 1 or rng.random() < 0.5,
        }
        body["channel_mult"] = (1, *body["channel_mult"][1:])
        unet = body | {
            "out_channels": rng.choice([4, 8]),
            "num_head_channels": 64,
            "transformer_depth": rng.randint(1, 2),
            "context_dim": rng.choice([768, 1024]),
            "semb_channels": rng.choice([32, 256]),
            "use_linear_in_transformer": rng.random() < 0.5,
        }
        check_comes_back(StableSRUNet, unet)
        encoder = body | {"image_size": 96, "out_channels": rng.choice([16, 256]), "num_heads": 4, "resblock_updown": False}
        check_comes_back(StableSRGuidanceEncoder, encoder)
        autoencoder = {
            "ch": 32 * rng.randint(1, 2),
            "out_ch": 3,
            "ch_mult": (1, *(rng.randint(1, 3) for _ in range(rng.randint(2, 3)))),
            "num_res_blocks": rng.randint(1, 2),
            "attn_resolutions": rng.choice([(), (256,), (512, 128)]),
            "in_channels": 3,
            "resolution": 512,
            "z_channels": rng.choice([3, 4]),
            "num_fuse_block": rng.randint(0, 2),
            "embed_dim": 4,
        }
        check_comes_back(StableSRAutoencoder, autoencoder)


def check_comes_back(cls, config):
    told = infer_config(skeleton(cls, config).state_dict())
    assert told.cls is cls and {**config, **told.config} == config, (told, config)
    assert set(config) - set(told.config) == set(told.missing)


def test_the_heads_are_those_of_stable_diffusion_or_have_to_be_said(tmp_path):
    torch.save(StableSRUNet(**UNET).state_dict(), tmp_path / "unet.pth")
    with pytest.raises(ValueError, match=r"no weight of a StableSRUNet tells num_head_channels"):
        load_model(tmp_path / "unet.pth")
    assert load_model(tmp_path / "unet.pth", num_head_channels=16).middle_block[1].transformer_blocks[0].attn1.heads == 2


def released(tmp_path):
    """A file as the authors' training writes it: all networks in one, in Lightning's wrapper."""
    unet, encoder = made(StableSRUNet, UNET), made(StableSRGuidanceEncoder, ENCODER)
    vae = made(StableSRAutoencoder, AUTOENCODER)
    parts = {
        "model.diffusion_model.": unet.state_dict(),
        "structcond_stage_model.": encoder.state_dict(),
        "first_stage_model.": {key: value for key, value in vae.state_dict().items() if "fusion_layer" not in key},
        "cond_stage_model.": {f"model.transformer.resblocks.{i}.ln_1.weight": torch.ones(8) for i in range(12)},
        "": {"betas": torch.zeros(1000), "scale_factor": torch.tensor(0.18215)},
    }
    state = {prefix + key: value for prefix, part in parts.items() for key, value in part.items()}
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    packages = {"pytorch_lightning": types.ModuleType("pytorch_lightning")}
    packages |= {"pytorch_lightning.callbacks": types.ModuleType("pytorch_lightning.callbacks"), module.__name__: module}
    kept = {name: sys.modules.get(name) for name in packages}
    sys.modules.update(packages)
    try:
        callbacks = {module.ModelCheckpoint: {"best_model_score": torch.tensor(0.5)}}
        torch.save({"epoch": 1, "state_dict": state, "callbacks": callbacks}, tmp_path / "stablesr.ckpt")
    finally:
        for name, before in kept.items():
            sys.modules.pop(name)
            if before is not None:
                sys.modules[name] = before
    return unet, encoder, vae


def test_a_released_file_loads_part_by_part(tmp_path):
    unet, encoder, vae = released(tmp_path)
    path = tmp_path / "stablesr.ckpt"
    latent, context = normal(1, 4, 8, 8), normal(1, 3, 6)
    ours = load_model(path, prefix="model.diffusion_model", num_head_channels=16).double()
    guide = load_model(path, prefix="structcond_stage_model", num_heads=2).double()
    first = load_model(path, prefix="first_stage_model", scaling_factor=0.18215).double()
    maps = encoder.float().double()(latent, 9.0)
    for mine, theirs in zip(guide(latent, 9.0), maps, strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(ours(latent, 9.0, context, maps), unet.float().double()(latent, 9.0, context, maps))
    torch.testing.assert_close(first.decode(latent), vae.float().double().decode(latent))
    with pytest.raises(UnknownCheckpoint, match=r"StableSRUNet under 'model.diffusion_model'.*prefix="):
        load_model(path)
    with pytest.raises(ValueError, match=r"no weights are under 'unet'; names begin with model, structcond_stage_model"):
        load_model(path, prefix="unet")


@pytest.mark.parametrize(
    ("cls", "config", "words"),
    [
        (StableSRUNet, UNET | {"dims": 3}, "dims should be 2"),
        (StableSRUNet, UNET | {"use_spatial_transformer": False}, "transformers alone"),
        (StableSRUNet, UNET | {"num_head_channels": -1}, "num_heads or num_head_channels"),
        (StableSRUNet, UNET | {"num_head_channels": 20}, "num_head_channels should divide 64 channels, got 20"),
        (StableSRUNet, UNET | {"model_channels": 40}, r"multiple of 32 channels wide, got \[40, 80, 40\]"),
        (StableSRGuidanceEncoder, ENCODER | {"num_res_blocks": 0}, "at least 1, got 0"),
        (StableSRGuidanceEncoder, ENCODER | {"num_heads": 5}, "5 heads do not divide 32"),
        (StableSRAutoencoder, AUTOENCODER | {"ch_mult": (1, 2)}, "at least 3 levels"),
        (StableSRAutoencoder, AUTOENCODER | {"ch": 20}, r"multiple of 32 channels wide, got \[20"),
        (StableSRAutoencoder, AUTOENCODER | {"double_z": False}, "double_z should be True"),
    ],
)
def test_arguments_that_make_no_network_are_named(cls, config, words):
    with pytest.raises(ValueError, match=words):
        cls(**config)


def test_inputs_that_do_not_fit_are_named():
    unet, latent = made(StableSRUNet, UNET), normal(1, 4, 8, 8)
    maps = [normal(1, 8, 8, 8), normal(1, 8, 4, 4), normal(1, 8, 2, 2)]
    with pytest.raises(ValueError, match=r"text should be \(1 or 1, m, 6\), got \(1, 3, 5\)"):
        unet(latent, 1.0, normal(1, 3, 5), maps)
    with pytest.raises(ValueError, match=r"needs the maps of a guidance encoder .*the largest first, got \[\(1, 8, 2, 2\)"):
        unet(latent, 1.0, normal(1, 3, 6), maps[::-1])
    net = made(StableSRAutoencoder, AUTOENCODER)
    with pytest.raises(ValueError, match=r"goes with a degraded image of 64x64, got \(1, 3, 8, 8\)"):
        net.decode(latent, normal(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"decodes latents \(b, 4, h, w\), got \(1, 3, 8, 8\)"):
        net.decode(normal(1, 3, 8, 8))
    with pytest.raises(ValueError, match="multiples of 8, got 9x8"):
        net.encode(normal(1, 3, 9, 8))
