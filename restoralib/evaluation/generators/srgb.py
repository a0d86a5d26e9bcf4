"""The curve of sRGB (IEC 61966-2-1), by pieces: values of files to linear light and back."""

from __future__ import annotations

import torch
from torch import Tensor


def to_light(values: Tensor) -> Tensor:
    """Linear light of values in [0, 1], of any shape."""
    return torch.where(values <= 0.04045, values / 12.92, ((values.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def from_light(light: Tensor) -> Tensor:
    """The inverse of `to_light`; light outside of [0, 1] is clipped."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
