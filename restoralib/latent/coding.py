"""Encoding and decoding in parts: tiles of a large image, slices of a batch.

Blended tiles are what every autoencoder allows. The attention of DC-AE then sees a tile only, so that tiles differ a little and
pass into each other over their overlap. Exact tiles give what the whole image gives: the attention's sums are gathered over all
tiles first, each pixel once, and everything else is a convolution, for which a tile brings its surroundings along.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor, nn

from restoralib.archs.dcae import Layer
from restoralib.archs.spec import NetSpec
from restoralib.blocks.linear_attention import LinearState
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.precision import at_least_float32
from restoralib.ops.tile import Span, blend_weights, core_spans, plan_tiles

Place = tuple[Span, Span]
"""Rows and columns of a tile."""


class Autoencoder(Protocol):
    """What encodes and decodes: DCAE, KLAutoencoder and others with these names.

    Args:
        factor: pixels for each latent, along an axis.
        channels: of the latent.
    """

    factor: int
    channels: int

    def encode(self, image: Tensor) -> Tensor:
        """The latent of an image in [-1, 1] whose sides are multiples of `factor`."""

    def decode(self, latent: Tensor) -> Tensor:
        """The image of a latent."""


def tiled_encode(
    autoencoder: Autoencoder,
    image: Tensor,
    *,
    tile: int | tuple[int, int] | None = 32,
    overlap: int = 4,
    exact: bool = False,
    batch: int | None = None,
) -> Tensor:
    """The latent of an image of any size, tile by tile.

    Args:
        autoencoder: whose `encode` is called. Each tile goes to its device; the rest stays where the image is.
        image: (b, c, h, w) in [-1, 1]. Sides that are no multiples of the factor are padded with the last pixels.
        tile: side, or (height, width), of a tile in latents; None for the whole image at once.
        overlap: latents that tiles share. A quarter of it at every cut is not used, the rest is blended.
        exact: the result of the whole image, to rounding, by an autoencoder whose steps are known (DCAE). `tile` is then what
            each pass gives, and what it takes is larger by what the convolutions see; `overlap` is not used. The features of
            the whole image are kept where the image is: 8 values a pixel for the published DC-AE, twice during a pass.
        batch: images at once; None for all.

    Returns:
        (b, channels, ceil(h / factor), ceil(w / factor)), of the type that the autoencoder gives, where the image is.

    Raises:
        ValueError: not an image batch, tiles not larger than their overlap, or `exact` for an autoencoder of unknown steps.
    """
    spec = getattr(autoencoder, "spec", None)
    channels = spec.in_channels if isinstance(spec, NetSpec) else "c"
    if image.ndim != 4 or 0 in image.shape or channels not in ("c", image.shape[1]):
        raise ValueError(f"this autoencoder encodes images (b, {channels}, h, w), got {tuple(image.shape)}")
    factor = autoencoder.factor
    image = pad_to_multiple(image, factor, "replicate")
    plan = _Plan(image.shape[-2] // factor, image.shape[-1] // factor, tile, overlap)
    device = _device(autoencoder, image)
    if exact:
        layers = _layers(autoencoder, "encoder")
        return _in_slices(image, batch, lambda x: _exact(layers, x, plan, device))
    return _in_slices(image, batch, lambda x: _blended(autoencoder.encode, x, plan, factor, 1, device))


def tiled_decode(
    autoencoder: Autoencoder,
    latent: Tensor,
    *,
    tile: int | tuple[int, int] | None = 32,
    overlap: int = 4,
    exact: bool = False,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """The image of a latent of any size, tile by tile.

    Args:
        autoencoder: whose `decode` is called.
        latent: (b, channels, h, w), not scaled.
        tile: as in `tiled_encode`.
        overlap: as in `tiled_encode`.
        exact: as in `tiled_encode`.
        batch: as in `tiled_encode`.
        size: height and width of the image that was encoded, to which the result is cropped; None for all.

    Returns:
        (b, c, factor h, factor w), or `size`, in about [-1, 1], of the type that the autoencoder gives, where the latent is.

    Raises:
        ValueError: another number of channels, tiles not larger than their overlap, a size that the latent does not have, or
            `exact` for an autoencoder of unknown steps.
    """
    if latent.ndim != 4 or 0 in latent.shape or latent.shape[1] != autoencoder.channels:
        raise ValueError(
            f"this autoencoder decodes latents (b, {autoencoder.channels}, h, w), got {tuple(latent.shape)}; "
            "it takes those of its own encoder only"
        )
    rows, columns = latent.shape[-2:]
    factor = autoencoder.factor
    if size is not None and (-(-size[0] // factor), -(-size[1] // factor)) != (rows, columns):
        raise ValueError(
            f"a latent of {rows}x{columns} is that of an image of {factor * (rows - 1) + 1} to {factor * rows} by "
            f"{factor * (columns - 1) + 1} to {factor * columns} pixels, got size={size}"
        )
    plan = _Plan(rows, columns, tile, overlap)
    device = _device(autoencoder, latent)
    if exact:
        layers = _layers(autoencoder, "decoder")
        image = _in_slices(latent, batch, lambda z: _exact(layers, z, plan, device))
    else:
        image = _in_slices(latent, batch, lambda z: _blended(autoencoder.decode, z, plan, 1, factor, device))
    return image if size is None else image[..., : size[0], : size[1]]


class _Plan:
    """Tiles of a latent.

    Args:
        rows: height of the latent.
        columns: its width.
        tile: side, or (height, width), of a tile; None for one.
        overlap: latents that tiles share.
    """

    def __init__(self, rows: int, columns: int, tile: int | tuple[int, int] | None, overlap: int) -> None:
        height, width = (rows, columns) if tile is None else (tile, tile) if isinstance(tile, int) else tile
        if min(height, width) < 1:
            raise ValueError(f"a tile should have one latent at least, got tile={tile}")
        self.rows, self.columns, self.overlap = rows, columns, overlap
        self.tile = min(height, rows), min(width, columns)

    def blended(self, given: int) -> Iterator[tuple[Place, Tensor]]:
        """Overlapping tiles, and the weights of the `given` x `given` samples that each of their latents becomes."""
        axes = []
        for length, tile in zip((self.rows, self.columns), self.tile, strict=True):
            spans = plan_tiles(length, tile, self.overlap)
            margin = given * (self.overlap // 4)
            axes.append([*zip(spans, blend_weights([_scaled(span, given) for span in spans], margin), strict=True)])
        for (row, down), (column, across) in itertools.product(*axes):
            yield (row, column), down[:, None] * across

    def cores(self) -> list[Place]:
        """Tiles that share nothing."""
        rows, columns = (
            core_spans(plan_tiles(length, tile)) for length, tile in zip((self.rows, self.columns), self.tile, strict=True)
        )
        return [*itertools.product(rows, columns)]


def _scaled(span: Span, scale: int | Fraction) -> Span:
    """A span in other samples."""
    return int(span[0] * scale), int(span[1] * scale)


def _cut(x: Tensor, place: Place) -> Tensor:
    """The view of an image at a place."""
    (top, bottom), (left, right) = place
    return x[..., top:bottom, left:right]


def _device(autoencoder: Autoencoder, x: Tensor) -> torch.device:
    """Where the autoencoder is; where `x` is, if nothing tells."""
    parameters = autoencoder.parameters() if isinstance(autoencoder, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), x.device)


def _in_slices(x: Tensor, batch: int | None, code: Callable[[Tensor], Tensor]) -> Tensor:
    """The results of so many images at once, joined."""
    if batch is not None and batch < 1:
        raise ValueError(f"batch should be 1 or more images, got {batch}")
    if batch is None or batch >= len(x):
        return code(x)
    return torch.cat([code(part) for part in torch.split(x, batch)])


def _blended(code: Callable[[Tensor], Tensor], x: Tensor, plan: _Plan, taken: int, given: int, device: torch.device) -> Tensor:
    """Tiles that pass into each other; `taken` and `given` are the samples of a latent before and after, along an axis."""
    total: Tensor | None = None
    dtype = x.dtype
    for place, weight in plan.blended(given):
        part = code(_cut(x, (_scaled(place[0], taken), _scaled(place[1], taken))).to(device))
        if total is None:
            dtype = part.dtype
            shape = (*part.shape[:2], given * plan.rows, given * plan.columns)
            total = torch.zeros(shape, dtype=at_least_float32(dtype), device=x.device)
        _cut(total, (_scaled(place[0], given), _scaled(place[1], given))).add_(part.to(total) * weight.to(total))
    assert total is not None
    return total.to(dtype)


def _layers(autoencoder: Autoencoder, half: str) -> Sequence[Layer]:
    layers = getattr(getattr(autoencoder, half, None), "layers", None)
    if layers is None:
        raise ValueError(
            f"exact=True goes through the {half} step by step, and nothing tells the steps of {type(autoencoder).__name__}; "
            "use a DCAE, or leave exact out"
        )
    return layers()


def _exact(layers: Sequence[Layer], x: Tensor, plan: _Plan, device: torch.device) -> Tensor:
    """All layers, those from one attention to the next in one pass over all tiles."""
    places = plan.cores()
    starts = [0, *(index for index, layer in enumerate(layers) if layer.attention is not None and index), len(layers)]
    for start, stop in itertools.pairwise(starts):
        x = _pass(layers[start:stop], x, places, Fraction(x.shape[-2], plan.rows), device)
    return x


def _pass(layers: Sequence[Layer], x: Tensor, places: Sequence[Place], ratio: Fraction, device: torch.device) -> Tensor:
    """Layers of which only the first may see the whole image: its sums first, then all of them, tile by tile.

    Args:
        layers: the steps.
        x: the features of the whole image.
        places: of the tiles, in latents.
        ratio: samples of `x` for each latent, along an axis.
        device: where tiles go.
    """
    attention, state = layers[0].attention, None
    if attention is not None:
        for place in places:
            tile, (rows, columns) = _surroundings(x, place, ratio, attention.reach, 1)
            state = attention.update(tile.to(device), state, (slice(*rows), slice(*columns)))
    reach, scale, grid = 0, Fraction(1), 1
    for layer in reversed(layers):
        reach = math.ceil(reach / layer.scale) + layer.reach
    for layer in layers:
        scale *= layer.scale
        grid = max(grid, scale.denominator)
    whole: Tensor | None = None
    for place in places:
        tile, core = _surroundings(x, place, ratio, reach, grid)
        part = _run(layers, tile.to(device), state)
        if whole is None:
            sides = (int(scale * side) for side in x.shape[-2:])
            whole = part.new_empty((*part.shape[:2], *sides), device=x.device)
        own = _cut(part, (_scaled(core[0], scale), _scaled(core[1], scale)))
        _cut(whole, (_scaled(place[0], ratio * scale), _scaled(place[1], ratio * scale))).copy_(own)
    assert whole is not None
    return whole


def _surroundings(x: Tensor, place: Place, ratio: Fraction, reach: int, grid: int) -> tuple[Tensor, Place]:
    """A tile with what it sees around it, and where it is in that."""
    taken, cores = [], []
    for span, length in zip(place, x.shape[-2:], strict=True):
        start, stop = _scaled(span, ratio)
        first, last = max(0, start - reach) // grid * grid, min(length, -(-(stop + reach) // grid) * grid)
        taken.append((first, last))
        cores.append((start - first, stop - first))
    return _cut(x, (taken[0], taken[1])), (cores[0], cores[1])


def _run(layers: Sequence[Layer], x: Tensor, state: LinearState | None) -> Tensor:
    for layer in layers:
        x = layer.run(x) if layer.attention is None or state is None else layer.attention.read(x, state)
    return x
