"""Make the pictures of model cards that the gallery does not show, from the bundled weights.

    python docs/card_pictures.py

The gallery shows the models that serve tasks by default; here come the others, before, after and original of one photograph.
Run it after docs/gallery.py whenever weights change.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from torch import Tensor

import restoralib
from restoralib.comparison import enlarge_to, side_by_side
from restoralib.evaluation.generators import GENERATORS
from restoralib.images import Picture, read_image, write_image
from restoralib.metrics import to_8_bits
from restoralib.ops import resize
from restoralib.zoo import list_models, model_info

DOCS = Path(__file__).parent
SIZE = (144, 216)  # a multiple of 2, 3 and 4


def spoil(clean: Tensor, task: str) -> tuple[Tensor, Tensor]:
    """What a model of a task gets of a clean image, and that in the clean one's size."""
    if task.startswith("sr"):
        small = to_8_bits(resize(clean, 1 / int(task.removeprefix("sr"))))
        return small, to_8_bits(enlarge_to(small, SIZE))
    strength = {"denoise": 25.0, "jpeg": 10.0}.get(task)
    spoilt = to_8_bits(GENERATORS[task](clean.double(), np.random.default_rng(0), strength).image.float())
    return spoilt, spoilt


def main() -> None:
    """Write the pictures, and delete those of models that are gone or in the gallery."""
    cards = runpy.run_path(str(DOCS / "cards.py"))
    gallery = cards["gallery_pictures"]((DOCS / "gallery.md").read_text(encoding="utf-8"))
    wanted = {
        name: model_info(name).tasks[0]
        for name in list_models(bundled=True)
        if not {name} & (gallery.keys() | cards["ELSEWHERE"].keys() | cards["NONE"].keys())
    }
    for old in (DOCS / "pictures").glob("card_*.webp"):
        old.unlink()
    clean = read_image(DOCS.parent / "examples" / "chelsea.png").color[:, 60 : 60 + SIZE[0], 110 : 110 + SIZE[1]]
    for name, task in wanted.items():
        given, before = spoil(clean, task)
        after = to_8_bits(restoralib.restore(given, name))
        picture = Picture(side_by_side([before, after, clean]))
        write_image(DOCS / "pictures" / f"card_{name}.webp", picture, quality=80)


if __name__ == "__main__":
    main()
