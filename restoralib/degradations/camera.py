"""A camera's noise: that of photons and of reading out, added to linear values before the camera makes a photograph of them.

`unprocess` goes back from a photograph to what the sensor saw, `process` forth again; between them the noise is white and
depends on the light as sensors' does, and the processing turns it into the coloured, blotchy noise of photographs. The steps
and the ranges of the draws are those of Brooks et al. 2019, "Unprocessing images for learned raw denoising"
(arXiv:1811.11127), without their exact order of random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from restoralib.degradations._draws import drawn
from restoralib.degradations.degradation import Degradation, check_image, draw_seed, seeded, uniform
from restoralib.degradations.levels import check_level
from restoralib.ops.precision import full_precision

# XYZ to camera of the four cameras of the DND set, from their DNG profiles.
_CAMERAS = (
    ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
    ((0.4913, -0.0541, -0.0202), (-0.6130, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
    ((0.8380, -0.2630, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
    ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.0970, 0.1581, 0.5181)),
)
# Linear sRGB to XYZ (IEC 61966-2-1, D65).
_SRGB = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_GAMMA = 2.2
_BRIGHT = 0.9  # where highlights begin, that gains must not pull off white


def add_shot_read_noise(
    image: Tensor,
    read: float,
    shot: float,
    *,
    draw: Tensor | None = None,
    generator: torch.Generator | None = None,
    clip: bool = True,
) -> Tensor:
    """Add Gaussian noise of variance read^2 + shot^2 L where the image is L.

    Args:
        image: (b, c, h, w), linear in the light.
        read: standard deviation in black, from reading out.
        shot: standard deviation of the photons' noise at 1.
        draw: standard normal numbers to use, (b, c, h, w).
        generator: where to draw them from otherwise; None for torch's own.
        clip: clip to [0, 1].

    Returns:
        (b, c, h, w). NaN passes through.

    Raises:
        ValueError: read or shot is negative, or the image or the draw has another shape.
    """
    work = full_precision(check_image(image))
    check_level(read, "read")
    check_level(shot, "shot")
    noisy = work + drawn(image.shape, draw, generator).to(work) * (read**2 + shot**2 * work.clamp(min=0)).sqrt()
    return (noisy.clamp(0, 1) if clip else noisy).to(image.dtype)


def camera_matrix(weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Linear sRGB to a camera's colours, with white staying white: (3, 3), float64.

    Args:
        weights: shares of four cameras' matrices.

    Raises:
        ValueError: they are not four, one is negative or all are zero.
    """
    shares = torch.tensor(weights, dtype=torch.float64)
    if shares.shape != (4,) or not bool((shares >= 0).all()) or not float(shares.sum()) > 0:
        raise ValueError(f"expected four weights, zero or more and not all zero, got {tuple(weights)}")
    from_xyz = torch.einsum("n,nij->ij", shares / shares.sum(), torch.tensor(_CAMERAS, dtype=torch.float64))
    matrix = from_xyz @ torch.tensor(_SRGB, dtype=torch.float64)
    return matrix / matrix.sum(1, keepdim=True)


def unprocess(image: Tensor, matrix: Tensor, *, exposure: float = 1.25, red: float = 2.0, blue: float = 1.7) -> Tensor:
    """From a photograph to the linear values that the sensor saw.

    The tone curve 3 x^2 - 2 x^3, the gamma of 2.2, the colour matrix and the gains of exposure and white balance are undone in
    turn. Gains do not darken highlights, for white is where the sensor was full.

    Args:
        image: (b, c, h, w) in [0, 1]; a grey one knows no matrix and no white balance.
        matrix: linear sRGB to camera, as `camera_matrix` gives it.
        exposure: gain of all channels that the camera applied.
        red: gain of red that it applied.
        blue: gain of blue that it applied.

    Returns:
        (b, c, h, w), at most 1; saturated colours may lie somewhat below 0.

    Raises:
        ValueError: a gain is not positive, or the image has another shape.
    """
    work = full_precision(check_image(image)).clamp(0, 1)
    gains = _gains(work, exposure, red, blue)
    linear = (0.5 - torch.sin(torch.asin(1 - 2 * work) / 3)).clamp(min=1e-8) ** _GAMMA
    if image.shape[1] == 3:
        linear = torch.einsum("dc,bchw->bdhw", matrix.to(linear), linear)
    bright = ((linear.mean(1, keepdim=True) - _BRIGHT).clamp(min=0) / (1 - _BRIGHT)) ** 2
    return (linear * torch.maximum(bright + (1 - bright) / gains, 1 / gains)).to(image.dtype)


