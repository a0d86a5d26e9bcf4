"""A page that compares models on sets: tables, and for every image a slider between two states.

One HTML file with its styles and script inside, and the pictures beside it; nothing is fetched from anywhere.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from restoralib.evaluation.measures import MEASURES, Measure
from restoralib.evaluation.records import safe_name
from restoralib.evaluation.results import Evaluation, ImageFigures, read_evaluations, write_text
from restoralib.metrics import PROTOCOLS

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1b1f24; --soft: #5c6670; --line: #d4d9de; --mark: #e7f3ea;
  --accent: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171a; --text: #e6e9ec; --soft: #9aa4ae; --line: #343a40; --mark: #1d3a28;
    --accent: #7db8f5; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
a { color: var(--accent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 8rem; }
td.best { background: var(--mark); font-weight: 700; }
.soft, caption, figcaption { color: var(--soft); }
caption { text-align: left; padding-bottom: .3rem; }
figure { margin: 1rem 0 2rem; }
figcaption { overflow-wrap: anywhere; margin-bottom: .3rem; }
.choices { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin-bottom: .4rem; }
select { font: inherit; max-width: 16rem; }
.compare { position: relative; display: inline-block; max-width: 100%; line-height: 0; --at: 50%; }
.compare img { max-width: 100%; height: auto; display: block; }
.compare .before { position: absolute; inset: 0; width: 100%; height: 100%; clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.compare .handle { position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 3px #000; pointer-events: none; }
.compare .handle::after { content: "\\2194"; position: absolute; top: 50%; left: 50%; width: 2rem; height: 2rem;
  transform: translate(-50%, -50%); border-radius: 50%; background: #fff; color: #000; font: 1.2rem/2rem system-ui, sans-serif;
  text-align: center; box-shadow: 0 0 3px #000; }
.compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
  touch-action: pan-y; }
.compare:focus-within { outline: 3px solid var(--accent); outline-offset: 2px; }
"""

_POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

_SCRIPT = """
"use strict";
for (const figure of document.querySelectorAll("figure.pair")) {
  const compare = figure.querySelector(".compare");
  const slider = compare.querySelector("input");
  const move = (share) => {
    slider.value = share;
    compare.style.setProperty("--at", `${slider.value}%`);
  };
  // A range moves by its thumb's middle, which is not where the pointer is near the ends; so the pointer decides itself.
  const follow = (event) => {
    const box = compare.getBoundingClientRect();
    move((event.clientX - box.left) / box.width * 100);
  };
  slider.addEventListener("input", () => move(slider.value));
  slider.addEventListener("pointerdown", (event) => {
    slider.setPointerCapture(event.pointerId);
    follow(event);
    event.preventDefault();
    slider.focus();
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) follow(event);
  });
  for (const side of ["before", "after"]) {
    const select = figure.querySelector(`select[name=${side}]`);
    const show = () => {
      const image = compare.querySelector(`img.${side}`);
      const option = select.selectedOptions[0];
      image.src = option.value;
      image.alt = option.textContent;
    };
    select.addEventListener("change", show);
    show();  // A browser may have kept the choice of an earlier visit.
  }
  move(slider.value);
}
"""


@dataclass(frozen=True)
class _Table:
    """What stands in one table: evaluations of one set by one protocol and of one way of degrading."""

    title: str
    evaluations: tuple[Evaluation, ...]

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(name for evaluation in self.evaluations for name in evaluation.metrics))


