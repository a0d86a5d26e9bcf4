"""Random patches of pairs, cut and turned alike on both sides, and the seeds that make them reproducible."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from restoralib.data.photographs import random_integer, turn


def pair_generator(seed: int, item: int | str) -> torch.Generator:
    """The source of all randomness of one pair: it depends on the seed and on the item, and on no worker and no order."""
    digest = hashlib.sha256(f"{seed}:{item}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def mirrored_to(image: Tensor, height: int, width: int) -> Tensor:
    """The image, mirrored at its right and lower edge (the edge repeated) until it has the size; larger sides stay.

    Shapes: (c, h, w) -> (c, max(h, height), max(w, width)).
    """
    for axis, size in ((-2, height), (-1, width)):
        length = image.shape[axis]
        if length < size:
            places = torch.arange(size) % (2 * length)
            image = image.index_select(axis, torch.where(places < length, places, 2 * length - 1 - places))
    return image


def random_patch(image: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A square patch at a random place, not turned: (c, h, w) -> (c, size, size). Smaller images are mirrored first."""
    image = mirrored_to(image, size, size)
    top = random_integer(image.shape[-2] - size + 1, generator)
    left = random_integer(image.shape[-1] - size + 1, generator)
    return image[:, top : top + size, left : left + size]


def random_patch_pair(
    degraded: Tensor, clean: Tensor, size: int, generator: torch.Generator, *, turned: bool = True
) -> tuple[Tensor, Tensor]:
    """The same random patch of both images of a pair, flipped and turned alike.

    Args:
        degraded: (c, h, w).
        clean: (c, s*h, s*w).
        size: side of the degraded patch. Smaller images are mirrored first.
        generator: source of all randomness.
        turned: draw one of the eight flips and quarter turns, too.

    Returns:
        (c, size, size) and (c, s*size, s*size).

    Raises:
        ValueError: the clean image's sides are no multiple of the degraded one's.
    """
    scale = clean.shape[-1] // degraded.shape[-1]
    if scale < 1 or clean.shape[-2:] != (degraded.shape[-2] * scale, degraded.shape[-1] * scale):
        raise ValueError(
            f"the clean image's sides should be a multiple of the degraded one's, got {tuple(clean.shape[-2:])} for "
            f"{tuple(degraded.shape[-2:])}; check that they belong together"
        )
    degraded = mirrored_to(degraded, size, size)
    clean = mirrored_to(clean, scale * size, scale * size)
    top = random_integer(degraded.shape[-2] - size + 1, generator)
    left = random_integer(degraded.shape[-1] - size + 1, generator)
    degraded = degraded[:, top : top + size, left : left + size]
    clean = clean[:, scale * top : scale * (top + size), scale * left : scale * (left + size)]
    if turned:
        kind = random_integer(8, generator)
        degraded, clean = turn(degraded, kind), turn(clean, kind)
    return degraded, clean
