"""The one idea under all processes: at every time, the state is a Gaussian around a mix of the clean and the degraded image.

    x_t = a_t x0 + b_t y + s_t eps                                                                               (M)

A process tells a, b and s; what all processes have in common follows from them: the conversions between predictions, the
reverse step given x0, and DDIM's family of steps with the same marginals.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

Time = Tensor | float
"""A moment of a process: one for all images, or a tensor (b,) with one for each."""


class Coefficients(NamedTuple):
    """The weights of (M), float64, of the shape of the times."""

    a: Tensor
    """of the clean image"""
    b: Tensor
    """of the degraded image"""
    s: Tensor
    """of the noise"""


class Gaussian(NamedTuple):
    """A normal distribution with independent pixels of one variance."""

    mean: Tensor
    std: Tensor


class Process(ABC):
    """A family of Gaussians from the clean image to pure noise, or to the degraded image.

    Subclasses give `coefficients`. Times are the process's own: indices of training steps for DDPM, noise levels for EDM,
    numbers from 0 to 1 for SDEs and flows.
    """

    uses_target = False
    """Whether b is not zero: the degraded image y is part of the state."""

    @abstractmethod
    def coefficients(self, t: Time) -> Coefficients:
        """a, b and s at a time."""

    def at(self, t: Time, x: Tensor) -> Coefficients:
        """a, b and s at a time, shaped to multiply the images x."""
        weights = (beside(value, x) for value in self.coefficients(t))
        return Coefficients(*weights)

    def marginal(self, x0: Tensor, t: Time, eps: Tensor, y: Tensor | None = None) -> Tensor:
        """The state (M) at a time: x0 with noise eps, and with y where the process has b.

        Args:
            x0: clean images, (b, c, h, w).
            t: one time, or one for each image, (b,).
            eps: standard normal noise like x0.
            y: degraded images like x0.

        Raises:
            ValueError: the process needs y.
        """
        a, b, s = self.at(t, x0)
        return a * x0 + self.of_target(b, y) + s * eps

    def noise(self, x_t: Tensor, x0: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """The noise that (M) puts between x0 and the state x_t."""
        a, b, s = self.at(t, x_t)
        return (x_t - a * x0 - self.of_target(b, y)) / s

    def clean(self, x_t: Tensor, eps: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """The clean image that (M) puts behind the state x_t and the noise eps."""
        a, b, s = self.at(t, x_t)
        return (x_t - self.of_target(b, y) - s * eps) / a

    def posterior(self, x_t: Tensor, x0: Tensor, t: Time, r: Time, y: Tensor | None = None) -> Gaussian:
        """Where the state was at an earlier time, for the clean image x0: q(x_r | x_t, x0, y).

        With k = a_t / a_r, w^2 = s_t^2 - k^2 s_r^2 and c = b_t - k b_r, its mean is
        (s_r^2 k (x_t - c y) + w^2 (a_r x0 + b_r y)) / s_t^2 and its variance s_r^2 w^2 / s_t^2.

        Args:
            x_t: states at t.
            x0: clean images.
            t: the later time, with the more noise.
            r: the earlier time.
            y: degraded images, for processes with b.
        """
        now, past = self.at(t, x_t), self.at(r, x_t)
        ratio = now.a / past.a
        # A bridge has no noise at its end, and all that is known of the past then is its marginal.
        noisy = now.s > 0
        share = ((now.s**2 - ratio**2 * past.s**2).clamp(min=0) / now.s**2).where(noisy, 1.0)
        kept = (past.s**2 * ratio / now.s**2).where(noisy, 0.0)
        mean = kept * (x_t - self.of_target(now.b - ratio * past.b, y))
        mean = mean + share * (past.a * x0 + self.of_target(past.b, y))
        return Gaussian(mean, past.s * share.sqrt())

    def same_marginals(
        self, x_t: Tensor, x0: Tensor, t: Time, r: Time, std: Tensor | float, y: Tensor | None = None
    ) -> Gaussian:
        """DDIM's family: the earlier state that keeps the noise of x_t but for a share drawn anew.

        The mean is a_r x0 + b_r y + sqrt(s_r^2 - std^2) eps, with the noise eps between x_t and x0. (Song et al.,
        arXiv:2010.02502, equation 12, for any a, b and s.)

        Args:
            x_t: states at t.
            x0: clean images.
            t: the later time.
            r: the earlier time.
            std: standard deviation of what is drawn anew, from 0 (nothing) to s_r.
            y: degraded images, for processes with b.
        """
        a, b, s = self.at(r, x_t)
        noisy = self.at(t, x_t).s > 0
        std = torch.as_tensor(std).to(s).where(noisy, s)  # at the end of a bridge there is no noise to keep
        kept = (s**2 - std**2).clamp(min=0).sqrt()
        noise = self.noise(x_t, x0, t, y).where(noisy, torch.zeros_like(x_t))
        return Gaussian(a * x0 + self.of_target(b, y) + kept * noise, std)

    def of_target(self, weight: Tensor, y: Tensor | None) -> Tensor | float:
        """b y, or nothing for processes without b."""
        if not self.uses_target:
            return 0.0
        if y is None:
            raise ValueError(f"{type(self).__name__} goes to the degraded image: pass it as y")
        return weight * y


class SDE(Process):
    """A process that is also known in continuous time: dx = drift dt + diffusion dw."""

    @abstractmethod
    def drift(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """The deterministic part of dx / dt, going forward in time."""

    @abstractmethod
    def diffusion(self, t: Time) -> Tensor:
        """The factor of the noise dw, float64, of the shape of the times."""


def as_time(t: Time) -> Tensor:
    """A time in float64."""
    return torch.as_tensor(t, dtype=torch.float64)


def time_within(t: Time, first: float, last: float) -> Tensor:
    """A time in float64 that a process has.

    Raises:
        ValueError: it is not from first to last; under `torch.compile` nothing is checked.
    """
    return _within(as_time(t), first, last)


def index_within(t: Time, first: int, last: int) -> Tensor:
    """A time of a discrete process as an index, on the CPU, where the tables are.

    Raises:
        ValueError: it is not whole, or not from first to last; under `torch.compile` nothing is checked.
    """
    given = torch.as_tensor(t).cpu()
    index = given.long()
    if not torch.compiler.is_compiling() and not bool((index == given).all()):
        raise ValueError(f"expected whole times (indices of steps), got {given.tolist()}; is it the grid of another process?")
    return _within(index, first, last)


def _within(t: Tensor, first: float, last: float) -> Tensor:
    if not torch.compiler.is_compiling() and not bool(((t >= first) & (t <= last)).all()):
        bounds = f"of {first:g} and above" if math.isinf(last) else f"from {first:g} to {last:g}"
        raise ValueError(f"expected times {bounds}, got {t.tolist()}")
    return t


def snr(process: Process, t: Time) -> Tensor:
    """Signal to noise at a time, a^2 / s^2; infinite where there is no noise."""
    a, _, s = process.coefficients(t)
    return a**2 / s**2


def beside(weight: Tensor, x: Tensor) -> Tensor:
    """A weight of float64, which as a number leaves the type of x alone; (b,) becomes (b, 1, 1, 1) of x's type and device."""
    if weight.ndim == 0:
        return weight
    if weight.shape[0] != x.shape[0]:
        raise ValueError(f"{weight.shape[0]} times for {x.shape[0]} images; pass one for all, or one for each")
    return weight.to(x).view(-1, *(1,) * (x.ndim - 1))
