"""mkdocs hook: puts the table of models, as the zoo has it now, in place of the marker on models.md."""

from __future__ import annotations

from typing import Any

from restoralib.zoo import list_models, model_info

MARKER = "<!-- table of models -->"


def model_table() -> str:
    """All models as a Markdown table."""
    rows = ["| model | tasks | scale | parameters | code | weights | weights come from |", "| --- " * 7 + "|"]
    for name in list_models():
        info = model_info(name)
        cells = (
            f"`{name}`",
            ", ".join(info.tasks),
            info.scale,
            f"{info.parameters:,}",
            info.code_license,
            info.weights_license,
        )
        rows.append(f"| {' | '.join(map(str, cells))} | {info.weights} |")
    return "\n".join(rows)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    return markdown.replace(MARKER, model_table()) if MARKER in markdown else markdown
