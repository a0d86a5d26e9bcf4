"""One minus the structural similarity."""

from functools import partial

import torch
from torch import Tensor

from restoralib.losses._inputs import check_batch, check_pair
from restoralib.metrics._inputs import check_size
from restoralib.metrics._window import gaussian, slide
from restoralib.metrics.ssim import similarity_maps

_GAUSSIAN = gaussian(11, 1.5)


def ssim_loss(restored: Tensor, target: Tensor, *, data_range: float = 1.0) -> Tensor:
    """One minus the mean SSIM of a batch, computed as `metrics.ssim`, but in the type of the images.

    Args:
        restored: (b, c, h, w), at least 11 pixels high and wide.
        target: (b, c, h, w).
        data_range: largest possible value.

    Returns:
        A scalar, 0 for equal images; float32 for images of half precision.

    Raises:
        ValueError: shapes differ, are not (b, c, h, w), or are smaller than the window.

    Source: Zhao et al. 2017, arXiv:1511.08861, with the usual 11x11 window of sigma 1.5.
    """
    check_batch(restored, "ssim_loss")
    restored, target = check_pair(restored, target)
    check_size(restored, len(_GAUSSIAN), "ssim_loss")
    with torch.autocast(restored.device.type, enabled=False):  # variances are differences of nearly equal means
        return 1 - similarity_maps(restored, target, partial(slide, weights=_GAUSSIAN), data_range)[0].mean()
