"""The tables of the RestoraVision report, laid out for any models on any folders.

RestoraVision (github.com/quaqducc/RestoraVision, 2024) compares FSRCNN, SRGAN, SwinIR, DiffIR and NAFNet in super-resolution x4
and in deblurring. Of its three tables we know what they compare and some figures, but have not the report itself: which columns
stand where is decided here. Published figures are those of the papers, as our references have them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restoralib.data import Benchmark
from restoralib.evaluation.measures import MEASURES, Weights, get_measures, load_measure
from restoralib.evaluation.records import safe_name
from restoralib.evaluation.report import best, shown
from restoralib.evaluation.results import Evaluation
from restoralib.evaluation.run import evaluate, find_method, open_path, wants_enlarged
from restoralib.restoration.models import Model

SCALE = 4

Rows = Mapping[str, Mapping[str, tuple[float, ...]]]


@dataclass(frozen=True)
class Table:
    """One of the tables.

    Args:
        title: what it compares.
        scale: 4 for super-resolution, 1 for deblurring.
        protocol: how it measures.
        metrics: its columns in each set.
        published: row -> set -> figures, in the order of the metrics.
    """

    title: str
    scale: int
    protocol: str
    metrics: tuple[str, ...]
    published: Rows = field(default_factory=dict)


TABLES = (
    Table(
        "Super-resolution x4, luma",
        SCALE,
        "classic-luma",
        ("psnr_y", "ssim_y"),
        {
            "bicubic, as papers print it": {"Set5": (28.42, 0.8104), "Set14": (26.00,)},
            "FSRCNN, its paper": {"Set5": (30.71, 0.8657)},
            "FSRCNN, the report": {"Set5": (30.50,)},
            "SRResNet, its paper": {"Set5": (32.05, 0.9019), "Set14": (28.49, 0.8184)},
            "SRGAN, its paper": {"Set5": (29.40, 0.8472), "Set14": (26.02, 0.7397)},
            "SwinIR (DF2K), its paper": {"Set5": (32.92, 0.9044), "Set14": (29.09, 0.7950)},
        },
    ),
    Table("Super-resolution x4, colours", SCALE, "basicsr-rgb", ("psnr", "ssim", "lpips")),
    Table(
        "Deblurring",
        1,
        "gopro",
        ("psnr", "ssim"),
        {"NAFNet, its paper": {"GoPro": (33.69, 0.967)}, "DiffIR, its paper": {"GoPro": (33.20, 0.963)}},
    ),
)

NOTES = (
    "The report's deblurring table has two row labels swapped: on GoPro NAFNet has 33.69 / 0.967 and DiffIR 33.20 / 0.963, as "
    "they stand here.",
    "The report gives FSRCNN on Set14 as 27.30 dB in one table and as 25.98 dB in another, so neither stands here. They differ "
    "by 1.32 dB, which is what luma of full range takes from that of limited range, 20 log10(255/219), for the same error; "
    "whether that is the reason is not known.",
    "The report's formula of LPIPS leaves out the normalisation of the channels and the learned weights; LPIPS here is version "
    "0.1 with both.",
    "Networks of luma and bicubic are measured on the luma alone; published figures of networks of colours (SRResNet, SRGAN, "
    "SwinIR) rest on colours reduced to 8 bits.",
)


@dataclass(frozen=True)
class Filled:
    """A table with what was measured for it.

    Args:
        table: which one.
        evaluations: a model on a set, each.
        notes: what could not be measured.
    """

    table: Table
    evaluations: tuple[Evaluation, ...]
    notes: tuple[str, ...] = ()


def evaluate_restoravision(
    models: Mapping[str, Model] | Iterable[str],
    data: Iterable[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
    weights: Weights | None = None,
    **options: Any,
) -> list[Filled]:
    """Measure models for the three tables.

    Models that enlarge by 4, and "bicubic", go into the tables of super-resolution, with the folders of clean images; those
    that keep the size, and "identity", into that of deblurring, with the folders of pairs.

    Args:
        models: name -> model, or models that are their own names, as in `evaluate`.
        data: folders, or LAYOUT:PATH, as in `evaluate`.
        output: a folder for figures, pictures and sheets of every run; None keeps none.
        weights: as in `evaluate`. Without AlexNet's weights LPIPS is left out, with a note.
        options: further arguments of `evaluate`, for each run.

    Raises:
        ValueError: no model fits any of the data.
    """
    named: dict[str, Model] = dict(models) if isinstance(models, Mapping) else {model: model for model in models}
    ready = {name: find_method(model) for name, model in named.items()}
    places = {os.fspath(path): _scale_of(open_path(os.fspath(path), None)[0]) for path in data}
    filled = []
    for table in TABLES:
        metrics, notes = _available(table.metrics, weights)
        found = []
        for path, scale in places.items():
            if scale != table.scale:
                continue
            for name, model in ready.items():
                if not _fits(model, scale):
                    continue
                folder = None
                if output is not None:
                    folder = Path(output) / safe_name("-".join((table.protocol, Path(path).name, name)))
                scaled = {"scale": scale} if scale > 1 else {}
                asked = {"metrics": metrics, "protocol": table.protocol, "output": folder, "weights": weights, "name": name}
                found.append(evaluate(model, path, **scaled, **asked, **options))  # type: ignore[arg-type]
        filled.append(Filled(table, tuple(found), notes))
    if not any(one.evaluations for one in filled):
        raise ValueError(
            "no model fits any of the data: give models for x4 and folders of clean images, or models that keep the size and "
            "folders of pairs"
        )
    return filled


def lay_out(filled: Sequence[Filled]) -> str:
    """The tables in Markdown: measured rows first, the best of each column bold, then what was published, then the notes."""
    parts = [_laid_out(one) for one in filled]
    return "\n".join([*parts, "## Notes", "", *(f"- {note}" for note in NOTES)])


def _laid_out(one: Filled) -> str:
    table, title = one.table, f"## {one.table.title}\n"
    if not one.evaluations:
        return f"{title}\nNot measured: no model and folder fit it.\n"
    sets = list(dict.fromkeys(evaluation.data for evaluation in one.evaluations))
    columns = [(name, metric) for name in sets for metric in table.metrics]
    means = {(evaluation.model, evaluation.data): evaluation.mean for evaluation in one.evaluations}
    models = list(dict.fromkeys(evaluation.model for evaluation in one.evaluations))
    measured = [[means.get((model, name), {}).get(metric) for name, metric in columns] for model in models]
    marked = [best(metric, [values[at] for values in measured]) for at, (_, metric) in enumerate(columns)]
    rows = [["model", *(f"{name} {MEASURES[metric].title}" for name, metric in columns)], ["---"] * (len(columns) + 1)]
    for place, (model, values) in enumerate(zip(models, measured, strict=True)):
        cells = [shown(metric, value) for (_, metric), value in zip(columns, values, strict=True)]
        bold = [f"**{cell}**" if place in marked[at] else cell for at, cell in enumerate(cells)]
        rows.append([model.replace("|", "\\|"), *bold])
    for model, figures in table.published.items():
        values = [_published(figures, name, table.metrics.index(metric)) for name, metric in columns]
        if any(value is not None for value in values):
            cells = [shown(metric, value) for (_, metric), value in zip(columns, values, strict=True)]
            rows.append([f"*{model}*", *cells])
    notes = [f"Protocol {table.protocol}. Slanted rows are published figures.", *one.notes]
    for evaluation in one.evaluations:
        about = f"{evaluation.model} on {evaluation.data}"
        notes += [f"{about}: {note}" for note in evaluation.notes]
        notes += [f"{about}: {failure}" for failure in evaluation.failures]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([title, *lines, "", *(f"- {note}" for note in notes), ""])


def _published(sets: Mapping[str, tuple[float, ...]], name: str, place: int) -> float | None:
    plain = name.lower().replace("-", "").replace("_", "")
    figures = next((values for known, values in sets.items() if known.lower() == plain), ())
    return figures[place] if place < len(figures) else None


def _available(metrics: Sequence[str], weights: Weights | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The measures whose networks are here, and why others are left out."""
    there, notes = [], []
    for measure in get_measures(metrics):
        try:
            if measure.network:
                load_measure(measure, weights)
            there.append(measure.name)
        except FileNotFoundError as error:
            notes.append(f"{measure.title} is left out: {error}")
    return tuple(there), tuple(notes)


def _scale_of(opened: Benchmark) -> int:
    """4 where there are clean images to reduce, 1 where there are pairs."""
    return SCALE if all(entry.degraded is None for entry in opened.entries) else 1


def _fits(model: Model, scale: int) -> bool:
    if isinstance(model, str):
        return (model == "bicubic") == (scale > 1)
    spec = getattr(model, "spec", None)
    return spec is not None and (spec.scale == scale or wants_enlarged(spec, scale))
