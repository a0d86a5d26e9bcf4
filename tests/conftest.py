"""Options and parametrisation that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

GOLDENS = Path(__file__).parent / "goldens"
LARGE = 2_000_000  # parameters of a network whose golden takes seconds

torch.set_num_threads(1)  # tensors of tests are so small that threads only cost time


def pytest_addoption(parser):
    parser.addoption("--goldens", type=Path, default=GOLDENS, metavar="DIR", help="folder of golden files")
    parser.addoption("--slow", action="store_true", help="run the tests that are marked slow, too")


def pytest_generate_tests(metafunc):
    """Run a test that has an argument FOLDER_golden once for every golden file of that folder, large networks as slow ones."""
    for name in metafunc.fixturenames:
        if name.endswith("_golden"):
            folder = metafunc.config.getoption("--goldens") / name.removesuffix("_golden")
            files = sorted([*folder.glob("*.safetensors"), *filter(stands_alone, folder.glob("*.json"))])
            metafunc.parametrize(name, [pytest.param(file, id=file.stem, marks=slow_if_large(file)) for file in files])


def stands_alone(file):
    """Whether a JSON file is a golden itself, rather than part of a .safetensors file: NAME.json, NAME.keys.json."""
    return file.name.endswith(".published.json") or not file.with_name(f"{file.name.partition('.')[0]}.safetensors").exists()


def slow_if_large(file):
    if file.suffix == ".safetensors":
        with safe_open(file, "pt") as golden:
            parameters = int((golden.metadata() or {}).get("params", 0))
        return [pytest.mark.slow] if parameters > LARGE else []
    return []


def pytest_collection_modifyitems(config, items):
    all_goldens = config.getoption("--goldens") != GOLDENS
    for item in items:
        # Whoever names a folder of goldens wants all of it.
        run_slow = config.getoption("--slow") or (all_goldens and "golden" in item.name)
        if item.get_closest_marker("slow") and not run_slow:
            item.add_marker(pytest.mark.skip(reason="slow; runs with --slow"))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
