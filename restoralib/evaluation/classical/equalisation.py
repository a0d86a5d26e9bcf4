"""Brightening dark images by their histogram or by a power.

The value V = max(R, G, B) is brightened and the colours keep their ratios, as for HSV. Histogram equalisation and its
contrast-limited adaptive form (CLAHE, Zuiderveld 1994) are scikit-image's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from restoralib.archs.spec import NetSpec
from restoralib.evaluation.classical.packages import bench_package

_DARKEST = 1e-3  # below which a value has no colour that is worth keeping


def with_value(image: Tensor, value: Tensor) -> Tensor:
    """Images (b, c, h, w) brightened to another value (b, 1, h, w), their colours' ratios kept; clipped to [0, 1]."""
    old = image.amax(1, keepdim=True)
    return torch.where(old > _DARKEST, image * value / old.clamp(min=_DARKEST), value).clamp(0, 1)


@dataclass(frozen=True)
class HistogramEqualisation:
    """Spread the values so that all are equally frequent.

    Args:
        bins: of the histogram.
    """

    bins: int = 256
    spec = NetSpec(halo=None, global_ops=("the histogram",))

    def __call__(self, image: Tensor) -> Tensor:
        """Brighten (b, c, h, w).

        Raises:
            ImportError: scikit-image is not installed.
        """
        exposure = bench_package("skimage.exposure", "histogram equalisation")
        values = [exposure.equalize_hist(one.amax(0).double().cpu().numpy(), self.bins) for one in image]
        return with_value(image, torch.stack([torch.from_numpy(value)[None] for value in values]).to(image))


@dataclass(frozen=True)
class CLAHE:
    """Contrast-limited adaptive histogram equalisation.

    Args:
        clip: limit of the contrast, 0 to 1; more for more.
    """

    clip: float = 0.01
    spec = NetSpec(halo=None, global_ops=("histograms of eighths of the image",))

    def __call__(self, image: Tensor) -> Tensor:
        """Brighten (b, c, h, w).

        Raises:
            ImportError: scikit-image is not installed.
        """
        exposure = bench_package("skimage.exposure", "CLAHE")
        values = []
        for one in image:
            value = one.amax(0).double().clamp(0, 1).cpu().numpy()
            values.append(torch.from_numpy(exposure.equalize_adapthist(value, clip_limit=self.clip))[None])
        return with_value(image, torch.stack(values).to(image))


@dataclass(frozen=True)
class GammaCorrection:
    """A power of all values.

    Args:
        exponent: below 1 brightens; None takes for each image the one that brings its mean value to `mean`.
        mean: see there.
    """

    exponent: float | None = None
    mean: float = 0.5

    @property
    def spec(self) -> NetSpec:
        """A fixed exponent looks at nothing but the pixel."""
        return NetSpec(halo=None, global_ops=("the mean",)) if self.exponent is None else NetSpec()

    def __call__(self, image: Tensor) -> Tensor:
        """Brighten (b, c, h, w)."""
        inside = image.clamp(0, 1)
        if self.exponent is not None:
            return inside**self.exponent
        return torch.stack([one ** self._exponent(one) for one in inside])

    def _exponent(self, image: Tensor) -> float:
        """The mean of a power is no power of the mean, so it is found by halving; the mean falls as the exponent rises."""
        value = image.amax(0).double()
        low, high = 0.02, 50.0
        for _ in range(40):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if float((value**middle).mean()) > self.mean else (low, middle)
        return math.sqrt(low * high)
