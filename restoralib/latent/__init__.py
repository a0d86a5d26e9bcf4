"""Restoration in the latent space of an autoencoder."""

from restoralib.archs import (
    DCAE,
    KLAutoencoder,
    SanaDenoiser,
    SanaTransformer,
    StableSRAutoencoder,
    StableSRGuidanceEncoder,
    StableSRUNet,
)
from restoralib.latent.coding import tiled_decode, tiled_encode
from restoralib.latent.colour import adain, split_frequencies, wavelet_colour
from restoralib.latent.lora import LoRALinear, add_lora, merge_lora
from restoralib.latent.objectives import draw_levels, paired_flow_loss
from restoralib.latent.overlap import GlobalGuide, overlap_denoiser, reduced_noise, sample_apart, whole_denoiser
from restoralib.latent.prompts import PromptTable, encode_text
from restoralib.latent.restorer import LatentRestorer, degradation_text
from restoralib.latent.schedules import flow_dpm_schedule, flow_euler_schedule
from restoralib.latent.stablesr import (
    StableSRParts,
    aggregate_tiles,
    gaussian_tile_weights,
    stablesr,
    stablesr_denoiser,
    stablesr_process,
    stablesr_times,
)
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
    "KLAutoencoder",
    "LatentRestorer",
    "LoRALinear",
    "PromptTable",
    "SanaDenoiser",
    "SanaTransformer",
    "SequenceState",
    "StableSRAutoencoder",
    "StableSRGuidanceEncoder",
    "StableSRParts",
    "StableSRUNet",
    "Tile",
    "TilePlan",
    "adain",
    "add_lora",
    "aggregate_tiles",
    "block_causal",
    "block_causal_linear_attention",
    "degradation_text",
    "draw_levels",
    "encode_text",
    "exact_denoiser",
    "flow_dpm_schedule",
    "flow_euler_schedule",
    "gaussian_tile_weights",
    "merge_lora",
    "overlap_denoiser",
    "paired_flow_loss",
    "plan_latent",
    "plan_pixels",
    "reduced_noise",
    "sample_apart",
    "sample_tile_by_tile",
    "split_frequencies",
    "stablesr",
    "stablesr_denoiser",
    "stablesr_process",
    "stablesr_times",
    "temporal_denoiser",
    "tile_rotation",
    "tiled_decode",
    "tiled_encode",
    "two_pass",
    "wavelet_colour",
    "whole_denoiser",
]
