"""Tiny made-up data sets, and the real ones of ../shared/data/eval, or where RESTORALIB_EVAL_DATA says."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write(path: Path, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Path:
    """An image of (width, height) whose pixels depend on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(sum(path.name.encode()))
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def make(tmp_path):
    """Write images under a folder: `make("HR/a.png", "LR/a.png", size=(16, 16))` gives the folder."""

    def run(*names: str, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Path:
        for name in names:
            write(tmp_path / name, size, mode)
        return tmp_path

    return run


@pytest.fixture
def real():
    """The folder with Set5, Set14, CBSD68 and paired folders."""
    folder = Path(os.environ.get("RESTORALIB_EVAL_DATA") or Path(__file__).parents[3] / "shared" / "data" / "eval")
    if not (folder / "Set5").is_dir():
        pytest.skip(f"needs the sets of {folder}; RESTORALIB_EVAL_DATA names another folder")
    return folder
