"""What a model is given: the degraded image that a protocol makes from a clean one."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from restoralib.metrics import luma_8_bits, to_8_bits
from restoralib.ops.resize import resize

NoiseProtocol = Literal["paper", "paper-bgr", "uint8"]


def cut_to_multiple(image: Tensor, scale: int) -> Tensor:
    """Leave out the last rows and columns beyond a multiple of the scale: (..., h, w).

    Raises:
        ValueError: nothing is left.
    """
    height, width = image.shape[-2] // scale * scale, image.shape[-1] // scale * scale
    if not height or not width:
        raise ValueError(f"an image of {image.shape[-2]}x{image.shape[-1]} is smaller than the scale {scale}")
    return image[..., :height, :width]


def reduce_colours(clean: Tensor, scale: int) -> Tensor:
    """The low-resolution image as files hold it: MATLAB's bicubic, then 8 bits.

    Shapes: (c, h, w), both sides multiples of the scale -> (c, h / scale, w / scale), float64.
    """
    return to_8_bits(resize(clean.double(), 1 / scale))


def reduce_luma(clean: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The classic protocol: the luma in 8 bits, and that reduced by MATLAB's bicubic without rounding; grey is its own luma.

    Shapes: (c, h, w), both sides multiples of the scale -> target (1, h, w) and input (1, h / scale, w / scale), float64.
    """
    target = luma_8_bits(to_8_bits(clean.double())[None])[0]
    return target, resize(target, 1 / scale)


def add_table_noise(clean: Tensor, sigma: float, *, seed: int = 0, kind: NoiseProtocol = "paper") -> Tensor:
    """Gaussian noise as the denoising tables draw it: by NumPy's legacy generator, seeded anew for every image.

    Args:
        clean: (c, h, w) in [0, 1].
        sigma: standard deviation, of 255.
        seed: of the generator; the tables take 0.
        kind: "paper": drawn for (h, w, RGB), neither clipped nor rounded (Restormer); "paper-bgr": drawn for (h, w, BGR)
            (SwinIR); "uint8": as "paper", then clipped and rounded to 8 bits, as a file would hold it.

    Returns:
        (c, h, w), float64.

    Raises:
        ValueError: sigma is negative or not finite, or the kind is unknown.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"noise should be a standard deviation of 0 or more, of 255, got {sigma}")
    if kind not in get_args(NoiseProtocol):
        raise ValueError(f"unknown noise protocol {kind!r}; choose one of {', '.join(get_args(NoiseProtocol))}")
    draw = np.random.RandomState(seed).normal(0, sigma / 255, clean.permute(1, 2, 0).shape)
    noise = torch.from_numpy(draw).permute(2, 0, 1)
    noisy = clean.double() + (noise.flip(0) if kind == "paper-bgr" else noise)
    return to_8_bits(noisy) if kind == "uint8" else noisy
