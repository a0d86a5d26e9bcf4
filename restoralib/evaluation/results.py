"""What an evaluation found: figures image by image, means, failures; as JSON and CSV, and back."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restoralib.metrics import Accumulator


@dataclass(frozen=True)
class ImageFigures:
    """The figures of one image.

    Args:
        name: of the image.
        figures: measure -> value; infinite for PSNR of equal images. Measures that failed for this image are not there.
        height: of the restored image.
        width: of the restored image.
        seconds: that restoring took.
        pictures: "input", "restored", "target", "sheet" -> file below the evaluation's folder, where pictures were written.
    """

    name: str
    figures: Mapping[str, float]
    height: int
    width: int
    seconds: float
    pictures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """What could not be measured.

    Args:
        name: of the image or file.
        reason: what was wrong, and how to mend it.
        metric: the only measure that failed; None where the image as a whole did.
    """

    name: str
    reason: str
    metric: str | None = None

    def __str__(self) -> str:
        about = f"{self.name}, {self.metric}" if self.metric else self.name
        return f"{about}: {self.reason}"


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one set.

    Args:
        model: name of the model.
        data: name of the set.
        protocol: how it was measured, a key of `restoralib.metrics.PROTOCOLS`.
        metrics: the measures, keys of `MEASURES`.
        images: figures of each image.
        failures: what could not be measured; it is not in the means.
        settings: scale, noise and all else that decides about the figures.
        environment: versions and machine.
        folder: where pictures and the records for a later run lie; None where nothing was written.
        remarks: what the set says of itself, such as that it has fewer images than the papers' has.
    """

    model: str
    data: str
    protocol: str
    metrics: tuple[str, ...]
    images: tuple[ImageFigures, ...]
    failures: tuple[Failure, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    remarks: tuple[str, ...] = ()

    @property
    def gathered(self) -> Accumulator:
        """Mean, deviation, extremes and counts of each measure."""
        gathered = Accumulator()
        for image in self.images:
            gathered.update(**image.figures)
        return gathered

    @property
    def mean(self) -> dict[str, float]:
        """Means over the images that have the figure: infinite where one is, NaN where one is or where none has it."""
        means = self.gathered.means()
        return {name: means.get(name, math.nan) for name in self.metrics}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the means has to know: infinite and undefined figures, and images that are not in them."""
        notes, summaries = list(self.remarks), self.gathered.summaries()
        total = len(self.images) + sum(failure.metric is None for failure in self.failures)
        if total > len(self.images):
            notes.append(f"{total - len(self.images)} of {total} images failed and are in no mean")
        for name in self.metrics:
            if name not in summaries:
                notes.append(f"{name}: no image has this figure")
                continue
            summary = summaries[name]
            others = f"; the mean of the others is {summary.finite_mean:.6g}" if summary.finite else ""
            if summary.count < len(self.images):
                notes.append(f"{name}: the mean is over {summary.count} of {len(self.images)} images")
            if summary.infinite:
                notes.append(f"{name}: infinite for {summary.infinite} images, which equal their targets{others}")
            if summary.undefined:
                notes.append(f"{name}: not defined for {summary.undefined} images{others}")
        return tuple(notes)

    def to_json(self) -> dict[str, Any]:
        """Plain values as JSON has them; infinite and undefined figures are None, and `notes` tells which they are."""
        return {
            "model": self.model,
            "data": self.data,
            "protocol": self.protocol,
            "settings": dict(self.settings),
            "metrics": list(self.metrics),
            "mean": {name: finite(value) for name, value in self.mean.items()},
            "notes": list(self.notes),
            "remarks": list(self.remarks),
            "images": [image_to_json(image) for image in self.images],
            "failures": [
                {"name": failure.name, "metric": failure.metric, "reason": failure.reason} for failure in self.failures
            ],
            "environment": dict(self.environment),
        }

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json()`, and where the folder is; the file is there whole or not at all."""
        write_evaluations(path, [self])

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line an image, and the means; the file is there whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", *self.metrics, "height", "width", "seconds", "failure"])
        part: dict[str, list[str]] = {}
        for failure in self.failures:
            about = f"{failure.metric}: {failure.reason}" if failure.metric else failure.reason
            part.setdefault(failure.name, []).append(about)
        for image in self.images:
            figures = [image.figures.get(name, "") for name in self.metrics]
            failed = "; ".join(part.pop(image.name, []))
            writer.writerow([image.name, *figures, image.height, image.width, f"{image.seconds:.4f}", failed])
        for name, reasons in part.items():
            writer.writerow([name, *("" for _ in self.metrics), "", "", "", "; ".join(reasons)])
        writer.writerow([f"mean by {self.protocol}", *self.mean.values(), "", "", "", ""])
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text.getvalue())


def write_evaluations(path: str | os.PathLike[str], evaluations: Sequence[Evaluation]) -> None:
    """Write one evaluation as a JSON object, several as a list of such; the file is there whole or not at all."""
    path = Path(path)
    entries = []
    for evaluation in evaluations:
        entry = evaluation.to_json()
        if evaluation.folder is not None:
            entry["folder"] = Path(os.path.relpath(evaluation.folder, path.parent)).as_posix()
        entries.append(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(entries[0] if len(entries) == 1 else entries, indent=1, allow_nan=False) + "\n")


def read_evaluations(path: str | os.PathLike[str]) -> list[Evaluation]:
    """The evaluations in a file that `write_json` or `write_evaluations` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give what `restoralib evaluate --json`, or its --output, has written")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [_evaluation(entry, path.parent) for entry in (found if isinstance(found, list) else [found])]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} holds no result of `restoralib evaluate --json` ({type(error).__name__}: {error}); make it again"
        ) from error


def _evaluation(entry: Mapping[str, Any], parent: Path) -> Evaluation:
    return Evaluation(
        model=str(entry["model"]),
        data=str(entry["data"]),
        protocol=str(entry["protocol"]),
        metrics=tuple(entry["metrics"]),
        images=tuple(image_from_json(image, entry["metrics"]) for image in entry["images"]),
        failures=tuple(Failure(one["name"], one["reason"], one["metric"]) for one in entry["failures"]),
        settings=entry["settings"],
        environment=entry["environment"],
        folder=parent / entry["folder"] if "folder" in entry else None,
        remarks=tuple(entry.get("remarks", ())),
    )


def finite(value: float) -> float | None:
    """A number that JSON has, or None."""
    return value if math.isfinite(value) else None


def image_to_json(image: ImageFigures) -> dict[str, Any]:
    """Plain values as JSON has them; which figures are infinite or undefined is told under "notes"."""
    special = {name: str(value) for name, value in image.figures.items() if not math.isfinite(value)}
    return {
        "name": image.name,
        **{name: finite(value) for name, value in image.figures.items()},
        "height": image.height,
        "width": image.width,
        "seconds": image.seconds,
        **({"notes": special} if special else {}),
        **({"pictures": dict(image.pictures)} if image.pictures else {}),
    }


def image_from_json(entry: Mapping[str, Any], metrics: tuple[str, ...]) -> ImageFigures:
    """The inverse of `image_to_json`."""
    values = {name: entry.get("notes", {}).get(name, entry[name]) for name in metrics if name in entry}
    figures = {name: math.nan if value is None else float(value) for name, value in values.items()}
    size = int(entry["height"]), int(entry["width"])
    return ImageFigures(str(entry["name"]), figures, *size, float(entry["seconds"]), entry.get("pictures", {}))


def write_text(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
