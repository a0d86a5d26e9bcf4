"""The page of an evaluation: what it holds, what it must not, and, where there is a browser, how it behaves in one."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from restoralib import cli
from restoralib.evaluation import Evaluation, Failure, ImageFigures, evaluate, write_report
from restoralib.evaluation.report import best, shown

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(HTMLParser):
    """Tags with their attributes and texts; it insists that every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


NAMES = ("plain", "<b>", "a&b \"quoted' name", "</script><script>x")


def images() -> dict[str, torch.Tensor]:
    coarse = torch.rand(len(NAMES), 3, 6, 8, generator=torch.Generator().manual_seed(0))
    large = nn.functional.interpolate(coarse, (60, 80), mode="bicubic").clamp(0, 1)
    return dict(zip(NAMES, large, strict=True))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """A page of two models on two sets, whose names are hostile."""
    folder = tmp_path_factory.mktemp("report")
    found = []
    for name, model in (("identity", "identity"), ("<i>half</i>", lambda image: image / 2 + 0.25)):
        for noise in (15, 50):
            output = folder / f"{len(found)}"
            one = evaluate(model, images(), noise=noise, name=name, output=output, pictures=True)
            found.append(replace(one, failures=(Failure("broken & <lost>", "is empty"),)))
    return write_report(found, folder / "page", title="Two <models>", notes=["a note & more"])


def test_the_page_is_whole_and_fetches_nothing(page):
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert "http://" not in text and "https://" not in text and "@import" not in text and "url(" not in text
    assert not parsed.all("link") and not parsed.all("iframe") and all("src" not in script for script in parsed.all("script"))
    sources = [image["src"] for image in parsed.all("img")] + [option["value"] for option in parsed.all("option")]
    assert sources and all((page.parent / unquote(source)).is_file() for source in sources)
    assert all(not source.startswith("/") and ".." not in source for source in sources)
    (policy,) = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv")]
    assert policy.startswith("default-src 'none'")


def test_names_are_text_whatever_they_hold(page):
    parsed = Page(page.read_text(encoding="utf-8"))
    assert len(parsed.all("script")) == 1 and not parsed.all("b") and not parsed.all("i")
    captions = [text for text in parsed.texts if text in NAMES]
    assert set(captions) == set(NAMES)
    assert "Two <models>" in parsed.texts and "a note & more" in parsed.texts
    assert any("broken & <lost>: is empty" in text for text in parsed.texts)


def test_every_image_has_a_slider_with_a_name_and_two_choices(page):
    parsed = Page(page.read_text(encoding="utf-8"))
    sliders = parsed.all("input")
    assert len(sliders) == 2 * len(NAMES) == len(parsed.all("figure"))
    assert all(slider["type"] == "range" and slider["aria-label"] for slider in sliders)
    assert all(image.get("alt") for image in parsed.all("img"))
    assert len(parsed.all("select")) == 2 * len(sliders) and len(parsed.all("label")) == len(parsed.all("select"))
    assert parsed.all("html")[0]["lang"] == "en"


def test_tables_stand_by_set_and_way_of_degrading_with_the_best_marked(page):
    parsed = Page(page.read_text(encoding="utf-8"))
    titles = [text for text in parsed.texts if text.startswith("images, noise of sigma")]
    assert titles == [f"images, noise of sigma {sigma} (paper, seed 0): rgb" for sigma in (15, 50)]
    assert sum(cell.get("class") == "best" for cell in parsed.all("td")) >= 4


def test_the_best_is_what_the_printed_digits_tell():
    assert best("psnr", [28.421, 28.424, 28.1]) == {0, 1}
    assert best("lpips", [0.2, 0.1, None]) == {1}
    assert best("psnr", [math.inf, 30.0]) == {0}
    assert best("psnr", [math.nan, 30.0]) == best("psnr", [None, 30.0]) == set()
    assert [shown("psnr", value) for value in (28.4207, math.inf, math.nan, None)] == ["28.42", "∞", "not defined", "-"]
    assert shown("ssim", 0.81037) == "0.8104"


