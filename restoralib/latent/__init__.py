"""Restoration in the latent space of an autoencoder."""

from restoralib.archs import DCAE
from restoralib.latent.overlap import GlobalGuide, overlap_denoiser, reduced_noise, sample_apart, whole_denoiser
from restoralib.latent.temporal_tiling import (
    SequenceState,
    block_causal,
    block_causal_linear_attention,
    exact_denoiser,
    sample_tile_by_tile,
    temporal_denoiser,
    two_pass,
)
from restoralib.latent.tile_plan import Tile, TilePlan, plan_latent, plan_pixels, tile_rotation

__all__ = [
    "DCAE",
    "GlobalGuide",
    "SequenceState",
    "Tile",
    "TilePlan",
    "block_causal",
    "block_causal_linear_attention",
    "exact_denoiser",
    "overlap_denoiser",
    "plan_latent",
    "plan_pixels",
    "reduced_noise",
    "sample_apart",
    "sample_tile_by_tile",
    "temporal_denoiser",
    "tile_rotation",
    "two_pass",
    "whole_denoiser",
]
