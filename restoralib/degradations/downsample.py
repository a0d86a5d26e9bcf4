"""Loss of resolution as records of numbers: MATLAB's reductions, and blur with decimation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.degradation import Degradation, check_image, check_reduction, choice, uniform
from restoralib.degradations.filters import Padding, blur_decimate
from restoralib.degradations.fspecial import fspecial_gaussian
from restoralib.degradations.kernels import Range, shift_kernel
from restoralib.ops import resize
from restoralib.ops.resize import Kernel

RESIZE_KERNELS: tuple[Kernel, ...] = ("bicubic", "bilinear", "box", "lanczos3")


@dataclass(frozen=True)
class Downsample(Degradation):
    """Reduce as MATLAB's `imresize` does, the degradation of the super-resolution tables; clipped to [0, 1].

    Args:
        scale: how many times shorter the sides become; at least 1.
        kernel: "bicubic", "bilinear", "box" or "lanczos3".
        antialias: widen the kernel, as is usual; without it, details alias.
        back: "bicubic", say, to enlarge to the old size afterwards, so that pairs are equally large; None to stay small.
    """

    scale: float = 4.0
    kernel: Kernel = "bicubic"
    antialias: bool = True
    back: Kernel | None = None

    def __post_init__(self) -> None:
        check_reduction(self.scale)

    def __call__(self, image: Tensor) -> Tensor:
        small = resize(check_image(image), 1 / self.scale, kernel=self.kernel, antialias=self.antialias).clamp(0, 1)
        if self.back is None:
            return small
        h, w = image.shape[-2:]
        return resize(small, self.scale, size=(h, w), kernel=self.back).clamp(0, 1)

    @classmethod
    def draw(cls, generator: torch.Generator, *, scale: Range = (2.0, 4.0), back: Kernel | None = None) -> Self:
        """Draw a scale and a kernel; the default range spans the scales of the tables.

        Args:
            generator: source of all randomness, on the CPU.
            scale: its range.
            back: kernel for the way back to the old size, or None.
        """
        return cls(uniform(*scale, generator), choice(RESIZE_KERNELS, generator), back=back)


@dataclass(frozen=True)
class BlurDecimate(Degradation):
    """Blur by a round Gaussian and keep every scale-th pixel, as blind super-resolution supposes and BSRGAN does at times.

    Args:
        scale: the factor of decimation.
        sigma: standard deviation of the Gaussian, in pixels.
        size: side of its window.
        shifted: move the kernel by (scale - 1) / 2, so that the result lies where a bicubic reduction has it.
        padding: the border.
    """

    scale: int = 2
    sigma: float = 1.6
    size: int = 25
    shifted: bool = True
    padding: Padding = "reflect"

    def __post_init__(self) -> None:
        check_reduction(self.scale)

    def kernel(self) -> Tensor:
        """(size, size), float64, of sum one, for a convolution."""
        kernel = fspecial_gaussian(self.size, self.sigma)
        return shift_kernel(kernel, self.scale) if self.shifted else kernel

    def __call__(self, image: Tensor) -> Tensor:
        return blur_decimate(check_image(image), self.kernel(), self.scale, padding=self.padding)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        scales: tuple[int, ...] = (2, 3, 4),
        sigma: Range = (0.1, 0.6),
        shifted: bool = True,
    ) -> Self:
        """Draw a scale and a Gaussian, by default from BSRGAN's ranges.

        Args:
            generator: source of all randomness, on the CPU.
            scales: whole factors to choose from.
            sigma: range of the standard deviation, in low-resolution pixels.
            shifted: move the kernel to the blocks' centres.
        """
        scale = choice(scales, generator)
        return cls(scale, uniform(*sigma, generator) * scale, shifted=shifted)
