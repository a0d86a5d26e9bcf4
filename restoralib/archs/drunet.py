"""DRUNet: denoising at any noise level by a U-Net of residual blocks, the denoiser prior of DPIR and DiffPIR.

Zhang et al., Plug-and-Play Image Restoration with Deep Denoiser Prior, TPAMI 2021, arXiv:2008.13751. The checkpoints of
cszn/KAIR and cszn/DPIR load unchanged. Images are in [0, 1], grey or RGB, of any size: they are padded inside by repetition of
the last pixels at the right and at the bottom to multiples of 8. The noise level is an argument of `forward`, 25 / 255 where
none is given; the network sees it as a further channel of the image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.ops.pad import pad_to_multiple

SIGMA = 25 / 255
"""The standard deviation of the noise where the caller gives none."""


class ResBlock(nn.Module):
    """3x3 convolution, activation, 3x3 convolution, added to the input; no biases.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, channels: int, act_mode: Literal["R", "L"] = "R") -> None:
        super().__init__()
        self.res = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.ReLU(inplace=True) if act_mode == "R" else nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.res(x)
        return x + residual


Layers = Callable[[int, int], list[nn.Module]]

# Each halves or doubles the sides, from the first number of channels to the second.
_DOWN: Mapping[str, Layers] = {
    "strideconv": lambda i, o: [nn.Conv2d(i, o, 2, 2, bias=False)],
    "avgpool": lambda i, o: [nn.AvgPool2d(2), nn.Conv2d(i, o, 3, padding=1, bias=False)],
}
_UP: Mapping[str, Layers] = {
    "convtranspose": lambda i, o: [nn.ConvTranspose2d(i, o, 2, 2, bias=False)],
    "upconv": lambda i, o: [nn.Upsample(scale_factor=2), nn.Conv2d(i, o, 3, padding=1, bias=False)],
    "pixelshuffle": lambda i, o: [nn.Conv2d(i, 4 * o, 3, padding=1, bias=False), nn.PixelShuffle(2)],
}


