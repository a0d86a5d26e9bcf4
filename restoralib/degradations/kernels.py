"""Blur kernels of blind super-resolution: Gaussians of three profiles, turned and stretched, the sinc, and their random draw.

Kernels are (size, size) in float64, rows downwards, and sum to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from restoralib.degradations.degradation import choice, uniform

Range = tuple[float, float]
KernelKind = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
KERNEL_KINDS: tuple[KernelKind, ...] = (
    "iso",
    "aniso",
    "generalized_iso",
    "generalized_aniso",
    "plateau_iso",
    "plateau_aniso",
)
ESRGAN_CHANCES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
"""How likely Real-ESRGAN draws each of `KERNEL_KINDS`."""


class UniformSource(Protocol):
    """What numpy's `RandomState` and `Generator` have in common here."""

    def uniform(self, low: float, high: float, size: Any = None) -> Any:
        """A number, or an array of that size, between low and high."""


def gaussian_kernel(size: int, sigma: float, sigma_y: float | None = None, theta: float = 0.0) -> Tensor:
    """Gaussian of standard deviation `sigma` along the direction `theta` and `sigma_y` across it.

    Args:
        size: side in pixels, odd.
        sigma: standard deviation in pixels.
        sigma_y: that across the direction; None for the same, a round kernel.
        theta: direction in radians, from right towards down.

    Returns:
        (size, size), float64, of sum one.

    Raises:
        ValueError: the size is not odd, or a standard deviation is not positive.
    """
    return _normalise(torch.exp(-_distance(size, sigma, sigma_y, theta) / 2))


def opencv_sigma(size: int) -> float:
    """The standard deviation that OpenCV gives a Gaussian of which only the side is told."""
    return 0.3 * ((size - 1) / 2 - 1) + 0.8


def generalized_gaussian_kernel(
    size: int, sigma: float, sigma_y: float | None = None, theta: float = 0.0, *, beta: float
) -> Tensor:
    """exp(-q^beta / 2), where q is the squared distance in standard deviations: flat inside for beta above one, peaked below.

    Arguments, result and errors are `gaussian_kernel`'s, which is beta = 1. Source: Wang et al. 2021 (arXiv:2107.10833).
    """
    return _normalise(torch.exp(-(_distance(size, sigma, sigma_y, theta) ** _positive(beta, "beta")) / 2))


def plateau_kernel(size: int, sigma: float, sigma_y: float | None = None, theta: float = 0.0, *, beta: float) -> Tensor:
    """1 / (1 + q^beta), where q is the squared distance in standard deviations: a plateau with long tails.

    Arguments, result and errors are `gaussian_kernel`'s. Source: Wang et al. 2021 (arXiv:2107.10833).
    """
    return _normalise(1 / (1 + _distance(size, sigma, sigma_y, theta) ** _positive(beta, "beta")))


