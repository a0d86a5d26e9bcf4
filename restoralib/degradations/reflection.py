"""Reflection: a second scene, mirrored in the glass through which the first is seen.

The sum w T + v R of the reflected scene after what the glass does to it: sharp ("focused"), out of focus ("defocused", Fan et
al., ICCV 2017), or doubled by the pane's two faces ("ghosting", Shih et al., CVPR 2015). Ranges of RealRestorer's released
synthesis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations._fields import axes, layer_like, sample, smooth_noise
from restoralib.degradations.degradation import Degradation, check_image, choice, draw_seed, seeded, uniform
from restoralib.degradations.filters import Padding, gaussian_blur
from restoralib.ops.precision import full_precision

ReflectionStyle = Literal["focused", "defocused", "ghosting"]
_STYLES: tuple[ReflectionStyle, ...] = ("focused", "defocused", "ghosting")


def reflection(image: Tensor, layer: Tensor, transmission: float = 0.8, weight: float = 0.35) -> Tensor:
    """Lay a reflected scene over an image: w T + v R, clipped to [0, 1].

    Args:
        image: T, (b, c, h, w).
        layer: R as it arrives, by `defocused` or `ghosted` or as it is; the image's height and width.
        transmission: w; 1 with a weight of 0 leaves the image as it is.
        weight: v.

    Raises:
        ValueError: the layer does not fit.
    """
    scene = full_precision(check_image(image))
    return (transmission * scene + weight * layer_like(layer, scene)).clamp(0, 1).to(image.dtype)


def defocused(layer: Tensor, sigma: float = 2.0, *, size: int | None = None, padding: Padding = "reflect") -> Tensor:
    """A scene out of focus, by a Gaussian.

    Args:
        layer: (b, c, h, w).
        sigma: in pixels.
        size: taps along either axis; by default as many as the Gaussian needs.
        padding: what lies outside, one of `restoralib.degradations.filters.PADDINGS`.
    """
    return gaussian_blur(layer, sigma, size=size, padding=padding)


def ghosted(layer: Tensor, down: int, right: int, attenuation: float = 0.7) -> Tensor:
    """A scene doubled by a pane's two faces: (R + a R moved) / (1 + a), the border repeated.

    Args:
        layer: (b, c, h, w).
        down: rows that the second image is moved by.
        right: columns likewise.
        attenuation: a, its light against the first's.
    """
    height, width = layer.shape[-2:]
    rows = (torch.arange(height, device=layer.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=layer.device) - right).clamp(0, width - 1)
    moved = layer.index_select(-2, rows).index_select(-1, columns)
    return (layer + attenuation * moved) / (1 + attenuation)


@dataclass(frozen=True)
class Reflection(Degradation):
    """A reflection made of the image itself, where there is no second scene: mirrored, turned upside down or not, and a part of
    it enlarged; lights stand out and shadows do not reflect. Use `reflection` where there is another photograph.

    Args:
        style: "focused", "defocused" or "ghosting".
        transmission: weight of the image.
        weight: weight of the reflection; where it is 0 and transmission is 1 nothing changes.
        sigma: of the defocus, in pixels.
        shift: (down, right) of the ghost, as a share of height and width.
        attenuation: light of the ghost against the first image's.
        upside_down: whether the reflected part is flipped vertically, too.
        part: share of the image's sides that is reflected, enlarged to the whole.
        contrast: exponent by which the reflected scene's shadows fade.
        seed: of which part it is, and of where the glass reflects more.
    """

    style: ReflectionStyle = "defocused"
    transmission: float = 0.9
    weight: float = 0.4
    sigma: float = 6.0
    shift: tuple[float, float] = (0.05, 0.05)
    attenuation: float = 0.7
    upside_down: bool = False
    part: float = 0.7
    contrast: float = 1.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.style not in _STYLES:
            raise ValueError(f"unknown style of reflection {self.style!r}; choose one of {', '.join(_STYLES)}")

    def layer(self, image: Tensor) -> Tensor:
        """The reflection that it lays over an image, (b, c, h, w)."""
        height, width = image.shape[-2:]
        generator = seeded(self.seed)
        top, left = (uniform(0, 1 - self.part, generator) * side for side in (height, width))
        glass = smooth_noise(height, width, 2, generator).clamp(0, 1).to(image)
        rows, columns = axes(image)
        rows = height - 1 - rows if self.upside_down else rows
        mirrored = sample(image, top + self.part * rows, left + self.part * (width - 1 - columns))
        mirrored = mirrored.clamp(0, 1) ** self.contrast
        if self.style == "defocused":
            mirrored = defocused(mirrored, self.sigma)
        elif self.style == "ghosting":
            mirrored = ghosted(mirrored, round(self.shift[0] * height), round(self.shift[1] * width), self.attenuation)
        return mirrored * (0.4 + 0.6 * glass)

    def __call__(self, image: Tensor) -> Tensor:
        scene = full_precision(check_image(image))
        return reflection(scene, self.layer(scene), self.transmission, self.weight).to(image.dtype)

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        style: ReflectionStyle | None = None,
        transmission: tuple[float, float] = (0.75, 0.95),
        weight: tuple[float, float] = (0.4, 0.8),
        sigma: tuple[float, float] = (5.0, 10.0),
        shift: tuple[float, float] = (0.05, 0.1),
        attenuation: tuple[float, float] = (0.5, 1.0),
    ) -> Self:
        """Draw a reflection.

        Args:
            generator: source of all randomness, on the CPU.
            style: of it; None draws one of the three.
            transmission: range of the image's weight (ours).
            weight: range of the reflection's weight (ours).
            sigma: range of the defocus, RealRestorer's.
            shift: range of the ghost's shift along either axis, to either side, as a share of the side, RealRestorer's.
            attenuation: range of the ghost's light, RealRestorer's.
        """
        return cls(
            style=choice(_STYLES, generator) if style is None else style,
            transmission=uniform(*transmission, generator),
            weight=uniform(*weight, generator),
            sigma=uniform(*sigma, generator),
            shift=(
                choice((-1, 1), generator) * uniform(*shift, generator),
                choice((-1, 1), generator) * uniform(*shift, generator),
            ),
            attenuation=uniform(*attenuation, generator),
            upside_down=choice((False, True), generator, (0.7, 0.3)),
            part=uniform(0.5, 0.9, generator),
            contrast=uniform(1.0, 2.2, generator),
            seed=draw_seed(generator),
        )