class DRUNet(nn.Module):
    """The network of Fig. 2 (KAIR calls it UNetRes), with its constructor arguments and state-dict keys.

    Args:
        in_nc: channels in: those of the image and one for the noise level, or without that one for a blind network.
        out_nc: channels of the image.
        nc: channels of the four levels.
        nb: residual blocks of each level.
        act_mode: "R" for ReLU, "L" for leaky ReLU of slope 0.2.
        downsample_mode: "strideconv" or "avgpool". The authors' "maxpool" makes maps of sides that do not fit together.
        upsample_mode: "convtranspose", "upconv" or "pixelshuffle".

    Shapes: (b, out_nc, h, w) -> (b, out_nc, h, w), any height and width. `sigma` is the standard deviation of the noise in an
    image in [0, 1], a number or (b,) or a map (b, 1, h, w); 25 / 255 where it is left out. The models for JPEG take
    1 - quality / 100 in its place. A blind network takes none. `restore()` is given it by `functools.partial(net, sigma=0.1)`.

    Raises:
        ValueError: an argument makes no network; from `forward`, a sigma of another shape, or one for a blind network.
    """

    def __init__(
        self,
        in_nc: int = 4,
        out_nc: int = 3,
        nc: Sequence[int] = (64, 128, 256, 512),
        nb: int = 4,
        act_mode: Literal["R", "L"] = "R",
        downsample_mode: Literal["strideconv", "avgpool"] = "strideconv",
        upsample_mode: Literal["convtranspose", "upconv", "pixelshuffle"] = "convtranspose",
    ) -> None:
        super().__init__()
        if out_nc < 1 or in_nc not in (out_nc, out_nc + 1):
            raise ValueError(f"in_nc should be out_nc + 1, or out_nc for a blind network, got {in_nc} and {out_nc}")
        if len(nc) != 4 or min(nc) < 1 or nb < 1:
            raise ValueError(f"nc should be four positive numbers and nb at least 1, got {nc} and {nb}")
        for name, value, known in (
            ("act_mode", act_mode, ("R", "L")),
            ("downsample_mode", downsample_mode, _DOWN),
            ("upsample_mode", upsample_mode, _UP),
        ):
            if value not in known:
                raise ValueError(f"{name} should be one of {', '.join(known)}, got {value!r}")

        def blocks(channels: int) -> list[nn.Module]:
            return [ResBlock(channels, act_mode) for _ in range(nb)]

        down, up = _DOWN[downsample_mode], _UP[upsample_mode]
        self.m_head = nn.Conv2d(in_nc, nc[0], 3, padding=1, bias=False)
        self.m_down1 = nn.Sequential(*blocks(nc[0]), *down(nc[0], nc[1]))
        self.m_down2 = nn.Sequential(*blocks(nc[1]), *down(nc[1], nc[2]))
        self.m_down3 = nn.Sequential(*blocks(nc[2]), *down(nc[2], nc[3]))
        body = blocks(nc[3])
        self.m_body = nn.Sequential(*body) if nb > 1 else body[0]  # the authors wrap no single layer
        self.m_up3 = nn.Sequential(*up(nc[3], nc[2]), *blocks(nc[2]))
        self.m_up2 = nn.Sequential(*up(nc[2], nc[1]), *blocks(nc[1]))
        self.m_up1 = nn.Sequential(*up(nc[1], nc[0]), *blocks(nc[0]))
        self.m_tail = nn.Conv2d(nc[0], out_nc, 3, padding=1, bias=False)
        self.blind = in_nc == out_nc
        self.spec = spec(
            in_nc=in_nc,
            out_nc=out_nc,
            nc=nc,
            nb=nb,
            act_mode=act_mode,
            downsample_mode=downsample_mode,
            upsample_mode=upsample_mode,
        )

    def forward(self, image: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        height, width = image.shape[-2:]
        x = pad_to_multiple(self._with_level(image, sigma), 8, "replicate")
        x1 = self.m_head(x)
        x2 = self.m_down1(x1)
        x3 = self.m_down2(x2)
        x4 = self.m_down3(x3)
        x = self.m_body(x4)
        x = self.m_up3(x + x4)
        x = self.m_up2(x + x3)
        x = self.m_up1(x + x2)
        x = self.m_tail(x + x1)
        return x[..., :height, :width]

    def _with_level(self, image: Tensor, sigma: float | Tensor | None) -> Tensor:
        """The image and a map of the noise level behind it."""
        if self.blind:
            if sigma is not None:
                raise ValueError("this network is blind: its weights have no channel for the noise level; leave sigma out")
            return image
        b, _, height, width = image.shape
        if not isinstance(sigma, Tensor):
            level = image.new_full((b, 1, height, width), SIGMA if sigma is None else float(sigma))
        else:
            level = sigma.reshape(-1, 1, 1, 1) if sigma.ndim <= 1 else sigma
            fits = level.ndim == 4 and level.shape[0] in (1, b) and level.shape[1:] in ((1, 1, 1), (1, height, width))
            if not fits:
                raise ValueError(
                    f"sigma should be a number, (b,) or (b, 1, h, w), got shape {tuple(sigma.shape)} "
                    f"for images {tuple(image.shape)}"
                )
            level = level.to(image).expand(b, 1, height, width)
        return torch.cat((image, level), 1)


_DEFAULTS: dict[str, Any] = {
    "in_nc": 4,
    "out_nc": 3,
    "nc": (64, 128, 256, 512),
    "nb": 4,
    "act_mode": "R",
    "downsample_mode": "strideconv",
    "upsample_mode": "convtranspose",
}
_GRAY = _DEFAULTS | {"in_nc": 2, "out_nc": 1}

VARIANTS: dict[str, Variant] = {
    "drunet_color": Variant(DRUNet, _DEFAULTS, ("denoise",)),
    "drunet_gray": Variant(DRUNet, _GRAY, ("denoise",)),
    "drunet_deblocking_color": Variant(DRUNet, _DEFAULTS, ("jpeg",)),
    "drunet_deblocking_grayscale": Variant(DRUNet, _GRAY, ("jpeg",)),
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `DRUNet(**config)`."""
    config = _DEFAULTS | config
    config |= {"nc": tuple(config["nc"])}
    tasks = [task for variant in VARIANTS.values() if variant.config == config for task in variant.tasks]
    return NetSpec(
        in_channels=config["out_nc"],
        out_channels=config["out_nc"],
        multiple=8,
        halo=_halo(config["nb"], config["downsample_mode"], config["upsample_mode"]),
        tasks=tuple(dict.fromkeys(tasks)),
        unrecorded=("act_mode",),  # no weight tells a slope
        color="gray" if config["out_nc"] == 1 else "rgb",
    )


def _halo(nb: int, down: str, up: str) -> int:
    """How far a pixel of the result sees: from every phase of the grid of 8, the view of the longest path followed back."""
    halo = 0
    for pixel in range(8):
        first, last = pixel - 1, pixel + 1  # m_tail
        for _ in range(3):
            before = 2 * nb + (up == "upconv")  # convolutions of the blocks, and one behind the enlargement
            first, last = (first - before) // 2, (last + before) // 2
            first, last = first - (up == "pixelshuffle"), last + (up == "pixelshuffle")
        first, last = first - 2 * nb, last + 2 * nb  # m_body
        for _ in range(3):
            first, last = first - (down == "avgpool"), last + (down == "avgpool")
            first, last = 2 * first - 2 * nb, 2 * last + 1 + 2 * nb
        halo = max(halo, pixel - first, last - pixel)
    return halo + 1  # m_head


_KEY = re.compile(r"(m_head|m_tail|m_(down|up)[123]\.\d+(\.res\.[02])?|m_body(\.\d+)?\.res\.[02])\.weight")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict, with ReLU; None if it is no DRUNet's."""
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None  # SCUNet and others have the same parts, made of other blocks
    if not all(key in state_dict and state_dict[key].ndim == 4 for key in ("m_head.weight", "m_tail.weight")):
        return None
    nb = sum(key.startswith("m_down1.") and key.endswith("res.0.weight") for key in state_dict)
    levels = [state_dict.get(f"m_down{level}.0.res.0.weight") for level in (1, 2, 3)]
    levels.append(state_dict.get("m_body.0.res.0.weight" if nb > 1 else "m_body.res.0.weight"))
    if any(weight is None or weight.ndim != 4 for weight in levels):
        return None
    nc = tuple(len(weight) for weight in levels if weight is not None)
    enlarging = state_dict.get("m_up1.0.weight")
    up = "upconv" if enlarging is None else "convtranspose" if enlarging.shape[2:] == (2, 2) else "pixelshuffle"
    in_nc, out_nc = state_dict["m_head.weight"].shape[1], len(state_dict["m_tail.weight"])
    if out_nc < 1 or in_nc - out_nc not in (0, 1):
        return None
    config = {
        "in_nc": in_nc,
        "out_nc": out_nc,
        "nc": nc,
        "nb": nb,
        "act_mode": "R",
        "downsample_mode": "strideconv" if f"m_down1.{nb}.weight" in state_dict else "avgpool",
        "upsample_mode": up,
    }
    return Inferred(DRUNet, config, {"act_mode": "ReLU, as in all published models"})
