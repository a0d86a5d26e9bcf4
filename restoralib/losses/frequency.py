"""MIMO-UNet's loss on spectra."""

from typing import Literal

import torch
from torch import Tensor

from restoralib.losses._inputs import check_batch, check_pair


def frequency_loss(
    restored: Tensor,
    target: Tensor,
    *,
    half: bool = False,
    norm: Literal["backward", "ortho", "forward"] = "backward",
    criterion: Literal["l1", "mse"] = "l1",
) -> Tensor:
    """Mean absolute difference of the real and imaginary parts of the two-dimensional Fourier transforms.

    MIMO-UNet and its followers take the full spectrum without normalisation, with weight 0.1; the other forms have other
    values, and want other weights.

    Args:
        restored: (b, c, h, w).
        target: (b, c, h, w).
        half: only the half of the spectrum that determines a real image.
        norm: of the transform, as in torch.fft; "ortho" divides by the root of the number of pixels.
        criterion: "mse" for squared differences.

    Returns:
        A scalar; float32 for images of half precision.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or a name is unknown.

    Source: Cho et al. 2021, arXiv:2108.05054, eq. 8.
    """
    check_batch(restored, "frequency_loss")
    if criterion not in ("l1", "mse"):
        raise ValueError(f"criterion should be 'l1' or 'mse', got {criterion!r}")
    if norm not in ("backward", "ortho", "forward"):
        raise ValueError(f"norm should be 'backward', 'ortho' or 'forward', got {norm!r}")
    restored, target = check_pair(restored, target)
    transform = torch.fft.rfft2 if half else torch.fft.fft2
    parts = torch.view_as_real(transform(restored - target, norm=norm))  # linear: one transform does
    return parts.abs().mean() if criterion == "l1" else parts.square().mean()
