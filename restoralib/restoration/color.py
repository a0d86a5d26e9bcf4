"""Pictures for networks that take other channels, and the colours under transparent pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.archs.spec import NetSpec
from restoralib.ops.color import rgb_to_ycbcr, ycbcr_to_rgb
from restoralib.ops.resize import resize

_BLACK, _RANGE = 16 / 255, 219 / 255  # of BT.601's luma


def check_channels(spec: NetSpec, channels: int) -> None:
    """Raise ValueError where `restore_channels` has no way from the picture's channels to the network's."""
    if channels == spec.in_channels or ({channels, spec.in_channels} <= {1, 3} and spec.in_channels == spec.out_channels):
        return
    raise ValueError(
        f"the network takes {spec.in_channels} channels, the image has {channels}; "
        "tensors are (c, h, w) or (b, c, h, w), arrays (h, w, c)"
    )


def restore_channels(network: Callable[[Tensor], Tensor], spec: NetSpec, image: Tensor) -> Tensor:
    """Restore grey and colour by a network for either.

    A network of luma gets the luma, and the chroma is enlarged beside it by bicubic interpolation. A grey network restores the
    channels of a colour image one by one. A colour network gets three equal channels of a grey image, and the mean of its
    three is taken.

    Shapes: (b, c, h, w) -> (b, c, s h, s w).
    """
    channels = image.shape[1]
    if spec.color == "y":
        if channels == 1:
            return (network(_BLACK + _RANGE * image) - _BLACK) / _RANGE
        ycbcr = rgb_to_ycbcr(image)
        chroma = resize(ycbcr[:, 1:], spec.scale) if spec.scale > 1 else ycbcr[:, 1:]
        return ycbcr_to_rgb(torch.cat((network(ycbcr[:, :1]), chroma), 1))
    if channels == spec.in_channels:
        return network(image)
    if channels == 1:
        restored = network(image.expand(-1, spec.in_channels, -1, -1))
        first = restored[:, :1]
        return first + (restored - first).mean(1, keepdim=True)  # The mean, without rounding where all are equal.
    restored = network(image.flatten(0, 1).unsqueeze(1))
    return restored.view(-1, channels, *restored.shape[-2:])


def color_hidden(color: Tensor, alpha: Tensor) -> Tensor:
    """Give fully transparent pixels the colour of what is visible near them, so that a network spreads no hidden colour.

    Visible pixels are averaged, weighted by alpha, over blocks that double in size until every block sees one.

    Shapes: (b, c, h, w) and (b, 1, h, w) -> (b, c, h, w).
    """
    seen = alpha > 0
    if seen.all() or not seen.any() or max(color.shape[-2:]) == 1:
        return color
    weight = F.avg_pool2d(alpha, 2, ceil_mode=True, count_include_pad=False)
    coarse = F.avg_pool2d(color * alpha, 2, ceil_mode=True, count_include_pad=False) / weight.clamp(min=1e-12)
    coarse = color_hidden(coarse, weight)
    enlarged = coarse.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : color.shape[-2], : color.shape[-1]]
    return torch.where(seen, color, enlarged)
