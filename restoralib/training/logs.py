"""What a run tells of itself: a CSV of its figures, pictures of its validation, and TensorBoard's files where asked for."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


class Log:
    """Figures of a run in `log.csv`, pictures in `pictures/`, and both in TensorBoard's files, all in one folder.

    Args:
        folder: made where it is missing.
        step: the step from which the run goes on; figures of later steps, which it will write again, are dropped.
        tensorboard: write its files, too.

    Raises:
        ImportError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, step: int = 0, tensorboard: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder, folder / "log.csv"
        self.rows: list[dict[str, str]] = []
        if self.file.exists():
            with self.file.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if (row.get("step") or "").isdecimal()]
            self.rows = [row for row in rows if int(row["step"]) <= step]
        self.board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ModuleNotFoundError as error:
                raise ImportError(
                    f"TensorBoard's files need {error.name}; pip install tensorboard, or leave them out"
                ) from error
            self.board = SummaryWriter(str(folder), purge_step=step + 1)  # type: ignore[no-untyped-call]

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Write the figures of a step; the file is there whole at any time."""
        self.rows.append({"step": str(step), **{name: f"{value:.6g}" for name, value in figures.items()}})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        temporary = self.file.with_name(self.file.name + ".part")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(temporary, self.file)
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(name, value, step)
            self.board.flush()

    def pictures(self, step: int, pictures: Mapping[str, Tensor]) -> None:
        """Write pictures (c, h, w) in [0, 1] as PNG files, named by step and name."""
        from restoralib.images import Picture, write_image

        for name, picture in pictures.items():
            path = self.folder / "pictures" / f"{step:07d}_{name}.png"
            path.parent.mkdir(exist_ok=True)
            write_image(path, Picture(picture.detach().float().cpu().clamp(0, 1)))
            if self.board is not None:
                self.board.add_image(name, picture.detach().float().cpu().clamp(0, 1), step)

    def close(self) -> None:
        """End TensorBoard's files."""
        if self.board is not None:
            self.board.close()
