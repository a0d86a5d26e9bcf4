"""The bars that bundled models have to clear, measured beside them in one run.

For each task the input as it is, classical methods and the model restore the same pairs: synthetic ones of generators that
training does not know, and real ones where the folder has them. The bar is the best PSNR of input and classical methods plus a
margin, without loss of SSIM.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from restoralib.data import Benchmark, DatasetError
from restoralib.evaluation.classical import CLASSICAL
from restoralib.evaluation.plug_and_play import DiffPIRDeblur
from restoralib.evaluation.records import digest_of_model, safe_name
from restoralib.evaluation.results import Evaluation, finite, write_text
from restoralib.evaluation.run import Progress, evaluate, find_method, open_path
from restoralib.evaluation.synthetic import SyntheticPairs
from restoralib.restoration.models import Model
from restoralib.zoo import TASKS

Role = Literal["input", "classical", "shown", "published", "model"]
PHOTOGRAPHS = ("CBSD68", "Set14/HR", "Set5/HR")
"""Folders of clean photographs, below that of the evaluation's data."""
ALL_IN_ONE = "all_in_one"


@dataclass(frozen=True)
class Trial:
    """What is measured for a task on one set.

    Args:
        task: whose model has to clear the bar.
        title: of the set.
        rule: how the bar comes to be, in words.
        margin: in dB over the best of input and classical methods.
        methods: keys of `CLASSICAL` that set the bar.
        shown: keys of `CLASSICAL` that are measured beside, for they are told what the model is not.
        level: of synthetic pairs; None draws it.
        folder: of pairs or of clean images to reduce, below the evaluation's data; None makes synthetic pairs of photographs.
        scale: of super-resolution.
        align: the truth is moved and recoloured first.
        published: name -> PSNR and SSIM that a paper prints for this set, which set the bar too.
        kernel: the model is told the kernel: the bundled denoiser in DiffPIR.
    """

    task: str
    title: str
    rule: str
    margin: float = 1.0
    methods: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    level: float | None = None
    folder: str | None = None
    scale: int = 1
    align: bool = False
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    kernel: bool = False

    @property
    def real(self) -> bool:
        """Whether the pairs are those of a folder."""
        return self.folder is not None and self.scale == 1

    @property
    def models(self) -> tuple[str, ...]:
        """The tasks whose models are tried, those without weights included."""
        if self.kernel:
            return ()
        if self.scale > 1:
            return self.task, f"{self.task}-free"
        return self.task, f"{self.task}-free", ALL_IN_ONE


_BEST = "best of input and classical methods"
_DECONVOLUTION = ("wiener_told", "wiener_weak_told", "richardson_lucy_told", "richardson_lucy_short_told")
_LIGHT = ("histogram", "clahe", "gamma", "gamma_mean")
_MEDIANS = ("median3", "median5")
# FSRCNN's paper (Dong, Loy and Tang, ECCV 2016), networks trained on its larger set: PSNR and SSIM of the luma.
_FSRCNN = {
    ("Set5", 2): (37.00, 0.9558),
    ("Set5", 3): (33.16, 0.9140),
    ("Set5", 4): (30.71, 0.8657),
    ("Set14", 2): (32.63, 0.9088),
    ("Set14", 3): (29.43, 0.8242),
    ("Set14", 4): (27.59, 0.7535),
}

