"""Autoencoders and latent denoisers, random weights."""

import pytest
import torch
from torch import nn

from restoralib.archs import DCAE, VARIANTS, SanaDenoiser, SanaTransformer
from restoralib.latent import block_causal, plan_latent, tiled_decode, tiled_encode, two_pass
from restoralib.zoo import create_model, model_info


class Encode(nn.Module):
    def __init__(self, autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, image):
        return self.autoencoder.encode(2 * image - 1)


@pytest.mark.parametrize("name", ["dc_ae_f32c32_sana_1_1", "dc_ae_f32c32_in_1_0", "kl_f8"])
def test_encode(name, timed, device):
    side = 512 if device.type == "cuda" else 128
    timed(Encode(create_model(name)), torch.rand(1, 3, side, side), pixels=side**2)


@pytest.mark.parametrize("name", ["dc_ae_f32c32_sana_1_1", "dc_ae_f32c32_in_1_0", "kl_f8", "stablesr_autoencoder"])
def test_there_and_back(name, timed, device):
    side = 512 if device.type == "cuda" else 128
    timed(create_model(name), torch.rand(1, 3, side, side), pixels=side**2)


class SanaStep(nn.Module):
    """What one step of the SANA-Denoiser asks of it for one text."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, latent):
        text = latent.new_zeros(1, 300, self.net.spec.text_channels)
        return self.net(latent, latent, 500, text)


@pytest.mark.parametrize("name", ["sana_600m_1024", "sana_1600m_1024"])
def test_a_step_of_sana_denoiser(name, timed, device):
    cuda = device.type == "cuda"
    depth = {} if cuda else {"num_layers": 1}
    side = 32 if cuda else 8
    net = SanaDenoiser(**VARIANTS[name].config | depth).to(torch.bfloat16 if cuda else torch.float32)
    timed(SanaStep(net), torch.rand(1, 32, side, side, dtype=net.proj.weight.dtype), pixels=(32 * side) ** 2)


class Tiled(nn.Module):
    """There and back in tiles of 256 pixels."""

    def __init__(self, autoencoder, **mode):
        super().__init__()
        self.autoencoder, self.mode = autoencoder, mode

    def forward(self, image):
        return tiled_decode(self.autoencoder, tiled_encode(self.autoencoder, 2 * image - 1, **self.mode), **self.mode)


@pytest.mark.parametrize("mode", [{"tile": None}, {"tile": 8}, {"tile": 8, "exact": True}], ids=["whole", "blended", "exact"])
def test_tiled(mode, timed, device):
    """An eighth of DC-AE's width."""
    config = model_info("dc_ae_f32c32_sana_1_1").config | {"latent_channels": 8}
    config |= {f"{half}_block_out_channels": (16, 32, 64, 64, 128, 128) for half in ("encoder", "decoder")}
    side = 1024 if device.type == "cuda" else 512
    timed(Tiled(DCAE(**config), **mode), torch.rand(1, 3, side, side), pixels=side**2)


class StableSRStep(nn.Module):
    """What a step of StableSR asks of its networks for one tile."""

    def __init__(self, unet, guidance_encoder):
        super().__init__()
        self.unet, self.guidance_encoder = unet, guidance_encoder

    def forward(self, latent):
        time = latent.new_full((len(latent),), 500.0)
        text = latent.new_zeros(1, 77, self.unet.context_dim)
        return self.unet(latent, time, text, self.guidance_encoder(latent, time))


def test_a_step_of_stablesr(timed, device):
    side = 64 if device.type == "cuda" else 8
    step = StableSRStep(create_model("stablesr_unet"), create_model("stablesr_guidance_encoder"))
    timed(step, torch.rand(1, 4, side, side), pixels=(8 * side) ** 2)


class TransformerInTiles(nn.Module):
    """One evaluation of a SANA on a latent of 16 tiles."""

    def __init__(self, net, way):
        super().__init__()
        self.net, self.way = net, way

    def forward(self, latent, text):
        height, width = latent.shape[-2:]
        plan = plan_latent(height, width, (height // 4, width // 4))
        return self.way(self.net, latent, 500.0, text, plan)


WAYS = {
    "whole": lambda net, x, t, text, plan: net(x, text, t),
    "causal": lambda *given: block_causal(*given)[0],
    "two passes": two_pass,
    "halo": lambda *given: two_pass(*given, halo=2),
}


@pytest.mark.parametrize("way", WAYS)
def test_temporal_tiling(way, timed, device):
    """Two layers of SANA-1600M, at a quarter of its width on a CPU."""
    side, layers = (128, 2) if device.type == "cuda" else (32, 2)
    config = model_info("sana_1600m_1024").config | {"num_layers": layers}
    if device.type == "cpu":
        config |= {"num_attention_heads": 16, "num_cross_attention_heads": 4, "cross_attention_dim": 512}
    net = SanaTransformer(**config)
    timed(TransformerInTiles(net, WAYS[way]), torch.rand(1, 32, side, side), torch.rand(1, 77, 2304), pixels=(32 * side) ** 2)
