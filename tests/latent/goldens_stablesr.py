"""Runners of the KL autoencoder's and StableSR's goldens."""

from __future__ import annotations

import torch
from goldens.network import Golden
from torch import Tensor

from restoralib.archs import KLAutoencoder, StableSRAutoencoder, StableSRGuidanceEncoder, StableSRUNet
from restoralib.archs.stablesr import SPADE, FeatureWrapping, SPADEResBlock
from restoralib.latent import adain, aggregate_tiles, gaussian_tile_weights, split_frequencies, wavelet_colour
from restoralib.latent.stablesr import tile_offsets


def run_adain(golden: Golden) -> dict[str, Tensor]:
    return {"output": adain(*(golden.tensors[name].double() for name in golden.json("call")), **golden.config)}


def run_wavelet_colour(golden: Golden) -> dict[str, Tensor]:
    image, style = (golden.tensors[name].double() for name in golden.json("call"))
    high, low = split_frequencies(image, **golden.config)
    return {"output": wavelet_colour(image, style, **golden.config), "high": high, "low": low}


def run_gaussian_tile_weights(golden: Golden) -> dict[str, Tensor]:
    return {"output": gaussian_tile_weights(**golden.config, dtype=torch.float64)}


def run_aggregate_tiles(golden: Golden) -> dict[str, Tensor]:
    assert golden.metadata["stand_in"] == "tile - tile.mean((2, 3), keepdim=True)"
    x, size, overlap = golden.tensors["input"].double(), golden.config["tile_size"], golden.config["tile_overlap"]

    def predict(tile: Tensor, rows: slice, columns: slice) -> Tensor:
        assert torch.equal(tile, x[..., rows, columns])
        return tile - tile.mean((2, 3), keepdim=True)

    offsets = (torch.tensor(tile_offsets(length, size, overlap)) for length in x.shape[-2:])
    return {
        "output": aggregate_tiles(predict, x, **golden.config),
        **dict(zip(("y_offsets", "x_offsets"), offsets, strict=True)),
    }


RUNNERS = {
    "adain": run_adain,
    "aggregate_tiles": run_aggregate_tiles,
    "gaussian_tile_weights": run_gaussian_tile_weights,
    "wavelet_colour": run_wavelet_colour,
    "FeatureWrapping": FeatureWrapping,
    "KLAutoencoder": KLAutoencoder,
    "SPADE": SPADE,
    "SPADEResBlock": SPADEResBlock,
    "StableSRAutoencoder": StableSRAutoencoder,
    "StableSRGuidanceEncoder": StableSRGuidanceEncoder,
    "StableSRUNet": StableSRUNet,
}
PUBLISHED = {"kl_f8_diffusers": "kl_f8", "stablesr_guidance_encoder": "stablesr_guidance_encoder"}
