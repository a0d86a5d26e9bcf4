"""Image restoration in PyTorch: networks and their blocks, authors' checkpoints, and one call that restores a photograph."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restoralib.checkpoints import load_model
    from restoralib.compilation import compile
    from restoralib.restoration import restore
    from restoralib.zoo import create_model, list_models

__version__ = "0.1.0"
__all__ = ["__version__", "compile", "create_model", "list_models", "load_model", "restore"]

# Modules are imported when their functions are asked for, so that a plain import is quick.
_HOMES = {
    "restore": "restoralib.restoration",
    "load_model": "restoralib.checkpoints",
    "create_model": "restoralib.zoo",
    "list_models": "restoralib.zoo",
    "compile": "restoralib.compilation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'restoralib' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
