"""MPRNet's loss on edges."""

import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.losses._inputs import check_batch, check_pair
from restoralib.losses.charbonnier import charbonnier_loss

_ROW = (0.05, 0.25, 0.4, 0.25, 0.05)


def _blur(x: Tensor) -> Tensor:
    """Each channel alone, the outermost pixels repeated outside."""
    c = x.shape[1]
    row = torch.tensor(_ROW, dtype=x.dtype, device=x.device).expand(c, 1, 1, 5)
    padded = F.pad(x, (2, 2, 2, 2), mode="replicate")
    return F.conv2d(F.conv2d(padded, row, groups=c), row.mT, groups=c)


def laplacian(image: Tensor) -> Tensor:
    """What a level of the Laplacian pyramid leaves out: the image less its blurred, halved and again enlarged self.

    Of the blurred image every second row and column is kept, times 4, the others are set to 0, and it is blurred again, which
    enlarges it. Linear.

    Shapes: (b, c, h, w) -> the same.

    Source: Burt and Adelson 1983, with the five weights of MPRNet's training.
    """
    kept = torch.zeros_like(image)
    kept[..., ::2, ::2] = 4 * _blur(image)[..., ::2, ::2]
    return image - _blur(kept)


def edge_loss(restored: Tensor, target: Tensor, *, eps: float = 1e-3) -> Tensor:
    """Charbonnier's loss, sqrt(d^2 + eps^2), of the difference d of the Laplacians.

    Args:
        restored: (b, c, h, w).
        target: (b, c, h, w).
        eps: of Charbonnier's loss.

    Returns:
        A scalar; MPRNet adds it with weight 0.05 for deblurring and deraining.

    Raises:
        ValueError: shapes differ or are not (b, c, h, w), or eps is not above 0.

    Source: Zamir et al. 2021, arXiv:2102.02808, eq. 3.
    """
    check_batch(restored, "edge_loss")
    restored, target = check_pair(restored, target)
    # The Laplacian is linear, so that one of the difference does.
    with torch.autocast(restored.device.type, enabled=False):
        edges = laplacian(restored - target)
        return charbonnier_loss(edges, torch.zeros_like(edges), eps=eps)
