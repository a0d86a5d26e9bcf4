"""Sets in MATLAB's files: SIDD's blocks (MAT 5) and DND's photographs (MAT 7.3, which is HDF5), and the files to hand in."""

from __future__ import annotations

import base64
import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restoralib.data.entry import Entry, Problem
from restoralib.data.finding import Found, Places, Request, faults, find_pairs
from restoralib.data.reading import DatasetError, nothing_there
from restoralib.ops.levels import nearest_levels

Array = np.ndarray[Any, Any]

SIDD_IMAGES, SIDD_BLOCKS, SIDD_SIDE = 40, 32, 256
DND_IMAGES, DND_BOXES, DND_SIDE = 50, 20, 512


@dataclass(frozen=True)
class MatBlock:
    """One block of an array (images, blocks, h, w, 3) in a MAT 5 file, whose name the array bears."""

    path: Path
    image: int
    block: int

    def read(self) -> Tensor:
        """The block's pixels; the whole array stays in memory until another file is read."""
        array = _mat_array(self.path, self.path.stat().st_mtime_ns if self.path.exists() else 0)
        return torch.from_numpy(np.ascontiguousarray(array[self.image, self.block].transpose(2, 0, 1)))

    def fault(self) -> str | None:
        """Whether the file is there and has its array's head."""
        return _mat_fault(self.path)


@dataclass(frozen=True)
class Hdf5Box:
    """A box of an image (3, w, h) that an HDF5 file stores transposed."""

    path: Path
    variable: str
    top: int
    left: int
    bottom: int
    right: int

    def read(self) -> Tensor:
        """The box's pixels, (3, h, w)."""
        with _hdf5(self.path) as file:
            if self.variable not in file:
                raise DatasetError(f"{self.path} has no {self.variable}, but {', '.join(file)}")
            stored = file[self.variable]
            shape = stored.shape
            if len(shape) != 3 or shape[0] != 3 or shape[1] < self.right or shape[2] < self.bottom:
                raise DatasetError(f"{self.path} holds an image of {shape}, in which {self} does not lie")
            try:
                box = stored[:, self.left : self.right, self.top : self.bottom]
            except (OSError, ValueError, TypeError) as error:
                raise DatasetError(f"{self.path} is damaged or not whole ({error})") from error
        box = np.ascontiguousarray(box.transpose(0, 2, 1))
        return torch.from_numpy(box if box.dtype == np.uint8 else box.astype(np.float32))

    def fault(self) -> str | None:
        """Whether the file is there and whole by its HDF5 head."""
        return _hdf5_fault(self.path)


def find_sidd(request: Request) -> Found:
    """SIDD: blocks of the validation and the benchmark, or Medium's full photographs for training."""
    if request.split == "train":
        stems = ("*_GT_SRGB_{name}", "*_NOISY_SRGB_{name}")
        return find_pairs(request, [Places("Data/*", "Data/*", *stems), Places("*", "*", *stems)])
    word = request.split.capitalize()
    noisy = request.root / f"{word}NoisyBlocksSrgb.mat"
    truth = request.root / f"{word}GtBlocksSrgb.mat" if request.split == "validation" else None
    files = [noisy] if truth is None else [noisy, truth]
    if not any(file.exists() for file in files):
        raise DatasetError(f"{request.root} holds none of {', '.join(file.name for file in files)}")
    shapes = {file: _mat_shapes(file)[file.stem] for file in files if _mat_fault(file) is None}
    images, blocks = next(iter(shapes.values()))[:2] if shapes else (SIDD_IMAGES, SIDD_BLOCKS)
    entries = [
        Entry(
            f"{image:02d}_{block:02d}",
            MatBlock(noisy, image, block),
            None if truth is None else MatBlock(truth, image, block),
            {"image": image, "block": block},
        )
        for image in range(images)
        for block in range(blocks)
    ]
    problems = faults(entries)
    if len(set(shapes.values())) > 1:
        sizes = " and ".join(f"{shape} in {file.name}" for file, shape in shapes.items())
        problems.append(Problem(request.root, f"holds arrays of different shapes, {sizes}"))
    return Found(entries, problems, " + ".join(file.name for file in files))


def find_dnd(request: Request) -> Found:
    """DND: 20 boxes of each of 50 photographs, whose places info.mat tells."""
    info = request.root / "info.mat"
    if reason := _hdf5_fault(info):
        raise DatasetError(f"{info} {reason}; it tells which boxes of DND's photographs count")
    entries = []
    for number, boxes in enumerate(_dnd_boxes(info), 1):
        file = request.root / "images_srgb" / f"{number:04d}.mat"
        for place, (top, left, bottom, right) in enumerate(boxes, 1):
            box = Hdf5Box(file, "InoisySRGB", int(top) - 1, int(left) - 1, int(bottom), int(right))
            entries.append(Entry(f"{number:04d}_{place:02d}", box, None, {"image": number, "box": place}))
    return Found(entries, faults(entries), "images_srgb/0001.mat + info.mat")