TRIALS: tuple[Trial, ...] = (
    *(
        Trial("denoise", f"synthetic, sigma {sigma}", f"{_BEST} + 1 dB", methods=("bm3d_told",), level=sigma)
        for sigma in (15, 25, 50)
    ),
    Trial("denoise_real", "synthetic", f"{_BEST} + 1 dB", methods=("bm3d", "bm3d_strong")),
    Trial("denoise_real", "real", f"{_BEST} + 1 dB", methods=("bm3d", "bm3d_strong"), folder="noise"),
    Trial("jpeg", "synthetic, quality 10", "decoded file + 1 dB", level=10),
    Trial("jpeg", "synthetic, quality 10 to 40", "decoded file", margin=0.0),
    Trial(
        "deblur",
        "synthetic",
        "input, unsupervised Wiener",
        margin=0.0,
        methods=("unsupervised_wiener", "unsupervised_wiener_told"),
        shown=_DECONVOLUTION,
    ),
    Trial(
        "deblur",
        "synthetic, kernel told",
        "input, Wiener, Richardson-Lucy, all told the kernel",
        margin=0.0,
        methods=_DECONVOLUTION,
        kernel=True,
    ),
    Trial("deblur", "real", "input + 1 dB", methods=("unsupervised_wiener",), folder="blur"),
    Trial(
        "defocus",
        "synthetic",
        "input, unsupervised Wiener",
        margin=0.0,
        methods=("unsupervised_wiener", "unsupervised_wiener_told"),
        shown=_DECONVOLUTION,
    ),
    Trial("derain", "synthetic", f"{_BEST} + 1 dB", methods=_MEDIANS),
    Trial("derain", "real", f"{_BEST} + 1 dB", methods=_MEDIANS, folder="rain"),
    Trial("dehaze", "synthetic", f"{_BEST} + 1 dB", methods=("dark_channel",)),
    Trial("dehaze", "real", f"{_BEST} + 1 dB", methods=("dark_channel",), folder="haze"),
    Trial("low_light", "synthetic", f"{_BEST} + 1 dB", methods=_LIGHT),
    Trial("low_light", "real", f"{_BEST} + 1 dB", methods=_LIGHT, folder="lowlight"),
    Trial("demoire", "synthetic", f"{_BEST} + 1 dB", methods=_MEDIANS),
    Trial("demoire", "real, aligned", f"{_BEST} + 1 dB", methods=_MEDIANS, folder="moire", align=True),
    *(
        Trial(
            f"sr{scale}",
            name,
            "best of bicubic and FSRCNN's paper + 1 dB",
            folder=f"{name}/HR",
            scale=scale,
            published={"FSRCNN, its paper": figures},
        )
        for (name, scale), figures in _FSRCNN.items()
    ),
)
"""The bars, in the order in which they are measured."""


@dataclass(frozen=True)
class Row:
    """The mean figures of one method on a set.

    Args:
        method: its name.
        role: "input", "classical" and "published" set the bar, "shown" stands beside it, "model" has to clear it.
        psnr: in dB, of RGB; of the luma for super-resolution.
        ssim: likewise.
    """

    method: str
    role: Role
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Standing:
    """A bar, and who clears it.

    Args:
        trial: what was measured.
        images: that all methods restored, over which the means are.
        rows: a method each.
        notes: what was left out, and why.
        evaluations: the figures of each image.
    """

    trial: Trial
    images: int = 0
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def base(self) -> tuple[Row, ...]:
        """The rows that set the bar."""
        return tuple(row for row in self.rows if row.role in ("input", "classical", "published"))

    @property
    def best(self) -> Row | None:
        """The one with the highest PSNR; None where nothing was measured."""
        return max(self.base, key=lambda row: row.psnr, default=None)

    @property
    def bar(self) -> tuple[float, float]:
        """PSNR and SSIM that are to be reached: the highest PSNR and the margin, the highest SSIM; NaN without a row."""
        if not self.base:
            return math.nan, math.nan
        return max(row.psnr for row in self.base) + self.trial.margin, max(row.ssim for row in self.base)

    @property
    def models(self) -> tuple[Row, ...]:
        """The rows that have to clear it."""
        return tuple(row for row in self.rows if row.role == "model")

    def reached(self, row: Row) -> bool:
        """Whether a row reaches the bar's PSNR without less SSIM, to the digits that tables print."""
        psnr, ssim = self.bar
        return round(row.psnr, 2) >= round(psnr, 2) and round(row.ssim, 4) >= round(ssim, 4)


