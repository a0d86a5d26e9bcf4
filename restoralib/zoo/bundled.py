"""The weights that come with the package, as their manifest lists them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restoralib.archs import ARCHITECTURES, Variant
from restoralib.zoo.published import Published


@dataclass(frozen=True)
class Bundled:
    """A model whose weights are in the package.

    Args:
        variant: class, arguments and tasks.
        offer: licences, terms, data and figures.
        file: the weights.
        sha256: of the file's bytes.
        serves: what `restore` takes the model for where it is asked for a task; others are there by their names alone.
        latent: what a denoiser of latents restores images with: "autoencoder", the name of the bundled one whose latents it
            knows; "degradation", its text; "steps" and "least". Empty for others.
    """

    variant: Variant
    offer: Published
    file: Path
    sha256: str
    serves: tuple[str, ...]
    latent: Mapping[str, Any]


def read_manifest(folder: Path) -> dict[str, Bundled]:
    """The models of a folder's `manifest.json`, by name; none where it has no such file."""
    return {entry["name"]: _read_entry(entry, folder) for entry in read_entries(folder)}


def read_entries(folder: Path) -> list[dict[str, Any]]:
    """The entries of a folder's `manifest.json` as they stand there; none where it has no such file."""
    manifest = folder / "manifest.json"
    entries: list[dict[str, Any]] = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else []
    return entries


def _read_entry(entry: Mapping[str, Any], folder: Path) -> Bundled:
    classes = {cls.__name__: cls for cls in ARCHITECTURES[entry["arch"]].classes}
    variant = Variant(classes[entry["cls"]], entry["config"], tuple(entry["tasks"]))
    page = f"bundled ({entry['file']})"
    licences = (entry["code_license"], entry["weights_license"])
    offer = Published(page, *licences, entry["data"], entry["figures"], entry["terms"])
    return Bundled(variant, offer, folder / entry["file"], entry["sha256"], tuple(entry["serves"]), entry.get("latent", {}))
