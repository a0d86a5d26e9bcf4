"""Runners of the goldens of resizing, kernels and filters, by `operator`; goldens/degradation.py says what a runner is."""

from __future__ import annotations

from functools import partial

import torch
from goldens.degradation import Check, Entry, Golden, Runner, check_close, like
from torch import Tensor

from restoralib.ops import resize


def imresize(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert (entry["kernel"], entry["a"], entry["input_scaling"]) == ("cubic", -0.5, "1/255"), entry
    levels = {None: None, "final": None, "each_pass": 255}[entry["rounding"]]
    resized = resize(golden.image(entry["input"]), entry["scale"], antialias=entry["antialiasing"], levels=levels)
    return like(resized, golden.tensors[name])


def check_imresize(ours: Tensor, stored: Tensor, entry: Entry) -> float:
    """Rounded results may differ by one level where the float lies on a tie, and nowhere else."""
    if entry["rounding"] is None:
        return check_close(ours, stored, entry)
    assert stored.dtype == torch.uint8
    exact = ours.clamp(0, 1) * 255
    on_tie = ((exact % 1) - 0.5).abs() < 1e-9
    differ = exact.round() != stored
    assert not (differ & ~on_tie).any()
    assert (exact - stored).abs().max() < 1
    return 0.0


OPERATORS: dict[str, Runner] = {
    "imresize": imresize,
}
CHECKS: dict[str, Check] = {
    "imresize": check_imresize,
} | dict.fromkeys((), partial(check_close, tolerance=1e-6))
