"""BM3D, block matching and collaborative filtering, by the authors' package `bm3d`.

Dabov, Foi, Katkovnik and Egiazarian, TIP 2007; of colours CBM3D, ICIP 2007.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from restoralib.archs.spec import NetSpec
from restoralib.data import Pair
from restoralib.evaluation.classical.packages import bench_package


def noise_level(image: Tensor) -> float:
    """The standard deviation of white noise: the median size of the finest diagonal details of Haar, over 0.6745.

    Noise whose neighbours go together, such as a camera's, has less of these details and is underrated.

    Args:
        image: (c, h, w), both sides at least 2.

    Source: Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994.
    """
    height, width = image.shape[-2] // 2 * 2, image.shape[-1] // 2 * 2
    quads = image[..., :height, :width].unfold(-2, 2, 2).unfold(-2, 2, 2)
    diagonal = (quads[..., 0, 0] - quads[..., 0, 1] - quads[..., 1, 0] + quads[..., 1, 1]) / 2
    return float(diagonal.abs().median()) / 0.6745


@dataclass(frozen=True)
class BM3D:
    """BM3D of grey images, CBM3D of colours.

    Args:
        sigma: standard deviation of the noise, of images in [0, 1]; None estimates it by `noise_level`.
        gain: that an estimate is multiplied by; noise that is not white needs more than 1.
        told: take the level that the set knows of each pair, in its facts as "sigma", of 255.
    """

    sigma: float | None = None
    gain: float = 1.0
    told: bool = False
    spec = NetSpec(halo=None, global_ops=("block matching",))

    def for_pair(self, pair: Pair) -> BM3D:
        """With the level that is known of the pair, where it is to be told."""
        if not self.told:
            return self
        if "sigma" not in pair.facts:
            raise ValueError(f"nobody knows the noise of {pair.name}; take BM3D(), which estimates it")
        return replace(self, sigma=float(pair.facts["sigma"]) / 255, told=False)

    def __call__(self, image: Tensor) -> Tensor:
        """Denoise (b, c, h, w).

        Raises:
            ImportError: the package bm3d is not installed.
            ValueError: the level was to be told, and was not.
        """
        if self.told:
            raise ValueError("BM3D(told=True) has to be told the level of the noise by a set; pass sigma or leave told out")
        package = bench_package("bm3d", "BM3D")
        restored = []
        for one in image:
            sigma = self.gain * noise_level(one) if self.sigma is None else self.sigma
            pixels = one.permute(1, 2, 0).double().cpu().numpy()
            if sigma <= 0:
                restored.append(one)
                continue
            grey = pixels.shape[2] == 1
            clean = np.asarray(package.bm3d(pixels[..., 0], sigma) if grey else package.bm3d_rgb(pixels, sigma))
            restored.append(torch.from_numpy(clean[..., None] if grey else clean).permute(2, 0, 1).to(one))
        return torch.stack(restored)
