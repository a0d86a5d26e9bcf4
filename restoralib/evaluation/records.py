"""What is kept on disk of each image, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.evaluation.results import ImageFigures, image_from_json, image_to_json, write_text


def safe_name(name: str) -> str:
    """A file name for the name of an image: itself, where all systems take it, else with a part of its digest."""
    plain = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).strip(".")[:80]
    reserved = re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", plain, re.IGNORECASE)
    if plain == name and not reserved:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def digest(*images: Tensor | None) -> str:
    """The pixels of images, in one word."""
    total = hashlib.sha256()
    for image in images:
        if image is not None:
            total.update(repr((tuple(image.shape), str(image.dtype))).encode())
            total.update(image.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        total.update(b"|")
    return total.hexdigest()


def digest_of_model(model: Callable[..., Any] | str) -> str:
    """A model in one word: class, weights and configuration of a module, the fields of a record; the name of anything else."""
    if is_dataclass(model) and all(_plain(getattr(model, field.name)) for field in fields(model)):
        return repr(model)
    if not isinstance(model, nn.Module):
        return model if isinstance(model, str) else f"{getattr(model, '__module__', '')}.{getattr(model, '__qualname__', '')}"
    total = hashlib.sha256(f"{type(model).__qualname__} {getattr(model, 'spec', None)!r}".encode())
    for key, value in model.state_dict().items():
        total.update(key.encode())
        if isinstance(value, Tensor):
            total.update(digest(value).encode())
    return total.hexdigest()[:16]


def _plain(value: object) -> bool:
    return value is None or isinstance(value, int | float | str)


@dataclass(frozen=True)
class Records:
    """A folder with one small file an image.

    Args:
        folder: the evaluation's.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | os.PathLike[str], about: Mapping[str, Any]) -> Records:
        """Begin in an empty folder, or go on in one of the same model, data, protocol and settings.

        Raises:
            ValueError: the folder holds another run's results.
        """
        folder = Path(folder)
        try:
            (folder / "images").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot make the folder {folder} ({error.strerror}); name another output") from error
        file = folder / "run.json"
        if not file.exists():
            write_text(file, json.dumps(about, indent=1) + "\n")
            return cls(folder)
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            known = None
        if not isinstance(known, dict):
            raise ValueError(f"{file} is damaged; remove it or name another output")
        for name, value in _flat(json.loads(json.dumps(about))).items():
            if _flat(known).get(name) != value:
                raise ValueError(
                    f"{folder} holds results of another run: {name.replace('_', ' ')} was {_flat(known).get(name)!r} and is "
                    f"{value!r} now; name another output"
                )
        return cls(folder)

    def file(self, name: str) -> Path:
        """The file of an image's figures."""
        return self.folder / "images" / f"{safe_name(name)}.json"

    def find(self, name: str, key: str, metrics: Iterable[str], *, pictures: bool, sheets: bool) -> ImageFigures | None:
        """The figures of an image, where all that is asked for is there and its pixels are the same; else None."""
        try:
            entry = json.loads(self.file(name).read_text(encoding="utf-8"))
            stored = image_from_json(entry, tuple(metrics))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        kinds = [*(("input", "restored") if pictures else ()), *(("sheet",) if sheets else ())]
        there = all(kind in stored.pictures and (self.folder / stored.pictures[kind]).is_file() for kind in kinds)
        same = entry.get("pixels") == key and stored.name == name
        return stored if same and there and set(stored.figures) == set(metrics) else None

    def add(self, figures: ImageFigures, key: str) -> None:
        """Keep the figures of an image; the file is there whole or not at all."""
        write_text(self.file(figures.name), json.dumps({**image_to_json(figures), "pixels": key}, allow_nan=False) + "\n")


def _flat(about: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in about.items() if name != "settings"}, **about.get("settings", {})}
