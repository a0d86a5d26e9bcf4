"""Functions on image tensors: resizing, colour, padding."""

from restoralib.ops.color import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.resize import resize, resize_taps

__all__ = ["pad_to_multiple", "resize", "resize_taps", "rgb_to_y", "rgb_to_ycbcr", "ycbcr_to_rgb"]
