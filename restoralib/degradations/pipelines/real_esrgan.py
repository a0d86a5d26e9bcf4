"""Real-ESRGAN's second-order degradation: blur, resizing, noise and JPEG, twice, with a last sinc filter.

Wang et al. 2021 (arXiv:2107.10833), with the settings of its x4plus model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.blur import GaussianBlur, SincBlur
from restoralib.degradations.degradation import Degradation, check_image, check_reduction, choice, uniform
from restoralib.degradations.filters import filter2d, usm_sharpen
from restoralib.degradations.interpolation import Interpolate, Interpolation, interpolate
from restoralib.degradations.jpeg import DiffJPEG
from restoralib.degradations.kernels import Range
from restoralib.degradations.noise import GaussianNoise, PoissonNoise
from restoralib.ops.levels import round_to_levels
from restoralib.ops.precision import full_precision

_MODES: tuple[Interpolation, ...] = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class StageRanges:
    """What one of the two stages draws from; the defaults are the first stage's.

    Args:
        blurred: probability of the blur.
        sigma: of its Gaussians, in pixels.
        sinc: probability that it is a sinc filter instead.
        kernel_size: smallest and largest side of kernels, odd.
        beta_generalized: exponent of generalised Gaussians.
        beta_plateau: exponent of plateaus.
        resized: chances of enlarging, reducing and keeping the size.
        factors: smallest and largest scale of resizing.
        gaussian: probability that the noise is Gaussian, not of photons.
        noise_sigma: of Gaussian noise, on the scale 0..255.
        poisson_scale: strength of the photons' noise.
        gray: probability that the noise is grey.
        quality: of JPEG.
    """

    blurred: float = 1.0
    sigma: Range = (0.2, 3.0)
    sinc: float = 0.1
    kernel_size: tuple[int, int] = (7, 21)
    beta_generalized: Range = (0.5, 4.0)
    beta_plateau: Range = (1.0, 2.0)
    resized: tuple[float, float, float] = (0.2, 0.7, 0.1)
    factors: Range = (0.15, 1.5)
    gaussian: float = 0.5
    noise_sigma: Range = (1.0, 30.0)
    poisson_scale: Range = (0.05, 3.0)
    gray: float = 0.4
    quality: Range = (30.0, 95.0)


FIRST_STAGE = StageRanges()
SECOND_STAGE = StageRanges(
    blurred=0.8,
    sigma=(0.2, 1.5),
    resized=(0.3, 0.4, 0.3),
    factors=(0.3, 1.2),
    noise_sigma=(1.0, 25.0),
    poisson_scale=(0.05, 2.5),
)


@dataclass(frozen=True)
class RealESRGANDegradation(Degradation):
    """Real-ESRGAN's degradation of one image.

    Blur, resizing, noise, JPEG; blur, resizing, noise; then JPEG, and before or after it the reduction to the final size with a
    sinc filter; at last rounding to 8 bits. The reference trains on images of 400x400, which it cuts to patches afterwards.

    Args:
        scale: how many times smaller the result is.
        sharpen: sharpen the image first, by `usm_sharpen`, as the reference does.
        blur: of the first stage, and so on; None for any step leaves it out.
        resize: its scale is relative to the image.
        noise: of the first stage.
        jpeg: of the first stage.
        second_blur: of the second stage, and so on.
        second_resize: its scale is relative to the final size.
        second_noise: of the second stage.
        second_jpeg: of the second stage.
        last_mode: interpolation of the reduction to the final size.
        last_blur: the sinc filter after it.
        jpeg_last: compress after the filter, not before the reduction.
    """

    scale: int = 4
    sharpen: bool = True
    blur: GaussianBlur | SincBlur | None = None
    resize: Interpolate | None = None
    noise: GaussianNoise | PoissonNoise | None = None
    jpeg: DiffJPEG | None = None
    second_blur: GaussianBlur | SincBlur | None = None
    second_resize: Interpolate | None = None
    second_noise: GaussianNoise | PoissonNoise | None = None
    second_jpeg: DiffJPEG | None = None
    last_mode: Interpolation = "bicubic"
    last_blur: SincBlur | None = None
    jpeg_last: bool = True

    def __post_init__(self) -> None:
        check_reduction(self.scale)

    def __call__(self, image: Tensor) -> Tensor:
        h, w = check_image(image).shape[-2:]
        size = (max(h // self.scale, 1), max(w // self.scale, 1))
        out = _blurred(full_precision(self.target(image)), self.blur)
        for step in (self.resize, self.noise, self.jpeg):
            out = out if step is None else step(out)

        out = _blurred(out, self.second_blur)
        if self.second_resize is not None:
            factor = self.second_resize.scale
            between = (max(int(h / self.scale * factor), 1), max(int(w / self.scale * factor), 1))
            out = interpolate(out, size=between, mode=self.second_resize.mode)
        out = out if self.second_noise is None else self.second_noise(out)

        if not self.jpeg_last:
            out = self._compressed(out)
        out = _blurred(interpolate(out, size=size, mode=self.last_mode), self.last_blur)
        if self.jpeg_last:
            out = self._compressed(out)
        return round_to_levels(out).to(image.dtype)

    def _compressed(self, image: Tensor) -> Tensor:
        return image if self.second_jpeg is None else self.second_jpeg(image.clamp(0, 1))

    def target(self, image: Tensor) -> Tensor:
        """What the reference's pixel and perceptual losses compare with: the image, sharpened if `sharpen`."""
        return usm_sharpen(image) if self.sharpen else image

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        scale: int = 4,
        sharpen: bool = True,
        first: StageRanges = FIRST_STAGE,
        second: StageRanges = SECOND_STAGE,
        last_sinc: float = 0.8,
    ) -> Self:
        """Draw a degradation.

        Args:
            generator: source of all randomness, on the CPU.
            scale: how many times smaller the result is.
            sharpen: sharpen the image first.
            first: ranges of the first stage.
            second: ranges of the second stage.
            last_sinc: probability of the last sinc filter.
        """
        return cls(
            scale=scale,
            sharpen=sharpen,
            blur=_draw_blur(generator, first),
            resize=Interpolate.draw(generator, chances=first.resized, scale=first.factors, modes=_MODES, aligned=False),
            noise=_draw_noise(generator, first),
            jpeg=DiffJPEG.draw(generator, quality=first.quality),
            second_blur=_draw_blur(generator, second),
            second_resize=Interpolate.draw(generator, chances=second.resized, scale=second.factors, modes=_MODES),
            second_noise=_draw_noise(generator, second),
            second_jpeg=DiffJPEG.draw(generator, quality=second.quality),
            last_mode=choice(_MODES, generator),
            last_blur=SincBlur.draw(generator, size=second.kernel_size, cutoff=(math.pi / 3, math.pi))
            if uniform(0, 1, generator) < last_sinc
            else None,
            jpeg_last=uniform(0, 1, generator) < 0.5,
        )


def _blurred(image: Tensor, blur: GaussianBlur | SincBlur | None) -> Tensor:
    """Filtered without clipping: the noise that follows clips."""
    return image if blur is None else filter2d(image, blur.kernel(), padding=blur.padding)


def _draw_blur(generator: torch.Generator, ranges: StageRanges) -> GaussianBlur | SincBlur | None:
    if uniform(0, 1, generator) >= ranges.blurred:
        return None
    if uniform(0, 1, generator) < ranges.sinc:
        return SincBlur.draw(generator, size=ranges.kernel_size)
    return GaussianBlur.draw(
        generator,
        size=ranges.kernel_size,
        sigma=ranges.sigma,
        beta_generalized=ranges.beta_generalized,
        beta_plateau=ranges.beta_plateau,
    )


def _draw_noise(generator: torch.Generator, ranges: StageRanges) -> GaussianNoise | PoissonNoise:
    if uniform(0, 1, generator) < ranges.gaussian:
        return GaussianNoise.draw(generator, sigma=ranges.noise_sigma, gray=ranges.gray)
    return PoissonNoise.draw(generator, scale=ranges.poisson_scale, gray=ranges.gray)
