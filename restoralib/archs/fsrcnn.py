"""FSRCNN: super-resolution of the luma on the small image, by one transposed convolution at the end.

Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016, arXiv:1608.00367. The bare state dicts
of the usual PyTorch port load unchanged. Works on Y of BT.601 (limited range, / 255) at any size; `restore()` enlarges the
chroma beside.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant


class FSRCNN(nn.Module):
    """Feature extraction, shrinking, mapping, expanding and deconvolution, in the paper's words and with the port's keys.

    No weight tells `scale_factor`: the same weights make a network of every scale.

    Args:
        scale_factor: output pixels for each input pixel, along each axis.
        num_channels: channels in and out; 1 for the luma.
        d: features at the small image's ends.
        s: features of the mapping between them.
        m: 3x3 convolutions of the mapping.

    Shapes: (b, c, h, w) -> (b, c, scale_factor h, scale_factor w), any height and width.

    Raises:
        ValueError: an argument is no whole number, or too small.
    """

    def __init__(self, scale_factor: int, num_channels: int = 1, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__()
        for name, value in {"scale_factor": scale_factor, "num_channels": num_channels, "d": d, "s": s, "m": m}.items():
            least = 0 if name == "m" else 1
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} should be a whole number of at least {least}, got {value!r}")
        self.first_part = nn.Sequential(nn.Conv2d(num_channels, d, 5, padding=2), nn.PReLU(d))
        layers: list[nn.Module] = [nn.Conv2d(d, s, 1), nn.PReLU(s)]
        for _ in range(m):
            layers += [nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)]
        self.mid_part = nn.Sequential(*layers, nn.Conv2d(s, d, 1), nn.PReLU(d))
        self.last_part = nn.ConvTranspose2d(d, num_channels, 9, scale_factor, padding=4, output_padding=scale_factor - 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.out_channels * layer.weight[0, 0].numel())))
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.last_part.weight, std=0.001)
        nn.init.zeros_(self.last_part.bias)  # type: ignore[arg-type]
        self.spec = spec(scale_factor, num_channels, d, s, m)

    def forward(self, image: Tensor) -> Tensor:
        return self.last_part(self.mid_part(self.first_part(image)))


VARIANTS: dict[str, Variant] = {
    f"{name}_x{scale}": Variant(FSRCNN, {"scale_factor": scale, "num_channels": 1, **size}, (f"sr{scale}",))
    for name, size in {"fsrcnn": {"d": 56, "s": 12, "m": 4}, "fsrcnn_s": {"d": 32, "s": 5, "m": 1}}.items()
    for scale in (2, 3, 4)
}


def spec(scale_factor: int, num_channels: int = 1, d: int = 56, s: int = 12, m: int = 4) -> NetSpec:
    """What a caller must know of `FSRCNN(scale_factor, …)`."""
    config = {"scale_factor": scale_factor, "num_channels": num_channels, "d": d, "s": s, "m": m}
    return NetSpec(
        scale=scale_factor,
        in_channels=num_channels,
        out_channels=num_channels,
        # 5x5, m times 3x3, 9x9 on the enlarged grid: the last of a pixel's outputs reaches 4 outputs more to the right
        halo=2 + m + (scale_factor + 3) // scale_factor,
        tasks=tuple(task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks),
        unrecorded=("scale_factor",),
        color="y" if num_channels == 1 else "rgb",
    )


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict, all but `scale_factor`; None if it is no FSRCNN's."""
    m = sum(key.startswith("mid_part.") and value.ndim == 4 for key, value in state_dict.items()) - 2
    convolutions = ["first_part.0", *(f"mid_part.{2 * i}" for i in range(m + 2)), "last_part"]
    slopes = ["first_part.1", *(f"mid_part.{2 * i + 1}" for i in range(m + 2))]
    names = {f"{layer}.weight" for layer in convolutions + slopes} | {f"{layer}.bias" for layer in convolutions}
    if m < 0 or state_dict.keys() != names:
        return None
    first, shrink, last = (tuple(state_dict[f"{layer}.weight"].shape) for layer in ("first_part.0", "mid_part.0", "last_part"))
    if len(first) != 4 or first[2:] != (5, 5) or shrink[1:] != (first[0], 1, 1) or last != (*first[:2], 9, 9):
        return None
    config = {"num_channels": first[1], "d": first[0], "s": shrink[0], "m": m}
    return Inferred(FSRCNN, config, missing=("scale_factor",))
