"""Runners of the KL autoencoder's and StableSR's goldens."""

from __future__ import annotations

from restoralib.archs import KLAutoencoder, StableSRAutoencoder, StableSRGuidanceEncoder, StableSRUNet
from restoralib.archs.stablesr import SPADE, FeatureWrapping, SPADEResBlock

RUNNERS = {
    "FeatureWrapping": FeatureWrapping,
    "KLAutoencoder": KLAutoencoder,
    "SPADE": SPADE,
    "SPADEResBlock": SPADEResBlock,
    "StableSRAutoencoder": StableSRAutoencoder,
    "StableSRGuidanceEncoder": StableSRGuidanceEncoder,
    "StableSRUNet": StableSRUNet,
}
PUBLISHED = {"kl_f8_diffusers": "kl_f8", "stablesr_guidance_encoder": "stablesr_guidance_encoder"}
