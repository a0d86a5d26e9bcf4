"""The documentation: what it shows runs, and what it promises is there."""

from __future__ import annotations

import pkgutil
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import restoralib
from restoralib import archs, cli, list_models
from restoralib.archs import FSRCNN, NAFNet
from restoralib.data import LAYOUTS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """A working folder with the files that the pages speak of. Architectures that a page registers are taken out again."""
    monkeypatch.chdir(tmp_path)
    tables = (archs._ARCHITECTURES, archs._VARIANTS)
    before = [dict(table) for table in tables]
    for name in ("photograph.jpg", "photos/a.jpg", "more/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.effect_noise((40, 32), 60).convert("RGB").save(tmp_path / name)
    net = NAFNet(width=8, middle_blk_num=1, enc_blk_nums=(1, 1), dec_blk_nums=(1, 1))
    torch.save({"params": net.state_dict()}, tmp_path / "authors.pth")
    torch.save(FSRCNN(scale_factor=3).state_dict(), tmp_path / "fsrcnn.pth")
    yield tmp_path
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def write_film(path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 40, 32, "yuv420p"
        for _ in range(3):
            film.mux(stream.encode(av.VideoFrame.from_image(Image.effect_noise((40, 32), 60).convert("RGB"))))
        film.mux(stream.encode())


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_python_of_a_page_runs(page, folder):
    if page.name == "video.md":
        write_film(folder / "film.mp4")
    code = "\n".join(blocks(page, "python"))
    exec(compile(code, str(page), "exec"), {"__name__": "page"})


def test_commands_of_the_command_line_page_run(folder):
    lines = [line for block in blocks(DOCS / "cli.md", "bash") for line in block.splitlines()]
    assert len(lines) > 5
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "restoralib"
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 0 or arguments == ["doctor"], f"{line}\n{result.output}"


def test_readme_has_the_two_commands_that_ci_runs():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    words = re.findall(r"readme_command (\S+)", script)
    assert len(words) == 2
    readme = blocks(README, "bash")
    for word in words:
        assert sum(word in block for block in readme) == 1


def test_links_to_files_of_the_repository_lead_somewhere():
    for page in (README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "examples" / "README.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_pictures_are_small_and_shown():
    pictures = sorted((DOCS / "pictures").glob("*"))
    assert sum(picture.stat().st_size for picture in pictures) < 1_500_000
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    pages += runpy.run_path(str(DOCS / "cards.py"))["cards"]()
    assert all(f"pictures/{picture.name}" in pages for picture in pictures)


def test_table_of_models_names_every_model():
    table = runpy.run_path(str(DOCS / "tables.py"))["model_table"]()
    assert all(f"`{name}`" in table for name in list_models())


def test_tables_of_layouts_name_every_layout():
    tables = runpy.run_path(str(DOCS / "tables.py"))
    for make in ("layout_table", "place_table"):
        assert all(f"`{name}`" in tables[make]() for name in LAYOUTS)


def test_reference_covers_every_public_module():
    shown = {name for page in (DOCS / "api").glob("*.md") for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)}
    for module in pkgutil.iter_modules(restoralib.__path__, "restoralib."):
        if not module.name.rpartition(".")[2].startswith("_") and module.name != "restoralib.cli":
            assert any(name == module.name or name.startswith(f"{module.name}.") for name in shown), f"{module.name} is missing"


@pytest.mark.parametrize(
    "example",
    [
        "restore_photograph",
        "restore_by_words",
        "restore_many",
        "own_block",
        "load_checkpoint",
        "make_pairs",
        "paired_data",
        "evaluate_folder",
        "diffusion_restoration",
        "train_your_own",
        "export_onnx",
        "restore_video",
    ],
)
def test_example_runs(example, folder, monkeypatch, capsys):
    if example == "export_onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    if example == "restore_video":
        pytest.importorskip("av")
    arguments = {
        "own_block": ["--steps", "1"],
        "restore_photograph": ["photograph.jpg"],
        "restore_by_words": ["photograph.jpg"],
        "restore_many": ["photos"],
        "make_pairs": ["photos"],
        "evaluate_folder": ["photos"],
        "diffusion_restoration": ["--steps", "1"],
        "train_your_own": ["--steps", "2"],
    }.get(example, [])
    monkeypatch.setattr(sys, "argv", [example, *arguments])
    runpy.run_path(str(ROOT / "examples" / f"{example}.py"), run_name="__main__")
    assert capsys.readouterr().out
