"""Zero-DCE and Zero-DCE++: low-light enhancement by curves, one for every pixel, that were learnt without references.

Guo et al., Zero-Reference Deep Curve Estimation for Low-Light Image Enhancement, CVPR 2020, arXiv:2001.06826; Li et al.,
Learning to Enhance Low-Light Image via Zero-Reference Deep Curve Estimation, TPAMI 2021, arXiv:2103.00860, for the second. The
authors' checkpoints (both called Epoch99.pth) load unchanged. Images are RGB in [0, 1] of any size; curves keep that range.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.ops.pad import pad_to_multiple


class SeparableConv(nn.Module):
    """A depthwise 3x3 convolution and a 1x1 one behind it, both with biases.

    Shapes: (b, channels, h, w) -> (b, out_channels, h, w).
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.depth_conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.point_conv = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        separated: Tensor = self.point_conv(self.depth_conv(x))
        return separated


def _conv(channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, padding=1)


def _check_whole(**arguments: int) -> None:
    for name, value in arguments.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} should be a whole number of at least 1, got {value!r}")


class _CurveNet(nn.Module):
    """DCE-Net: seven convolutions at full size, the last three of which also see an earlier layer's result."""

    def __init__(self, conv: Callable[[int, int], nn.Module], number_f: int, maps: int) -> None:
        super().__init__()
        self.e_conv1 = conv(3, number_f)
        self.e_conv2 = conv(number_f, number_f)
        self.e_conv3 = conv(number_f, number_f)
        self.e_conv4 = conv(number_f, number_f)
        self.e_conv5 = conv(2 * number_f, number_f)
        self.e_conv6 = conv(2 * number_f, number_f)
        self.e_conv7 = conv(2 * number_f, maps)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.02)

    def estimate(self, image: Tensor) -> Tensor:
        """The curves' parameters, in [-1, 1]."""
        x1 = self.e_conv1(image).relu()
        x2 = self.e_conv2(x1).relu()
        x3 = self.e_conv3(x2).relu()
        x4 = self.e_conv4(x3).relu()
        x5 = self.e_conv5(torch.cat((x3, x4), 1)).relu()
        x6 = self.e_conv6(torch.cat((x2, x5), 1)).relu()
        return self.e_conv7(torch.cat((x1, x6), 1)).tanh()


def bend(image: Tensor, curve: Tensor) -> Tensor:
    """One step of eq. 2, in the sign of the authors' weights: x + r (x^2 - x), which keeps 0, 1 and the order between.

    Shapes: image and curve (b, 3, h, w), the curve in [-1, 1] -> (b, 3, h, w).
    """
    return image + curve * (image.square() - image)


class ZeroDCE(_CurveNet):
    """The network of the first paper: every step of the curve has maps of its own.

    The authors' forward gives the image after four steps, the enhanced image and the maps. Here the enhanced image comes first,
    and the one after four steps, which no loss of theirs uses, is left out.

    Args:
        number_f: width of the net.
        iterations: steps of the curve; the last layer has three channels for each.

    Shapes: (b, 3, h, w) -> enhanced image (b, 3, h, w) and maps (b, 3 iterations, h, w), any height and width.

    Raises:
        ValueError: an argument is no whole number, or too small.
    """

    def __init__(self, number_f: int = 32, iterations: int = 8) -> None:
        _check_whole(number_f=number_f, iterations=iterations)
        super().__init__(_conv, number_f, 3 * iterations)
        self.iterations = iterations
        self.spec = spec(ZeroDCE, number_f=number_f, iterations=iterations)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        curves = self.estimate(image)
        enhanced = image
        for curve in curves.chunk(self.iterations, 1):
            enhanced = bend(enhanced, curve)
        return enhanced, curves


