"""Deconvolution: Wiener's filter, the unsupervised one, and Richardson and Lucy's iteration, by scikit-image.

The kernel is told by the set, pair by pair, or guessed: a Gaussian, as one takes who knows nothing of the blur. Orieux et al.'s
method is unsupervised in the levels of noise and image, and not in the kernel. Images are mirrored beyond their border, where
the filters would go round.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restoralib.archs.spec import NetSpec
from restoralib.data import Pair
from restoralib.evaluation.classical.packages import bench_package

Pixels = np.ndarray[Any, np.dtype[np.float64]]


def guessed_kernel(sigma: float) -> Tensor:
    """A Gaussian (k, k) with sum one, k odd and at least 3 sigma on either side."""
    at = torch.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1, dtype=torch.float64)
    line = torch.exp(-(at**2) / (2 * sigma**2))
    return torch.outer(line, line) / line.sum() ** 2


@dataclass(frozen=True)
class Deconvolution(ABC):
    """What the methods share.

    Args:
        sigma: of the Gaussian that is guessed for the kernel; None wants to be told.
        kernel: (k, k) with sum one, k odd, where it is known.
    """

    sigma: float | None = None
    kernel: Tensor | None = None
    spec = NetSpec(halo=None, global_ops=("the spectrum",))

    def for_pair(self, pair: Pair) -> Deconvolution:
        """With the kernel that the set knows of the pair, where none is guessed."""
        if self.sigma is not None or self.kernel is not None:
            return self
        kernel = getattr(pair, "kernel", None)
        if kernel is None:
            raise ValueError(f"nobody knows the kernel that blurred {pair.name}; pass sigma, to guess a Gaussian")
        return replace(self, kernel=kernel)

    def __call__(self, image: Tensor) -> Tensor:
        """Deconvolve each channel of (b, c, h, w).

        Raises:
            ImportError: scikit-image is not installed.
            ValueError: no kernel was told or guessed.
        """
        kernel = self.kernel if self.sigma is None else guessed_kernel(self.sigma)
        if kernel is None:
            raise ValueError("deconvolution needs a kernel; pass kernel, or sigma to guess a Gaussian")
        package = bench_package("skimage.restoration", "deconvolution")
        height, width = image.shape[-2:]
        border = 2 * kernel.shape[0]
        channels = image.double().cpu().clamp(0, 1).flatten(0, 1).numpy()
        mirrored = np.pad(channels, ((0, 0), (border, border), (border, border)), mode="symmetric")
        sharp = np.stack([self.sharpened(package, channel, kernel.double().cpu().numpy()) for channel in mirrored])
        cut = torch.from_numpy(sharp[:, border : border + height, border : border + width]).clamp(0, 1)
        return cut.reshape(image.shape).to(image)

    @abstractmethod
    def sharpened(self, package: Any, channel: Pixels, kernel: Pixels) -> Pixels:
        """One channel (h, w) in [0, 1], deconvolved by the package skimage.restoration."""


@dataclass(frozen=True)
class Wiener(Deconvolution):
    """Wiener's filter with the Laplacian as what images have little of.

    Args:
        balance: weight of the Laplacian; more for smoother images.
    """

    balance: float = 0.01

    def sharpened(self, package: Any, channel: Pixels, kernel: Pixels) -> Pixels:
        return np.asarray(package.wiener(channel, kernel, self.balance))


@dataclass(frozen=True)
class UnsupervisedWiener(Deconvolution):
    """Wiener's filter whose levels are sampled with the image (Orieux, Giovannelli and Rodet, JOSA A 2010).

    Args:
        seed: of the samples.
    """

    seed: int = 0

    def sharpened(self, package: Any, channel: Pixels, kernel: Pixels) -> Pixels:
        return np.asarray(package.unsupervised_wiener(channel, kernel, rng=self.seed)[0])


@dataclass(frozen=True)
class RichardsonLucy(Deconvolution):
    """The iteration of Richardson (1972) and Lucy (1974), for photons.

    Args:
        steps: more for sharper images and more noise.
    """

    steps: int = 20

    def sharpened(self, package: Any, channel: Pixels, kernel: Pixels) -> Pixels:
        # It divides by the image, so that black has to be lifted a little.
        return np.asarray(package.richardson_lucy(channel + 1e-3, kernel, num_iter=self.steps, clip=False)) - 1e-3
