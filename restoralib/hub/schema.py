"""As much of JSON Schema as a network's config needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


def violations(value: Any, schema: Mapping[str, Any], place: str = "it") -> list[str]:
    """What of a value goes against a schema, in words; empty where nothing does.

    Args:
        value: as `json.loads` gives it.
        schema: with the keywords const, type, pattern, maxLength, minimum, items, maxItems, required, properties and
            additionalProperties of JSON Schema (draft 2020-12).
        place: what the value is called.
    """
    if "const" in schema and (value != schema["const"] or isinstance(value, bool) != isinstance(schema["const"], bool)):
        return [f"{place} should be {schema['const']!r}, got {_short(value)}"]
    names = schema.get("type", list(_TYPES))
    kinds = [names] if isinstance(names, str) else names
    if not any(_is(value, kind) for kind in kinds):
        return [f"{place} should be {' or '.join(kinds)}, got {_short(value)}"]
    found = []
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            found.append(f"{place} should match {schema['pattern']}, got {_short(value)}")
        if len(value) > schema.get("maxLength", len(value)):
            found.append(f"{place} is longer than {schema['maxLength']} characters")
    elif isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            found.append(f"{place} has more than {schema['maxItems']} items")
        for number, item in enumerate(value if "items" in schema else ()):
            found += violations(item, schema["items"], f"{place}[{number}]")
    elif isinstance(value, dict):
        found += [f"{place} lacks {name!r}" for name in schema.get("required", ()) if name not in value]
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name, item in value.items():
            if name in known:
                found += violations(item, known[name], repr(name))
            elif others is False:
                found.append(f"{place} has an unknown {_short(name)}")
            elif isinstance(others, Mapping):
                found += violations(item, others, _short(name))
    elif value is not None and value < schema.get("minimum", value):
        found.append(f"{place} should be at least {schema['minimum']}, got {_short(value)}")
    return found


def _is(value: Any, kind: str) -> bool:
    # A bool is an int in Python, and not in JSON.
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"