def write_sidd_submission(path: str | os.PathLike[str], restored: Iterable[Tensor]) -> None:
    """Write what SIDD's benchmark takes: all blocks in the order of `open_benchmark("sidd", ..., split="benchmark")`.

    Args:
        path: a .csv (columns ID from 0, and BLOCK: the bytes of the block in base64) or a .mat file (`DenoisedBlocksSrgb`).
        restored: the blocks, (3, 256, 256) in [0, 1]; they are clamped and rounded to 8 bits.

    Raises:
        ValueError: the suffix is another one, or a block has another shape.
        DatasetError: there are not 1280 blocks.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".mat"):
        raise ValueError(f"SIDD takes .csv or .mat, got {path.name!r}")
    blocks = [_to_8_bits(block, SIDD_SIDE, number) for number, block in enumerate(restored)]
    if len(blocks) != SIDD_IMAGES * SIDD_BLOCKS:
        raise DatasetError(f"SIDD's benchmark has {SIDD_IMAGES * SIDD_BLOCKS} blocks, got {len(blocks)}; hand in all of them")
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="ascii") as file:
            writer = csv.writer(file)
            writer.writerow(["ID", "BLOCK"])
            writer.writerows([number, base64.b64encode(block.tobytes()).decode()] for number, block in enumerate(blocks))
    else:
        array = np.stack(blocks).reshape(SIDD_IMAGES, SIDD_BLOCKS, SIDD_SIDE, SIDD_SIDE, 3)
        _scipy_io().savemat(path, {"DenoisedBlocksSrgb": array}, do_compression=True)


def write_dnd_submission(folder: str | os.PathLike[str], restored: Iterable[Tensor]) -> None:
    """Write what DND's server takes: a file for each photograph, with its 20 boxes.

    Args:
        folder: where 0001.mat to 0050.mat go; it is made.
        restored: the boxes in the order of `open_benchmark("dnd", ...)`, (3, 512, 512) in [0, 1]; they are clamped, and not
            rounded.

    Raises:
        ValueError: a box has another shape.
        DatasetError: there are not 1000 boxes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cells, count = np.empty(DND_BOXES, dtype=object), 0
    for count, box in enumerate(restored, 1):
        pixels = _checked(box, DND_SIDE, count - 1).clamp(0, 1).permute(1, 2, 0)
        cells[(count - 1) % DND_BOXES] = np.ascontiguousarray(pixels.cpu().numpy(), dtype=np.float32)
        if count % DND_BOXES == 0:  # One photograph at a time: all of them take 3 GB.
            parts = {"Idenoised": cells, "israw": False, "eval_version": "1.0"}
            _scipy_io().savemat(folder / f"{count // DND_BOXES:04d}.mat", parts, do_compression=True)
    if count != DND_IMAGES * DND_BOXES:
        raise DatasetError(f"DND has {DND_IMAGES * DND_BOXES} boxes, got {count}; {folder} is not to be handed in like this")


def _checked(image: Tensor, side: int, number: int) -> Tensor:
    if image.shape != (3, side, side) or not image.is_floating_point():
        raise ValueError(
            f"block {number} should be floating point of shape (3, {side}, {side}), got {image.dtype} {tuple(image.shape)}"
        )
    return image.detach()


def _to_8_bits(image: Tensor, side: int, number: int) -> Array:
    levels = nearest_levels(_checked(image, side, number)).to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()


@lru_cache(maxsize=2)  # The noisy and the clean array; the time of change is part of the key.
def _mat_array(path: Path, changed: int) -> Array:
    if reason := _mat_fault(path):
        raise DatasetError(f"{path} {reason}")
    try:
        array = _scipy_io().loadmat(path, variable_names=[path.stem])[path.stem]
    except MemoryError:
        raise
    except Exception as error:  # scipy raises nearly anything on damaged files.
        raise DatasetError(f"{path} is damaged or not whole ({error})") from error
    array.flags.writeable = False
    return array  # type: ignore[no-any-return]


def _mat_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape, _ in _scipy_io().whosmat(path)}


def _mat_fault(path: Path) -> str | None:
    if reason := nothing_there(path):
        return reason
    try:
        shapes = _mat_shapes(path)
    except ImportError:
        raise
    except Exception as error:
        return f"is damaged or no MAT 5 file ({error})"
    if len(shapes.get(path.stem, ())) != 5:
        return f"holds no array {path.stem} of images, blocks, rows, columns and colours, but {shapes or 'nothing'}"
    return None


@lru_cache(maxsize=4)
def _dnd_boxes_cached(path: Path, changed: int) -> tuple[tuple[tuple[float, ...], ...], ...]:
    found = []
    with _hdf5(path) as file:
        try:
            info = file["info"]
            for reference in np.asarray(info["boundingboxes"]).reshape(-1):
                boxes = np.asarray(info[reference]).T
                found.append(tuple(tuple(float(number) for number in box) for box in boxes))
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path} has no info/boundingboxes as DND's info.mat has ({error})") from error
    return tuple(found)


def _dnd_boxes(path: Path) -> tuple[tuple[tuple[float, ...], ...], ...]:
    return _dnd_boxes_cached(path, path.stat().st_mtime_ns)


def _hdf5_fault(path: Path) -> str | None:
    if reason := nothing_there(path):
        return reason
    try:
        with _hdf5(path):
            return None
    except DatasetError as error:
        return str(error).removeprefix(f"{path} ")


def _hdf5(path: Path) -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ImportError(f'{path.name} needs h5py; pip install "restoralib[data]"') from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = "is missing" if not path.exists() else f"is damaged, not whole, or no HDF5 file ({error})"
        raise DatasetError(f"{path} {reason}") from error


def _scipy_io() -> Any:
    try:
        import scipy.io
    except ModuleNotFoundError as error:
        raise ImportError('MAT files need scipy; pip install "restoralib[data]"') from error
    return scipy.io
