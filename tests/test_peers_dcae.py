"""DC-AE against diffusers' AutoencoderDC for the same random weights; skipped without it.

pip install diffusers
"""

from __future__ import annotations

import pytest
import torch

from restoralib.archs import DCAE
from restoralib.archs.dcae import VARIANTS


def narrowed(config):
    """A published configuration at 1/32 of its width, with fewer blocks."""
    config = dict(config, latent_channels=config["latent_channels"] // 16, attention_head_dim=8)
    for half in ("encoder", "decoder"):
        config[f"{half}_block_out_channels"] = tuple(max(8, width // 32) for width in config[f"{half}_block_out_channels"])
        config[f"{half}_layers_per_block"] = tuple(min(depth, 2) for depth in config[f"{half}_layers_per_block"])
    return config


CASES = {name: narrowed(variant.config) for name, variant in VARIANTS.items() if "mix" not in name and "sana_1_0" not in name}
CASES["without shortcuts"] = CASES["dc_ae_f32c32_sana_1_1"] | {"encoder_out_shortcut": False, "decoder_in_shortcut": False}
CASES["other activations"] = CASES["dc_ae_f32c32_in_1_0"] | {"decoder_act_fns": "gelu", "decoder_conv_act_fn": "silu"}
CASES["batch norm throughout"] = CASES["dc_ae_f32c32_sana_1_1"] | {"decoder_norm_types": "batch_norm"}
CASES["two scales"] = CASES["dc_ae_f32c32_sana_1_1"] | {"encoder_qkv_multiscales": ((), (), (), (3,), (5,), (3, 5))}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_autoencoder_of_diffusers(case):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    theirs, ours = diffusers.AutoencoderDC(**CASES[case]).double().eval(), DCAE(**CASES[case]).double().eval()
    state = {
        key: torch.rand_like(value) + 0.5 if "running" in key else 0.3 * torch.randn_like(value) if value.ndim else value
        for key, value in theirs.state_dict().items()
    }
    assert list(state) == list(ours.state_dict())
    theirs.load_state_dict(state), ours.load_state_dict(state)
    image = 2 * torch.rand(1, 3, 2 * ours.factor, ours.factor, dtype=torch.float64) - 1
    with torch.inference_mode():
        latent = ours.encode(image)
        pairs = (latent, theirs.encode(image).latent), (ours.decode(latent), theirs.decode(latent).sample)
    for value, expected in pairs:  # theirs has its attention in float32
        assert float((value - expected).abs().max() / expected.abs().max()) <= 1e-5
