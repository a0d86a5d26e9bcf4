"""What a caller must know about a network beside calling it, as data; and what a state dict tells of one.

`restore()` plans padding, tiles and colour handling from a `NetSpec` alone; it never asks which network it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

Color = Literal["rgb", "gray", "y"]
Role = Literal["restorer", "denoiser", "autoencoder", "discriminator", "classifier", "part"]
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
        input_size: the only (height, width) that is taken, None for any; some discriminators have one.
        role: "restorer" for a network from image to restored image (the first, where it gives several), which is what
            `restore()` runs; "denoiser" for one step of a diffusion process; "autoencoder" for
            one that also encodes images and decodes latents; "discriminator"; "classifier" for one
            that tells degradations; "part" for a network that does its work inside or beside another.
        inputs: what `forward` has to be given, in order: names that `example_inputs` explains.
        noise: length of the vector of standard normal numbers, one an image, that `forward` takes as `noise` and draws where it
            is not given; 0 for none. `restore()` gives all tiles of an image the same.
        text_channels: features of the vectors of a text; 0 for networks that take none.
        map_channels: channels of the maps that guide a network, one for each of its levels; 0 for networks that take none.
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
    role: Role = "restorer"
    inputs: tuple[str, ...] = ("image",)
    noise: int = 0
    text_channels: int = 0
    map_channels: int = 0

    def __post_init__(self) -> None:
        if (self.halo is None) != bool(self.global_ops):
            raise ValueError(f"halo should be None exactly when there are global_ops, got {self.halo} and {self.global_ops}")
        if self.role == "restorer" and self.inputs != ("image",):
            raise ValueError(f"a restorer takes an image alone, got {self.inputs}; give it another role")


class MakeTensor(Protocol):
    """A function like torch.rand or torch.zeros."""

    def __call__(self, *size: int, dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
        """A tensor of this size."""


def example_inputs(
    spec: NetSpec,
    size: tuple[int, int] = (48, 64),
    batch: int = 1,
    *,
    make: MakeTensor = torch.rand,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> tuple[Tensor, ...]:
    """Inputs that a network takes, for trying it out.

    By the names of `spec.inputs`: "image" is (b, in_channels, h, w), "condition" the degraded image beside a noisy one, of the
    same shape; "target" the clean image (b, out_channels, s h, s w); "illumination" (b, 1, h, w) and "reflectance"
    (b, 3, h, w); "time" (b,); "level", a noise level in [0, 1], (b, 1); "label", a class, (b,) of whole
    numbers; "text", 7 vectors, (b, 7, text_channels), and "mask", how much each counts, (b, 7); "guidance", its scale, (b,).
    "maps" are several tensors, one for each halving up to `multiple`: (b, map_channels, h / 2^i, w / 2^i), rounded up.

    Args:
        spec: the network's.
        size: height and width of the image; a network that takes only one size, or multiples of one, gets the nearest above.
        batch: images.
        make: makes the values, in [0, 1].
        dtype: of the inputs, labels excepted.
        device: where they lie.
    """
    if spec.input_size is not None:
        size = spec.input_size
    elif spec.role == "discriminator":
        size = (size[0] + -size[0] % spec.multiple, size[1] + -size[1] % spec.multiple)
    height, width = size
    shapes = {
        "image": (spec.in_channels, height, width),
        "condition": (spec.in_channels, height, width),
        "target": (spec.out_channels, spec.scale * height, spec.scale * width),
        "illumination": (1, height, width),
        "reflectance": (3, height, width),
        "time": (),
        "level": (1,),
        "label": (),
        "text": (7, spec.text_channels),
        "mask": (7,),
        "guidance": (),
    }
    levels = [2**level for level in range(spec.multiple.bit_length())]
    maps = {f"map {step}": (spec.map_channels, -(-height // step), -(-width // step)) for step in levels}
    names = [part for name in spec.inputs for part in (maps if name == "maps" else (name,))]
    return tuple(
        torch.zeros(batch, dtype=torch.int64, device=device)
        if name == "label"
        else make(batch, *(shapes | maps)[name], dtype=dtype, device=device)
        for name in names
    )


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
