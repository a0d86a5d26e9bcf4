"""Spoil photographs in each of the nine ways, and write pairs, their records and a contact sheet.

    python examples/make_pairs.py [FOLDER] [--out pairs] [--seed 0]

For every photograph and task there are OUT/TASK/NAME.png, and OUT/TASK/NAME.json, the record from which the degraded image can
be made again from the clean one in OUT/clean; OUT/sheet_NAME.png shows all of them, the clean photograph first.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from restoralib.data.photographs import read_photographs
from restoralib.degradations import PAIRED_TASKS, degraded_pair, rebuild, round_to_levels
from restoralib.images import Picture, write_image

COLUMNS = 5


def sheet(images: list[Tensor]) -> Tensor:
    """Images (3, h, w) of one size in rows of five with white between them."""
    height, width = images[0].shape[-2:]
    rows = -(-len(images) // COLUMNS)
    whole = torch.ones(3, rows * (height + 6) - 6, COLUMNS * (width + 6) - 6)
    for number, image in enumerate(images):
        top, left = number // COLUMNS * (height + 6), number % COLUMNS * (width + 6)
        whole[:, top : top + height, left : left + width] = image
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent)
    parser.add_argument("--out", type=Path, default=Path("pairs"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    generator = torch.Generator().manual_seed(arguments.seed)
    for folder in ("clean", *PAIRED_TASKS):
        (arguments.out / folder).mkdir(parents=True, exist_ok=True)
    for name, levels in read_photographs(arguments.folder).items():
        clean = levels[None] / 255
        write_image(arguments.out / "clean" / f"{name}.png", Picture(clean[0]))
        shown = [clean[0]]
        for task in PAIRED_TASKS:
            pair = degraded_pair(clean, generator, tasks=(task,), count=(1, 1))
            degraded = round_to_levels(pair.degraded)
            write_image(arguments.out / task / f"{name}.png", Picture(degraded[0]))
            note = arguments.out / task / f"{name}.json"
            note.write_text(json.dumps(pair.record, indent=1) + "\n", encoding="utf-8")
            again = rebuild(json.loads(note.read_text(encoding="utf-8")))(clean)
            assert torch.equal(again, pair.degraded), "a record gives its picture again"
            shown.append(degraded[0])
        write_image(arguments.out / f"sheet_{name}.png", Picture(sheet(shown)))
        print(f"{name}: {len(shown) - 1} pairs; {arguments.out / f'sheet_{name}.png'}")


if __name__ == "__main__":
    main()
