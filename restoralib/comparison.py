"""Two states of a picture beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from restoralib.ops.resize import resize


def enlarge_to(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge an image by bicubic interpolation to a size that is a whole multiple of its own.

    Args:
        image: (c, h, w) in [0, 1].
        size: (height, width).

    Raises:
        ValueError: the size is not the same whole multiple along both axes.
    """
    height, width = image.shape[-2:]
    scale = size[0] // height
    if scale < 1 or (scale * height, scale * width) != size:
        raise ValueError(f"sizes should be equal or whole multiples, got {height}x{width} and {size[0]}x{size[1]}")
    return image if scale == 1 else resize(image, scale).clamp(0, 1)


def side_by_side(images: Sequence[Tensor], *, gap: int = 8) -> Tensor:
    """Images of one height in a row on white, from left to right.

    Args:
        images: (c, h, w) each, in [0, 1]; grey ones (c = 1) are shown in colour.
        gap: white columns between them, in pixels.

    Returns:
        (3, h, width of all), in [0, 1].
    """
    colored = [image.expand(3, -1, -1) for image in images]
    white = torch.ones_like(colored[0][:, :, :1]).expand(-1, -1, gap)
    columns = [column for image in colored for column in (white, image)]
    return torch.cat(columns[1:], dim=2)
