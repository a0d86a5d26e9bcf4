"""CutBlur: a piece of the clean image in the degraded one, or the other way round, to learn where to restore."""

from __future__ import annotations

import torch
from torch import Tensor

from restoralib.data.photographs import random_integer


def cut_blur(degraded: Tensor, clean: Tensor, generator: torch.Generator, *, alpha: float = 0.7) -> Tensor:
    """The degraded image with a rectangle of the clean one, or the clean one with a rectangle of the degraded one.

    The sides of the rectangle are alpha of the image's, give or take a hundredth; either way is as likely.

    Args:
        degraded: (c, h, w).
        clean: (c, h, w); in super-resolution the small image is enlarged by repeated pixels first.
        generator: source of all randomness.
        alpha: from 0 to 1.

    Raises:
        ValueError: the images differ in size, or alpha is not from 0 to 1.

    Source: Yoo et al. 2020, arXiv:2004.00448, equation 1 and section 4.
    """
    if degraded.shape != clean.shape:
        raise ValueError(
            f"CutBlur needs two images of one size, got {tuple(degraded.shape)} and {tuple(clean.shape)}; enlarge the small "
            "one by repeated pixels"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha should be from 0 to 1, got {alpha}")
    share = min(max(alpha + 0.01 * float(torch.randn((), generator=generator)), 0.0), 1.0)
    height, width = (int(share * side) for side in clean.shape[-2:])
    top = random_integer(clean.shape[-2] - height + 1, generator)
    left = random_integer(clean.shape[-1] - width + 1, generator)
    inner, outer = (clean, degraded) if random_integer(2, generator) else (degraded, clean)
    mixed = outer.clone()
    mixed[..., top : top + height, left : left + width] = inner[..., top : top + height, left : left + width]
    return mixed
