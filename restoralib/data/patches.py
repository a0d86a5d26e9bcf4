"""Random patches of pairs, cut and turned alike on both sides, and the seeds that make them reproducible."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from restoralib.data.photographs import random_corner, random_integer, turn
from restoralib.degradations import pad_border


def pair_generator(seed: int, item: int | str) -> torch.Generator:
    """The source of all randomness of one pair: it depends on the seed and on the item, and on no worker and no order."""
    digest = hashlib.sha256(f"{seed}:{item}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def mirrored_to(image: Tensor, height: int, width: int) -> Tensor:
    """The image, mirrored at its right and lower edge (the edge repeated) until it has the size; larger sides stay.

    Shapes: (c, h, w) -> (c, max(h, height), max(w, width)).
    """
    below, right = max(0, height - image.shape[-2]), max(0, width - image.shape[-1])
    return pad_border(image, (0, right, 0, below), "symmetric")


def check_size(size: int | None) -> None:
    """Refuse a side of patches that is none; None stands for whole images.

    Raises:
        ValueError: it is below 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"size, the side of a patch, should be at least 1, or None for whole images, got {size}")


def random_patch(image: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A square patch at a random place, not turned: (c, h, w) -> (c, size, size). Smaller images are mirrored first."""
    image = mirrored_to(image, size, size)
    top, left = random_corner(image, size, generator)
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
    top, left = random_corner(degraded, size, generator)
    degraded = degraded[:, top : top + size, left : left + size]
    clean = clean[:, scale * top : scale * (top + size), scale * left : scale * (left + size)]
    if turned:
        kind = random_integer(8, generator)
        degraded, clean = turn(degraded, kind), turn(clean, kind)
    return degraded, clean
