"""Functions on image tensors: resizing, colour, padding, tiles; noise schedules."""

from restoralib.ops.color import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.resize import resize, resize_taps
from restoralib.ops.schedules import sqrt_linear_betas
from restoralib.ops.tile import blend_weights, core_spans, plan_tiles

__all__ = [
    "blend_weights",
    "core_spans",
    "pad_to_multiple",
    "plan_tiles",
    "resize",
    "resize_taps",
    "rgb_to_y",
    "rgb_to_ycbcr",
    "sqrt_linear_betas",
    "ycbcr_to_rgb",
]