class ZeroDCEPlusPlus(_CurveNet):
    """The network of the second paper: separable convolutions, one map for all steps, estimated on a small image.

    Args:
        scale_factor: how many times smaller the image is for the estimate, along each axis. The authors train with 1 and test
            with 12, on images that they cut to multiples of it; here others are padded inside by reflection.
        number_f: width of the net.
        iterations: steps of the curve.

    Shapes: (b, 3, h, w) -> enhanced image (b, 3, h, w) and map (b, 3, h, w), any height and width.

    Raises:
        ValueError: an argument is no whole number, or too small.
    """

    def __init__(self, scale_factor: int = 1, number_f: int = 32, iterations: int = 8) -> None:
        _check_whole(scale_factor=scale_factor, number_f=number_f, iterations=iterations)
        super().__init__(SeparableConv, number_f, 3)
        self.scale_factor = scale_factor
        self.iterations = iterations
        self.spec = spec(ZeroDCEPlusPlus, scale_factor=scale_factor, number_f=number_f, iterations=iterations)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        if self.scale_factor == 1:
            curve = self.estimate(image)
        else:
            height, width = image.shape[-2:]
            padded = pad_to_multiple(image, self.scale_factor)
            rows, columns = padded.shape[-2:]
            small = F.interpolate(padded, size=(rows // self.scale_factor, columns // self.scale_factor), mode="bilinear")
            # Corner to corner on the way back, unlike the way down: so the authors' weights are used.
            curve = F.interpolate(self.estimate(small), size=(rows, columns), mode="bilinear", align_corners=True)
            curve = curve[..., :height, :width]
        enhanced = image
        for _ in range(self.iterations):
            enhanced = bend(enhanced, curve)
        return enhanced, curve


VARIANTS: dict[str, Variant] = {
    "zero_dce": Variant(ZeroDCE, {"number_f": 32, "iterations": 8}, ("low_light",)),
    "zero_dce_pp": Variant(ZeroDCEPlusPlus, {"scale_factor": 12, "number_f": 32, "iterations": 8}, ("low_light",)),
}


def spec(cls: type[nn.Module] = ZeroDCE, **config: Any) -> NetSpec:
    """What `cls(**config)` needs and does."""
    tasks = tuple(task for v in VARIANTS.values() if v.cls is cls and v.config == config for task in v.tasks)
    if cls is ZeroDCE:
        return NetSpec(halo=7, tasks=tasks)
    scale_factor = config.get("scale_factor", 1)
    # Resizing from corner to corner depends on where the image ends.
    global_ops = () if scale_factor == 1 else ("resize from corner to corner",)
    return NetSpec(
        multiple=scale_factor,
        halo=None if global_ops else 7,
        global_ops=global_ops,
        tasks=tasks,
        unrecorded=("scale_factor", "iterations"),
    )


_KEY = re.compile(r"e_conv[1-7](?P<separable>\.(depth|point)_conv)?\.(weight|bias)")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """Width and steps of the curve. Where one map serves all steps, their number and the scale are the authors'."""
    matches = [_KEY.fullmatch(key) for key in state_dict]
    kinds = {bool(match["separable"]) for match in matches if match}
    if not all(matches) or len(kinds) != 1:
        return None
    (separable,) = kinds
    inner = ".point_conv" if separable else ""
    if len(state_dict) != (28 if separable else 14):
        return None
    first, *middle, last = (tuple(state_dict[f"e_conv{layer}{inner}.weight"].shape) for layer in range(1, 8))
    if len(first) != 4 or len(last) != 4:
        return None
    number_f, kernel = first[0], (1, 1) if separable else (3, 3)
    widths = (1, 1, 1, 2, 2)
    if first[1:] != (3, *kernel) or last[1:] != (2 * number_f, *kernel):
        return None
    if any(shape != (number_f, width * number_f, *kernel) for shape, width in zip(middle, widths, strict=True)):
        return None
    if separable:
        if last[0] != 3:
            return None
        reason = "as the authors test it"
        config = {"scale_factor": 12, "number_f": number_f, "iterations": 8}
        return Inferred(ZeroDCEPlusPlus, config, assumed={"scale_factor": reason, "iterations": "as the authors train it"})
    return Inferred(ZeroDCE, {"number_f": number_f, "iterations": last[0] // 3}) if last[0] % 3 == 0 < last[0] else None
