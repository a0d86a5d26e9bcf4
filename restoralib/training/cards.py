"""Enter into the manifest of the bundled weights what their cards tell beside the figures: failures, and bars to pass.

    python -m restoralib.training.cards about.json

The file has both, or one of them, by the name of the model:

    {"fsrcnn_x4": {"failures": ["Noise and the traces of JPEG are enlarged with the rest."],
                   "bars": [{"set": "Set5, luma-classic x4", "measure": "psnr", "bar": 29.42, "of": "bicubic and 1 dB"}]}}

A bar names a figure that the model has, so that a card never says more than was measured. What `restoralib bars -w bars.json`
measured, figures of the bundled models and their bars, is entered by

    python -m restoralib.training.cards --measured bars.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restoralib.training.bundle import WEIGHTS, write_manifest
from restoralib.zoo.bundled import read_entries

_BAR: dict[str, Any] = {"set": str, "measure": str, "bar": int | float, "of": str}


def check_failures(name: str, failures: Sequence[str]) -> list[str]:
    """Where a model fails, as the manifest keeps it.

    Args:
        name: of the model.
        failures: sentences, one at least.

    Raises:
        ValueError: nothing is told, or not in sentences.
    """
    if isinstance(failures, str) or not failures:
        raise ValueError(f"{name} should have a list of failures; tell of one kind of image at least that it does badly on")
    for failure in failures:
        if not isinstance(failure, str) or not failure[:1].isupper() or not failure.endswith(".") or "\n" in failure:
            raise ValueError(f"a failure of {name} should be one line, from a capital to a full stop, got {failure!r}")
    return list(failures)


def check_bars(
    name: str, bars: Sequence[Mapping[str, Any]], figures: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """What a model was to reach, as the manifest keeps it.

    Args:
        name: of the model.
        bars: "set" and "measure" of a figure of the model, "bar", the least value that passes, and "of", what that is.
        figures: of the model, set -> measure -> value.

    Raises:
        ValueError: keys or types are others, or the model has no such figure.
    """
    for bar in bars:
        if bar.keys() != _BAR.keys() or not all(isinstance(bar[key], kind) for key, kind in _BAR.items()):
            raise ValueError(f"a bar of {name} should have set, measure, bar (a number) and of, got {dict(bar)}")
        if bar["measure"] not in figures.get(bar["set"], {}):
            sets = "; ".join(figures) or "none"
            raise ValueError(f"{name} has no figure {bar['measure']!r} on {bar['set']!r} to hold to a bar; its sets are {sets}")
    return [dict(bar) for bar in bars]


def describe(about: Mapping[str, Mapping[str, Any]]) -> None:
    """Enter where models fail and what they were to reach.

    Args:
        about: name -> "failures", as `check_failures` takes them, or "bars", as `check_bars` does, or both.

    Raises:
        ValueError: a model is not bundled, or something else than these is told; nothing is entered then.
    """
    entries = {entry["name"]: entry for entry in read_entries(WEIGHTS)}
    for name, told in about.items():
        if name not in entries:
            raise ValueError(f"{name} is not bundled; choose among {', '.join(entries)}")
        if not told or told.keys() - {"failures", "bars"}:
            raise ValueError(f"expected failures and bars of {name}, got {', '.join(told) or 'nothing'}")
        if "failures" in told:
            entries[name]["failures"] = check_failures(name, told["failures"])
        if "bars" in told:
            entries[name]["bars"] = check_bars(name, told["bars"], entries[name]["figures"])
    write_manifest(list(entries.values()))


def enter_measured(trials: Sequence[Mapping[str, Any]]) -> None:
    """Enter the figures and the bars of bundled models that `restoralib.evaluation.bars` measured.

    A model keeps what it has of other sets; sets of super-resolution are those of the luma.

    Args:
        trials: the table as `restoralib bars -w FILE.json` writes it.
    """
    entries = {entry["name"]: entry for entry in read_entries(WEIGHTS)}
    for trial in trials:
        images = f"{trial['set']} ({trial['images']} images)"
        if trial["task"].startswith("sr"):
            images = f"{trial['set']}, luma-classic x{trial['task'].removeprefix('sr')}"
        others = {
            f"psnr of {row['method']}": round(row["psnr"], 2) for row in trial["rows"] if row["role"] in ("input", "classical")
        }
        for row in trial["rows"]:
            name = row["method"].rpartition(": ")[2]
            if row["role"] != "model" or name not in entries:
                continue
            own = {"psnr": round(row["psnr"], 2), "ssim": round(row["ssim"], 4)}
            entries[name]["figures"][images] = {**others, **own}
            kept = [bar for bar in entries[name].get("bars", []) if bar["set"] != images]
            bar = {"set": images, "measure": "psnr", "bar": round(trial["bar"]["psnr"], 2), "of": trial["rule"]}
            entries[name]["bars"] = [*kept, bar]
    write_manifest(list(entries.values()))


def main(arguments: list[str] | None = None) -> None:
    """Enter a file of failures and bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("about", type=Path, nargs="?", help="JSON file of failures and bars by the name of the model")
    parser.add_argument("--measured", type=Path, help="JSON file that `restoralib bars` wrote")
    options = parser.parse_args(arguments)
    if not options.about and not options.measured:
        parser.error("name a file of failures and bars, or one that was measured by --measured")
    try:
        if options.measured:
            enter_measured(json.loads(options.measured.read_text(encoding="utf-8")))
        if options.about:
            describe(json.loads(options.about.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
