"""A folder of clean photographs, held in memory as bytes, and random patches of them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from restoralib.data.reading import IMAGE_SUFFIXES, DatasetError, fault, image_files, read_pixels, to_image
from restoralib.ops.levels import nearest_levels

logger = logging.getLogger(__name__)

T = TypeVar("T")


def read_photographs(
    folder: str | Path, *, exclude: Sequence[str] = (), keep_gray: bool = False, skip_damaged: bool = False
) -> dict[str, Tensor]:
    """Read all photographs of a folder, sorted by name.

    Args:
        folder: a directory with PNG, JPEG, WebP, BMP or TIFF files.
        exclude: glob patterns of file names that are left out.
        keep_gray: give grey files one channel instead of three equal ones.
        skip_damaged: report damaged files to the log and leave them out.

    Returns:
        Name without suffix -> image (3, h, w), or (1, h, w), uint8. Deeper files are rounded to 8 bits with a warning.

    Raises:
        FileNotFoundError: the folder does not exist or holds no image.
        DatasetError: a file is damaged, and is not to be left out.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a directory; pass a folder of photographs")
    photographs = {}
    for path in image_files(folder):
        if not any(path.match(pattern) for pattern in exclude):
            try:
                pixels = read_pixels(path)
            except DatasetError as error:
                if not skip_damaged:
                    raise
                logger.warning("left out: %s", error)
                continue
            if pixels.dtype != torch.uint8:
                warnings.warn(f"{path} has more than 8 bits a channel, which are rounded to 8", stacklevel=2)
                pixels = nearest_levels(to_image(pixels, keep_gray=True)).to(torch.uint8)
            photographs[path.stem] = pixels if keep_gray else pixels.expand(3, -1, -1).contiguous()
    if not photographs:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return photographs


class Photographs(Sequence[Tensor]):
    """Photographs of files, read when they are wanted and kept while there is room.

    A file that cannot be read is reported once, and the next one that can stands in for it.

    Args:
        files: image files.
        room: bytes of pixels that are kept; what is beyond is read anew each time.

    Raises:
        DatasetError: no file can be used; here by first and last bytes, later by what reading finds.
    """

    def __init__(self, files: Sequence[Path], *, room: int = 4 * 2**30) -> None:
        self.files = []
        for path in files:
            if reason := fault(path):
                logger.warning("left out: %s %s", path, reason)
            else:
                self.files.append(path)
        if not self.files:
            raise DatasetError(f"none of {len(files)} image files can be read" if files else "there are no photographs")
        self.room = room
        self.kept: dict[int, Tensor] = {}
        self.damaged: set[int] = set()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> Tensor:  # type: ignore[override]
        """A photograph (3, h, w), uint8."""
        if not 0 <= place < len(self):
            raise IndexError(f"there are {len(self)} photographs, not one of number {place}")
        for number in (*range(place, len(self)), *range(place)):
            if number in self.kept:
                return self.kept[number]
            if number in self.damaged:
                continue
            try:
                pixels = read_pixels(self.files[number])
            except DatasetError as error:
                logger.warning("left out: %s", error)
                self.damaged.add(number)
                continue
            if pixels.dtype != torch.uint8:
                pixels = nearest_levels(to_image(pixels, keep_gray=True)).to(torch.uint8)
            pixels = pixels.expand(3, -1, -1).contiguous()
            if pixels.numel() <= self.room:
                self.room -= pixels.numel()
                self.kept[number] = pixels
            return pixels
        raise DatasetError(f"none of the {len(self)} photographs can be read; the first is {self.files[0]}")


def open_photographs(
    folder: str | Path, *, exclude: Sequence[str] = (), room: int = 4 * 2**30
) -> tuple[Photographs, Photographs]:
    """The photographs of a folder for training, without those held out, which `split` chooses by their order.

    Args:
        folder: a directory with PNG, JPEG, WebP, BMP or TIFF files, two at least.
        exclude: glob patterns of file names that are left out.
        room: bytes of pixels that are kept in memory.

    Returns:
        Held out, and the rest.

    Raises:
        FileNotFoundError: the folder does not exist or holds no image.
        DatasetError: fewer than two of its files can be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a directory; pass a folder of photographs")
    files = [path for path in image_files(folder) if not any(path.match(pattern) for pattern in exclude)]
    if not files:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    usable = Photographs(files).files
    if len(usable) < 2:
        raise DatasetError(f"{folder} holds one photograph that can be read; training needs two, one of them to validate on")
    held_out, rest = split(usable)
    return Photographs(held_out, room=room), Photographs(rest, room=room)


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
