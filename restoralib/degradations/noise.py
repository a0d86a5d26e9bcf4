"""Noise of every kind that the papers add: Gaussian, Poisson, speckle, salt and pepper, correlated between colours, grain.

The functions take the random numbers as `draw` (or `counts`), so that a stored draw gives the stored result; without them they
draw from `generator`. Strengths are on the scale 0..255 where the papers state them so. What is drawn on the CPU is the same
for every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations._draws import drawn
from restoralib.degradations.degradation import Degradation, check_image, draw_seed, seeded, uniform
from restoralib.degradations.levels import check_finite, check_level, for_each_image
from restoralib.ops.levels import nearest_levels, round_to_levels
from restoralib.ops.precision import full_precision

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey of BT.601 with full range."""


def add_gaussian_noise(
    image: Tensor,
    sigma: float | Tensor,
    *,
    draw: Tensor | None = None,
    generator: torch.Generator | None = None,
    gray: bool = False,
    clip: bool = True,
    rounds: bool = False,
) -> Tensor:
    """Add white Gaussian noise of standard deviation sigma / 255.

    Denoising tables add it without clipping or rounding (`clip=False`), from numpy's draw (`numpy_normal`); all-in-one papers
    and Real-ESRGAN clip.

    Args:
        image: (b, c, h, w) in [0, 1].
        sigma: standard deviation on the scale 0..255, for all images or one for each, (b,).
        draw: standard normal numbers to use, (b, c, h, w), or (b, 1, h, w) with `gray`.
        generator: where to draw them from otherwise; None for torch's own.
        gray: the same noise in all channels.
        clip: clip to [0, 1].
        rounds: round to 8 bits.

    Returns:
        (b, c, h, w). NaN passes through.

    Raises:
        ValueError: sigma is negative, or the image or the draw has another shape.
    """
    work = full_precision(check_image(image))
    check_level(sigma, "sigma")
    noise = _normal(work, draw, generator, gray)
    return _finish(work + noise * (for_each_image(sigma, work, "sigma") / 255), image, clip, rounds)


def add_poisson_noise(
    image: Tensor,
    scale: float | Tensor = 1.0,
    *,
    counts: Tensor | None = None,
    generator: torch.Generator | None = None,
    vals: float | None = None,
    gray: bool = False,
    gray_weights: Sequence[float] = LUMA,
    clip: bool = True,
    rounds: bool = False,
) -> Tensor:
    """Add the noise of counted photons: x + scale (counts / vals - q), q the image in 8 bits and counts of mean q vals.

    Real-ESRGAN takes for `vals`, the photons of white, the number of distinct values in the image rounded up to a power of two;
    BSRGAN 10 to a power between 2 and 4.

    Args:
        image: (b, c, h, w) in [0, 1].
        scale: strength, for all images or one for each, (b,).
        counts: photons to use, (b, c, h, w), or (b, 1, h, w) with `gray`.
        generator: where to draw them from otherwise, a CPU generator; None for torch's own.
        vals: photons of white; None for Real-ESRGAN's rule, image by image.
        gray: the noise of the luma in all channels.
        gray_weights: of the channels in the luma. Real-ESRGAN's loader, whose arrays were BGR, weighs 0.114, 0.587, 0.299.
        clip: clip to [0, 1].
        rounds: round to 8 bits.

    Returns:
        (b, c, h, w).

    Raises:
        ValueError: scale is negative, vals is not positive, the image has NaN, or the image or the counts have another shape.

    Source: Wang et al. 2021 (arXiv:2107.10833), Zhang et al. 2021 (arXiv:2103.14006).
    """
    work = full_precision(check_image(image))
    check_level(scale, "scale")
    mean, photons = poisson_means(work, vals=vals, gray=gray, gray_weights=gray_weights)
    if counts is None:
        counts = torch.poisson(mean.float().cpu(), generator)
    elif counts.shape != mean.shape:
        raise ValueError(f"expected counts of shape {tuple(mean.shape)}, got {tuple(counts.shape)}")
    noise = (counts.to(work) - mean) / photons
    return _finish(work + noise * for_each_image(scale, work, "scale"), image, clip, rounds)


