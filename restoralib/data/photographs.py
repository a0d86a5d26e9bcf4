"""A folder of clean photographs, held in memory as bytes, and random patches of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from restoralib.data.reading import IMAGE_SUFFIXES, image_files, read_pixels, to_image
from restoralib.ops.levels import nearest_levels

T = TypeVar("T")


def read_photographs(folder: str | Path, *, exclude: Sequence[str] = (), keep_gray: bool = False) -> dict[str, Tensor]:
    """Read all photographs of a folder, sorted by name.

    Args:
        folder: a directory with PNG, JPEG, WebP, BMP or TIFF files.
        exclude: glob patterns of file names that are left out.
        keep_gray: give grey files one channel instead of three equal ones.

    Returns:
        Name without suffix -> image (3, h, w), or (1, h, w), uint8. Deeper files are rounded to 8 bits with a warning.

    Raises:
        FileNotFoundError: the folder does not exist or holds no image.
        DatasetError: a file is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a directory; pass a folder of photographs")
    photographs = {}
    for path in image_files(folder):
        if not any(path.match(pattern) for pattern in exclude):
            pixels = read_pixels(path)
            if pixels.dtype != torch.uint8:
                warnings.warn(f"{path} has more than 8 bits a channel, which are rounded to 8", stacklevel=2)
                pixels = nearest_levels(to_image(pixels, keep_gray=True)).to(torch.uint8)
            photographs[path.stem] = pixels if keep_gray else pixels.expand(3, -1, -1).contiguous()
    if not photographs:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return photographs


def split(items: Sequence[T], every: int = 40) -> tuple[list[T], list[T]]:
    """Hold out every 40th item, the first one included: (held out, the rest)."""
    return list(items[::every]), [item for number, item in enumerate(items) if number % every]


def random_integer(high: int, generator: torch.Generator) -> int:
    """A uniform whole number below `high`."""
    return int(torch.randint(high, (), generator=generator))


def random_corner(image: Tensor, size: int, generator: torch.Generator) -> tuple[int, int]:
    """Row and column where a square patch begins that lies in an image."""
    top = random_integer(image.shape[-2] - size + 1, generator)
    return top, random_integer(image.shape[-1] - size + 1, generator)


def turn(image: Tensor, kind: int) -> Tensor:
    """One of the eight flips and quarter turns of the last two axes; kind 0 changes nothing."""
    if kind & 1:
        image = image.flip(-1)
    return image.rot90(kind >> 1, (-2, -1))


def random_patches(images: Sequence[Tensor], size: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw square patches from random images at random places, flipped and turned at random.

    Args:
        images: (c, h, w) each, at least `size` high and wide.
        size: side of a patch.
        count: number of patches.
        generator: source of all randomness.

    Returns:
        (count, c, size, size), of the images' type.
    """
    patches = []
    for _ in range(count):
        image = images[random_integer(len(images), generator)]
        top, left = random_corner(image, size, generator)
        patch = image[:, top : top + size, left : left + size]
        patches.append(turn(patch, random_integer(8, generator)))
    return torch.stack(patches)
