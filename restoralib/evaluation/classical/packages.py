"""The packages of others in which classical methods are kept: the extra `bench` has them."""

from __future__ import annotations

import importlib
from typing import Any


def bench_package(module: str, method: str) -> Any:
    """A module of a package of the extra `bench`.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f'{method} needs {error.name}; pip install "restoralib[bench]"') from error