def measure_bars(
    folder: str | os.PathLike[str],
    *,
    tasks: Iterable[str] | None = None,
    models: Mapping[str, Model] | None = None,
    photographs: Sequence[str | os.PathLike[str]] | None = None,
    size: int = 256,
    count: int | None = None,
    seed: int = 0,
    without: Iterable[str] = (),
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[Standing]:
    """Measure input, classical methods and models on the sets of each task, in the same run.

    What is not there is left out and told under `notes`: folders, packages, weights. So is a method that fails; an image that
    fails for one method counts for none.

    Args:
        folder: the evaluation's data: clean photographs in CBSD68, Set14/HR and Set5/HR, or in the folder itself, and pairs in
            noise, blur, rain, haze, lowlight and moire.
        tasks: which; None takes all.
        models: task -> model in place of the bundled one, or for one that has none; "all_in_one" is tried on the nine
            degradations, "denoise-free" where "denoise" is.
        photographs: folders of clean photographs for synthetic pairs, in place of those in `folder`.
        size: longest side of the crops of which synthetic pairs are made.
        count: synthetic pairs of a set; None takes one a photograph, and 30 at least.
        seed: of synthetic pairs.
        without: classical methods that are left out, such as "bm3d_told", which is slow.
        output: a folder that keeps the figures of every image, so that a second run goes on where the first was stopped, and
            measures only models and sets that are new.
        progress: as in `evaluate`.
        options: device, dtype, tile, pictures … as in `evaluate`.

    Raises:
        ValueError: a task or a method is unknown.
        FileNotFoundError: the folder is not there.
        Cancelled: `progress` returned False.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; give one that holds CBSD68, Set5/HR, noise … or clean photographs")
    known = tuple(dict.fromkeys(trial.task for trial in TRIALS))
    wanted = known if tasks is None else tuple(tasks)
    _check_names(wanted, known, "task")
    left_out = tuple(without)
    _check_names(left_out, CLASSICAL, "classical method")
    brought = dict(models or {})
    _check_names(brought, [*known, *TASKS, *(f"{task}-free" for task in known), ALL_IN_ONE], "task")
    places = list(photographs) if photographs is not None else _photographs(root)
    kept: dict[tuple[str, float | None], SyntheticPairs] = {}
    seen: dict[tuple[int, str], Evaluation] = {}

    def data(trial: Trial) -> Benchmark | SyntheticPairs:
        if trial.folder is not None:
            return open_path(str(root / trial.folder), trial.scale if trial.scale > 1 else None)[0]
        key = trial.task, trial.level
        if key not in kept:
            kept.clear()  # Trials of one set follow each other.
            seen.clear()
            kept[key] = SyntheticPairs(trial.task, places, level=trial.level, count=count, size=size, seed=seed, keep=True)
        return kept[key]

    standings = []
    for trial in TRIALS:
        if trial.task not in wanted:
            continue
        try:
            opened = data(trial)
        except DatasetError as error:
            standings.append(Standing(trial, notes=(f"not measured: {error}",)))
            continue
        standings.append(_stand(trial, opened, brought, left_out, output, progress, options, seen))
    return standings


def _check_names(names: Iterable[str], known: Iterable[str], kind: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}; choose among {', '.join(dict.fromkeys(known))}")


def _photographs(root: Path) -> list[Path]:
    found = [root / part for part in PHOTOGRAPHS if (root / part).is_dir()]
    return found or [root]


def _stand(
    trial: Trial,
    data: Benchmark | SyntheticPairs,
    brought: Mapping[str, Model],
    without: Sequence[str],
    output: str | os.PathLike[str] | None,
    progress: Progress | None,
    options: Mapping[str, Any],
    seen: dict[tuple[int, str], Evaluation],
) -> Standing:
    """Measure all methods on one set, but for those that were measured on the same object before."""
    methods, notes = _methods(trial, brought, without)
    found: dict[str, tuple[Role, Evaluation]] = {}
    rules: dict[str, Any] = {"scale": trial.scale} if trial.scale > 1 else {"metrics": ("psnr", "ssim"), "protocol": "rgb"}
    if trial.align:
        rules["align"] = True
    for name, (role, model) in methods.items():
        place = None
        if output is not None:
            word = f"-{digest_of_model(model)[:12]}" if role == "model" else ""
            place = Path(output) / safe_name(f"{trial.task}-{trial.title}-{name}{word}".replace(" ", "_").replace(",", ""))
        told = _titled(progress, f"{trial.task}, {trial.title}, {name}")
        key = id(data), name
        try:
            evaluation = seen.get(key) or evaluate(model, data, name=name, output=place, progress=told, **rules, **options)
        except (ValueError, OSError) as error:
            notes.append(f"{name} is left out: {error}")
            continue
        if isinstance(data, SyntheticPairs):  # It is kept, so that nothing else can have its id.
            seen[key] = evaluation
        if evaluation.images:
            found[name] = role, evaluation
            notes += [f"{name}: {failure}" for failure in evaluation.failures]
        else:
            reason = evaluation.failures[0].reason if evaluation.failures else "the set is empty"
            notes.append(f"{name} is left out: {reason}")
    common = [image.name for image in next((one.images for _, one in found.values()), ())]
    for _, one in found.values():
        there = {image.name for image in one.images}
        common = [name for name in common if name in there]
    rows: list[Row] = []
    if common:
        rows += [Row(name, role, *_means(one, common)) for name, (role, one) in found.items()]
        rows += [Row(name, "published", *figures) for name, figures in trial.published.items()]
    ordered = sorted(rows, key=lambda row: _ORDER.index(row.role))
    return Standing(trial, len(common), tuple(ordered), tuple(notes), tuple(one for _, one in found.values()))


_ORDER: tuple[Role, ...] = ("input", "classical", "published", "shown", "model")


def _methods(
    trial: Trial, brought: Mapping[str, Model], without: Sequence[str]
) -> tuple[dict[str, tuple[Role, Any]], list[str]]:
    """Name -> role and model of everything that is tried, and what is left out."""
    first = "bicubic" if trial.scale > 1 else "untouched"
    methods: dict[str, tuple[Role, Any]] = {first: ("input", "bicubic" if trial.scale > 1 else "identity")}
    notes = []
    for role, names in (("classical", trial.methods), ("shown", trial.shown)):
        for name in names:
            if name in without:
                notes.append(f"{name} is left out, as was asked")
            else:
                methods[name] = role, CLASSICAL[name]  # type: ignore[assignment]
    if trial.kernel:
        methods["DiffPIR with nafnet_denoise"] = "model", DiffPIRDeblur()
    for task in trial.models:
        model = brought.get(task, TASKS.get(task))
        if model is None:
            if task == trial.task:
                notes.append(f"no weights for {task!r} are bundled, and none were given")
            continue
        named = Path(model).name if isinstance(model, str | os.PathLike) else getattr(model, "__name__", type(model).__name__)
        try:
            methods[f"{task}: {named}"] = "model", find_method(model)
        except (ValueError, TypeError, OSError) as error:
            notes.append(f"the model for {task!r} is left out: {error}")
    return methods, notes


def _titled(progress: Progress | None, title: str) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, name: progress(done, total, f"{title}: {name}" if name else title)


def _means(evaluation: Evaluation, names: Sequence[str]) -> tuple[float, float]:
    wanted = set(names)
    images = [image for image in evaluation.images if image.name in wanted]
    psnr, ssim = (
        sum(image.figures.get(metric, math.nan) for image in images) / len(images) for metric in evaluation.metrics[:2]
    )
    return psnr, ssim


# What is printed and written


def lay_out_bars(standings: Sequence[Standing]) -> str:
    """The bars as a table in Markdown, a line for each model and set, then what was left out."""
    lines = [
        "| task | set | images | input | best classical | bar | model | PSNR / SSIM | over the bar | reached |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for standing in standings:
        for cells in _table_lines(standing):
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    notes = [f"- {standing.trial.task}, {standing.trial.title}: {note}" for standing in standings for note in standing.notes]
    return "\n".join([*lines, "", *notes, ""] if notes else [*lines, ""])


def _table_lines(standing: Standing) -> list[list[str]]:
    trial = standing.trial
    head = [trial.task, trial.title, str(standing.images)]
    if not standing.base:
        return [[*head, "", "", "not measured", "", "", "", ""]]
    inputs = [_figures(row) for row in standing.rows if row.role == "input"]
    others = [row for row in standing.base if row.role != "input"]
    classical = max(others, key=lambda row: row.psnr, default=None)
    psnr, ssim = standing.bar
    start = [*head, " ".join(inputs), f"{classical.method} {_figures(classical)}" if classical else ""]
    start.append(f"{psnr:.2f} / {ssim:.4f}")
    if not standing.models:
        return [[*start, "no weights", "", "", ""]]
    return [
        [*start, row.method, _figures(row), f"{row.psnr - psnr:+.2f}", "yes" if standing.reached(row) else "no"]
        for row in standing.models
    ]


def _figures(row: Row) -> str:
    return f"{row.psnr:.2f} / {row.ssim:.4f}"


def bars_to_json(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """Plain values as JSON has them, a bar each."""
    entries = []
    for standing in standings:
        trial, best = standing.trial, standing.best
        psnr, ssim = standing.bar
        entries.append(
            {
                "task": trial.task,
                "set": trial.title,
                "rule": trial.rule,
                "images": standing.images,
                "bar": {"psnr": finite(psnr), "ssim": finite(ssim), "by": best.method if best else None},
                "rows": [
                    {"method": row.method, "role": row.role, "psnr": finite(row.psnr), "ssim": finite(row.ssim)}
                    for row in standing.rows
                ],
                "models": [
                    {"method": row.method, "over": finite(row.psnr - psnr), "reached": standing.reached(row)}
                    for row in standing.models
                ],
                "notes": list(standing.notes),
            }
        )
    return entries


def write_bars(path: str | os.PathLike[str], standings: Sequence[Standing]) -> None:
    """Write the bars as JSON, or by the suffix as CSV (a line a method) or Markdown; the file is there whole or not at all.

    Raises:
        ValueError: the suffix is none of .json, .csv and .md.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        text = json.dumps(bars_to_json(standings), indent=1, allow_nan=False) + "\n"
    elif path.suffix.lower() == ".md":
        text = lay_out_bars(standings)
    elif path.suffix.lower() == ".csv":
        text = _csv(standings)
    else:
        raise ValueError(f"{path}: bars are written as .json, .csv or .md")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _csv(standings: Sequence[Standing]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", "set", "images", "method", "role", "psnr", "ssim", "bar psnr", "bar ssim", "reached", "notes"])
    for standing in standings:
        trial, bar, notes = standing.trial, standing.bar, "; ".join(standing.notes)
        for row in standing.rows:
            reached = standing.reached(row) if row.role == "model" else ""
            start = [trial.task, trial.title, standing.images, row.method, row.role, row.psnr, row.ssim]
            writer.writerow([*start, *bar, reached, notes])
        if not standing.rows:
            writer.writerow([trial.task, trial.title, 0, *[""] * 7, notes])
    return text.getvalue()


def told_bars(standings: Sequence[Standing]) -> list[str]:
    """A sentence for each model and bar, for a page."""
    lines = []
    for standing in standings:
        about = f"{standing.trial.task}, {standing.trial.title} ({standing.trial.rule})"
        psnr, ssim = standing.bar
        for row in standing.models:
            verb = "reaches" if standing.reached(row) else "does not reach"
            lines.append(f"{about}: {row.method} {_figures(row)} {verb} {psnr:.2f} / {ssim:.4f} ({row.psnr - psnr:+.2f} dB)")
        if not standing.models:
            lines.append(f"{about}: no model" + (f"; the bar is {psnr:.2f} / {ssim:.4f}" if standing.base else ""))
    return lines
