"""The package as a whole: its metadata, what importing it brings, and what its source must not do."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import restoralib

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = sorted((ROOT / "restoralib").rglob("*.py"))


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after some code."""
    report = "import json, sys; sys.stderr.write(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    command = [sys.executable, "-I", "-c", f"{code}\n{report}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(result.stderr.splitlines()[-1]))


@pytest.mark.parametrize("module", ["restoralib", "restoralib.archs", "restoralib.blocks", "restoralib.restoration"])
def test_import_brings_no_heavy_or_optional_package(module):
    banned = {"timm", "torchvision", "PIL", "tifffile", "imagecodecs", "typer", "rich", "huggingface_hub", "matplotlib"}
    assert not modules_after(f"import {module}") & banned


def test_help_answers_without_torch():
    code = """
import sys
sys.argv = ["restoralib", "--help"]
from restoralib.__main__ import main
try:
    main()
except SystemExit:
    pass
"""
    assert not modules_after(code) & {"torch", "timm", "PIL", "numpy"}


def test_core_dependencies_are_the_six_without_upper_bounds():
    names = {re.split(r"[<>=~!]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert names == {"torch", "einops", "safetensors", "timm", "numpy", "typing-extensions"}
    assert not any(re.search("<|==|~=", requirement) for requirement in PROJECT["dependencies"])


def test_classifiers_name_every_python_from_the_oldest():
    oldest = int(PROJECT["requires-python"].removeprefix(">=3."))
    named = [int(line.rpartition(".")[2]) for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert named == list(range(oldest, named[-1] + 1))
    assert sys.version_info.minor in named
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_extras_contain_what_they_build_on():
    extras = PROJECT["optional-dependencies"]
    assert extras.keys() >= {"io", "cli", "data", "docs", "test", "bench", "dev", "all"}
    bases = {"cli": "io", "data": "io", "docs": "cli", "test": "cli", "bench": "cli", "all": "cli"}
    for extra, base in [*bases.items(), ("test", "data"), ("all", "data")]:
        assert f"restoralib[{base}]" in extras[extra]


def test_package_is_marked_as_typed():
    assert (Path(restoralib.__file__).parent / "py.typed").is_file()


def test_version_and_tools_agree_across_files():
    assert f"version: {restoralib.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (ruff,) = (line for line in PROJECT["optional-dependencies"]["dev"] if line.startswith("ruff"))
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert f"rev: v{ruff.removeprefix('ruff==')}\n" in hooks


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call of a source file, with the text of what is called."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_source_neither_prints_nor_unpickles_nor_opens_shells(path):
    for name, call in calls(path):
        assert name not in {"print", "eval", "exec", "os.system"}, f"line {call.lineno} calls {name}"
        assert not name.startswith("pickle."), f"line {call.lineno} calls {name}"
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("shell") != "True", f"line {call.lineno} opens a shell"
        if name == "torch.load":
            assert given.get("weights_only") == "True", f"line {call.lineno}: torch.load needs weights_only=True"