def write_report(
    results: Iterable[Evaluation | str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    title: str = "Evaluation",
    most: int = 24,
    notes: Sequence[str] = (),
) -> Path:
    """Write a page that compares evaluations: index.html in a folder, and its pictures beside it.

    Evaluations of one set, protocol and way of degrading stand in one table, the best figure of each column marked. Images
    whose pictures were kept (`evaluate(..., output=FOLDER, pictures=True)`) get a slider between any two of input, results and
    target, for the pointer and the arrow keys.

    Args:
        results: evaluations, or the files that hold them.
        folder: where the page goes; it is made.
        title: the page's.
        most: images of a set that get a slider, the first ones.
        notes: what else the page says, such as the errors of a report that it compares with.

    Returns:
        The page.

    Raises:
        FileNotFoundError: there is no such file of results.
        ValueError: there is nothing to show, or a file holds no evaluation.
    """
    evaluations: list[Evaluation] = []
    for result in results:
        evaluations += [result] if isinstance(result, Evaluation) else read_evaluations(result)
    if not evaluations:
        raise ValueError("a report needs at least one evaluation; pass what evaluate() gives, or files of --json")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sections = [_section(table, folder, most) for table in _tables(evaluations)]
    remarks = "".join(f"<li>{escape(note)}</li>\n" for note in notes)
    places = {f"{key} {value}" for evaluation in evaluations for key, value in evaluation.environment.items()}
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{f"<ul>{remarks}</ul>" if remarks else ""}
{"".join(sections)}
<footer class="soft"><p>Measured with {escape(", ".join(sorted(places)))}.</p></footer>
<script>{_SCRIPT}</script>
</body>
</html>
"""
    file = folder / "index.html"
    write_text(file, page)
    return file


def _tables(evaluations: Iterable[Evaluation]) -> list[_Table]:
    groups: dict[tuple[object, ...], list[Evaluation]] = {}
    for evaluation in evaluations:
        known = evaluation.settings
        degraded = tuple(known.get(name) for name in ("scale", "noise", "noise_protocol", "seed"))
        groups.setdefault((evaluation.data, evaluation.protocol, *degraded), []).append(evaluation)
    tables = []
    for (data, protocol, scale, noise, kind, seed), members in groups.items():
        parts = [str(data)]
        parts += [f"x{scale}"] if isinstance(scale, int) and scale > 1 else []
        parts += [f"noise of sigma {noise:g} ({kind}, seed {seed})"] if isinstance(noise, int | float) else []
        tables.append(_Table(f"{', '.join(parts)}: {protocol}", tuple(members)))
    return tables


def _measure(name: str) -> Measure:
    """What is known of a measure; of one that a file of results has from elsewhere, the name alone."""
    return MEASURES.get(name) or Measure(name, name)


def shown(name: str, value: float | None) -> str:
    """A figure as tables print it."""
    if value is None or math.isnan(value):
        return "-" if value is None else "not defined"
    return "∞" if math.isinf(value) else f"{value:.{_measure(name).digits}f}"


def best(name: str, values: Sequence[float | None]) -> set[int]:
    """Which of several figures is the best by what the table prints; none where there is nothing to compare."""
    measure = _measure(name)
    known = {
        place: round(value, measure.digits) for place, value in enumerate(values) if value is not None and not math.isnan(value)
    }
    if len(known) < 2:
        return set()
    top = (max if measure.larger else min)(known.values())
    return {place for place, value in known.items() if value == top}


def _head(name: str) -> str:
    """The title of a measure, and which way is better."""
    measure = _measure(name)
    return f"{escape(measure.title)} {'↑' if measure.larger else '↓'}"


def _cells(name: str, values: Sequence[float | None], marked: set[int]) -> list[str]:
    return [
        f'<td class="best">{shown(name, value)}</td>' if place in marked else f"<td>{shown(name, value)}</td>"
        for place, value in enumerate(values)
    ]


def _rows(metrics: Sequence[str], rows: Sequence[tuple[str, Sequence[float | None]]], first: str, caption: str) -> str:
    """A table of models whose best figure in each column is marked."""
    heads = "".join(f'<th scope="col">{_head(name)}</th>' for name in metrics)
    columns = []
    for column, name in enumerate(metrics):
        values = [figures[column] for _, figures in rows]
        columns.append(_cells(name, values, best(name, values)))
    lines = [
        f'<tr><th scope="row">{escape(called)}</th>{"".join(column[place] for column in columns)}</tr>'
        for place, (called, _) in enumerate(rows)
    ]
    body = "\n".join(lines)
    return f"""<div class="scroll"><table><caption>{escape(caption)}</caption>
<thead><tr><th scope="col">{escape(first)}</th>{heads}</tr></thead>
<tbody>
{body}
</tbody></table></div>
"""


def _section(table: _Table, folder: Path, most: int) -> str:
    metrics = table.metrics
    labels = _labels(table.evaluations)
    rows = [
        (label, [evaluation.mean.get(name) for name in metrics])
        for label, evaluation in zip(labels, table.evaluations, strict=True)
    ]
    protocol = PROTOCOLS.get(table.evaluations[0].protocol)
    counts = sorted({len(evaluation.images) for evaluation in table.evaluations})
    caption = f"Means over {' or '.join(map(str, counts))} images"
    caption += f"; the protocol is that of {protocol.tables}" if protocol else ""
    inputs = dict.fromkeys(str(evaluation.settings.get("input", "")) for evaluation in table.evaluations)
    told = [f"Input: {escape(' / '.join(text for text in inputs if text))}."]
    for label, evaluation in zip(labels, table.evaluations, strict=True):
        told += [escape(f"{label}: {note}") for note in evaluation.notes]
        told += [escape(f"{label}: {failure}") for failure in evaluation.failures]
    said = "".join(f"<li>{line}</li>\n" for line in told)
    by_image = _by_image(table, labels)
    figures = [_figure(name, entries, folder) for name, entries in list(by_image.items())[:most]]
    return f"""<section>
<h2>{escape(table.title)}</h2>
{_rows(metrics, rows, "model", caption)}
<ul class="soft">{said}</ul>
{"".join(figures)}
<details><summary>Figures of every image</summary>
{_image_table(metrics, labels, by_image)}</details>
</section>
"""


def _image_table(
    metrics: Sequence[str], labels: Sequence[str], by_image: Mapping[str, Mapping[str, tuple[Evaluation, ImageFigures]]]
) -> str:
    """One line an image, the models side by side under each measure."""
    groups = "".join(f'<th scope="colgroup" colspan="{len(labels)}">{_head(name)}</th>' for name in metrics)
    models = "".join(f'<th scope="col">{escape(label)}</th>' for label in labels) * len(metrics)
    lines = []
    for name, entries in by_image.items():
        cells = []
        for metric in metrics:
            values = [entries[label][1].figures.get(metric) if label in entries else None for label in labels]
            cells += _cells(metric, values, best(metric, values))
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    body = "\n".join(lines)
    return f"""<div class="scroll"><table>
<thead><tr><td></td>{groups}</tr><tr><th scope="col">image</th>{models}</tr></thead>
<tbody>
{body}
</tbody></table></div>
"""


def _labels(evaluations: Sequence[Evaluation]) -> list[str]:
    """The models' names; one that comes twice gets a number."""
    labels: list[str] = []
    for evaluation in evaluations:
        label, number = evaluation.model, 2
        while label in labels:
            label, number = f"{evaluation.model} ({number})", number + 1
        labels.append(label)
    return labels


def _by_image(table: _Table, labels: Sequence[str]) -> dict[str, dict[str, tuple[Evaluation, ImageFigures]]]:
    found: dict[str, dict[str, tuple[Evaluation, ImageFigures]]] = {}
    for label, evaluation in zip(labels, table.evaluations, strict=True):
        for image in evaluation.images:
            found.setdefault(image.name, {})[label] = (evaluation, image)
    return found


def _figure(name: str, entries: Mapping[str, tuple[Evaluation, ImageFigures]], folder: Path) -> str:
    """The slider of one image; nothing where no two pictures of it were kept."""
    choices: dict[str, str] = {}
    for kind in ("input", "restored", "target"):
        for label, (evaluation, image) in entries.items():
            title = label if kind == "restored" else kind
            if title not in choices and (file := _copied(evaluation, image, kind, folder)):
                choices[title] = file
    if len(choices) < 2:
        return ""
    titles = list(choices)
    after = next(title for title in reversed(titles) if title != "target" or len(titles) == 2)
    before = next((title for title in titles if title != after), titles[0])
    width, height = max((image.width, image.height) for _, image in entries.values())

    def select(side: str, chosen: str) -> str:
        options = [
            f'<option value="{escape(file)}"{" selected" if title == chosen else ""}>{escape(title)}</option>'
            for title, file in choices.items()
        ]
        return f'<label>{side} <select name="{side}">{"".join(options)}</select></label>'

    return f"""<figure class="pair">
<figcaption><h3>{escape(name)}</h3></figcaption>
<div class="choices">{select("before", before)} {select("after", after)}</div>
<div class="compare">
<img class="after" src="{escape(choices[after])}" alt="{escape(after)}" width="{width}" height="{height}" loading="lazy">
<img class="before" src="{escape(choices[before])}" alt="{escape(before)}" loading="lazy">
<div class="handle"></div>
<input type="range" min="0" max="100" step="0.5" value="50" aria-label="{escape(name)}: share of the picture before">
</div>
</figure>
"""


def _copied(evaluation: Evaluation, image: ImageFigures, kind: str, folder: Path) -> str | None:
    """Copy a picture beside the page: its address there, or None where there is no such picture."""
    stored = image.pictures.get(kind)
    if stored is None or evaluation.folder is None:
        return None
    base = evaluation.folder.resolve()
    source = (base / stored).resolve()
    # A file of results comes from anywhere: what it names outside of its own folder is not touched.
    if base not in source.parents or source.suffix.lower() != ".webp" or not source.is_file():
        return None
    key = hashlib.sha256(f"{evaluation.data} {evaluation.model} {image.name} {kind} {base}".encode()).hexdigest()[:10]
    file = Path("pictures") / f"{safe_name(evaluation.data)}-{safe_name(image.name)}-{kind}-{key}.webp"
    (folder / "pictures").mkdir(exist_ok=True)
    if (folder / file).resolve() != source:
        shutil.copyfile(source, folder / file)
    return quote(file.as_posix())
