"""What a caller must know about a network beside calling it, as data; and what a state dict tells of one.

`restore()` plans padding, tiles and colour handling from a `NetSpec` alone; it never asks which network it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

Color = Literal["rgb", "gray", "y"]
StateDict = Mapping[str, Tensor]


@dataclass(frozen=True)
class NetSpec:
    """The needs and the behaviour of one built network.

    Args:
        scale: output pixels for each input pixel, along each axis.
        in_channels: channels that the network takes.
        out_channels: channels that it gives.
        multiple: a tile whose origin lies on a multiple of this many input pixels is on the grid of the whole image (strides,
            windows); any image size is taken all the same, for networks pad inside.
        halo: radius in input pixels of the largest area that one output pixel can depend on, its grid included;
            None where one output pixel depends on the whole image.
        global_ops: names of the operations that see the whole image; empty exactly when `halo` is a number.
        tasks: restoration tasks for which weights of this configuration were published or are bundled.
        unrecorded: constructor arguments that no state dict tells.
        color: "rgb"; "gray" for one channel of raw intensity; "y" for the luma of BT.601 (limited range, divided by 255),
            where the chroma is enlarged by bicubic interpolation beside the network.
        input_size: the only (height, width) that is taken, None for any; discriminators have one.
    """

    scale: int = 1
    in_channels: int = 3
    out_channels: int = 3
    multiple: int = 1
    halo: int | None = 0
    global_ops: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    color: Color = "rgb"
    input_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if (self.halo is None) != bool(self.global_ops):
            raise ValueError(f"halo should be None exactly when there are global_ops, got {self.halo} and {self.global_ops}")


@dataclass(frozen=True)
class Variant:
    """A published configuration.

    Args:
        cls: the network's class.
        config: constructor arguments, as the authors set them.
        tasks: restoration tasks of the published weights.
    """

    cls: type[nn.Module]
    config: Mapping[str, Any]
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inferred:
    """What a state dict tells of the network that it belongs to.

    Args:
        cls: the network's class.
        config: constructor arguments, the conventional values of `assumed` among them.
        assumed: argument -> why it has its value, where weights cannot tell but a convention exists.
        missing: arguments that neither weights nor a convention tell; the caller has to give them.
    """

    cls: type[nn.Module]
    config: dict[str, Any]
    assumed: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