def process(raw: Tensor, matrix: Tensor, *, exposure: float = 1.25, red: float = 2.0, blue: float = 1.7) -> Tensor:
    """From linear values of the sensor to a photograph: gains, clipping, colour matrix, gamma and tone curve.

    Arguments, shapes and errors are those of `unprocess`, whose inverse it is but for highlights and clipping.
    """
    work = full_precision(check_image(raw))
    linear = (work * _gains(work, exposure, red, blue)).clamp(0, 1)
    if raw.shape[1] == 3:
        linear = torch.einsum("dc,bchw->bdhw", torch.linalg.inv(matrix.double()).to(linear), linear)
    encoded = linear.clamp(1e-8, 1) ** (1 / _GAMMA)
    return (3 * encoded**2 - 2 * encoded**3).to(raw.dtype)


def demosaic(raw: Tensor) -> Tensor:
    """Keep of every pixel the one colour that a sensor with an RGGB mosaic has there, and interpolate the others bilinearly.

    Shapes: (b, 3, h, w) -> the same. Images with a side of one pixel have no mosaic and stay as they are.

    Raises:
        ValueError: the image is not RGB.
    """
    if check_image(raw).shape[1] != 3:
        raise ValueError(f"a mosaic of colours needs RGB, got {raw.shape[1]} channel")
    h, w = raw.shape[-2:]
    if min(h, w) < 2:
        return raw
    odd = (torch.arange(h, device=raw.device) % 2)[:, None], (torch.arange(w, device=raw.device) % 2)[None]
    seen = torch.stack(((1 - odd[0]) * (1 - odd[1]), odd[0] ^ odd[1], odd[0] * odd[1])).to(raw)
    tent = torch.tensor((0.25, 0.5, 0.25)).to(raw)
    cross = torch.tensor(((0.0, 0.25, 0.0), (0.25, 1.0, 0.25), (0.0, 0.25, 0.0))).to(raw)
    kernels = torch.stack((4 * torch.outer(tent, tent), cross, 4 * torch.outer(tent, tent)))[:, None]
    # Mirrored without repeating the edge, the mosaic goes on beyond it.
    return functional.conv2d(functional.pad(raw * seen, (1, 1, 1, 1), mode="reflect"), kernels, groups=3)


@dataclass(frozen=True)
class CameraNoise(Degradation):
    """The noise of a camera: `unprocess`, `add_shot_read_noise`, `demosaic`, `process`.

    Without noise, what is left are the small faults of demosaicking and clipping. With `stops` it is a photograph taken in the
    dark: less light reaches the sensor, and the noise stays.

    Args:
        read: standard deviation of the noise of reading out, in linear values.
        shot: standard deviation of the photons' noise at 1, in linear values.
        exposure: gain of all channels.
        red: gain of red.
        blue: gain of blue.
        weights: shares of four cameras' colour matrices.
        mosaic: whether the sensor sees one colour a pixel.
        stops: how many times the light is halved.
        seed: of the noise.
    """

    read: float = 0.01
    shot: float = 0.04
    exposure: float = 1.25
    red: float = 2.0
    blue: float = 1.7
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    mosaic: bool = True
    stops: float = 0.0
    seed: int = 0

    def __call__(self, image: Tensor) -> Tensor:
        matrix = camera_matrix(self.weights)
        gains = {"exposure": self.exposure, "red": self.red, "blue": self.blue}
        raw = unprocess(full_precision(check_image(image)), matrix, **gains) * 2**-self.stops
        raw = add_shot_read_noise(raw, self.read, self.shot, generator=seeded(self.seed), clip=False)
        if self.mosaic and image.shape[1] == 3:
            raw = demosaic(raw)
        return process(raw, matrix, **gains).to(image.dtype)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        shot: tuple[float, float] = (1e-4, 0.012),
        stops: tuple[float, float] = (0.0, 0.0),
    ) -> Self:
        """Draw as the paper: the variance of shot noise at 1 from a range, evenly in its logarithm; stops are ours.

        The logarithm of the variance of read noise is 2.18 times that of shot noise plus 1.2, with a spread of 0.26; the gain
        of exposure is one over a normal number around 0.8 with a spread of 0.1; red is 1.9..2.4, blue 1.5..1.9.
        """
        shot_log = uniform(math.log(shot[0]), math.log(shot[1]), generator)
        spread, gain = torch.randn(2, generator=generator, dtype=torch.float64).tolist()
        return cls(
            read=math.exp((2.18 * shot_log + 1.2 + 0.26 * spread) / 2),
            shot=math.exp(shot_log / 2),
            exposure=1 / max(0.8 + 0.1 * gain, 0.4),  # Four spreads below the mean: more is no exposure.
            red=uniform(1.9, 2.4, generator),
            blue=uniform(1.5, 1.9, generator),
            weights=tuple(torch.rand(4, generator=generator, dtype=torch.float64).tolist()),
            stops=uniform(*stops, generator),
            seed=draw_seed(generator),
        )


def _gains(image: Tensor, exposure: float, red: float, blue: float) -> Tensor:
    if not min(exposure, red, blue) > 0:
        raise ValueError(f"gains should be positive, got {exposure}, {red} and {blue}")
    numbers = (exposure * red, exposure, exposure * blue) if image.shape[1] == 3 else (exposure,)
    return torch.tensor(numbers).to(image)[:, None, None]
