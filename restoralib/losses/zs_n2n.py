"""Zero-Shot Noise2Noise: a small network learns to denoise from the one image that is to be denoised."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from restoralib.losses._inputs import check_batch
from restoralib.losses.pixel import mse_loss
from restoralib.ops.precision import full_precision


def diagonal_halves(image: Tensor) -> tuple[Tensor, Tensor]:
    """Two images of half the size: the means of the one and of the other diagonal of each cell of 2x2 pixels.

    An odd last row or column is left out: (b, c, h, w) -> twice (b, c, h // 2, w // 2).
    """
    height, width = (side // 2 * 2 for side in image.shape[-2:])
    rows, below = image[..., 0:height:2, :width], image[..., 1:height:2, :width]
    return (rows[..., 1::2] + below[..., 0::2]) / 2, (rows[..., 0::2] + below[..., 1::2]) / 2


def zs_n2n_loss(noise: Callable[[Tensor], Tensor], noisy: Tensor) -> Tensor:
    """How far each half, denoised, is from the other, and from the half of the whole image denoised.

    With the halves d1, d2 of `diagonal_halves` and the denoiser g(y) = y - noise(y), the loss is half of
    |g(d1 y) - d2 y|^2 + |g(d2 y) - d1 y|^2 plus half of |g(d1 y) - d1 g(y)|^2 + |g(d2 y) - d2 g(y)|^2, all in the mean.

    Args:
        noise: a network that gives the noise of an image (b, c, h, w).
        noisy: (b, c, h, w), at least 2 high and wide; its noise should be independent from pixel to pixel and without bias.

    Returns:
        A scalar; float32 for images of half precision.

    Raises:
        ValueError: the images are not (b, c, h, w), or smaller than a cell.

    Source: Mansour and Heckel 2023, arXiv:2303.11253, equations 5 to 7.
    """
    check_batch(noisy, "zs_n2n_loss")
    if min(noisy.shape[-2:]) < 2:
        raise ValueError(f"zs_n2n_loss needs images of at least 2x2 pixels, got {tuple(noisy.shape)}")
    noisy = full_precision(noisy)
    halves = diagonal_halves(noisy)
    first, second = (half - full_precision(noise(half)) for half in halves)
    of_whole = diagonal_halves(noisy - full_precision(noise(noisy)))
    residual = (mse_loss(first, halves[1]) + mse_loss(second, halves[0])) / 2
    return residual + (mse_loss(first, of_whole[0]) + mse_loss(second, of_whole[1])) / 2
