"""Put trained weights into `restoralib/weights` and keep its manifest.

    python -m restoralib.training.bundle fsrcnn_x4 x4.safetensors --commit 1a2b3c --data "DIV2K" --terms "for research"
    python -m restoralib.training.bundle --figures figures.json

The first form copies a file that `export_weights` wrote and enters it under its name; the second enters the figures that
`python -m restoralib.evaluation EVAL_FOLDER --bm3d --json` measured. `restoralib.training.cards` enters where models fail.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open

from restoralib.zoo.bundled import read_entries

WEIGHTS = Path(__file__).parents[1] / "weights"

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "_standard.mean", "_standard.spread")

_NINE = ["denoise", "denoise_real", "jpeg", "deblur", "defocus", "derain", "dehaze", "low_light", "demoire"]


def _restorer(tasks: list[str], command: str, serves: list[str] | None = None) -> dict[str, Any]:
    serves = tasks if serves is None else serves
    return {"tasks": tasks, "serves": serves, "scale": 1, "recipe": f"restoralib.training.restorers --task {command}"}


def _enlarger(scale: int, arch: str, serves: list[str]) -> dict[str, Any]:
    recipe = f"restoralib.training.super_resolution --arch {arch} --scale {scale}"
    return {"tasks": [f"sr{scale}"], "serves": serves, "scale": scale, "recipe": recipe}


ENTRIES: dict[str, dict[str, Any]] = {
    "degradation_classifier": {"tasks": ["auto"], "serves": ["auto"], "scale": 1, "recipe": "restoralib.training.classifier"},
    **{f"fsrcnn_x{scale}": _enlarger(scale, "fsrcnn", []) for scale in (2, 3, 4)},
    **{f"rlfn32_x{scale}": _enlarger(scale, "rlfn", [f"sr{scale}"]) for scale in (2, 3, 4)},
    "rlfn32_x4_free": _enlarger(4, "rlfn", ["sr4-free"]),
    "latent_autoencoder": {
        "tasks": [],
        "serves": [],
        "scale": 1,
        "recipe": "restoralib.training.latent --stage autoencoder",
    },
    "latent_denoise": {
        "tasks": ["denoise"],
        "serves": [],
        "scale": 1,
        "recipe": "restoralib.training.latent --stage denoiser",
        "latent": {"autoencoder": "latent_autoencoder", "degradation": "denoise", "steps": 1, "least": 128},
    },
    "nafnet_denoise": {"tasks": ["denoise"], "serves": ["denoise"], "scale": 1, "recipe": "restoralib.training.denoise"},
    "nafnet_denoise_free": _restorer(["denoise"], "denoise", ["denoise-free"]),
    "nafnet_all_in_one": _restorer(_NINE, "mixed", ["all_in_one"]),
    "nafnet_deblur": _restorer(["deblur", "defocus"], "deblur defocus"),
    **{f"nafnet_{task}": _restorer([task], task) for task in _NINE if task not in ("denoise", "deblur", "defocus")},
}


def write_manifest(entries: list[dict[str, Any]]) -> None:
    """Write the entries, sorted by name."""
    text = json.dumps(sorted(entries, key=lambda entry: entry["name"]), indent=2)
    (WEIGHTS / "manifest.json").write_text(text + "\n", encoding="utf-8")


def add(
    name: str,
    file: Path,
    *,
    commit: str,
    data: str,
    terms: str,
    recipe: str | None = None,
    weights_license: str = "LicenseRef-research-data",
) -> None:
    """Copy a weights file into the package and enter it; the tasks that it serves are taken from those that served them.

    What was told of where the model of this name fails stays; figures and bars were those of other weights.

    Args:
        name: one of ENTRIES.
        file: written by `export_weights`.
        commit: the commit whose recipe trained it.
        data: what it was trained on.
        terms: what the terms of that data ask of a user of the weights.
        recipe: the command that trained it, where it differs from the recipe's defaults.
        weights_license: SPDX identifier, by default that of weights of research data.
    """
    target = WEIGHTS / f"{name}.safetensors"
    shutil.copyfile(file, target)
    with safe_open(target, "pt") as weights:
        metadata = weights.metadata()
        keys = [key for key in weights.keys() if not key.endswith(_BUFFERS)]  # noqa: SIM118 - safe_open is no mapping
        parameters = sum(weights.get_tensor(key).numel() for key in keys)
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
        "code_license": "Apache-2.0",
        "weights_license": weights_license,
        "data": data,
        "terms": terms,
        "commit": commit,
        "figures": {},
    }
    if recipe:
        entry["recipe"] = recipe
    known = read_entries(WEIGHTS)
    for other in known:
        if other["name"] == name and "failures" in other:
            entry["failures"] = other["failures"]
    others = [other for other in known if other["name"] != name]
    for other in others:
        other["serves"] = [task for task in other["serves"] if task not in entry["serves"]]
    write_manifest([*others, entry])


def record_figures(rows: list[dict[str, Any]] | dict[str, Any]) -> None:
    """Enter measured figures: data set and protocol -> measure -> value; PSNR also of what the weights are compared with.

    Figures that are no PSNR come ready, by the model's name, as `restoralib.training.classifier --figures` writes them.

    A model has those of the protocols in which its class was measured, and of its scale; one that was not keeps what it has.
    """
    entries = read_entries(WEIGHTS)
    if isinstance(rows, dict):
        for entry in entries:
            entry["figures"] = rows.get(entry["name"], entry["figures"])
        write_manifest(entries)
        return
    for entry in entries:
        own = f"{entry['cls']} (bundled)"
        figures: dict[str, dict[str, float]] = {}
        for protocol in dict.fromkeys(row["protocol"] for row in rows if row["method"] == own):
            if entry["scale"] > 1 and f"x{entry['scale']}" not in protocol.split():
                continue
            for row in rows:
                if row["protocol"] != protocol:
                    continue
                measures = figures.setdefault(f"{row['dataset']}, {protocol}", {})
                if row["method"] == own:
                    measures |= {"psnr": round(row["psnr"], 2), "ssim": round(row["ssim"], 4)}
                else:
                    measures[f"psnr of {row['method']}"] = round(row["psnr"], 2)
        if figures:
            entry["figures"] = figures
    write_manifest(entries)


def main(arguments: list[str] | None = None) -> None:
    """Add weights or figures with command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=sorted(ENTRIES))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--commit", help="the commit whose recipe trained them")
    parser.add_argument("--data", help="what the weights were trained on")
    parser.add_argument("--terms", help="what the terms of that data ask of a user of the weights")
    parser.add_argument("--recipe", help="the command that trained them, where it differs from the recipe's defaults")
    parser.add_argument("--license", default="LicenseRef-research-data", help="SPDX identifier of the weights' licence")
    parser.add_argument("--figures", type=Path, help="measured figures, a JSON file")
    options = parser.parse_args(arguments)
    if options.figures:
        record_figures(json.loads(options.figures.read_text(encoding="utf-8")))
    elif options.name and options.file and options.commit and options.data and options.terms:
        about = {"commit": options.commit, "data": options.data, "terms": options.terms, "recipe": options.recipe}
        add(options.name, options.file, **about, weights_license=options.license)
    else:
        parser.error("name a model, its file, --commit, --data and --terms; or --figures")


if __name__ == "__main__":
    main()
