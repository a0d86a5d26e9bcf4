"""Colour spaces in which the papers compute: BT.601 with limited range, as MATLAB's `rgb2ycbcr`."""

import torch
from torch import Tensor

_OFFSET = (16 / 255, 128 / 255, 128 / 255)
_FROM_RGB = (
    (65.481 / 255, 128.553 / 255, 24.966 / 255),
    (-37.797 / 255, -74.203 / 255, 112.0 / 255),
    (112.0 / 255, -93.786 / 255, -18.214 / 255),
)


def _check_rgb(image: Tensor, name: str) -> None:
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ValueError(f"{name} expects three channels in axis -3, got shape {tuple(image.shape)}")


def rgb_to_y(image: Tensor) -> Tensor:
    """Luma of BT.601 in limited range: Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255, not rounded.

    The Y channel of super-resolution and deraining tables.

    Shapes: (..., 3, h, w) in [0, 1] -> (..., 1, h, w) in [16/255, 235/255].

    Raises:
        ValueError: the image has not three channels.
    """
    _check_rgb(image, "rgb_to_y")
    weights = torch.tensor(_FROM_RGB[0], dtype=image.dtype, device=image.device)
    return torch.einsum("...chw,c->...hw", image, weights).unsqueeze(-3) + _OFFSET[0]


def rgb_to_ycbcr(image: Tensor) -> Tensor:
    """Y, Cb and Cr of BT.601 in limited range, divided by 255.

    Shapes: (..., 3, h, w) in [0, 1] -> (..., 3, h, w), Y in [16, 235] / 255, Cb and Cr in [16, 240] / 255.

    Raises:
        ValueError: the image has not three channels.

    Source: ITU-R BT.601, in the form of MATLAB's rgb2ycbcr.
    """
    _check_rgb(image, "rgb_to_ycbcr")
    matrix = torch.tensor(_FROM_RGB, dtype=image.dtype, device=image.device)
    offset = torch.tensor(_OFFSET, dtype=image.dtype, device=image.device)[:, None, None]
    return torch.einsum("...chw,dc->...dhw", image, matrix) + offset


def ycbcr_to_rgb(image: Tensor) -> Tensor:
    """The inverse of `rgb_to_ycbcr`; colours outside RGB leave [0, 1] and are not clamped.

    Shapes: (..., 3, h, w) -> (..., 3, h, w).

    Raises:
        ValueError: the image has not three channels.
    """
    _check_rgb(image, "ycbcr_to_rgb")
    inverse = torch.linalg.inv(torch.tensor(_FROM_RGB, dtype=torch.float64)).to(image)
    offset = torch.tensor(_OFFSET, dtype=image.dtype, device=image.device)[:, None, None]
    return torch.einsum("...chw,dc->...dhw", image - offset, inverse)
