"""Retinex-Net: low-light enhancement by a split into reflectance and illumination, of which the second is brightened.

Wei et al., Deep Retinex Decomposition for Low-Light Enhancement, BMVC 2018, arXiv:1808.04560. The weights of
aasharma90/RetinexNet_PyTorch load unchanged; they are two files, one of each half, which `RetinexNet.from_parts` puts together.
Images are RGB in [0, 1] of any size; nothing is padded to multiples, and the result is not clamped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant


def _conv(channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution whose border repeats the last pixel, as everywhere in this network."""
    return nn.Conv2d(channels, out_channels, kernel_size, stride, kernel_size // 2, padding_mode="replicate")


def _check_sizes(channel: int, kernel_size: int) -> None:
    for name, value in {"channel": channel, "kernel_size": kernel_size}.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} should be a whole number of at least 1, got {value!r}")
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size should be odd, so that images keep their size, got {kernel_size}")


class DecomNet(nn.Module):
    """The first half: an image is the product of reflectance and illumination.

    Args:
        channel: width of the net.
        kernel_size: of the convolutions, odd; that of the first is three times as large. All published weights have 3.

    Shapes: image (b, 3, h, w) -> reflectance (b, 3, h, w) and illumination (b, 1, h, w), both in [0, 1]; any height and width.

    Raises:
        ValueError: an argument is no whole number, too small, or the kernel even.
    """

    def __init__(self, channel: int = 64, kernel_size: int = 3) -> None:
        super().__init__()
        _check_sizes(channel, kernel_size)
        self.net1_conv0 = _conv(4, channel, 3 * kernel_size)  # no activation behind it
        layers = [layer for _ in range(5) for layer in (_conv(channel, channel, kernel_size), nn.ReLU())]
        self.net1_convs = nn.Sequential(*layers)
        self.net1_recon = _conv(channel, 4, kernel_size)
        self.spec = spec(DecomNet, channel=channel, kernel_size=kernel_size)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        brightest = image.amax(1, keepdim=True)
        x = self.net1_convs(self.net1_conv0(torch.cat((brightest, image), 1)))
        reflectance, illumination = self.net1_recon(x).sigmoid().split((3, 1), 1)
        return reflectance, illumination


class RelightNet(nn.Module):
    """The second half: a U-Net that brightens the illumination, and joins what it has decoded at all its scales.

    Args:
        channel: width of the net.
        kernel_size: of the convolutions, odd. All published weights have 3.

    Shapes: illumination (b, 1, h, w), reflectance (b, 3, h, w) -> adjusted illumination (b, 1, h, w), of any range.

    Raises:
        ValueError: an argument is no whole number, too small, or the kernel even.
    """

    def __init__(self, channel: int = 64, kernel_size: int = 3) -> None:
        super().__init__()
        _check_sizes(channel, kernel_size)
        self.net2_conv0_1 = _conv(4, channel, kernel_size)  # no activation behind it
        self.net2_conv1_1 = _conv(channel, channel, kernel_size, stride=2)
        self.net2_conv1_2 = _conv(channel, channel, kernel_size, stride=2)
        self.net2_conv1_3 = _conv(channel, channel, kernel_size, stride=2)
        self.net2_deconv1_1 = _conv(2 * channel, channel, kernel_size)
        self.net2_deconv1_2 = _conv(2 * channel, channel, kernel_size)
        self.net2_deconv1_3 = _conv(2 * channel, channel, kernel_size)
        # The authors pad the 1x1 fusion by one pixel, which their last 3x3, without padding, takes away again. That is a 3x3
        # which repeats the border, for a 1x1 makes equal pixels of equal ones.
        self.net2_fusion = _conv(3 * channel, channel, 1)
        self.net2_output = _conv(channel, 1, 3)
        self.spec = spec(RelightNet, channel=channel, kernel_size=kernel_size)

    def forward(self, illumination: Tensor, reflectance: Tensor) -> Tensor:
        full = self.net2_conv0_1(torch.cat((reflectance, illumination), 1))
        half = self.net2_conv1_1(full).relu()
        quarter = self.net2_conv1_2(half).relu()
        eighth = self.net2_conv1_3(quarter).relu()
        up_quarter = self.net2_deconv1_1(torch.cat((_resize_as(eighth, quarter), quarter), 1)).relu()
        up_half = self.net2_deconv1_2(torch.cat((_resize_as(up_quarter, half), half), 1)).relu()
        up_full = self.net2_deconv1_3(torch.cat((_resize_as(up_half, full), full), 1)).relu()
        scales = torch.cat((_resize_as(up_quarter, full), _resize_as(up_half, full), up_full), 1)
        adjusted: Tensor = self.net2_output(self.net2_fusion(scales))
        return adjusted


