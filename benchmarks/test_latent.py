"""Autoencoders and latent denoisers, random weights."""

import pytest
import torch
from torch import nn

from restoralib.archs import VARIANTS, SanaDenoiser
from restoralib.zoo import create_model


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
    depth = {} if cuda else {"num_layers": 2}
    side = 32 if cuda else 8
    net = SanaDenoiser(**VARIANTS[name].config | depth).to(torch.bfloat16 if cuda else torch.float32)
    timed(SanaStep(net), torch.rand(1, 32, side, side, dtype=net.proj.weight.dtype), pixels=(32 * side) ** 2)


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
    side = 64 if device.type == "cuda" else 16
    step = StableSRStep(create_model("stablesr_unet"), create_model("stablesr_guidance_encoder"))
    timed(step, torch.rand(1, 4, side, side), pixels=(8 * side) ** 2)
