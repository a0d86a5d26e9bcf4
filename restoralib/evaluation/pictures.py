"""Pictures of a result: input, restored image, target, and where they differ."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from restoralib.comparison import side_by_side
from restoralib.evaluation.records import safe_name
from restoralib.images import Picture, write_image
from restoralib.ops.resize import resize

FULL_ERROR = 0.2  # what the error map shows in white


def error_map(restored: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference of the channels, from black over red and yellow to white at `FULL_ERROR`.

    Shapes: (c, h, w) twice -> (3, h, w), in [0, 1].
    """
    heat = (restored - target).abs().mean(0) / FULL_ERROR * 3
    return torch.stack([heat - step for step in range(3)]).clamp(0, 1)


def fit(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image in another size, by bicubic interpolation: (c, h, w) -> (3, *size), in [0, 1]."""
    if tuple(image.shape[-2:]) != size:
        image = resize(image, size=size)
    return image.clamp(0, 1).expand(3, -1, -1)


def sheet(given: Tensor, restored: Tensor, target: Tensor | None) -> Tensor:
    """Input, restored image, target and error map in a row; the last two only where there is a target of the same size.

    Shapes: (c, h, w) each -> (3, h, width of all).
    """
    size = (restored.shape[-2], restored.shape[-1])
    row = [fit(given, size), fit(restored, size)]
    if target is not None and target.shape[-2:] == restored.shape[-2:]:
        row += [fit(target, size), error_map(row[1], fit(target, size))]
    return side_by_side(row)


def write_pictures(
    folder: Path, name: str, given: Tensor, restored: Tensor, target: Tensor | None, *, pictures: bool, sheets: bool
) -> dict[str, str]:
    """Write pictures of a result below a folder.

    Args:
        folder: the evaluation's.
        name: of the image.
        given: what the model got, (1, c, h, w).
        restored: what it gave.
        target: the truth, or None.
        pictures: write the images themselves, as WebP in the restored image's size.
        sheets: write `sheet`, as PNG.

    Returns:
        "input", "restored", "target", "sheet" -> the file, relative to the folder.
    """
    files: dict[str, str] = {}
    size = (restored.shape[-2], restored.shape[-1])
    if pictures:
        (folder / "pictures").mkdir(exist_ok=True)
        for kind, image in (("input", given), ("restored", restored), ("target", target)):
            if image is not None:
                files[kind] = f"pictures/{safe_name(name)}.{kind}.webp"
                write_image(folder / files[kind], Picture(fit(image[0].float(), size)), quality=92)
    if sheets:
        (folder / "sheets").mkdir(exist_ok=True)
        files["sheet"] = f"sheets/{safe_name(name)}.png"
        row = sheet(given[0].float(), restored[0].float(), None if target is None else target[0].float())
        write_image(folder / files["sheet"], Picture(row))
    return files
