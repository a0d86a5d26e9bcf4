"""mkdocs hook: puts a card of every bundled model in place of a marker, from the manifest of the weights and the gallery."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import restoralib
from restoralib.zoo.bundled import read_entries

DOCS = Path(__file__).parent
WEIGHTS = Path(restoralib.__file__).parent / "weights"
MARKER = "<!-- model cards -->"

LATENT = (
    "Noise of sigma 50, what the autoencoder alone makes of it, one step of the denoiser, four steps, the original: chelsea",
    "pictures/chelsea_latent50.webp",
    "The figures are [in the layer's page](layers/latent.md).",
)
ELSEWHERE = {"latent_autoencoder": [LATENT], "latent_denoise": [LATENT]}
"""Pictures that the gallery does not show: title, file, what is said under it."""

NONE = {"degradation_classifier": "It names degradations, and gives no image that could be shown."}
"""Why there are no pictures, by the name of the model."""

Shown = list[tuple[str, str, str]]


def gallery_pictures(page: str) -> dict[str, Shown]:
    """Model -> title, file and figures of the pictures that a gallery page says are its work."""
    pictures: dict[str, Shown] = {}
    for section in re.split(r"^##+ ", page, flags=re.MULTILINE):
        model = re.search(r"^Model: `(\w+)`", section, re.MULTILINE)
        if model:
            found = re.findall(r"^!\[(.+?)\]\((\S+?)\)\n+(PSNR .+)$", section, re.MULTILINE)
            pictures.setdefault(model[1], []).extend(found)
    return pictures


def _table(*rows: tuple[object, ...]) -> str:
    head, *body = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([head, "| --- " * len(rows[0]) + "|", *body])


def figures(entry: Mapping[str, Any]) -> str:
    """All figures of the manifest, a row for each set; a row for each measure where there are many."""
    measures = list(dict.fromkeys(measure for found in entry["figures"].values() for measure in found))
    if len(measures) > 6:
        rows = [(name, measure, value) for name, found in entry["figures"].items() for measure, value in found.items()]
        return _table(("set", "measure", "value"), *rows)
    return _table(
        ("set", *measures),
        *((name, *(found.get(measure, "") for measure in measures)) for name, found in entry["figures"].items()),
    )


def bars(entry: Mapping[str, Any]) -> str:
    """What the model was to reach, and whether it does."""
    rows = []
    for bar in entry["bars"]:
        value = entry["figures"][bar["set"]][bar["measure"]]
        rows.append((bar["set"], bar["measure"], value, bar["bar"], bar["of"], "yes" if value >= bar["bar"] else "**no**"))
    return _table(("set", "measure", "reached", "bar", "which is", "passed"), *rows)


def card(entry: Mapping[str, Any], pictures: Mapping[str, Shown]) -> str:
    """The card of a model: what it does, pictures, how and of what it was made, figures, bars, failures, licence."""
    name = entry["name"]
    size = f"{entry['parameters']:,} parameters, {entry['bytes'] / 1000:,.0f} kB, `{entry['cls']}`"
    tasks = ", ".join(f"`{task}`" for task in entry["tasks"]) or "none by itself; a part of others"
    parts = [f"## {name}", f"Tasks: {tasks}. {size}" + (f", x{entry['scale']}." if entry["scale"] > 1 else ".")]
    for title, file, told in [*pictures.get(name, ()), *ELSEWHERE.get(name, ())][:2]:
        parts.append(f"![{title}]({file})\n\n{title}. {told}")
    own = f"pictures/card_{name}.webp"
    if (DOCS / own).exists():
        parts.append(f"![before, after, original: {name}]({own})\n\nBefore, after, original.")
    if name in NONE:
        parts.append(NONE[name])
    parts += [
        f"**Data**: {entry['data'].removesuffix('.')}.",
        f"**Recipe**, on a folder of that data, at commit `{entry['commit']}`: `python -m {entry['recipe']}`",
        "**Figures**",
        figures(entry),
    ]
    if entry.get("bars"):
        parts += ["**Bars**", bars(entry)]
    parts += [
        "**Where it fails**",
        "\n".join(f"- {failure}" for failure in entry.get("failures", ())),
        f"**Licence**: code {entry['code_license']}, weights {entry['weights_license']}. {entry['terms']}",
        f"File `{entry['file']}`, sha256 `{entry['sha256']}`.",
    ]
    return "\n\n".join(parts)


def cards() -> str:
    """The cards of all bundled models."""
    pictures = gallery_pictures((DOCS / "gallery.md").read_text(encoding="utf-8"))
    return "\n\n".join(card(entry, pictures) for entry in read_entries(WEIGHTS))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    return markdown.replace(MARKER, cards()) if MARKER in markdown else markdown
