"""Put trained weights into `restoralib/weights` and keep its manifest.

    python -m restoralib.training.bundle fsrcnn_x4 x4.safetensors --commit 1a2b3c
    python -m restoralib.training.bundle --figures figures.json

The first form copies a file that `export_weights` wrote and enters it under its name; the second enters the figures that
`python -m restoralib.evaluation EVAL_FOLDER --bm3d --json` measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open

WEIGHTS = Path(__file__).parents[1] / "weights"

_DATA = (
    "394 photographs of at most 512x512: DIV2K test and validation images reduced (100 + 6), Sun-Hays 80 reduced, RealSR "
    "validation reduced (25), example tiles of traiNNer-redux (9), BSDS500 training part reduced (174)"
)
_TERMS = (
    "Trained on research data: DIV2K and RealSR for academic research, BSDS500 for non-commercial research and education, "
    "Sun-Hays 80 from Flickr for research. Whether weights inherit such terms is unsettled; use them for research."
)
_COMMON = {
    "code_license": "Apache-2.0",
    "weights_license": "LicenseRef-research-data",
    "data": _DATA,
    "terms": _TERMS,
}
ENTRIES: dict[str, dict[str, Any]] = {
    "fsrcnn_x2": {"tasks": ["sr2"], "scale": 2, "recipe": "restoralib.training.super_resolution --scale 2"},
    "fsrcnn_x3": {"tasks": ["sr3"], "scale": 3, "recipe": "restoralib.training.super_resolution --scale 3"},
    "fsrcnn_x4": {"tasks": ["sr4"], "scale": 4, "recipe": "restoralib.training.super_resolution --scale 4"},
    "nafnet_denoise": {"tasks": ["denoise", "auto"], "scale": 1, "recipe": "restoralib.training.denoise"},
}


def read_manifest() -> list[dict[str, Any]]:
    """The entries of the manifest; empty where there is none yet."""
    path = WEIGHTS / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else []


def write_manifest(entries: list[dict[str, Any]]) -> None:
    """Write the entries, sorted by name."""
    text = json.dumps(sorted(entries, key=lambda entry: entry["name"]), indent=2)
    (WEIGHTS / "manifest.json").write_text(text + "\n")


def add(name: str, file: Path, *, commit: str, recipe: str | None = None) -> None:
    """Copy a weights file into the package and enter it.

    Args:
        name: one of ENTRIES.
        file: written by `export_weights`.
        commit: the commit whose recipe trained it.
        recipe: the command that trained it, where it differs from the recipe's defaults.
    """
    target = WEIGHTS / f"{name}.safetensors"
    shutil.copyfile(file, target)
    with safe_open(target, "pt") as weights:
        metadata = weights.metadata()
        parameters = sum(weights.get_tensor(key).numel() for key in weights.keys())  # noqa: SIM118 - safe_open is no mapping
    entry = {
        "name": name,
        "file": target.name,
        "arch": metadata["arch"],
        "cls": metadata["class"],
        "config": json.loads(metadata["config"]),
        **ENTRIES[name],
        "parameters": parameters,
        "bytes": target.stat().st_size,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        **_COMMON,
        "commit": commit,
        "figures": {},
    }
    if recipe:
        entry["recipe"] = recipe
    write_manifest([*(other for other in read_manifest() if other["name"] != name), entry])


def record_figures(rows: list[dict[str, Any]]) -> None:
    """Enter measured figures: data set and protocol -> measure -> value, with the PSNR of what the weights are compared with."""
    entries = read_manifest()
    for entry in entries:
        kind = f"x{entry['scale']}" if entry["scale"] > 1 else "sigma"
        figures: dict[str, dict[str, float]] = {}
        for row in rows:
            if kind in row["protocol"].split():
                measures = figures.setdefault(f"{row['dataset']}, {row['protocol']}", {})
                if row["method"].endswith("(bundled)"):
                    measures |= {"psnr": round(row["psnr"], 2), "ssim": round(row["ssim"], 4)}
                else:
                    measures[f"psnr of {row['method']}"] = round(row["psnr"], 2)
        entry["figures"] = figures
    write_manifest(entries)


def main(arguments: list[str] | None = None) -> None:
    """Add weights or figures with command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=sorted(ENTRIES))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--commit", default="")
    parser.add_argument("--recipe")
    parser.add_argument("--figures", type=Path)
    options = parser.parse_args(arguments)
    if options.name and options.file:
        add(options.name, options.file, commit=options.commit, recipe=options.recipe)
    elif options.figures:
        record_figures(json.loads(options.figures.read_text()))
    else:
        parser.error("name a model and its file, or --figures")


if __name__ == "__main__":
    main()