def _resize_as(x: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(x, size=other.shape[-2:], mode="nearest")


class RetinexNet(nn.Module):
    """Both halves: the enhanced image is the reflectance times the adjusted illumination.

    Noise lies in the reflectance: where the illumination I is low, the split amplifies it, as 1 / I does. The paper therefore
    denoises the reflectance the more, the darker it is, by BM3D. Here any denoiser does, by a rule as plain: where `denoise` is
    given, the reflectance becomes I R + (1 - I) denoise(R) before it is lit. The illumination is adjusted from what it was.

    `restore()` calls the network without a denoiser. To have one, pass it
    `functools.partial(net, denoise=load_bundled("nafnet_denoise"))`.

    Args:
        channel: width of both halves.
        kernel_size: of their convolutions, odd. All published weights have 3.

    Shapes: (b, 3, h, w) -> enhanced image (b, 3, h, w), reflectance (b, 3, h, w), illumination (b, 1, h, w) and adjusted
        illumination (b, 1, h, w), any height and width.

    Raises:
        ValueError: an argument is no whole number, too small, or the kernel even.
    """

    def __init__(self, channel: int = 64, kernel_size: int = 3) -> None:
        super().__init__()
        self.DecomNet = DecomNet(channel, kernel_size)
        self.RelightNet = RelightNet(channel, kernel_size)
        self.spec = spec(RetinexNet, channel=channel, kernel_size=kernel_size)

    @classmethod
    def from_parts(cls, decom: DecomNet | StateDict, relight: RelightNet | StateDict) -> RetinexNet:
        """The network made of its two halves, which the authors publish as two files.

        `RetinexNet.from_parts(load_model("Decom/9200.tar"), load_model("Relight/9200.tar"))` reads them; what
        `torch.save(net.state_dict(), "retinexnet.pth")` then writes is one file for `load_model` and `restore`.

        Args:
            decom: the first half, or its weights. They are copied.
            relight: the second half, or its weights. They are copied.

        Returns:
            The network in eval mode, float32, on the CPU.

        Raises:
            ValueError: they are not those halves, or of different sizes.
        """
        configs = []
        state: dict[str, Tensor] = {}
        for name, half, part in (("decom", DecomNet, decom), ("relight", RelightNet, relight)):
            weights = part.state_dict() if isinstance(part, nn.Module) else part
            told = infer_config(weights)
            if told is None or told.cls is not half:
                kind = type(part).__name__ if isinstance(part, nn.Module) else "others"
                found = f"those of a {told.cls.__name__}" if told else f"{kind}: {', '.join(list(weights)[:3]) or 'none'}"
                raise ValueError(f"{name} should be a {half.__name__} or its weights, got {found}")
            configs.append(told.config)
            state |= {f"{half.__name__}.{key}": value for key, value in weights.items()}
        if configs[0] != configs[1]:
            raise ValueError(f"both halves should be of one size, got {configs[0]} and {configs[1]}")
        net = cls(**configs[0])
        net.load_state_dict(state)
        return net.eval()

    def forward(
        self, image: Tensor, denoise: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Enhance an image.

        Args:
            image: (b, 3, h, w) in [0, 1].
            denoise: maps the reflectance (b, 3, h, w) in [0, 1] to a denoised one; counts as 1 - illumination.

        Returns:
            Enhanced image, not clamped; reflectance, denoised where it was; illumination; adjusted illumination.

        Raises:
            ValueError: `denoise` gives another shape.
        """
        reflectance, illumination = self.DecomNet(image)
        adjusted = self.RelightNet(illumination, reflectance)
        if denoise is not None:
            clean = denoise(reflectance)
            if clean.shape != reflectance.shape:
                raise ValueError(f"denoise should keep the shape {tuple(reflectance.shape)}, got {tuple(clean.shape)}")
            reflectance = reflectance + (1 - illumination) * (clean - reflectance)
        return reflectance * adjusted, reflectance, illumination, adjusted


VARIANTS: dict[str, Variant] = {
    "retinexnet_lol": Variant(RetinexNet, {"channel": 64, "kernel_size": 3}, ("low_light",)),
    "retinexnet_lol_decom": Variant(DecomNet, {"channel": 64, "kernel_size": 3}),
    "retinexnet_lol_relight": Variant(RelightNet, {"channel": 64, "kernel_size": 3}),
}


def spec(cls: type[nn.Module] = RetinexNet, **config: Any) -> NetSpec:
    """What `cls(**config)` needs and does."""
    tasks = tuple(task for v in VARIANTS.values() if v.cls is cls and v.config == config for task in v.tasks)
    reach = config.get("kernel_size", 3) // 2
    if cls is DecomNet:
        # The first convolution, then six of the plain kernel.
        return NetSpec(halo=3 * config.get("kernel_size", 3) // 2 + 6 * reach, role="part")
    # From a quarter to the full size, the nearest pixel is another one for images whose sides are not multiples of 4: there a
    # tile is not what the same pixels are within the image, though no pixel looks far.
    whole = NetSpec(multiple=8, halo=None, global_ops=("nearest resize",), tasks=tasks)
    if cls is RelightNet:
        return replace(whole, in_channels=4, out_channels=1, role="part", inputs=("illumination", "reflectance"))
    return whole


_LAYERS = {
    DecomNet: ("net1_conv0", *(f"net1_convs.{layer}" for layer in range(0, 10, 2)), "net1_recon"),
    RelightNet: (
        *("net2_conv0_1", "net2_conv1_1", "net2_conv1_2", "net2_conv1_3"),
        *("net2_deconv1_1", "net2_deconv1_2", "net2_deconv1_3", "net2_fusion", "net2_output"),
    ),
}
_KEYS: dict[type[nn.Module], set[str]] = {
    half: {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")} for half, layers in _LAYERS.items()
}
_KEYS[RetinexNet] = {f"{half.__name__}.{key}" for half in (DecomNet, RelightNet) for key in _KEYS[half]}


def infer_config(state_dict: StateDict) -> Inferred | None:
    """Width and kernel of the network, or of one of its halves; None for any other weights."""
    cls = next((cls for cls, keys in _KEYS.items() if state_dict.keys() == keys), None)
    if cls is None:
        return None
    # A layer from `channel` to `channel` channels of the plain kernel, and layers with other channels beside it.
    plain = [key for key in state_dict if re.search(r"net1_convs\.\d\.weight$|net2_conv1_\d\.weight$", key)]
    shapes = {tuple(state_dict[key].shape) for key in plain}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 4 or shape != (*shape[:1] * 2, *shape[3:] * 2) or shape[3] % 2 == 0:
        return None
    channel, kernel_size = shape[0], shape[3]
    ends = {
        "net1_conv0.weight": (channel, 4, 3 * kernel_size, 3 * kernel_size),
        "net1_recon.weight": (4, *shape[1:]),
        "net2_conv0_1.weight": (channel, 4, *shape[2:]),
        "net2_fusion.weight": (channel, 3 * channel, 1, 1),
        "net2_output.weight": (1, channel, 3, 3),
    }
    found = {key.rpartition("Net.")[2]: tuple(value.shape) for key, value in state_dict.items()}
    if any(found.get(key, expected) != expected for key, expected in ends.items()):
        return None
    return Inferred(cls, {"channel": channel, "kernel_size": kernel_size})
