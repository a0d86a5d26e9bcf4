"""BSRGAN's degradation: seven steps in random order, and a last JPEG.

Zhang et al. 2021, "Designing a practical degradation model for deep blind image super-resolution" (arXiv:2103.14006).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.blur import GaussianBlur
from restoralib.degradations.camera import CameraNoise
from restoralib.degradations.degradation import Degradation, check_image, check_reduction, choice, draw_seed, integer, uniform
from restoralib.degradations.downsample import BlurDecimate, Downsample
from restoralib.degradations.interpolation import Interpolate, Interpolation, interpolate
from restoralib.degradations.jpeg import JPEG
from restoralib.degradations.noise import CorrelatedNoise, GaussianNoise
from restoralib.ops.precision import full_precision

_MODES: tuple[Interpolation, ...] = ("bilinear", "bicubic", "coverage")


@dataclass(frozen=True)
class BSRGANDegradation(Degradation):
    """BSRGAN's degradation of one image.

    Two blurs, a reduction, the reduction to the final size, Gaussian noise, JPEG and a camera's noise come in any order, only
    the reduction to the final size after the other one; then JPEG once more. The result is clipped to [0, 1].

    The authors' camera step is a file of learned parameters that few have; ours is `CameraNoise`.

    Args:
        scale: how many times smaller the result is.
        before: steps until the reduction to the final size.
        mode: interpolation of that reduction.
        after: steps after it.
    """

    scale: int = 4
    before: tuple[Degradation, ...] = ()
    mode: Interpolation = "bicubic"
    after: tuple[Degradation, ...] = ()

    def __post_init__(self) -> None:
        check_reduction(self.scale)

    def __call__(self, image: Tensor) -> Tensor:
        whole = self.target(check_image(image))
        size = tuple(max(side // self.scale, 1) for side in whole.shape[-2:])
        out = full_precision(whole)
        for step in self.before:
            out = step(out).clamp(0, 1)
        out = interpolate(out, size=(size[0], size[1]), mode=self.mode).clamp(0, 1)
        for step in self.after:
            out = step(out).clamp(0, 1)
        return out.to(image.dtype)

    def target(self, image: Tensor) -> Tensor:
        """The image cut to a multiple of the scale, which the result is `scale` times smaller than.

        An image smaller than the scale stays as it is.
        """
        h, w = image.shape[-2:]
        return image[..., : h // self.scale * self.scale or h, : w // self.scale * self.scale or w]

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        scale: int = 4,
        half: float = 0.25,
        sigma: tuple[int, int] = (2, 25),
        compressed: float = 0.9,
        quality: tuple[int, int] = (30, 95),
        camera: float = 0.25,
    ) -> Self:
        """Draw a degradation.

        Args:
            generator: source of all randomness, on the CPU.
            scale: how many times smaller the result is.
            half: probability, for a scale of 4, that the image is halved first.
            sigma: range of the noise on the scale 0..255, in whole numbers.
            compressed: probability of JPEG among the seven steps.
            quality: range of JPEG's quality.
            camera: probability of the camera's noise.
        """
        halved = scale == 4 and uniform(0, 1, generator) < half
        steps: list[Degradation] = [_draw_half(generator)] if halved else []
        rest = scale // 2 if halved else scale
        order = torch.randperm(7, generator=generator).tolist()
        early, late = sorted((order.index(2), order.index(3)))
        order[early], order[late] = 2, 3
        draws: dict[int, Callable[[], Degradation | None]] = {
            0: lambda: _draw_blur(generator, rest),
            1: lambda: _draw_blur(generator, rest),
            2: lambda: _draw_reduction(generator, rest),
            4: lambda: _draw_noise(generator, sigma),
            5: lambda: JPEG.draw(generator, quality=quality) if uniform(0, 1, generator) < compressed else None,
            6: lambda: CameraNoise.draw(generator) if uniform(0, 1, generator) < camera else None,
        }
        before = [*steps, *(draws[number]() for number in order[:late])]
        mode = choice(_MODES, generator)
        after = [*(draws[number]() for number in order[late + 1 :]), JPEG.draw(generator, quality=quality)]
        return cls(scale, tuple(step for step in before if step), mode, tuple(step for step in after if step))


def _draw_half(generator: torch.Generator) -> Degradation:
    """Half the size: by one of the interpolations or as MATLAB does."""
    if uniform(0, 1, generator) < 0.5:
        return Interpolate(0.5, choice(_MODES, generator))
    return Downsample(2.0)


def _draw_blur(generator: torch.Generator, scale: int) -> GaussianBlur:
    """A stretched Gaussian by its variances, or a round one by its standard deviation; the bounds grow with the scale."""
    size = 2 * integer(2, 11, generator) + 3
    if uniform(0, 1, generator) < 0.5:
        along, across = (math.sqrt(max(uniform(0, 4 + scale, generator), 1e-6)) for _ in range(2))
        return GaussianBlur("aniso", size, along, across, uniform(0, math.pi, generator))
    return GaussianBlur("iso", size, max(uniform(0, 2 + 0.2 * scale, generator), 1e-3))


def _draw_reduction(generator: torch.Generator, scale: int) -> Degradation:
    """Any factor up to twice the scale, or a blur before decimation by the scale."""
    if uniform(0, 1, generator) < 0.75:
        return Interpolate(1 / uniform(1, 2 * scale, generator), choice(_MODES, generator))
    return BlurDecimate(scale, max(uniform(0.1, 0.6 * scale, generator), 1e-3), 25)


def _draw_noise(generator: torch.Generator, sigma: tuple[int, int]) -> Degradation:
    """Noise of colours with probability 0.4, grey noise with 0.4, noise correlated between colours else."""
    kind, level = uniform(0, 1, generator), integer(*sigma, generator)
    if 0.4 <= kind <= 0.6:
        return CorrelatedNoise.draw(generator, level=float(sigma[1]))
    return GaussianNoise(float(level), gray=kind < 0.4, seed=draw_seed(generator))
