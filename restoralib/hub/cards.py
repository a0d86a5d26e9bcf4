"""The page that tells people what a network in a folder of the Hub is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

MARK = "<!-- This page was made by restoralib; a page without this line is left as it is. -->"

# Licences by the Hub's names; others are "other" there, with a name.
_ON_THE_HUB = {
    "Apache-2.0",
    "MIT",
    "ISC",
    "Unlicense",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
}


def model_card(
    net: nn.Module,
    *,
    name: str,
    licence: str | None = None,
    about: str = "",
    data: str = "",
    figures: Mapping[str, Mapping[str, float]] | None = None,
    terms: str = "",
) -> str:
    """A page in Markdown with the Hub's metadata at its head.

    Args:
        net: a network of restoralib, or of an architecture that was registered.
        name: of the repository, "org/name", or of the folder.
        licence: SPDX identifier of the weights' licence; None where nobody said.
        about: what should be said of the network, in Markdown.
        data: what it was trained on.
        figures: set -> measure -> value.
        terms: what the licence asks of a user of the weights.
    """
    spec: Any = getattr(net, "spec", None)
    tasks, role, scale = getattr(spec, "tasks", ()), getattr(spec, "role", "restorer"), getattr(spec, "scale", 1)
    head: dict[str, Any] = {"library_name": "restoralib"}
    if role in ("restorer", "denoiser", "autoencoder"):
        head["pipeline_tag"] = "image-to-image"
    elif role == "classifier":
        head["pipeline_tag"] = "image-classification"
    if licence in _ON_THE_HUB:
        head["license"] = str(licence).lower()
    elif licence:
        head |= {"license": "other", "license_name": licence.lower()}
    head["tags"] = list(dict.fromkeys(["image-restoration", type(net).__name__.lower(), role, *tasks]))
    front = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items())
    count = sum(parameter.numel() for parameter in net.parameters())
    facts = {
        "network": f"`{type(net).__name__}` of [restoralib](https://pypi.org/project/restoralib)",
        "parameters": f"{count:,}",
        "tasks": ", ".join(tasks) or "not told",
        "scale": scale,
        "weights' licence": licence or "**not stated: ask before you use them**",
    }
    rows = "".join(f"| {key} | {value} |\n" for key, value in facts.items())
    parts = [f"---\n{front}\n---\n{MARK}\n\n# {name}", about, f"| | |\n| --- | --- |\n{rows}".rstrip()]
    repository = json.dumps(name, ensure_ascii=False)
    use = f"import restoralib\nfrom restoralib.hub import from_pretrained\n\nnet = from_pretrained({repository})\n"
    if role == "restorer":
        use += 'restored = restoralib.restore("photograph.jpg", net)\n'
    parts.append(f"## Use\n\n```python\n{use}```")
    if terms:
        parts.append(f"## Terms\n\n{terms}")
    if data:
        parts.append(f"## Training data\n\n{data}")
    if figures:
        lines = "".join(
            f"| {one} | {measure} | {value} |\n" for one, found in figures.items() for measure, value in found.items()
        )
        parts.append(f"## Figures\n\n| set | measure | value |\n| --- | --- | --- |\n{lines}".rstrip())
    return "\n\n".join(part for part in parts if part) + "\n"
