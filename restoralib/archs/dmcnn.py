"""DMCNN: removal of moiré from photographs of screens, by five resolutions side by side.

Sun, Yu and Wang, Moiré Photo Restoration Using Multiresolution Convolutional Neural Networks, IEEE TIP 2018, arXiv:1805.02996.
The authors published no PyTorch code; the weights of its best-known port, ZhengJun-AI/MoirePhotoRestoration-MCNN, load once
they are taken out of the pickled network. Images are RGB in [0, 1] of any size: they are padded inside by reflection at the
right and at the bottom to multiples of 16.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.ops.pad import pad_to_multiple

LEVELS = 5
WIDTHS = (32, 64, 64, 64, 64)
MAPPING = 5  # convolutions of each resolution


class DMCNN(nn.Module):
    """Five resolutions, each half the one before; what each makes of the image is enlarged and added up.

    No image is added to the sum, and no layer has a norm.

    Args:
        tied: share weights as the port does: one convolution for the five of a resolution, and one pair for the last three
            steps down, 650,287 parameters. False gives every layer its own, as the paper has it, 1,425,839. The names in the
            state dict are the same, so that either loads the port's weights and then gives the same.

    Shapes: (b, 3, h, w) -> (b, 3, h, w), any height and width.
    """

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        for level, width in enumerate(WIDTHS, start=1):
            before = 3 if level == 1 else WIDTHS[level - 2]
            shared = self.get_submodule("s31") if tied and level > 3 else None
            self.add_module(f"s{level}1", shared or _down(before, width, stride=1 if level == 1 else 2))
            self.add_module(f"s{level}2", _up(width, level - 1))
            layers = [nn.Conv2d(width, width, 3, padding=1)] * MAPPING
            if not tied:
                layers = [nn.Conv2d(width, width, 3, padding=1) for _ in range(MAPPING)]
            self.add_module(f"s{level}3", nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU(inplace=True)))))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, std=0.01)
        self.spec = spec(tied)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = pad_to_multiple(image, self.spec.multiple)
        results = []
        for level in range(1, LEVELS + 1):
            x = self.get_submodule(f"s{level}1")(x)
            mapped = self.get_submodule(f"s{level}3")(x)
            results.append(self.get_submodule(f"s{level}2")(mapped))
        restored: Tensor = sum(results[1:], results[0])
        return restored[..., :height, :width]


def _down(channels: int, width: int, stride: int) -> nn.Sequential:
    """The step to a resolution; at full size, the entry."""
    middle = width if stride == 1 else channels
    first = nn.Conv2d(channels, middle, 3, stride=stride, padding=1)
    return nn.Sequential(first, nn.ReLU(inplace=True), nn.Conv2d(middle, width, 3, padding=1))


def _up(width: int, steps: int) -> nn.Sequential:
    """Back to full size in `steps` doublings, then to RGB."""
    layers: list[nn.Module] = []
    for step in range(steps):
        # The first doubling keeps the channels where there are several.
        narrow = width if step == 0 and steps > 1 else 32
        layers += [nn.ConvTranspose2d(width, narrow, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
        width = narrow
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1))


VARIANTS: dict[str, Variant] = {"dmcnn": Variant(DMCNN, {"tied": False}, ("demoire",))}


def spec(tied: bool = False) -> NetSpec:
    """What a caller must know of `DMCNN(tied)`, which is the same for both."""
    multiple = 2 ** (LEVELS - 1)
    return NetSpec(multiple=multiple, halo=_halo(multiple), tasks=("demoire",), unrecorded=("tied",))


def _halo(multiple: int) -> int:
    """How far a pixel of the result sees, from every phase of the grid: through the deepest resolution, which sees farthest."""
    halo = 0
    for pixel in range(multiple):
        first, last = pixel - 1, pixel + 1
        for _ in range(LEVELS - 1):  # a transposed 4x4 convolution makes 2i and 2i + 1 from i - 1 to i + 1
            first, last = (first - 1) // 2, (last + 1) // 2
        first, last = first - MAPPING, last + MAPPING
        for _ in range(LEVELS - 1):  # 3x3, and 3x3 with stride 2
            first, last = 2 * (first - 1) - 1, 2 * (last + 1) + 1
        first, last = first - 2, last + 2
        halo = max(halo, pixel - first, last - pixel)
    return halo


def _shapes() -> dict[str, tuple[int, ...]]:
    """The state dict's names and shapes. Of its own: a network on the meta device would import torch's compiler."""
    weights: dict[str, tuple[int, ...]] = {}
    for level, width in enumerate(WIDTHS, start=1):
        before = 3 if level == 1 else WIDTHS[level - 2]
        middle = width if level == 1 else before
        weights |= {f"s{level}1.0": (middle, before, 3, 3), f"s{level}1.2": (width, middle, 3, 3)}
        weights |= {f"s{level}3.{2 * layer}": (width, width, 3, 3) for layer in range(MAPPING)}
        ups = [width, *([64] if level > 2 else []), *[32] * (level - 2 if level > 2 else level - 1)]
        weights |= {f"s{level}2.{2 * step}": (*pair, 4, 4) for step, pair in enumerate(pairwise(ups))}
        weights[f"s{level}2.{2 * (level - 1)}"] = (3, 32, 3, 3)
    # A transposed convolution has its channels out in the second place.
    biases = {f"{name}.bias": (shape[1] if shape[2] == 4 else shape[0],) for name, shape in weights.items()}
    return {f"{name}.weight": shape for name, shape in weights.items()} | biases


def infer_config(state_dict: StateDict) -> Inferred | None:
    """DMCNN with weights of their own, which is what the port's tied weights make as well; None for other keys or shapes."""
    if {key: tuple(value.shape) for key, value in state_dict.items()} != _shapes():
        return None
    return Inferred(DMCNN, {"tied": False})
