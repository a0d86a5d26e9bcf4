"""One state for the whole picture, tiles only for the network: a diffusion in bounded memory, without seams."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from restoralib.diffusion.denoiser import Denoised, Denoiser
from restoralib.ops.tile import blend_weights, plan_tiles


def tiled(
    denoise_at: Callable[[slice, slice], Denoiser],
    tile: int | tuple[int, int],
    *,
    overlap: int = 32,
    multiple: int = 1,
    device: torch.device | str | None = None,
) -> Denoiser:
    """A denoiser that shows the network one tile after the other, and blends what it says of the clean image.

    The state, and with it the noise of every step, is one for the whole picture; so tiles agree on what they draw, and
    differences of their borders are averaged at every step (MultiDiffusion, arXiv:2302.08113).

    Args:
        denoise_at: the denoiser of a tile, for its rows and columns, from which a condition can be cut:
            `lambda rows, columns: denoiser(bind(net, y[..., rows, columns]), process)`.
        tile: side, or (height, width), of what the network sees.
        overlap: pixels that tiles share.
        multiple: tiles begin at multiples of this, where they can.
        device: where tiles go; None for where the state is.

    Raises:
        ValueError: the tile is not larger than its overlap.
    """
    height, width = (tile, tile) if isinstance(tile, int) else tile

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        rows = plan_tiles(x.shape[-2], min(height, x.shape[-2]), overlap, multiple)
        columns = plan_tiles(x.shape[-1], min(width, x.shape[-1]), overlap, multiple)
        down = blend_weights(rows, overlap // 4, x.dtype)
        across = blend_weights(columns, overlap // 4, x.dtype)
        x0, variance = torch.zeros_like(x), None
        for (top, bottom), weight_down in zip(rows, down, strict=True):
            for (left, right), weight_across in zip(columns, across, strict=True):
                place = (..., slice(top, bottom), slice(left, right))
                said = denoise_at(slice(top, bottom), slice(left, right))(x[place].to(device or x.device), t)
                weight = (weight_down[:, None] * weight_across).to(x.device)
                x0[place] += said.x0.to(x) * weight
                if said.variance is not None:
                    variance = torch.zeros_like(x) if variance is None else variance
                    variance[place] += said.variance.to(x) * weight
        return Denoised(x0, variance)

    return denoise
