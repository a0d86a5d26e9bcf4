"""Runners of the goldens of formation models: one a value of `operator`; goldens/degradation.py says what a runner is."""

from __future__ import annotations

import re

from goldens.degradation import Check, Entry, Golden, Runner, like
from torch import Tensor

from restoralib.degradations.haze import haze
from restoralib.degradations.moire import moire_camera, moire_screen
from restoralib.degradations.motion import frame_average
from restoralib.degradations.rain import rain
from restoralib.degradations.reflection import defocused, reflection

FLIPS = {
    "both axes": (-2, -1),
    "vertical": (-2,),
    "upside": (-2,),
    "axis 0": (-2,),
    "horizontal": (-1,),
    "left": (-1,),
    "axis 1": (-1,),
}
PADDINGS = {"wrap": "circular", "mirror": "reflect", "zero": "zeros", "constant": "zeros", "edge": "replicate"}


def run_haze(golden: Golden, name: str, entry: Entry) -> Tensor:
    airlight = entry["airlight"]
    airlight = tuple(airlight) if isinstance(airlight, list) else airlight
    depth = golden.tensors[entry["depth"]].double()
    return like(haze(golden.image(entry["input"]), depth, entry["beta"], airlight), golden.tensors[name])


def run_frame_average(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert entry["wrap"], "only periodic shifts are defined"
    clean = golden.image(entry["input"])
    down, right = entry["shift_per_frame"]
    frames = (clean.roll((i * down, i * right), (-2, -1)) for i in range(entry["frames"]))
    return like(frame_average(frames, entry["gamma"]), golden.tensors[name])


def run_rain(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert entry["mode"] == "screen" or entry.get("clip", True), "the sum is clipped; the other cannot leave [0, 1]"
    layer = golden.tensors[entry["layer"]].double()
    layer = layer if layer.ndim == 2 else layer.permute(2, 0, 1)
    return like(rain(golden.image(entry["input"]), layer, entry["mode"]), golden.tensors[name])


def run_reflection(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert entry["clip"], "reflection clips"
    clean, reflected = golden.image(entry["input"]), entry["reflected"]
    if reflected in golden.tensors:
        layer = golden.image(reflected)
    else:
        source, _, how = reflected.partition(" flipped ")
        flips = [axes for words, axes in FLIPS.items() if words in how]
        assert len(flips) == 1, f"cannot tell what {reflected!r} is"
        layer = golden.image(source).flip(flips[0])
    padding = PADDINGS.get(entry["padding"], entry["padding"])
    layer = defocused(layer, entry["sigma"], size=entry["kernel_size"], padding=padding)
    return like(reflection(clean, layer, entry["transmission_weight"], entry["reflection_weight"]), golden.tensors[name])


def run_moire_screen(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert entry["mosaic"] == "channel c only in columns c mod 3", entry["mosaic"]
    height, width = entry["crop"]
    return like(moire_screen(golden.image(entry["input"])[..., :height, :width], entry["enlarge"]), golden.tensors[name])


def run_moire_camera(golden: Golden, name: str, entry: Entry) -> Tensor:
    assert (entry["interpolation"], entry["outside"]) == ("bilinear", 0), entry
    # Row and column, as in `crop`, unless the formula places the same numbers the other way round.
    row, column = entry["centre"]
    by_axis = [re.search(rf"\b{axis}\s*-\s*([\d.]+)", entry.get("formula", "")) for axis in "yx"]
    if all(by_axis) and [float(found[1]) for found in by_axis if found] == [column, row]:
        row, column = column, row
    camera = moire_camera(
        golden.image(entry["input"]),
        entry["angle"],
        entry["zoom"],
        center=(row, column),
        decimate=entry["decimate"],
        gain=entry["gain"],
    )
    return like(camera, golden.tensors[name])


OPERATORS: dict[str, Runner] = {
    "haze": run_haze,
    "frame_average": run_frame_average,
    "rain": run_rain,
    "reflection": run_reflection,
    "moire_screen": run_moire_screen,
    "moire_camera": run_moire_camera,
}
CHECKS: dict[str, Check] = {}  # where the comparison is another than 1e-5 of the largest value
