"""A small network, and folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from restoralib.archs import NAFNet


def small_net() -> NAFNet:
    """A NAFNet with random weights that changes every pixel."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NAFNet(width=4, middle_blk_num=1, enc_blk_nums=(1,), dec_blk_nums=(1,))
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


def write_images(folder: Path, count: int = 6, size: tuple[int, int] = (24, 20), suffix: str = ".png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    paths = [folder / f"{number:03}{suffix}" for number in range(count)]
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)
    return paths


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder that are not hidden, and their bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
