"""mkdocs hook: puts tables of what the zoo has now in place of the markers on the pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from restoralib.zoo import list_models, model_info


def table(*rows: Iterable[object]) -> str:
    """A Markdown table, its head first."""
    head, *body = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([head, "| --- " * (head.count("|") - 1) + "|", *body])


def model_table() -> str:
    """All models with their licences."""
    rows: list[tuple[object, ...]] = []
    for name in list_models():
        info = model_info(name)
        numbers = (info.scale, f"{info.parameters:,}")
        rows.append((f"`{name}`", ", ".join(info.tasks), *numbers, info.code_license, info.weights_license, info.weights))
    return table(("model", "tasks", "scale", "parameters", "code", "weights", "weights come from"), *rows)


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


MARKERS = {"<!-- table of models -->": model_table, "<!-- figures of the bundled weights -->": figure_table}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    for marker, make in MARKERS.items():
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return markdown
