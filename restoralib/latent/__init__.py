"""Restoration in the latent space of an autoencoder."""

from restoralib.archs import DCAE, SanaDenoiser, SanaTransformer
from restoralib.latent.lora import LoRALinear, add_lora, merge_lora
from restoralib.latent.objectives import draw_levels, paired_flow_loss
from restoralib.latent.overlap import GlobalGuide, overlap_denoiser, reduced_noise, sample_apart, whole_denoiser
from restoralib.latent.prompts import PromptTable, encode_text
from restoralib.latent.schedules import flow_dpm_schedule, flow_euler_schedule
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
    "LoRALinear",
    "PromptTable",
    "SanaDenoiser",
    "SanaTransformer",
    "SequenceState",
    "Tile",
    "TilePlan",
    "add_lora",
    "block_causal",
    "block_causal_linear_attention",
    "draw_levels",
    "encode_text",
    "exact_denoiser",
    "flow_dpm_schedule",
    "flow_euler_schedule",
    "merge_lora",
    "overlap_denoiser",
    "paired_flow_loss",
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
