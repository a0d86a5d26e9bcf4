"""What an exported file says of itself, as text beside the graph or the weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from restoralib.archs.spec import NetSpec

UNKNOWN = "unknown"
_FORMAT = "1"


@dataclass(frozen=True)
class Sizes:
    """Which heights and widths an exported graph takes.

    Args:
        step: they are multiples of this.
        least: pixels, at least.
        only: (height, width) of a graph that takes no other, None for others.
    """

    step: int = 1
    least: int = 1
    only: tuple[int, int] | None = None

    def __str__(self) -> str:
        if self.only:
            return f"{self.only[0]}x{self.only[1]}"
        kind = "any" if self.step == 1 else f"multiples of {self.step}"
        return kind if self.least <= self.step else f"{kind} from {self.least} pixels"


@dataclass(frozen=True)
class Description:
    """What a user of an exported file has to know.

    Args:
        name: of the model, as `list_models()` has it, or of its class.
        cls: name of the network's class.
        spec: its scale, multiple, tasks and the rest.
        sizes: that the graph takes; of a file of weights alone, any.
        licence: SPDX identifier of the weights' licence; "unknown" where nobody said.
        quantized: how the numbers in it are kept, "float32" or "int8".
    """

    name: str
    cls: str
    spec: NetSpec
    sizes: Sizes
    licence: str = UNKNOWN
    quantized: str = "float32"

    def to_metadata(self) -> dict[str, str]:
        """Texts for the file; what programs in other languages need stands under keys of its own, all of it in "spec"."""
        from restoralib import __version__

        return {
            "restoralib": __version__,
            "format": _FORMAT,
            "name": self.name,
            "class": self.cls,
            "scale": str(self.spec.scale),
            "multiple": str(self.sizes.step),
            "least": str(self.sizes.least),
            "only": json.dumps(self.sizes.only),
            "tasks": " ".join(self.spec.tasks),
            "range": "0 1",
            "layout": "nchw",
            "color": self.spec.color,
            "weights_license": self.licence,
            "quantized": self.quantized,
            "spec": json.dumps(dataclasses.asdict(self.spec)),
        }


def describe(net: nn.Module, sizes: Sizes, name: str | None, licence: str | None) -> Description:
    """The description of a network."""
    spec = spec_of(net)
    return Description(name or type(net).__name__, type(net).__name__, spec, sizes, licence or UNKNOWN)


def spec_of(net: nn.Module) -> NetSpec:
    """The spec that a network carries.

    Raises:
        TypeError: it has none.
    """
    spec = getattr(net, "spec", None)
    if not isinstance(net, nn.Module) or not isinstance(spec, NetSpec):
        raise TypeError(f"a network of restoralib is exported, a module with a spec, got {type(net).__name__}")
    return spec


def read_description(metadata: Mapping[str, str]) -> Description | None:
    """What `to_metadata` wrote; None for the metadata of other files.

    Raises:
        ValueError: they are damaged, or of a later version.
    """
    if not {"restoralib", "format", "spec", "class"} <= metadata.keys():
        return None
    if metadata["format"] != _FORMAT:
        raise ValueError(f"it was written by restoralib {metadata['restoralib'][:40]}, in a later format; upgrade restoralib")
    try:
        only = json.loads(metadata["only"])
        return Description(
            metadata["name"],
            metadata["class"],
            _read_spec(json.loads(metadata["spec"])),
            Sizes(int(metadata["multiple"]), int(metadata["least"]), tuple(only) if only else None),
            metadata["weights_license"],
            metadata["quantized"],
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its description is damaged ({type(error).__name__}: {str(error)[:80]}); export it again") from None


def _read_spec(fields: dict[str, Any]) -> NetSpec:
    """A spec from JSON, which has lists for tuples; fields that a later version added are left out."""
    known = {field.name for field in dataclasses.fields(NetSpec)}
    told: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if k in known}
    return NetSpec(**told)
