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


HALF = ("bfloat16", "float16")


def robustness_tables() -> str:
    """What the robustness campaign wrote: inputs by outcome, and every other part in a line or a few."""
    found = json.loads((Path(__file__).parent / "robustness.json").read_text(encoding="utf-8"))
    inputs, checkpoints, folders = found["inputs"], found["checkpoints"], found["folders"]
    outcomes = ("restored", "refused", "fault", "crash")
    memory, files = inputs["resident MB gained after the first 500 inputs"], inputs["open files gained"]
    rows: list[tuple[object, ...]] = [
        (
            kind,
            sum(counts.values()),
            *(counts.get(outcome, 0) for outcome in outcomes),
            memory.get(kind, ""),
            files.get(kind, ""),
        )
        for kind, counts in inputs["outcomes"].items()
    ]
    totals = [sum(counts.get(outcome, 0) for counts in inputs["outcomes"].values()) for outcome in outcomes]
    first = table(
        ("inputs", "number", *outcomes, "MB gained", "files left open"), *rows, ("all", inputs["inputs"], *totals, "", "")
    )
    kills, full, limit = folders["kills"], folders["full disk"], folders["limit on file sizes"]
    ways, at_once = found["disturbed"]["ways"], found["together"]
    again = inputs["again"]
    lines = [
        ("most memory of one input", f"{inputs['peak MB of one input']} MB"),
        (
            f"{again['inputs']:,} of the inputs, a second time in one process",
            f"{again['memory'] / 2**20:+.2f} MB resident, {again['files']:+d} open files",
        ),
        (
            "evil and broken checkpoints",
            f"{checkpoints['checkpoints']}: {checkpoints['refused']} refused, {checkpoints['warned']} warned of, "
            f"{checkpoints['loaded']} loaded, {checkpoints['fault'] + checkpoints['died']} faults; at most "
            f"{checkpoints['most MB at the peak']} MB and {checkpoints['most seconds of the processor']} s each",
        ),
        *(
            (
                f"{name}, at each of {way['runs']} tiles",
                f"differs by at most {way['largest difference']:.1e}"
                + (
                    f" from float32, {dtype} itself by {way['of half precision itself']:.1e}"
                    if (dtype := name.split()[2][:-1]) in HALF
                    else ""
                ),
            )
            for name, way in ways.items()
        ),
        (
            "SIGKILL in a folder run",
            f"{kills['kills']} times, {kills['kills between results']} of them between the first result and the last: "
            f"{len(kills['troubles'])} troubles, {kills['temporary files left']} temporary files left",
        ),
        (
            "full disk",
            f"{full['results that fitted']} of {full['of']} results fitted; {len(full['troubles'])} troubles"
            if full["mounted"]
            else "not run",
        ),
        (
            "limit on file sizes",
            f"{limit['results that fitted']} of {limit['of']} results fitted; {len(limit['troubles'])} troubles",
        ),
        (
            f"{at_once['threads']} threads and {at_once['processes']} processes at once",
            f"{at_once['results of threads that differ']} of {at_once['results of threads']} results differ, "
            f"{at_once['results of processes that differ']} of the processes'",
        ),
        ("names, suffixes and links", f"{found['names']['attempts']} attempts, {len(found['names']['troubles'])} troubles"),
    ]
    where = ", ".join(f"{name} {version}" for name, version in found["environment"].items())
    return f"{first}\n\n{table(('part', 'figures'), *lines)}\n\nMeasured with {where}."


MARKERS = {
    "<!-- robustness -->": robustness_tables,
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
