"""Blurs as records of numbers: Gaussians of all profiles, the sinc, a lens out of focus, straight motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.degradation import Degradation, check_image, draw_seed, integer, seeded, uniform
from restoralib.degradations.filters import Padding, filter2d
from restoralib.degradations.fspecial import fspecial_disk, fspecial_motion
from restoralib.degradations.kernels import (
    ESRGAN_CHANCES,
    KERNEL_KINDS,
    BlurShape,
    KernelKind,
    Range,
    draw_kind,
    draw_shape,
    roughen,
    sinc_kernel,
)


@dataclass(frozen=True)
class GaussianBlur(Degradation):
    """Blur by a Gaussian, round or stretched, or by one of its relatives.

    Args:
        shape: profile of the kernel, one of `KERNEL_KINDS`.
        size: side of the kernel in pixels, odd.
        sigma: standard deviation in pixels, along the direction.
        sigma_y: that across it; None for the same.
        theta: direction in radians.
        beta: exponent of generalised and plateau kernels.
        roughness: the kernel's values are multiplied by factors from 1 - roughness to 1 + roughness.
        seed: of these factors.
        padding: the border.
    """

    shape: KernelKind = "iso"
    size: int = 21
    sigma: float = 1.0
    sigma_y: float | None = None
    theta: float = 0.0
    beta: float = 1.0
    roughness: float = 0.0
    seed: int = 0
    padding: Padding = "reflect"

    def kernel(self) -> Tensor:
        """(size, size), float64, of sum one."""
        kernel = BlurShape(self.shape, self.size, self.sigma, self.sigma_y, self.theta, self.beta).kernel()
        if self.roughness == 0:
            return kernel
        return roughen(kernel, seeded(self.seed), (1 - self.roughness, 1 + self.roughness))

    def __call__(self, image: Tensor) -> Tensor:
        return filter2d(check_image(image), self.kernel(), padding=self.padding)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        shapes: Sequence[KernelKind] = KERNEL_KINDS,
        chances: Sequence[float] = ESRGAN_CHANCES,
        size: tuple[int, int] = (7, 21),
        sigma: Range = (0.2, 3.0),
        rotation: Range = (-math.pi, math.pi),
        beta_generalized: Range = (0.5, 4.0),
        beta_plateau: Range = (1.0, 2.0),
        roughness: float = 0.0,
    ) -> Self:
        """Draw Real-ESRGAN's blur; the ranges are those of its first stage, the second has sigma (0.2, 1.5).

        Args:
            generator: source of all randomness, on the CPU.
            shapes: profiles to choose from.
            chances: how likely each is.
            size: smallest and largest side, odd.
            sigma: range of the standard deviations.
            rotation: range of the direction.
            beta_generalized: range of the generalised profiles' exponent.
            beta_plateau: that of the plateau.
            roughness: of the kernel's values.
        """
        drawn = draw_shape(
            draw_kind(generator, shapes, chances),
            _odd(size, generator),
            generator,
            sigma=sigma,
            rotation=rotation,
            beta_generalized=beta_generalized,
            beta_plateau=beta_plateau,
        )
        numbers = (drawn.kind, drawn.size, drawn.sigma, drawn.sigma_y, drawn.theta, drawn.beta)
        return cls(*numbers, roughness, draw_seed(generator) if roughness else 0)


@dataclass(frozen=True)
class SincBlur(Degradation):
    """Take the frequencies above a cutoff away, which rings around edges as sharpened or strongly compressed images do.

    The result is clipped to [0, 1].

    Args:
        size: side of the kernel in pixels, odd.
        cutoff: radians a pixel, at most pi.
        padding: the border.
    """

    size: int = 21
    cutoff: float = math.pi / 2
    padding: Padding = "reflect"

    def kernel(self) -> Tensor:
        """(size, size), float64, of sum one."""
        return sinc_kernel(self.size, self.cutoff)

    def __call__(self, image: Tensor) -> Tensor:
        return filter2d(check_image(image), self.kernel(), padding=self.padding).clamp(0, 1)

    @classmethod
    def draw(cls, generator: torch.Generator, *, size: tuple[int, int] = (7, 21), cutoff: Range | None = None) -> Self:
        """Draw Real-ESRGAN's ringing.

        Args:
            generator: source of all randomness, on the CPU.
            size: smallest and largest side, odd.
            cutoff: its range; None for pi / 3 to pi where the side is below 13, and pi / 5 to pi from there on.
        """
        side = _odd(size, generator)
        low, high = cutoff or ((math.pi / 3 if side < 13 else math.pi / 5), math.pi)
        return cls(side, uniform(low, high, generator))


@dataclass(frozen=True)
class DefocusBlur(Degradation):
    """Blur by a lens out of focus: every point becomes a disk.

    Args:
        radius: of the disk, in pixels.
        padding: the border.
    """

    radius: float = 3.0
    padding: Padding = "reflect"

    def kernel(self) -> Tensor:
        """(n, n), float64, of sum one."""
        return fspecial_disk(self.radius)

    def __call__(self, image: Tensor) -> Tensor:
        return filter2d(check_image(image), self.kernel(), padding=self.padding)

    @classmethod
    def draw(cls, generator: torch.Generator, *, radius: Range = (1.0, 6.0)) -> Self:
        """Draw a radius; no paper states the default range, which is ours.

        Args:
            generator: source of all randomness, on the CPU.
            radius: its range, in pixels.
        """
        return cls(uniform(*radius, generator))


@dataclass(frozen=True)
class MotionBlur(Degradation):
    """Blur by a straight, even motion of the camera: MATLAB's `fspecial('motion')`.

    Args:
        length: of the motion, in pixels.
        angle: degrees, counter-clockwise from right.
        padding: the border.
    """

    length: float = 9.0
    angle: float = 0.0
    padding: Padding = "reflect"

    def kernel(self) -> Tensor:
        """(rows, columns), float64, of sum one."""
        return fspecial_motion(self.length, self.angle)

    def __call__(self, image: Tensor) -> Tensor:
        return filter2d(check_image(image), self.kernel(), padding=self.padding)

    @classmethod
    def draw(cls, generator: torch.Generator, *, length: Range = (5.0, 25.0), angle: Range = (0.0, 180.0)) -> Self:
        """Draw length and angle; no paper states the default ranges, which are ours.

        Args:
            generator: source of all randomness, on the CPU.
            length: its range, in pixels.
            angle: its range, in degrees.
        """
        return cls(uniform(*length, generator), uniform(*angle, generator))


def _odd(size: tuple[int, int], generator: torch.Generator) -> int:
    """An odd number from the first to the second, both odd and included."""
    return size[0] + 2 * integer(0, (size[1] - size[0]) // 2, generator)
