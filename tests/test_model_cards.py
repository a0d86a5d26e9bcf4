"""Every bundled model has a card, with all its parts, and with the figures of the manifest."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CARDS = runpy.run_path(str(DOCS / "cards.py"))
ENTRIES = json.loads((ROOT / "restoralib" / "weights" / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page() -> dict[str, str]:
    """Model -> its card on the page that is built."""
    text = CARDS["on_page_markdown"]((DOCS / "cards.md").read_text(encoding="utf-8"))
    assert CARDS["MARKER"] not in text
    first, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    assert first.startswith("# Model cards")
    return {section.partition("\n")[0]: section for section in sections}


def test_every_bundled_model_has_one_card(page):
    assert list(page) == [entry["name"] for entry in ENTRIES]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_a_card_has_all_its_parts(entry, page):
    card = page[entry["name"]]
    for part in ("data", "recipe", "commit", "terms", "weights_license", "code_license", "file", "sha256"):
        assert entry[part].removesuffix(".") in card, f"{part} is missing"
    assert all(f"`{task}`" in card for task in entry["tasks"]) and f"{entry['parameters']:,} parameters" in card
    assert entry.get("failures"), f"tell by restoralib.training.cards where {entry['name']} fails"
    assert all(f"- {failure}" in card for failure in entry["failures"])
    assert "**Bars**" in card or not entry.get("bars")
    pictures = re.findall(r"^!\[.+\]\((\S+)\)$", card, re.MULTILINE)
    assert pictures or entry["name"] in CARDS["NONE"], f"run docs/gallery.py and docs/card_pictures.py for {entry['name']}"
    assert all((DOCS / picture).exists() for picture in pictures)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_the_figures_are_those_of_the_manifest(entry, page):
    _, _, rest = page[entry["name"]].partition("**Figures**\n\n")
    head, _, *rows = [line.strip("| ").split(" | ") for line in rest.partition("\n\n")[0].splitlines()]
    if head == ["set", "measure", "value"]:
        told = {(name, measure): value for name, measure, value in rows}
    else:
        cells = [(row[0], measure, value) for row in rows for measure, value in zip(head[1:], row[1:], strict=False)]
        told = {(name, measure): value for name, measure, value in cells if value.strip()}
    measured = {(name, key): value for name, found in entry["figures"].items() for key, value in found.items()}
    assert {place: float(value) for place, value in told.items()} == measured


def test_bars_are_held_against_the_figures():
    entry = {
        "figures": {"Set5": {"psnr": 30.59}, "Set14": {"psnr": 27.0}},
        "bars": [
            {"set": "Set5", "measure": "psnr", "bar": 29.42, "of": "bicubic and 1 dB"},
            {"set": "Set14", "measure": "psnr", "bar": 27.01, "of": "the same"},
        ],
    }
    *_, passed, failed = CARDS["bars"](entry).splitlines()
    assert passed == "| Set5 | psnr | 30.59 | 29.42 | bicubic and 1 dB | yes |"
    assert failed == "| Set14 | psnr | 27.0 | 27.01 | the same | **no** |"


def test_the_gallery_tells_which_model_made_which_picture():
    shown = "![t: x](pictures/x.webp)\n\nPSNR 1 dB before, 2 dB after."
    told = f"## One\n\nModel: `a`.\n\n{shown}\n\n## Two\n\n![u](pictures/u.webp)\n"
    assert CARDS["gallery_pictures"](told) == {"a": [("t: x", "pictures/x.webp", "PSNR 1 dB before, 2 dB after.")]}
