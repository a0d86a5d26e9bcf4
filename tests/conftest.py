"""Options and parametrisation that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

GOLDENS = Path(__file__).parent / "goldens"


def pytest_addoption(parser):
    parser.addoption("--goldens", type=Path, default=GOLDENS, metavar="DIR", help="folder of golden files")
    parser.addoption("--slow", action="store_true", help="run the tests that are marked slow, too")


def pytest_generate_tests(metafunc):
    """Run a test that has an argument FOLDER_golden once for every golden file of that folder."""
    for name in metafunc.fixturenames:
        if name.endswith("_golden"):
            folder = metafunc.config.getoption("--goldens") / name.removesuffix("_golden")
            files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.published.json")])
            metafunc.parametrize(name, files, ids=[file.name.removesuffix(".safetensors") for file in files])


def pytest_collection_modifyitems(config, items):
    # Whoever names a folder of goldens wants all of it.
    run_slow = config.getoption("--slow") or config.getoption("--goldens") != GOLDENS
    for item in items:
        if item.get_closest_marker("slow") and not run_slow:
            item.add_marker(pytest.mark.skip(reason="slow; runs with --slow"))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
