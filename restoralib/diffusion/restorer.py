"""A whole restorer: a diffusion model, a sampler or a method with an operator, and pictures in tiles."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from restoralib.degradations.filters import Padding
from restoralib.degradations.operators import IdentityOperator, LinearOperator, MaskOperator, ResizeOperator, blur_operator
from restoralib.diffusion.conditional import KnownRegion
from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import Denoiser
from restoralib.diffusion.guidance import Unguided
from restoralib.diffusion.i2sb import I2SB
from restoralib.diffusion.measurement import Measurement
from restoralib.diffusion.methods import METHODS, Method, find_method, mask_of
from restoralib.diffusion.model import DiffusionModel
from restoralib.diffusion.noise import Noise, noise_source
from restoralib.diffusion.repaint import RePaint
from restoralib.diffusion.samplers import SAMPLERS, Problem, check_name, find_sampler, run_sampler, time_grid
from restoralib.diffusion.tiled import tiled
from restoralib.ops.resize import resize

Operator = str | LinearOperator | Callable[[tuple[int, int, int]], LinearOperator]
OPERATORS = ("denoise", "sr2", "sr3", "sr4", "sr8", "inpaint", "blur")


def inpainting(mask: Tensor) -> Callable[[tuple[int, int, int]], LinearOperator]:
    """The operator of a picture with holes.

    Args:
        mask: 1 where the picture is known, 0 where it is to be made, (h, w).
    """
    return partial(MaskOperator, mask=mask)


def blurring(kernel: Tensor, padding: Padding = "circular") -> Callable[[tuple[int, int, int]], LinearOperator]:
    """The operator of a blurred picture.

    Args:
        kernel: (kh, kw).
        padding: the border; DDRM and DDNM+ need "circular", or a kernel that is a column times a row.
    """
    return partial(blur_operator, kernel=kernel, padding=padding)


@dataclass(frozen=True)
class DiffusionRestorer:
    """A diffusion model with a way to sample it: degraded images in [0, 1] in, restored images out.

    A network with a condition takes the degraded image as it was trained to. An unconditional one needs a guidance, a method of
    training-free restoration, with the operator that degraded the image.

    Args:
        model: the network and its diffusion.
        sampler: "posterior", "ddim", "sde", "ode", "mean-ode", "heun" or "dpm++", as far as it fits the process; None for the
            authors' choice.
        steps: how many; None for the authors' number.
        guidance: a name of `METHODS`, or a `Method` with numbers of its own.
        operator: "denoise", "sr4" or another whole factor (bicubic); `inpainting(mask)`, `blurring(kernel)` or another function
            from the restored image's (c, h, w) to the operator; or the operator for one size of images. A conditional network
            that fills holes is told by `inpainting(mask)` which ones.
        sigma: standard deviation of the noise in the degraded image, of images in [0, 1].
        scale: restored pixels for each of the image, where the operator is a function; elsewhere no other than the operator
            or the model has.

    Raises:
        ValueError: something does not fit the model or the rest, or has no such name.
        TypeError: the method does not fit the process, or when called, the operator is not linear.
    """

    model: DiffusionModel
    sampler: str | None = None
    steps: int | None = None
    guidance: str | Method | None = None
    operator: Operator | None = None
    sigma: float = 0.0
    scale: int | None = None

    def __post_init__(self) -> None:
        model = self.model
        if isinstance(self.operator, str):
            _check_spec(self.operator)
        if self.scale is not None and (not isinstance(self.scale, int) or self.scale < 1):
            raise ValueError(f"scale should be at least 1 and whole, got {self.scale!r}")
        if self.guidance is None:
            if not model.conditional:
                raise ValueError(
                    f"{model.name} restores no image by itself: it knows no degraded image, so name a guidance "
                    f"({', '.join(METHODS)}) and the operator that degraded it, such as operator='sr4'"
                )
            if self.operator is not None:
                self._check_holes()
            if self.sigma:
                raise ValueError(f"sigma is for a guidance; {model.name} has learned its degradation")
            find_sampler(model.process, self.sampler)
        else:
            method = find_method(self.guidance)
            if model.conditional:
                raise ValueError(
                    f"{model.name} has learned its degradation and is told the degraded image; leave guidance out, or take an "
                    "unconditional network"
                )
            if not isinstance(model.process, DDPM):
                raise TypeError(
                    f"guidance {_title(self.guidance)} runs on a DDPM, not on {type(model.process).__name__}; "
                    "give its step to restoralib.diffusion.sample"
                )
            if self.operator is None:
                raise ValueError(
                    f"guidance {_title(self.guidance)} needs the operator that degraded the image: operator='denoise', 'sr4', "
                    "inpainting(mask), blurring(kernel) or a LinearOperator"
                )
            if self.sampler is not None:
                check_name("sampler", self.sampler, SAMPLERS)
                if self.sampler not in method.samplers:
                    ways = f"takes {', '.join(map(repr, method.samplers))}" if method.samplers else "brings its own steps"
                    raise ValueError(f"sampler {self.sampler!r} does not fit guidance {_title(self.guidance)}, which {ways}")
            if not 0 <= self.sigma < math.inf:
                raise ValueError(f"sigma should be 0 or more and finite, got {self.sigma}")
        if self.scale not in (None, self.factor):
            whose = model.name if self.guidance is None else "the operator"
            raise ValueError(f"scale={self.scale} does not fit {whose}, of which the factor is {self.factor}")
        self.times()

    def _check_holes(self) -> None:
        operator = self.operator
        inner = operator.func if isinstance(operator, partial) else operator
        if inner is not MaskOperator and not isinstance(inner, MaskOperator):
            raise ValueError(
                f"{self.model.name} has learned its degradation; leave operator out, unless it is inpainting(mask) for "
                "a network that fills holes"
            )
        if not find_sampler(self.model.process, self.sampler).one_step:
            raise ValueError(f"sampler {self.sampler!r} cannot keep what is known of an image with holes; take 'posterior'")

    @property
    def method(self) -> Method | None:
        """The guidance's method."""
        return None if self.guidance is None else find_method(self.guidance)

    @property
    def needs_whole(self) -> bool:
        """Whether the network has to see the whole picture, for it is differentiated."""
        return self.method is not None and self.method.needs_gradient

    @property
    def factor(self) -> int:
        """Restored pixels for each of the image, along each axis.

        Raises:
            ValueError: the operator's measurements are no smaller images of one factor.
        """
        if self.guidance is None:
            return self.model.scale
        if isinstance(self.operator, str) and self.operator.startswith("sr"):
            return int(self.operator[2:])
        if not isinstance(self.operator, LinearOperator):
            return self.scale or 1
        whole, part = self.operator.in_shape[1:], self.operator.out_shape[1:]
        factor = whole[0] // part[0] if part else 0
        if len(part) != 2 or tuple(factor * side for side in part) != whole:
            raise ValueError(
                f"the operator gives {self.operator.out_shape} for {self.operator.in_shape}, which is no image reduced by a "
                "whole factor; use restoralib.diffusion's samplers for such measurements"
            )
        return factor

    def times(self) -> list[float]:
        """The times that are visited, in order."""
        method = self.method
        if method is not None:
            assert isinstance(self.model.process, DDPM)
            return method.times(self.model.process, self.steps)
        return time_grid(self.model.process, self.steps)

    def calls(self) -> int:
        """Network calls for a picture that is not cut."""
        times, method = self.times(), self.method
        if method is not None:
            return method.calls(times)
        return find_sampler(self.model.process, self.sampler).calls(len(times) - 1)

    def __call__(
        self,
        image: Tensor,
        *,
        noise: Noise | torch.Generator | Iterable[Tensor] | None = None,
        tile: int | tuple[int, int] | None = None,
        overlap: int = 32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Restore images.

        The state is one for the whole picture, on the image's device, and so is its noise; only the network sees tiles.
        Gradients are the caller's business, as in `sample`.

        Args:
            image: degraded, (b, c, h, w), in [0, 1].
            noise: source of all noise, as in `sample`.
            tile: side, or (height, width), of what the network sees of the restored picture at once; None for all.
            overlap: pixels that tiles share.
            device: where tiles go; None for the image's.

        Returns:
            (b, c, factor h, factor w), not clamped.

        Raises:
            ValueError: the image does not fit the model or the operator, or a method that needs all is given tiles.
        """
        model = self.model
        if image.ndim != 4 or image.shape[1] != model.channels or not image.is_floating_point():
            raise ValueError(
                f"expected images (b, {model.channels}, h, w) of floating point, got {tuple(image.shape)} of {image.dtype}"
            )
        problem = self._problem(image, noise_source(noise), tile, overlap, device)
        method = self.method
        if method is not None:
            restored = method.run(problem, self.times(), self.sampler)
        else:
            restored = run_sampler(problem, self.sampler, self.times())
        return (restored - model.low) / (model.high - model.low)

    def _problem(
        self,
        image: Tensor,
        noise: Noise,
        tile: int | tuple[int, int] | None,
        overlap: int,
        device: torch.device | str | None,
    ) -> Problem:
        model, measurement, y, known = self.model, None, None, None
        height, width = (self.factor * side for side in image.shape[2:])
        like = image.new_zeros(()).expand(*image.shape[:2], height, width)
        if self.operator is not None:
            operator = self._operator(like.shape[1:], image.shape[1:])
            if isinstance(operator, MaskOperator):
                image = image * (operator.table("mask", image) > 0)  # whatever the holes show
            measurement = Measurement.of_images(operator, image, self.sigma, low=model.low, high=model.high)
        if model.conditional:
            y = model.low + (model.high - model.low) * (resize(image, model.scale) if model.scale > 1 else image)
            if measurement is not None:
                y, known = self._fill(measurement, y, noise)
        elif measurement is not None and self.method is not None:
            self.method.check(measurement)
        if tile is not None and self.needs_whole:
            tall, wide = (tile, tile) if isinstance(tile, int) else tile
            if tall < height or wide < width:
                raise ValueError(
                    f"guidance {_title(self.guidance)} differentiates the network, which has to see the whole picture; pass "
                    f"tile=None, or a tile of at least {max(height, width)}"
                )
        denoise = self._denoiser(y, tile, overlap, device)
        return Problem(model.process, denoise, like, noise, y, measurement, model.learned_variance, known)

    def _denoiser(
        self, y: Tensor | None, tile: int | tuple[int, int] | None, overlap: int, device: torch.device | str | None
    ) -> Denoiser:
        clip = self.method is None or self.method.clips
        if tile is None and device is None:
            return self.model.denoiser(y, clip=clip)

        def at(rows: slice, columns: slice) -> Denoiser:
            return self.model.denoiser(None if y is None else y[..., rows, columns].to(device or y.device), clip=clip)

        return tiled(at, tile or 2**62, overlap=overlap, multiple=self.model.multiple, device=device)

    def _operator(self, whole: torch.Size, measured: torch.Size) -> LinearOperator:
        """The operator for a restored image (c, h, w) and its measurement."""
        channels, height, width = whole
        if isinstance(self.operator, str):
            operator = _named(self.operator, (channels, height, width))
        elif isinstance(self.operator, LinearOperator):
            operator = self.operator
        else:
            assert self.operator is not None
            operator = self.operator((channels, height, width))
            if not isinstance(operator, LinearOperator):
                raise TypeError(
                    f"the operator should be a LinearOperator, or a function from (c, h, w) to one; it gave "
                    f"{type(operator).__name__}. Methods by name are for linear degradations; for another give restoralib."
                    "diffusion.DPS to sample"
                )
        if operator.out_shape != tuple(measured) or operator.in_shape != tuple(whole):
            remedy = "it was made for another size"
            if not isinstance(self.operator, LinearOperator):
                remedy = "say the factor by scale, and crop the image to what the operator gives for whole factors"
            raise ValueError(
                f"the operator takes {operator.in_shape} to {operator.out_shape}, but the degraded image is {tuple(measured)} "
                f"and the restored one would be {tuple(whole)}; {remedy}"
            )
        return operator

    def _fill(self, measurement: Measurement, y: Tensor, noise: Noise) -> tuple[Tensor, Unguided]:
        """Noise in the holes of the condition, as Palette and I2SB are trained, and the hooks that keep the rest."""
        hole = 1 - mask_of(measurement, self.model.name)
        y = (1 - hole) * y + hole * noise(y)
        process = self.model.process
        return y, RePaint(process, y, hole) if isinstance(process, I2SB) else KnownRegion(y, hole)


def _title(guidance: Any) -> str:
    return repr(guidance) if isinstance(guidance, str) else type(guidance).__name__


def _check_spec(name: str) -> None:
    """Refuse a name that is no operator, or needs more than a name."""
    if re.fullmatch(r"sr[1-9]\d*", name):
        return
    check_name("operator", name, OPERATORS)
    if name in ("inpaint", "blur"):
        call = "inpainting(mask)" if name == "inpaint" else "blurring(kernel)"
        raise ValueError(f"operator {name!r} needs more than a name: pass restoralib.diffusion.{call}")


def _named(name: str, in_shape: tuple[int, int, int]) -> LinearOperator:
    return IdentityOperator(in_shape) if name == "denoise" else ResizeOperator(in_shape, 1 / int(name[2:]))
