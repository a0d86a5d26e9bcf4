"""Learned perceptual image patch similarity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.blocks.features import Weights, load_features
from restoralib.metrics._inputs import check_colours, check_range
from restoralib.metrics._published import read_published

Net = Literal["alex", "vgg", "squeeze"]

# The backbone, and its layers that are compared, all after an activation.
_TAPS: dict[str, tuple[str, tuple[int, ...]]] = {
    "alex": ("alexnet", (1, 4, 7, 9, 11)),
    "vgg": ("vgg16", (3, 8, 15, 22, 29)),
    "squeeze": ("squeezenet1_1", (1, 4, 7, 9, 10, 11, 12)),
}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """LPIPS: the weighted squared difference of unit-normalised deep features, summed over the layers.

    Call it with a result and its target, (b, 3, h, w) RGB in [0, 1], for one distance an image, (b,): 0 for equal images, and
    smaller is better. It computes in the type of its weights (`.double()` changes it), under autocast too, and gradients pass
    to the images. Values are not checked, so that a training step need not wait for them; `lpips` does.

    Zhang et al., CVPR 2018, arXiv:1801.03924; the linear weights are the authors' (BSD-2-Clause) and come with the package.

    Args:
        net: the backbone; papers report "alex" mostly, "vgg" is usual as a loss.
        version: "0.1", or "0.0" for figures of 2018, which has other linear weights and no scaling of the colours.
        weights: of the backbone, as in `blocks.features.load_features`; None looks for torchvision's file.
        linear: other linear weights, one vector a layer.

    Raises:
        ValueError: net or version is unknown, or weights do not fit.
        FileNotFoundError: the backbone's file is missing; the error says where it belongs.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        net: Net = "alex",
        *,
        version: Literal["0.0", "0.1"] = "0.1",
        weights: Weights = None,
        linear: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        if net not in _TAPS:
            raise ValueError(f"unknown net {net!r}; choose one of {', '.join(_TAPS)}")
        if version not in ("0.0", "0.1"):
            raise ValueError(f"LPIPS has versions 0.0 and 0.1, got {version!r}")
        backbone, self.taps = _TAPS[net]
        published = read_published("lpips")
        own = [published[f"{version}.{net}.lin{tap}.model.1.weight"] for tap in range(len(self.taps))]
        given = own if linear is None else linear
        if [weight.numel() for weight in given] != [weight.numel() for weight in own]:
            raise ValueError(
                f"linear weights of {net} are vectors of {[weight.numel() for weight in own]} numbers, "
                f"got {[weight.numel() for weight in given]}"
            )
        self.features = load_features(backbone, weights)
        shift, scale = (_SHIFT, _SCALE) if version == "0.1" else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("shift", torch.tensor(shift)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(scale)[:, None, None], persistent=False)
        for tap, weight in enumerate(given):
            self.register_buffer(f"linear{tap}", weight.detach().clone().reshape(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        return self.per_layer(image, target).sum(1)

    def per_layer(self, image: Tensor, target: Tensor) -> Tensor:
        """The distance of each layer, (b, layers); their sum is LPIPS."""
        with torch.autocast(image.device.type, enabled=False):
            return torch.stack([difference.mean((1, 2, 3)) for difference in self._differences(image, target)], 1)

    def spatial(self, image: Tensor, target: Tensor) -> Tensor:
        """Where the images differ: each layer's map enlarged bilinearly to the images' size, and their sum, (b, 1, h, w)."""
        size = image.shape[-2:]
        with torch.autocast(image.device.type, enabled=False):
            maps = [F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in self._differences(image, target)]
            return torch.stack(maps).sum(0)

    def _differences(self, image: Tensor, target: Tensor) -> Iterator[Tensor]:
        check_colours(image, target)
        sides = ((2 * side.to(self.shift.dtype) - 1 - self.shift) / self.scale for side in (image, target))
        ours, theirs = (self.features.stages(side, self.taps) for side in sides)
        for tap, (x, y) in enumerate(zip(ours, theirs, strict=True)):
            yield ((_unit(x) - _unit(y)).square() * self.get_buffer(f"linear{tap}")).sum(1, keepdim=True)


def _unit(x: Tensor) -> Tensor:
    """Each pixel's features divided by their length; `vector_norm` has a gradient where they are all 0."""
    return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10)


@lru_cache(maxsize=3)
def _loaded(net: Net, device: torch.device) -> LPIPS:
    with torch.inference_mode(False):  # it outlives the caller's mode
        return LPIPS(net).to(device)


def lpips(image: Tensor, target: Tensor, model: Net | LPIPS = "alex") -> Tensor:
    """LPIPS (version 0.1) of each image of a batch; smaller is better.

    Differentiable; NaN where an image holds NaN.

    Args:
        image: (b, 3, h, w), RGB in [0, 1]; at least 31 pixels high and wide for "alex", 16 for "vgg".
        target: the reference, of the same shape.
        model: the backbone's name, whose weights are then read once and kept, or an `LPIPS`.

    Returns:
        (b,), 0 where the images are equal.

    Raises:
        ValueError: shapes differ or are not (b, 3, h, w), the images are too small, or the target is far out of [0, 1].
        TypeError: one image is of integers.
        FileNotFoundError: the backbone's file is missing; the error says where it belongs.
    """
    check_colours(image, target)
    check_range(target)
    distance = _loaded(model, image.device) if isinstance(model, str) else model
    return distance(image, target)