def test_results_of_files_and_of_old_and_new_runs_stand_together(tmp_path):
    for name in ("identity", "noisy"):
        found = evaluate(name, images(), noise=25, output=tmp_path / name, pictures=True)
        found.write_json(tmp_path / f"{name}.json")
    files = [str(tmp_path / "identity.json"), str(tmp_path / "noisy.json")]
    result = CliRunner().invoke(cli.app, ["report", *files, "-o", str(tmp_path / "page"), "--most", "1"])
    assert result.exit_code == 0, result.output
    parsed = Page((tmp_path / "page" / "index.html").read_text(encoding="utf-8"))
    assert len(parsed.all("figure")) == 1 and len(parsed.all("option")) == 2 * 4
    result = CliRunner().invoke(cli.app, ["report", str(tmp_path / "nothing.json"), "-o", str(tmp_path / "page")])
    assert result.exit_code == 1 and "nothing.json" in result.output


def test_a_file_of_results_cannot_name_pictures_outside_its_folder(tmp_path):
    found = evaluate("identity", images(), noise=25, output=tmp_path / "run", pictures=True)
    secret = tmp_path / "secret.webp"
    secret.write_bytes(b"secret")
    told = json.loads((tmp_path / "run" / "result.json").read_text())
    for image in told["images"]:
        image["pictures"] = {"input": "../secret.webp", "restored": str(secret), "target": "run.json"}
    (tmp_path / "run" / "result.json").write_text(json.dumps(told))
    page = write_report([tmp_path / "run" / "result.json"], tmp_path / "page")
    assert not (page.parent / "pictures").exists() and not Page(page.read_text(encoding="utf-8")).all("figure")
    assert len(found.images) == len(NAMES)


def test_a_page_without_pictures_has_tables_alone(tmp_path):
    one = Evaluation("a", "set", "rgb", ("psnr",), (ImageFigures("x", {"psnr": math.inf}, 1, 1, 0.1),))
    parsed = Page(write_report([one], tmp_path).read_text(encoding="utf-8"))
    assert len(parsed.all("table")) == 2 and not parsed.all("img") and parsed.texts.count("∞") == 2
    with pytest.raises(ValueError, match="at least one evaluation"):
        write_report([], tmp_path)


@pytest.fixture
def browser():
    """A headless Chromium: Playwright's own, or that of the environment variable RESTORALIB_CHROMIUM."""
    driver = pytest.importorskip("playwright.sync_api", reason="needs the package playwright and a Chromium")
    path = os.environ.get("RESTORALIB_CHROMIUM")
    with driver.sync_playwright() as playwright:
        options = ["--no-sandbox", "--no-zygote", "--single-process"] if path else []
        try:
            started = playwright.chromium.launch(executable_path=path, args=options)
        except driver.Error as error:
            pytest.skip(f"needs a Chromium, of Playwright's or by RESTORALIB_CHROMIUM: {str(error).splitlines()[0]}")
        yield started
        started.close()


def test_the_slider_follows_the_pointer_and_the_keys_in_a_browser(browser, page):
    tab = browser.new_page(viewport={"width": 1000, "height": 800})
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: request.url.startswith("file:") or problems.append(request.url))
    tab.goto(page.as_uri())
    compare = tab.locator("figure.pair .compare").first
    compare.scroll_into_view_if_needed()

    def at() -> float:
        return float(compare.evaluate("element => element.style.getPropertyValue('--at')").rstrip("%"))

    assert at() == 50
    box = compare.bounding_box()
    x, y = box["x"], box["y"] + box["height"] / 2
    tab.mouse.move(x + box["width"] * 0.5, y)
    tab.mouse.down()
    tab.mouse.move(x + box["width"] * 0.2, y, steps=5)
    assert at() == pytest.approx(20, abs=1)
    tab.mouse.up()
    tab.mouse.move(x + box["width"] * 0.9, y)
    assert at() == pytest.approx(20, abs=1)
    before = at()
    tab.keyboard.press("ArrowRight")
    assert at() > before
    for key, place in (("Home", 0), ("End", 100)):
        tab.keyboard.press(key)
        assert at() == place
    assert compare.locator("img").evaluate_all("images => images.every(image => image.naturalWidth > 0)")

    select = tab.locator("figure.pair select[name=before]").first
    select.select_option(label="target")
    assert "target" in compare.locator("img.before").get_attribute("src")
    assert compare.locator("img.before").get_attribute("alt") == "target"

    colours = set()
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        colours.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2
    tab.set_viewport_size({"width": 360, "height": 700})
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not problems