def sinc_kernel(size: int, cutoff: float, *, pad_to: int = 0) -> Tensor:
    """Low pass without frequencies above the cutoff, whatever their direction; it rings around edges.

    Args:
        size: side in pixels, odd.
        cutoff: radians a pixel, at most pi.
        pad_to: side to reach by zeros around; 0 for none.

    Returns:
        (size, size) or (pad_to, pad_to), float64, of sum one, with negative values.

    Raises:
        ValueError: a size is not odd, `pad_to` is smaller than the size, or the cutoff is not positive.

    Source: Wang et al. 2021 (arXiv:2107.10833), section 3.4.
    """
    y, x = _grid(size)
    radius = torch.hypot(x, y)
    cutoff = _positive(cutoff, "cutoff")
    # J1(c r) / r tends to c / 2 in the middle.
    ring = torch.where(radius > 0, torch.special.bessel_j1(cutoff * radius) / radius.clamp(min=1), cutoff / 2)
    kernel = _normalise(ring * cutoff / (2 * math.pi))
    if pad_to:
        if pad_to < size or pad_to % 2 == 0:
            raise ValueError(f"pad_to should be odd and at least the kernel's size {size}, got {pad_to}")
        kernel = torch.nn.functional.pad(kernel, [(pad_to - size) // 2] * 4)
    return kernel


def pulse_kernel(size: int) -> Tensor:
    """The kernel that changes nothing: one in the middle of zeros."""
    y, x = _grid(size)
    return ((x == 0) & (y == 0)).double()


def anisotropic_gaussian_kernel(size: int, theta: float, l1: float, l2: float) -> Tensor:
    """Gaussian by the eigenvalues of its covariance, as BSRGAN describes it.

    Args:
        size: side in pixels, odd.
        theta: direction of the first eigenvector in radians, from right towards down.
        l1: variance along that direction, in squared pixels.
        l2: variance across it.

    Source: Zhang et al. 2021 (arXiv:2103.14006).
    """
    return gaussian_kernel(size, math.sqrt(_positive(l1, "l1")), math.sqrt(_positive(l2, "l2")), theta)


def shift_kernel(kernel: Tensor, scale: int) -> Tensor:
    """A kernel moved up and left by (scale - 1) / 2 pixels, of sum one again.

    A convolution with it and a decimation that keeps the first pixel of each block sample the blocks' centres, as bicubic
    reduction does.
    Between pixels it is interpolated linearly; what would come from outside repeats the last row and column.

    Args:
        kernel: (kh, kw).
        scale: the factor of decimation.

    Source: Zhang et al. 2021 (arXiv:2103.14006), section on downsampling.
    """
    for axis in (0, 1):
        last = kernel.shape[axis] - 1
        place = (torch.arange(last + 1, dtype=torch.float64) + (scale - 1) / 2).clamp(max=last)
        low = place.floor().long()
        part = (place - low).to(kernel)
        part = part[:, None] if axis == 0 else part
        kernel = torch.lerp(kernel.index_select(axis, low), kernel.index_select(axis, (low + 1).clamp(max=last)), part)
    return _normalise(kernel)


@dataclass(frozen=True)
class BlurShape:
    """A kernel of one of the six kinds of `KERNEL_KINDS`, by its numbers.

    Args:
        kind: its profile, round ("iso") or stretched ("aniso").
        size: side in pixels, odd.
        sigma: standard deviation in pixels, along the direction.
        sigma_y: that across it; round kinds ignore it.
        theta: direction in radians; round kinds ignore it.
        beta: exponent of generalised and plateau kinds; the others ignore it.
    """

    kind: KernelKind = "iso"
    size: int = 21
    sigma: float = 1.0
    sigma_y: float | None = None
    theta: float = 0.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KERNEL_KINDS:
            raise ValueError(f"unknown kind of kernel {self.kind!r}; choose one of {', '.join(KERNEL_KINDS)}")

    def kernel(self) -> Tensor:
        """(size, size), float64, of sum one."""
        across, theta = (self.sigma_y, self.theta) if self.kind.endswith("aniso") else (None, 0.0)
        if self.kind.startswith("generalized"):
            return generalized_gaussian_kernel(self.size, self.sigma, across, theta, beta=self.beta)
        if self.kind.startswith("plateau"):
            return plateau_kernel(self.size, self.sigma, across, theta, beta=self.beta)
        return gaussian_kernel(self.size, self.sigma, across, theta)


def draw_shape(
    kind: KernelKind,
    size: int,
    source: torch.Generator | UniformSource,
    *,
    sigma: Range = (0.2, 3.0),
    sigma_y: Range | None = None,
    rotation: Range = (-math.pi, math.pi),
    beta_generalized: Range = (0.5, 4.0),
    beta_plateau: Range = (1.0, 2.0),
) -> BlurShape:
    """Draw the numbers of a kernel, in the order in which Real-ESRGAN draws them.

    Args:
        kind: one of `KERNEL_KINDS`.
        size: side in pixels, odd.
        source: a torch generator on the CPU, or numpy's `RandomState` or `Generator`: `RandomState(s)` gives what the
            reference draws after `numpy.random.seed(s)`.
        sigma: range of the standard deviation.
        sigma_y: range of that across; None for the same.
        rotation: range of the direction.
        beta_generalized: range of the generalised kinds' exponent: half the time below one, else above.
        beta_plateau: that of the plateau kinds.

    Raises:
        ValueError: the kind is unknown.
    """
    along = _draw(source, *sigma)
    across, theta, beta = None, 0.0, 1.0
    if kind.endswith("aniso"):
        across = _draw(source, *(sigma if sigma_y is None else sigma_y))
        theta = _draw(source, *rotation)
    if kind.startswith(("generalized", "plateau")):
        low, high = beta_generalized if kind.startswith("generalized") else beta_plateau
        beta = _draw(source, low, 1.0) if _draw(source, 0.0, 1.0) < 0.5 else _draw(source, 1.0, high)
    return BlurShape(kind, size, along, across, theta, beta)


def random_kernel(
    kind: KernelKind,
    size: int,
    source: torch.Generator | UniformSource,
    *,
    sigma: Range = (0.2, 3.0),
    sigma_y: Range | None = None,
    rotation: Range = (-math.pi, math.pi),
    beta_generalized: Range = (0.5, 4.0),
    beta_plateau: Range = (1.0, 2.0),
    noise: Range | None = None,
) -> Tensor:
    """A kernel whose numbers `draw_shape` draws; its arguments and errors are that function's.

    Args:
        noise: range of factors by which each value is multiplied before the sum is made one again; None for none.

    Returns:
        (size, size), float64, of sum one.
    """
    shape = draw_shape(
        kind,
        size,
        source,
        sigma=sigma,
        sigma_y=sigma_y,
        rotation=rotation,
        beta_generalized=beta_generalized,
        beta_plateau=beta_plateau,
    )
    kernel = shape.kernel()
    return kernel if noise is None else roughen(kernel, source, noise)


def roughen(kernel: Tensor, source: torch.Generator | UniformSource, factors: Range = (0.75, 1.25)) -> Tensor:
    """The kernel with each value multiplied by a random factor, of sum one again."""
    low, high = factors
    if isinstance(source, torch.Generator):
        draw = low + (high - low) * torch.rand(kernel.shape, generator=source, dtype=torch.float64)
    else:
        draw = torch.as_tensor(source.uniform(low, high, tuple(kernel.shape)))
    return _normalise(kernel * draw.to(kernel))


def draw_kind(
    source: torch.Generator,
    kinds: Sequence[KernelKind] = KERNEL_KINDS,
    chances: Sequence[float] = ESRGAN_CHANCES,
) -> KernelKind:
    """One of the kinds, by default with Real-ESRGAN's chances."""
    return choice(kinds, source, chances)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    """Rows and columns counted from the middle, (size, 1) and (1, size)."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the size of a kernel should be odd and positive, got {size}")
    line = torch.arange(size, dtype=torch.float64) - size // 2
    return line[:, None], line[None, :]


def _distance(size: int, sigma: float, sigma_y: float | None, theta: float) -> Tensor:
    """Squared distance from the middle in standard deviations: x^T Sigma^-1 x."""
    y, x = _grid(size)
    along = (x * math.cos(theta) + y * math.sin(theta)) / _positive(sigma, "sigma")
    across = (y * math.cos(theta) - x * math.sin(theta)) / _positive(sigma if sigma_y is None else sigma_y, "sigma_y")
    return along**2 + across**2


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise ValueError(f"{name} should be positive, got {value}")
    return value


def _normalise(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum()


def _draw(source: torch.Generator | UniformSource, low: float, high: float) -> float:
    return uniform(low, high, source) if isinstance(source, torch.Generator) else float(source.uniform(low, high))
