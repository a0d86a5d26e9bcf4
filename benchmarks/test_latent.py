"""Autoencoders and latent denoisers, random weights."""

import pytest
import torch
from torch import nn

from restoralib.zoo import create_model


class Encode(nn.Module):
    def __init__(self, autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, image):
        return self.autoencoder.encode(2 * image - 1)


@pytest.mark.parametrize("name", ["dc_ae_f32c32_sana_1_1", "dc_ae_f32c32_in_1_0"])
def test_encode(name, timed, device):
    side = 512 if device.type == "cuda" else 128
    timed(Encode(create_model(name)), torch.rand(1, 3, side, side), pixels=side**2)


@pytest.mark.parametrize("name", ["dc_ae_f32c32_sana_1_1", "dc_ae_f32c32_in_1_0"])
def test_there_and_back(name, timed, device):
    side = 512 if device.type == "cuda" else 128
    timed(create_model(name), torch.rand(1, 3, side, side), pixels=side**2)
