"""Neighbor2Neighbor: a network learns to denoise from single noisy images, whose neighbouring pixels stand in for a pair."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from restoralib.losses._inputs import check_batch
from restoralib.losses.pixel import mse_loss
from restoralib.ops.precision import full_precision

# Places in a cell of 2x2, numbered by rows, and their neighbours along a side.
_PAIRS = torch.tensor([(0, 1), (1, 0), (0, 2), (2, 0), (1, 3), (3, 1), (2, 3), (3, 2)])


def neighbor_choice(image: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draw two neighbours of each cell of 2x2 pixels, the same in all channels.

    Args:
        image: (b, c, h, w), of which only size and device count.
        generator: source of randomness, on the CPU.

    Returns:
        Two tensors of places in the cells, (b, h // 2, w // 2), for `pick_neighbors`.
    """
    b, _, h, w = image.shape
    drawn = _PAIRS[torch.randint(len(_PAIRS), (b, h // 2, w // 2), generator=generator)].to(image.device)
    return drawn[..., 0], drawn[..., 1]


def pick_neighbors(image: Tensor, places: Tensor) -> Tensor:
    """One pixel of each cell of 2x2; an odd last row or column is left out: (b, c, h, w) -> (b, c, h // 2, w // 2)."""
    b, c, h, w = image.shape
    cells = image[..., : h // 2 * 2, : w // 2 * 2].reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 2, 4, 3, 5).flatten(-2)
    return cells.gather(-1, places[:, None, :, :, None].expand(-1, c, -1, -1, 1)).squeeze(-1)


def neighbor2neighbor_loss(
    net: Callable[[Tensor], Tensor], noisy: Tensor, *, gamma: float = 2.0, generator: torch.Generator | None = None
) -> Tensor:
    """Squared error between one half-size image, denoised, and its neighbour, plus a term that neighbours differ without noise.

    With g1 and g2 the two half-size images of neighbouring pixels and f the network, the loss is the mean of
    (f(g1 y) - g2 y)^2 plus gamma times that of (f(g1 y) - g2 y - (g1 f(y) - g2 f(y)))^2, where no gradient goes through f(y).

    Args:
        net: denoises (b, c, h, w) of any even size.
        noisy: (b, c, h, w), at least 2 high and wide; its noise should be independent from pixel to pixel and without bias.
        gamma: weight of the second term; the paper lets it rise to 2, for real photographs to 16.
        generator: source of randomness, on the CPU.

    Returns:
        A scalar; float32 for images of half precision.

    Raises:
        ValueError: the images are not (b, c, h, w), or smaller than a cell.

    Source: Huang et al. 2021, arXiv:2101.02824, equation 13.
    """
    check_batch(noisy, "neighbor2neighbor_loss")
    if min(noisy.shape[-2:]) < 2:
        raise ValueError(f"neighbor2neighbor_loss needs images of at least 2x2 pixels, got {tuple(noisy.shape)}")
    with torch.no_grad():
        denoised = full_precision(net(noisy))
    first, second = neighbor_choice(noisy, generator)
    restored, target = full_precision(net(pick_neighbors(noisy, first))), full_precision(pick_neighbors(noisy, second))
    apart = pick_neighbors(denoised, first) - pick_neighbors(denoised, second)
    return mse_loss(restored, target) + gamma * mse_loss(restored - target, apart)
