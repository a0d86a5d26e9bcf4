"""mkdocs hook: puts tables of what the zoo has now in place of the markers on the pages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from restoralib.archs import ARCHITECTURES
from restoralib.data import LAYOUTS
from restoralib.data.finding import Places
from restoralib.zoo import list_models, model_info
from restoralib.zoo.measured import capabilities, environment, in_billions


def table(*rows: Iterable[object]) -> str:
    """A Markdown table, its head first."""
    head, *body = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([head, "| --- " * (head.count("|") - 1) + "|", *body])


def model_table() -> str:
    """All models with their licences."""
    rows: list[tuple[object, ...]] = []
    for name in list_models():
        info = model_info(name)
        cost = "" if info.multiply_adds is None else in_billions(info.multiply_adds)
        numbers = (info.scale, f"{info.parameters:,}", cost)
        tasks = ", ".join(info.tasks) or f"({info.role})"
        rows.append((f"`{name}`", tasks, *numbers, info.code_license, info.weights_license, info.weights))
    return table(("model", "tasks", "scale", "parameters", "GMACs", "code", "weights", "weights come from"), *rows)


def figure_table() -> str:
    """The measured figures of the bundled weights."""
    entries = [model_info(name) for name in list_models(bundled=True)]
    rows = [
        (f"`{info.name}`", dataset, measure, value)
        for info in entries
        for dataset, measures in info.figures.items()
        for measure, value in measures.items()
    ]
    return table(("model", "data set", "measure", "value"), *rows)


def capability_table() -> str:
    """What was measured of the networks."""

    def decibel(psnr: float | None, otherwise: str) -> str:
        return otherwise if psnr is None else f"{psnr:.0f}"

    rows = [
        (
            f"`{entry.model}`" + ("" if entry.weights == "random" else " (bundled weights)"),
            decibel(entry.bfloat16, "fails"),
            decibel(entry.float16, "fails"),
            entry.tiles,
            "all" if entry.reach is None else entry.reach,
            decibel(entry.tile_psnr, ""),
            f"{entry.bytes_per_pixel / 1000:.1f}",
            f"{entry.compile}" + (f", {entry.recompiles} more" if entry.recompiles else ""),
            entry.export,
        )
        for entry in capabilities().values()
    ]
    head = (
        "network",
        "bfloat16, dB",
        "float16, dB",
        "tiles",
        "sees, px",
        "tiles of 128, dB",
        "GB/megapixel",
        "compile",
        "export",
    )
    return table(head, *rows)


def measured_on() -> str:
    """Where the capabilities were measured."""
    found = environment()
    return f"torch {found['torch']}, {found['processor']} on {found['machine']}, {found['date']}"


def layout_table() -> str:
    """The layouts of data sets: size, protocol, source and terms."""
    rows = [
        (
            f"`{layout.name}`",
            layout.title,
            ", ".join(f"{split} {count}" for split, count in layout.splits.items() if count),
            " or ".join(f"`{protocol}`" for protocol in (layout.protocol, *layout.others) if protocol) or "none",
            f"<{layout.source}>" if layout.source.startswith("http") and " " not in layout.source else layout.source,
            layout.terms,
            layout.note,
        )
        for layout in LAYOUTS.values()
    ]
    return table(("layout", "set", "pairs", "protocol", "comes from", "terms", "notes"), *rows)


def _place(places: Places) -> str:
    words = ", ".join(f"{split} is `{word}`" for split, word in places.splits.items())
    return f"`{places}`" + (f" ({words})" if words else "")


def place_table() -> str:
    """Where each variant of each layout keeps its files; layouts with the same variants share a row."""
    names: dict[str, list[str]] = {}
    for layout in LAYOUTS.values():
        places = layout.where or "<br>".join(map(_place, layout.variants))
        names.setdefault(places, []).append(f"`{layout.name}`")
    return table(("layout", "what lies where"), *((", ".join(layouts), places) for places, layouts in names.items()))


def _exports() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("exports.json").read_text(encoding="utf-8"))
    return found


def export_table() -> str:
    """What became of every network when it was exported."""
    networks = _exports()["networks"]
    rows = []
    for name in sorted(cls.__name__ for entry in ARCHITECTURES.values() for cls in entry.classes):
        entry = networks.get(name)
        if entry is None:
            rows.append((name, "not tried yet", "", "", ""))
            continue
        errors = ["" if entry[f"{kind}_error"] is None else f"{entry[f'{kind}_error']:.0e}" for kind in ("program", "onnx")]
        program = entry["program"] or f"no: {entry['program_reason']}"
        onnx = entry["onnx"] or f"no: {entry.get('onnx_reason', 'no program')}"
        rows.append((name, program, errors[0], onnx, errors[1]))
    return table(("network", "program", "difference", "ONNX", "difference"), *rows)


def exports_measured_with() -> str:
    """The versions with which they were exported."""
    found = _exports()["environment"]
    return f"{found['torch']}, ONNX Runtime {found['onnxruntime']}"


MARKERS = {
    "<!-- exports -->": export_table,
    "<!-- exports measured with -->": exports_measured_with,
    "<!-- layouts -->": layout_table,
    "<!-- places -->": place_table,
    "<!-- table of models -->": model_table,
    "<!-- figures of the bundled weights -->": figure_table,
    "<!-- capabilities -->": capability_table,
    "<!-- measured on -->": measured_on,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    for marker, make in MARKERS.items():
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return markdown
