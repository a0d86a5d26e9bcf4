"""Structural similarity."""

import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.metrics._inputs import check_pair

_WINDOW, _SIGMA = 11, 1.5


def _blur(image: Tensor) -> Tensor:
    """Gaussian window over (n, 1, h, w), only where it fits."""
    steps = torch.arange(_WINDOW, dtype=image.dtype, device=image.device) - _WINDOW // 2
    window = torch.exp(-(steps**2) / (2 * _SIGMA**2))
    window = window / window.sum()
    return F.conv2d(F.conv2d(image, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))


def ssim(image: Tensor, target: Tensor, *, data_range: float = 1.0, crop: int = 0) -> Tensor:
    """SSIM of each image of a batch, as the restoration tables compute it, in float64.

    Each channel alone, an 11x11 Gaussian window of sigma 1.5, population covariance, only positions where the window fits;
    the mean over the map and the channels. Papers round results to 8 bits first and often take the luma (`ops.rgb_to_y`).

    Args:
        image: (b, c, h, w), at least 11 pixels high and wide after the crop.
        target: the reference, of the same shape.
        data_range: largest possible value.
        crop: border left out on all sides, in pixels.

    Returns:
        (b,), one where the images are equal.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or fewer than 11 pixels are left.
        TypeError: one image is of integers.

    Source: Wang et al., IEEE TIP 2004, eq. 13, with the constants 0.01 and 0.03; conventions of BasicSR.
    """
    image, target = check_pair(image, target, crop)
    batch, _, height, width = image.shape
    if min(height, width) < _WINDOW:
        raise ValueError(f"SSIM needs {_WINDOW}x{_WINDOW} pixels, got {height}x{width} after a crop of {crop}")
    x, y = (side.reshape(-1, 1, height, width) for side in (image, target))
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).view(batch, -1).mean(1)
