"""A sensor's mosaic of colours, and the filling in of the others by gradient-corrected linear filters.

Malvar, He and Cutler, "High-quality linear interpolation for demosaicing of Bayer-patterned color images" (ICASSP 2004): the
bilinear estimate of a colour is corrected by the Laplacian of the colour that was seen, with gains of 1/2, 5/8 and 3/4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# In eighths: a colour at the middle from its own samples, and the seen colour's Laplacian.
_GREEN = ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0))
_BESIDE = ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0))
_ACROSS = ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0))


def mosaic_places(height: int, width: int) -> Tensor:
    """Which colour each pixel of a GRBG mosaic sees: (h, w), 0 red, 1 green, 2 blue."""
    odd_row = (torch.arange(height) % 2)[:, None].bool()
    odd_column = (torch.arange(width) % 2)[None].bool()
    return torch.where(odd_row == odd_column, 1, torch.where(odd_row, 2, 0))


def take_mosaic(light: Tensor) -> Tensor:
    """Of each pixel the one colour that a GRBG mosaic sees: (3, h, w) -> (h, w)."""
    return light.gather(0, mosaic_places(*light.shape[-2:])[None])[0]


def fill_in(raw: Tensor) -> Tensor:
    """Demosaic a GRBG mosaic: (h, w) -> (3, h, w), both sides at least 3."""
    places = mosaic_places(*raw.shape)
    beside = torch.tensor(_BESIDE, dtype=raw.dtype)
    kernels = torch.stack([torch.tensor(_GREEN, dtype=raw.dtype), beside, beside.T, torch.tensor(_ACROSS, dtype=raw.dtype)]) / 8
    # Mirrored without repeating the edge, the mosaic goes on beyond it.
    padded = functional.pad(raw[None, None], (2, 2, 2, 2), mode="reflect")
    green, along_row, along_column, across = functional.conv2d(padded, kernels[:, None])[0]
    red_row = (torch.arange(raw.shape[0]) % 2 == 0)[:, None].expand_as(places)
    at_green = places == 1
    red = torch.where(places == 0, raw, torch.where(at_green, torch.where(red_row, along_row, along_column), across))
    blue = torch.where(places == 2, raw, torch.where(at_green, torch.where(red_row, along_column, along_row), across))
    return torch.stack([red, torch.where(at_green, raw, green), blue])
