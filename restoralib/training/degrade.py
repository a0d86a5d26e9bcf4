"""Degradations by the words of a command line: "sr4", "denoise:25", "jpeg:10-40", "derain", "mixed"."""

from __future__ import annotations

import re
from functools import partial

from restoralib.data.training_pairs import Degrade
from restoralib.degradations import JPEG, PAIRED_TASKS, GaussianNoise, PairedDegradation, draw_task


def find_degradation(text: str) -> Degrade:
    """What draws the degradation that a text names, for `draw_pair`.

    "sr2", "sr3", ... reduce by MATLAB's bicubic kernel and round to 8 bits. "denoise" and "jpeg" take a strength behind a
    colon, one number or a range: sigma of 255, and the quality. The other tasks of `PAIRED_TASKS` have none; "mixed" draws one
    to three of them all.

    Raises:
        ValueError: the text names none.
    """
    name, colon, strength = text.partition(":")
    numbers = [float(number) for number in strength.split("-")] if re.fullmatch(r"[\d.]+(-[\d.]+)?", strength) else []
    if re.fullmatch(r"sr[1-9]\d*", name) and not colon:
        return int(name[2:])
    if name == "denoise" and numbers:
        return partial(GaussianNoise.draw, sigma=(numbers[0], numbers[-1]))
    if name == "jpeg" and numbers:
        return partial(JPEG.draw, quality=(round(numbers[0]), round(numbers[-1])))
    if name in PAIRED_TASKS and not colon:
        return partial(draw_task, name)
    if text == "mixed":
        return PairedDegradation.draw
    raise ValueError(
        f"unknown degradation {text!r}; choose sr2, sr3, sr4, mixed, {', '.join(PAIRED_TASKS)}, with a strength denoise:25 or "
        "jpeg:10-40"
    )


def scale_of(degrade: Degrade) -> int:
    """How many times smaller it makes images."""
    return degrade if isinstance(degrade, int) else 1