def poisson_means(
    image: Tensor, *, vals: float | None = None, gray: bool = False, gray_weights: Sequence[float] = LUMA
) -> tuple[Tensor, Tensor]:
    """What is counted on average in every pixel, and the count of white.

    Args:
        image: (b, c, h, w) in [0, 1].
        vals: count of white; None for the distinct values of the image in 8 bits, rounded up to a power of two.
        gray: of the luma.
        gray_weights: of the channels in the luma.

    Returns:
        Means (b, c, h, w), with one channel if `gray`, and the count of white (b, 1, 1, 1).

    Raises:
        ValueError: vals is not positive, or the image has NaN.
    """
    check_finite(image, "Poisson noise")
    if vals is not None and not 0 < vals < math.inf:
        raise ValueError(f"vals, the photons of white, should be positive, got {vals}")
    if gray and image.shape[1] == 3:
        image = torch.einsum("bchw,c->bhw", image, torch.tensor(gray_weights).to(image))[:, None]
    image = round_to_levels(image)
    if vals is not None:
        photons = image.new_full((image.shape[0], 1, 1, 1), vals)
    else:
        levels = nearest_levels(image).long().flatten(1)
        present = levels.new_zeros(levels.shape[0], 256).scatter_(1, levels, 1).sum(1)
        photons = (2 ** present.to(image).log2().ceil()).reshape(-1, 1, 1, 1)
    return image * photons, photons


def add_speckle_noise(
    image: Tensor,
    sigma: float | Tensor,
    *,
    draw: Tensor | None = None,
    generator: torch.Generator | None = None,
    gray: bool = False,
    clip: bool = True,
    rounds: bool = False,
) -> Tensor:
    """Add noise in proportion to the image: x + x n sigma / 255, n standard normal.

    Arguments, shapes and errors are those of `add_gaussian_noise`.

    Source: Zhang et al. 2021 (arXiv:2103.14006).
    """
    work = full_precision(check_image(image))
    check_level(sigma, "sigma")
    noise = _normal(work, draw, generator, gray)
    return _finish(work + work * noise * (for_each_image(sigma, work, "sigma") / 255), image, clip, rounds)


