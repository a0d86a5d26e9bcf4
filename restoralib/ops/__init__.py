"""Functions on image tensors: resizing, colour, padding, tiles; noise schedules."""

from restoralib.ops.color import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from restoralib.ops.levels import nearest_levels, round_to_levels
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.resize import resize, resize_taps
from restoralib.ops.schedules import (
    cosine_betas,
    cosine_thetas,
    linear_betas,
    linear_thetas,
    mirrored_betas,
    sigmoid_betas,
    sqrt_linear_betas,
    zero_terminal_snr,
)
from restoralib.ops.tile import blend_weights, core_spans, plan_tiles

__all__ = [
    "blend_weights",
    "core_spans",
    "cosine_betas",
    "cosine_thetas",
    "linear_betas",
    "linear_thetas",
    "mirrored_betas",
    "nearest_levels",
    "pad_to_multiple",
    "plan_tiles",
    "resize",
    "resize_taps",
    "rgb_to_y",
    "rgb_to_ycbcr",
    "round_to_levels",
    "sigmoid_betas",
    "sqrt_linear_betas",
    "ycbcr_to_rgb",
    "zero_terminal_snr",
]
