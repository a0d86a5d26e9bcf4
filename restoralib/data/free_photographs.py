"""Photographs with free licences that installed packages bring along; nothing is downloaded, and none of them is shipped here.

Each is in the public domain, under CC0, or under CC-BY, which asks for the author's name and for nothing else. Photographs
whose page or package does not say so are left out, and so are those under share-alike licences.
"""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restoralib.data.reading import DatasetError, decode, fault
from restoralib.ops.resize import resize

logger = logging.getLogger(__name__)

EXAMPLES = ("chelsea", "coffee")
"""Photographs by which the documentation shows what restorers do; not to be trained on."""

CUT = 512
"""Longest side, in pixels, of the pieces into which large photographs are cut."""


@dataclass(frozen=True)
class FreePhotograph:
    """A photograph in a package.

    Args:
        name: in file names.
        package: the Python package, as it is imported, or `deb:` and the Debian package.
        file: within the package; for Debian's, from the root directory on.
        credit: who made it, as a licence wants it said.
        license: SPDX identifier, or "public domain".
        stated: where the licence is stated.
        reduce: factor by which it is made smaller, so that the traces of its JPEG file or of its sensor go.
    """

    name: str
    package: str
    file: str
    credit: str
    license: str
    stated: str
    reduce: int = 1


def _skimage(name: str, suffix: str, credit: str, license: str, reduce: int = 1) -> FreePhotograph:
    return FreePhotograph(name, "skimage", f"data/{name}{suffix}", credit, license, f"skimage.data.{name}", reduce)


def _lomiri(file: str, credit: str, license: str = "CC-BY-4.0") -> FreePhotograph:
    package = "lomiri-wallpapers-16.04"
    name = file.partition("_by_")[0].lower()
    stated = f"usr/share/doc/{package}/copyright"
    return FreePhotograph(name, f"deb:{package}", f"usr/share/backgrounds/{file}.jpg", credit, license, stated, 3)


FREE_PHOTOGRAPHS: tuple[FreePhotograph, ...] = (
    _skimage("astronaut", ".png", "NASA", "public domain"),
    _skimage("brick", ".png", "CC0Textures (Bricks25)", "CC0-1.0"),
    _skimage("camera", ".png", "Lav Varshney", "CC0-1.0"),
    _skimage("chelsea", ".png", "Stefan van der Walt", "CC0-1.0"),
    _skimage("coffee", ".png", "Rachel Michetti, Pikolo Espresso Bar", "CC0-1.0"),
    _skimage("grass", ".png", "linolafett", "CC0-1.0"),
    _skimage("gravel", ".png", "CC0Textures (Gravel04)", "CC0-1.0"),
    _skimage("retina", ".jpg", "Mikael Häggström", "CC0-1.0", 2),
    _skimage("rocket", ".jpg", "SpaceX", "public domain", 2),
    FreePhotograph(
        "china", "sklearn", "datasets/images/china.jpg", "danielbuechele", "CC-BY-2.0", "sklearn/datasets/images/README.txt"
    ),
    FreePhotograph(
        "flower", "sklearn", "datasets/images/flower.jpg", "vultilion", "CC-BY-2.0", "sklearn/datasets/images/README.txt"
    ),
    FreePhotograph(
        "grace_hopper",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        "United States Navy",
        "public domain",
        "a work of the United States government",
        2,
    ),
    FreePhotograph("ascent", "pywt", "data/ascent.npz", "public-domain-image.com", "public domain", "pywt.data.ascent"),
    _lomiri("Picture_0B_by_freespace", 'Trevor "Freespace"'),
    _lomiri("Picture_1A_by_freespace", 'Trevor "Freespace"'),
    _lomiri("Wine_by_Jakkub_Mede", "Jakub Mede"),
    _lomiri("aitzgorri_by_Aitzol_Berasategi", "Aitzol Berasategi"),
    _lomiri("friends_by_Aitzol_Berasategi", "Aitzol Berasategi"),
    _lomiri("life_by_Aitzol_Berasategi", "Aitzol Berasategi"),
    _lomiri("picosdeeuropa_by_Aitzol_Berasategi", "Aitzol Berasategi"),
    _lomiri("seeding_by_Clements_Engelhardt", "Clemens Engelhardt", "CC0-1.0"),
    _lomiri("sunset_by_Aitzol_Berasategi", "Aitzol Berasategi"),
)


def find_photographs(
    *, exclude: Sequence[str] = EXAMPLES, root: str | Path = "/"
) -> Iterator[tuple[FreePhotograph, dict[str, Tensor]]]:
    """The free photographs of the packages that are installed; those of others are logged and left out.

    Args:
        exclude: glob patterns of names that are left out.
        root: where Debian packages are installed, or were unpacked by `dpkg --extract`.

    Yields:
        A photograph, and its pieces by name: (3, h, w), uint8, of at most `CUT` pixels a side.
    """
    for photograph in FREE_PHOTOGRAPHS:
        if any(fnmatch(photograph.name, pattern) for pattern in exclude):
            continue
        path = _place(photograph, Path(root))
        if path is None:
            logger.info("left out %s: %s is not installed", photograph.name, photograph.package)
            continue
        try:
            image = _read(path)
        except DatasetError as error:
            logger.warning("left out %s: %s", photograph.name, error)
            continue
        yield photograph, _cut(_reduced(image, photograph.reduce), photograph.name)


def credits_table(photographs: Sequence[FreePhotograph]) -> str:
    """Names, authors, licences and where these are stated, a line each, for people."""
    return "".join(
        f"{photograph.name}: {photograph.credit}, {photograph.license} ({photograph.stated}), from {photograph.package}\n"
        for photograph in photographs
    )


def _place(photograph: FreePhotograph, root: Path) -> Path | None:
    """The file of a photograph; None where its package is not installed."""
    if photograph.package.startswith("deb:"):
        path = root / photograph.file
        return path if path.is_file() else None
    spec = importlib.util.find_spec(photograph.package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(folders[0], photograph.file) if folders else None


def _read(path: Path) -> Tensor:
    """An image (3, h, w), uint8."""
    if path.suffix == ".npz":
        if not path.is_file():
            raise DatasetError(f"{path} is missing")
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            pixels = torch.from_numpy(np.asarray(arrays["data"], np.uint8))[None]
    else:
        if reason := fault(path):
            raise DatasetError(f"{path} {reason}")
        pixels = decode(path.read_bytes(), str(path))
    return pixels.expand(3, -1, -1)


def _reduced(image: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return image
    return resize(image.float(), 1 / factor).round().clamp(0, 255).to(torch.uint8)


def _cut(image: Tensor, name: str) -> dict[str, Tensor]:
    """Pieces of equal size, as few as `CUT` allows."""
    rows, columns = (-(-side // CUT) for side in image.shape[1:])
    height, width = image.shape[1] // rows, image.shape[2] // columns
    pieces = {
        f"{name}_{row}{column}": image[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row in range(rows)
        for column in range(columns)
    }
    return pieces if len(pieces) > 1 else {name: image}