def add_salt_and_pepper(
    image: Tensor,
    amount: float,
    *,
    salt: float = 0.5,
    draw: Tensor | None = None,
    generator: torch.Generator | None = None,
    gray: bool = False,
) -> Tensor:
    """Set a share of the values to white or black.

    Args:
        image: (b, c, h, w) in [0, 1].
        amount: share of values that are set, 0..1.
        salt: share of these that become white.
        draw: uniform numbers in [0, 1) to use, (b, c, h, w), or (b, 1, h, w) with `gray`. Where they lie below amount
            times salt there is salt, from there to amount pepper.
        generator: where to draw them from otherwise; None for torch's own.
        gray: whole pixels, not each channel by itself.

    Returns:
        (b, c, h, w).

    Raises:
        ValueError: amount or salt lies outside 0..1, or the image or the draw has another shape.
    """
    check_image(image)
    for name, value in (("amount", amount), ("salt", salt)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is a share and should lie in 0..1, got {value}")
    draw = drawn(_draw_shape(image, gray), draw, generator, torch.rand).to(image.device)
    image = torch.where(draw < amount, 0.0, image)
    return torch.where(draw < amount * salt, 1.0, image)


def add_correlated_noise(
    image: Tensor,
    covariance: Sequence[Sequence[float]],
    *,
    draw: Tensor | None = None,
    generator: torch.Generator | None = None,
    clip: bool = True,
    rounds: bool = False,
) -> Tensor:
    """Add Gaussian noise that is white over the image but correlated between red, green and blue.

    Args:
        image: (b, c, h, w) in [0, 1]; a grey one gets the mean of the three variances.
        covariance: 3x3, symmetric, of values in [0, 1]; `draw_covariance` draws BSRGAN's. Where it has negative eigenvalues, as
            a matrix of absolute values may, their sizes count, as in numpy's `multivariate_normal`.
        draw: standard normal numbers to use, (b, c, h, w).
        generator: where to draw them from otherwise; None for torch's own.
        clip: clip to [0, 1].
        rounds: round to 8 bits.

    Returns:
        (b, c, h, w). NaN passes through.

    Raises:
        ValueError: the covariance is not 3x3 and symmetric, or the image or the draw has another shape.

    Source: Zhang et al. 2021 (arXiv:2103.14006).
    """
    work = full_precision(check_image(image))
    matrix = torch.tensor(covariance, dtype=torch.float64)
    if matrix.shape != (3, 3) or not torch.allclose(matrix, matrix.T):
        raise ValueError(f"expected a symmetric covariance of 3x3, got {covariance}")
    noise = _normal(work, draw, generator, gray=False)
    if image.shape[1] == 1:
        noise = noise * float(matrix.diagonal().mean()) ** 0.5
    else:
        values, vectors = torch.linalg.eigh(matrix)
        root = vectors * values.abs().sqrt()  # root root' is the covariance.
        noise = torch.einsum("dc,bchw->bdhw", root.to(noise), noise)
    return _finish(work + noise, image, clip, rounds)


def draw_covariance(generator: torch.Generator, level: float = 25.0) -> tuple[tuple[float, ...], ...]:
    """A covariance between colours as BSRGAN draws it: |L^2 U' D U|, U orthogonal, D uniform in 0..1, L = level / 255."""
    basis = torch.linalg.svd(torch.rand(3, 3, generator=generator, dtype=torch.float64)).U
    spread = torch.rand(3, generator=generator, dtype=torch.float64)
    matrix = ((level / 255) ** 2 * basis.T @ torch.diag(spread) @ basis).abs()
    return tuple(tuple(row) for row in ((matrix + matrix.T) / 2).tolist())


def add_grain(
    image: Tensor,
    sigma: float,
    *,
    chroma: float = 0.35,
    draw: Tensor | None = None,
    generator: torch.Generator | None = None,
    clip: bool = True,
    rounds: bool = False,
) -> Tensor:
    """Add grain: noise of standard deviation sigma / 255 common to all channels, and noise of each, `chroma` times as strong.

    RealRestorer's "granular" noise has sigma = 8 strength with strengths 0.6 to 2.4, and chroma 0.35.

    Args:
        image: (b, c, h, w) in [0, 1].
        sigma: standard deviation of the common part on the scale 0..255.
        chroma: standard deviation of each channel's own part, relative to sigma; grey images have none.
        draw: standard normal numbers to use, (b, 1 + c, h, w): the common part first.
        generator: where to draw them from otherwise; None for torch's own.
        clip: clip to [0, 1].
        rounds: round to 8 bits.

    Returns:
        (b, c, h, w). NaN passes through.

    Raises:
        ValueError: sigma or chroma is negative, or the image or the draw has another shape.
    """
    work = full_precision(check_image(image))
    check_level(sigma, "sigma")
    check_level(chroma, "chroma")
    b, c, h, w = image.shape
    draw = drawn((b, 1 + c, h, w), draw, generator).to(work)
    noise = draw[:, :1] + chroma * draw[:, 1:] if c == 3 else draw[:, :1]
    return _finish(work + noise * (sigma / 255), image, clip, rounds)


def numpy_normal(channels: int, height: int, width: int, *, seed: int = 0, bgr: bool = False) -> Tensor:
    """The standard normal numbers of `np.random.seed(seed)`, drawn as (h, w, c): what denoising tables add to each test image.

    Args:
        channels: 1 or 3.
        height: of the image.
        width: of the image.
        seed: 0 in the papers, for every image anew.
        bgr: the reference drew on a BGR array (SwinIR) rather than RGB (Restormer).

    Returns:
        (1, c, h, w) in RGB order, float64. No generator of numpy or torch is touched.
    """
    draw = np.random.RandomState(seed).standard_normal((height, width, channels))
    draw = draw[..., ::-1] if bgr else draw
    return torch.from_numpy(np.ascontiguousarray(draw.transpose(2, 0, 1)))[None]


@dataclass(frozen=True)
class GaussianNoise(Degradation):
    """White Gaussian noise: `add_gaussian_noise`.

    Args:
        sigma: standard deviation on the scale 0..255.
        gray: the same noise in all channels.
        clip: clip to [0, 1].
        rounds: round to 8 bits.
        seed: of the noise.
    """

    sigma: float = 25.0
    gray: bool = False
    clip: bool = True
    rounds: bool = False
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        return add_gaussian_noise(
            image, self.sigma, generator=seeded(self.seed), gray=self.gray, clip=self.clip, rounds=self.rounds
        )

    @classmethod
    def draw(cls, generator: torch.Generator, *, sigma: tuple[float, float] = (5.0, 50.0), gray: float = 0.0) -> Self:
        """Draw sigma from a range; `gray` is the probability of grey noise.

        Real-ESRGAN: sigma 1..30 (25 in its second stage), gray 0.4.
        """
        return cls(uniform(*sigma, generator), uniform(0, 1, generator) < gray, seed=draw_seed(generator))


@dataclass(frozen=True)
class PoissonNoise(Degradation):
    """Noise of counted photons: `add_poisson_noise`.

    Args:
        scale: strength.
        vals: photons of white; None for Real-ESRGAN's rule.
        gray: the noise of the luma in all channels.
        clip: clip to [0, 1].
        rounds: round to 8 bits.
        seed: of the noise.
    """

    scale: float = 1.0
    vals: float | None = None
    gray: bool = False
    clip: bool = True
    rounds: bool = False
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        return add_poisson_noise(
            image,
            self.scale,
            generator=seeded(self.seed),
            vals=self.vals,
            gray=self.gray,
            clip=self.clip,
            rounds=self.rounds,
        )

    @classmethod
    def draw(cls, generator: torch.Generator, *, scale: tuple[float, float] = (1.0, 5.0), gray: float = 0.0) -> Self:
        """Draw the scale from a range; `gray` is the probability of grey noise.

        Real-ESRGAN: scale 0.05..3 (2.5 in its second stage), gray 0.4.
        """
        return cls(uniform(*scale, generator), gray=uniform(0, 1, generator) < gray, seed=draw_seed(generator))


@dataclass(frozen=True)
class SpeckleNoise(Degradation):
    """Noise in proportion to the image: `add_speckle_noise`.

    Args:
        sigma: standard deviation at white, on the scale 0..255.
        gray: the same noise in all channels.
        clip: clip to [0, 1].
        seed: of the noise.
    """

    sigma: float = 25.0
    gray: bool = False
    clip: bool = True
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        return add_speckle_noise(image, self.sigma, generator=seeded(self.seed), gray=self.gray, clip=self.clip)

    @classmethod
    def draw(cls, generator: torch.Generator, *, sigma: tuple[float, float] = (2.0, 25.0), gray: float = 0.4) -> Self:
        """Draw sigma from a range, BSRGAN's by default; `gray` is the probability of grey noise."""
        return cls(uniform(*sigma, generator), uniform(0, 1, generator) < gray, seed=draw_seed(generator))


@dataclass(frozen=True)
class SaltAndPepper(Degradation):
    """White and black values here and there: `add_salt_and_pepper`.

    Args:
        amount: share of values that are set.
        salt: share of these that become white.
        gray: whole pixels, not each channel by itself.
        seed: of the places.
    """

    amount: float = 0.02
    salt: float = 0.5
    gray: bool = False
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        return add_salt_and_pepper(image, self.amount, salt=self.salt, generator=seeded(self.seed), gray=self.gray)

    @classmethod
    def draw(cls, generator: torch.Generator, *, amount: tuple[float, float] = (0.005, 0.05), gray: float = 0.5) -> Self:
        """Draw the amount from a range, RealRestorer's by default; `gray` is the probability of whole pixels."""
        return cls(uniform(*amount, generator), gray=uniform(0, 1, generator) < gray, seed=draw_seed(generator))


@dataclass(frozen=True)
class CorrelatedNoise(Degradation):
    """Gaussian noise that is correlated between colours: `add_correlated_noise`.

    Args:
        covariance: 3x3, symmetric, of values in [0, 1].
        clip: clip to [0, 1].
        seed: of the noise.
    """

    covariance: tuple[tuple[float, ...], ...] = ((0.0025, 0.0012, 0.0012), (0.0012, 0.0025, 0.0012), (0.0012, 0.0012, 0.0025))
    clip: bool = True
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        return add_correlated_noise(image, self.covariance, generator=seeded(self.seed), clip=self.clip)

    @classmethod
    def draw(cls, generator: torch.Generator, *, level: float = 25.0) -> Self:
        """Draw the covariance as BSRGAN does, `draw_covariance`."""
        return cls(draw_covariance(generator, level), seed=draw_seed(generator))


@dataclass(frozen=True)
class Grain(Degradation):
    """Grain of film and high ISO: `add_grain`.

    Args:
        sigma: standard deviation of the part common to all channels, on the scale 0..255.
        chroma: strength of each channel's own part, relative to sigma.
        seed: of the grain.
    """

    sigma: float = 12.0
    chroma: float = 0.35
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        return add_grain(image, self.sigma, chroma=self.chroma, generator=seeded(self.seed))

    @classmethod
    def draw(cls, generator: torch.Generator, *, strength: tuple[float, float] = (0.6, 2.4)) -> Self:
        """Draw the strength, an eighth of sigma, from a range, RealRestorer's by default."""
        return cls(8 * uniform(*strength, generator), seed=draw_seed(generator))


def _draw_shape(image: Tensor, gray: bool) -> tuple[int, ...]:
    b, c, h, w = image.shape
    return (b, 1 if gray else c, h, w)


def _normal(image: Tensor, draw: Tensor | None, generator: torch.Generator | None, gray: bool) -> Tensor:
    """The given draw, or a new one, in the image's type and place."""
    return drawn(_draw_shape(image, gray), draw, generator).to(image)


def _finish(noisy: Tensor, image: Tensor, clip: bool, rounds: bool) -> Tensor:
    """Clip and round as asked, in the image's own type."""
    if rounds:
        noisy = round_to_levels(noisy, clip=clip)
    elif clip:
        noisy = noisy.clamp(0, 1)
    return noisy.to(image.dtype)
