"""Simple ways to make a large latent of tiles, to compare temporal tiling with: none of them lets tiles see each other.

Averaging where tiles overlap at every step (MultiDiffusion, arXiv:2302.08113); tiles that share only the noise they begin with;
and a small picture of the whole that all tiles have to agree with, in the manner of DemoFusion (arXiv:2311.16973), but for
networks without skip connections: the low frequencies of the clean estimate are those of the small picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from restoralib.diffusion.denoiser import Denoiser, denoiser
from restoralib.diffusion.flow import Flow
from restoralib.diffusion.guidance import Unguided
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.sampling import Step, sample
from restoralib.diffusion.tiled import tiled
from restoralib.latent.temporal_tiling import block_causal, network_time, patch_of
from restoralib.latent.tile_plan import TilePlan
from restoralib.ops.resize import resize


def whole_denoiser(
    net: nn.Module,
    text: Tensor,
    *,
    mask: Tensor | None = None,
    condition: Tensor | None = None,
    guidance: Tensor | float | None = None,
) -> Denoiser:
    """A denoiser of `Flow` for the samplers that shows a network of velocities the whole latent.

    Args:
        net: a SanaTransformer or SanaDenoiser.
        text: vectors of the text, (b or 1, m, d).
        mask: which vectors of the text count, (b or 1, m).
        condition: the degraded latents for a SanaDenoiser.
        guidance: scale of guidance, for networks that are told it.
    """

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        plan = TilePlan(((0, x.shape[-2]),), ((0, x.shape[-1]),))
        return block_causal(net, x, time, text, plan, mask=mask, condition=condition, guidance=guidance)[0]

    return denoiser(velocity, Flow(), "velocity", time=network_time)


def overlap_denoiser(
    net: nn.Module,
    text: Tensor,
    tile: int | tuple[int, int],
    overlap: int,
    *,
    mask: Tensor | None = None,
    condition: Tensor | None = None,
    guidance: Tensor | float | None = None,
) -> Denoiser:
    """A denoiser of `Flow` for the samplers that averages what the network says of tiles, each alone, at every step.

    Args:
        net: a SanaTransformer or SanaDenoiser.
        text: vectors of the text, (b or 1, m, d).
        tile: side, or (height, width), of a tile in samples of the latent.
        overlap: samples that neighbours share at least.
        mask: which vectors of the text count, (b or 1, m).
        condition: the degraded latents for a SanaDenoiser.
        guidance: scale of guidance, for networks that are told it.

    Raises:
        ValueError: when called, the tile is not larger than its overlap.
    """

    def at(rows: slice, columns: slice) -> Denoiser:
        part = None if condition is None else condition[..., rows, columns]
        return whole_denoiser(net, text, mask=mask, condition=part, guidance=guidance)

    return tiled(at, tile, overlap=overlap, multiple=patch_of(net))


def sample_apart(
    denoise_at: Callable[[slice, slice], Denoiser],
    x: Tensor,
    tiles: TilePlan,
    times: Tensor | Iterable[float],
    step: Step,
    *,
    noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
) -> Tensor:
    """Sample every tile for itself and blend the results along straight lines.

    Args:
        denoise_at: the denoiser of a tile, for its rows and columns.
        x: the state at the first time. One for the whole latent: tiles share the noise where they overlap. Or one of a
            tile's size, with which every tile begins.
        tiles: the plan.
        times: as for `sample`.
        step: makes one step.
        noise: as for `sample`; drawn tile by tile.

    Raises:
        ValueError: x is neither of the plan's size nor of that of all its tiles.
    """
    same = tuple(x.shape[-2:]) != tiles.size
    if same and any(tile.grid != tuple(x.shape[-2:]) for tile in tiles):
        raise ValueError(
            f"the state should be of the plan's size {tiles.size}, or of that of every tile, got {tuple(x.shape[-2:])}"
        )
    levels = times if isinstance(times, Tensor) else list(times)
    out = x.new_zeros(*x.shape[:2], *tiles.size)
    for tile, weight in zip(tiles, tiles.weights(x), strict=True):
        rows, columns = slice(*tile.rows), slice(*tile.columns)
        start = x if same else x[tile.place]
        out[tile.place] += weight * sample(denoise_at(rows, columns), start, levels, step, noise=noise)
    return out


@dataclass
class GlobalGuide(Unguided):
    """The clean estimate takes its low frequencies from a small picture of the whole: x0 + strength (up(small) - low(x0)).

    low(x0) reduces to the small picture's size and enlarges again.

    Args:
        small: latents of the whole, (b, c, h', w'), as sampled at a size that the network sees at once.
        strength: how much of the low frequencies is replaced, from 0 to 1.
        until: the last time at which this is done is above it; later steps are free to place details.
    """

    small: Tensor
    strength: float = 1.0
    until: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength should be in [0, 1], got {self.strength}")

    def on_x0(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The clean estimate with the guide's low frequencies."""
        if t <= self.until or not self.strength:
            return x0
        size = (x0.shape[-2], x0.shape[-1])
        little = resize(x0, size=(self.small.shape[-2], self.small.shape[-1]))
        return x0 + self.strength * resize(self.small - little, size=size)


def reduced_noise(noise: Tensor, factor: int) -> Tensor:
    """Noise for the small picture that agrees with that of the large one: sums over squares, divided to variance 1.

    Args:
        noise: standard normal, (b, c, h, w).
        factor: side of the squares; divides both sides.

    Raises:
        ValueError: it does not.
    """
    if factor < 1 or any(side % factor for side in noise.shape[-2:]):
        raise ValueError(f"factor should divide both sides of {tuple(noise.shape)}, got {factor}")
    return torch.nn.functional.avg_pool2d(noise, factor) * factor
