"""Every public name and signature, against the snapshot in api.txt.

    python tests/test_api.py --update

writes the snapshot anew. A change of it is a change for users: it needs a line in CHANGELOG.md.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import restoralib

SNAPSHOT = Path(__file__).with_name("api.txt")
PROGRAMS = {"__main__", "cli", "doctor"}  # used from the command line, not imported


def public_modules() -> Iterator[ModuleType]:
    yield restoralib
    for module in pkgutil.iter_modules(restoralib.__path__):
        if module.name not in PROGRAMS and not module.name.startswith("_"):
            yield importlib.import_module(f"restoralib.{module.name}")


def public_names(module: ModuleType) -> list[str]:
    """`__all__` where there is one, else what the module defines itself."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return getattr(module, "__all__", [name for name in own if not name.startswith("_")])


def lines() -> list[str]:
    found = {
        line
        for module in public_modules()
        for name in public_names(module)
        for line in described(f"{module.__name__}.{name}", getattr(module, name))
    }
    return sorted(found)


def described(path: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield path + (signature(value).removesuffix(" -> None") if has_own_constructor(value) else "()")
        fields = getattr(value, "__dataclass_fields__", ())
        for name, member in vars(value).items():
            if name.startswith("_") or name in fields:
                continue
            if isinstance(member, property):
                yield f"{path}.{name}"
            elif inspect.isfunction(member) or isinstance(member, classmethod | staticmethod):
                yield f"{path}.{name}{signature(getattr(value, name))}"
    elif inspect.isroutine(value):
        yield path + signature(value)
    else:
        yield path


def has_own_constructor(cls: type) -> bool:
    """Whether the arguments are ours and not those of torch or Python."""
    definer = next(definer for definer in cls.__mro__ if {"__init__", "__new__"} & vars(definer).keys())
    return definer.__module__.startswith("restoralib")


def signature(value: Any) -> str:
    """As in the source, whether its annotations are text or objects, on every version of Python."""
    whole = inspect.signature(value)
    parameters = [
        parameter.replace(annotation=annotation(parameter.annotation), default=default(parameter.default))
        for parameter in whole.parameters.values()
    ]
    return str(whole.replace(parameters=parameters, return_annotation=annotation(whole.return_annotation)))


class Verbatim:
    """An object whose `repr` is the given text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def annotation(value: Any) -> Any:
    if value is inspect.Signature.empty:
        return value
    text = getattr(value, "__forward_arg__", value)
    text = text if isinstance(text, str) else inspect.formatannotation(text)
    return Verbatim(re.sub(r"\b[A-Za-z_][\w.]*\.(?=[A-Za-z_])", "", text))  # collections.abc.Sequence -> Sequence


def default(value: Any) -> Any:
    return value if value is inspect.Signature.empty else Verbatim(getattr(value, "__name__", None) or repr(value))


def update() -> None:
    SNAPSHOT.write_text("\n".join(lines()) + "\n", encoding="utf-8")


def test_public_names_and_signatures_are_those_of_the_snapshot():
    snapshot, current = SNAPSHOT.read_text(encoding="utf-8").splitlines(), lines()
    difference = "\n".join(difflib.unified_diff(snapshot, current, "tests/api.txt", "restoralib", lineterm="", n=0))
    assert not difference, f"{difference}\nif this is meant: python tests/test_api.py --update, and a line in CHANGELOG.md"


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit(__doc__)
    update()
