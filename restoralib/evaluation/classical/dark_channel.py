"""The dark channel prior: in clear air nearly every small patch has a pixel and a colour that are nearly black.

He, Sun and Tang, "Single image haze removal using dark channel prior" (CVPR 2009, TPAMI 2011); the transmission refined by the
guided filter of the same authors (ECCV 2010, TPAMI 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from restoralib.archs.spec import NetSpec


def dark_channel(image: Tensor, side: int) -> Tensor:
    """The least value of all channels in a square window of an odd side: (b, c, h, w) -> (b, 1, h, w)."""
    tall = functional.max_pool2d(-image.amin(1, keepdim=True), (side, 1), 1, (side // 2, 0))
    return -functional.max_pool2d(tall, (1, side), 1, (0, side // 2))


def air_light(image: Tensor, dark: Tensor, share: float = 0.001) -> Tensor:
    """The colour of the air: of the share of pixels whose dark channel is brightest, that pixel which is brightest itself.

    Shapes: (b, c, h, w) and (b, 1, h, w) -> (b, c, 1, 1).
    """
    count = max(1, round(share * dark[0].numel()))
    candidates = dark.flatten(1).topk(count).indices
    pixels = image.flatten(2).gather(2, candidates[:, None].expand(-1, image.shape[1], -1))
    best = pixels.mean(1).argmax(1)
    return pixels[torch.arange(len(image)), :, best][..., None, None]


def guided_filter(guide: Tensor, values: Tensor, radius: int, epsilon: float) -> Tensor:
    """Values smoothed so that they follow the edges of a grey guide; both (b, 1, h, w), windows of 2 radius + 1 pixels."""

    def mean(maps: Tensor) -> Tensor:
        # Rows, then columns; windows at the border count what of them lies inside.
        side = 2 * radius + 1
        tall = functional.avg_pool2d(maps, (side, 1), 1, (radius, 0), count_include_pad=False)
        return functional.avg_pool2d(tall, (1, side), 1, (0, radius), count_include_pad=False)

    mean_guide, mean_values = mean(guide), mean(values)
    gain = (mean(guide * values) - mean_guide * mean_values) / (mean(guide**2) - mean_guide**2 + epsilon)
    return mean(gain) * guide + mean(mean_values - gain * mean_guide)


@dataclass(frozen=True)
class DarkChannelPrior:
    """Haze removal by the dark channel.

    Args:
        patch: side of the patches, odd.
        keep: omega, the share of the haze that is taken away; a little is left for the sense of distance.
        floor: t0, the least transmission that is divided by.
        radius: of the guided filter.
        epsilon: of the guided filter, of values in [0, 1].
    """

    patch: int = 15
    keep: float = 0.95
    floor: float = 0.1
    radius: int = 40
    epsilon: float = 1e-3
    spec = NetSpec(halo=None, global_ops=("the brightest of the dark channel",))

    def __call__(self, image: Tensor) -> Tensor:
        """Take the haze out of (b, c, h, w)."""
        scene = image.double()
        air = air_light(scene, dark_channel(scene, self.patch)).clamp(min=1e-3)
        through = 1 - self.keep * dark_channel(scene / air, self.patch)
        through = guided_filter(scene.mean(1, keepdim=True), through, self.radius, self.epsilon)
        return ((scene - air) / through.clamp(self.floor, 1) + air).clamp(0, 1).to(image)
