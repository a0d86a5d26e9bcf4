"""Convolution by Fourier transforms, for kernels that are large."""

from __future__ import annotations

import torch
from torch import Tensor


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """The part of a convolution for which no pixel beyond the border is needed.

    Args:
        image: (..., h, w).
        kernel: (k, l), neither side longer than the image's.

    Returns:
        (..., h - k + 1, w - l + 1).
    """
    size = image.shape[-2], image.shape[-1]
    product = torch.fft.rfft2(image) * torch.fft.rfft2(kernel, s=size)
    # The first rows and columns are those into which the circle wraps.
    return torch.fft.irfft2(product, s=size)[..., kernel.shape[0] - 1 :, kernel.shape[1] - 1 :]
