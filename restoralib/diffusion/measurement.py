"""A degraded image with the operator that made it, in the range of the network's own images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from restoralib.degradations.operators import LinearOperator, SpectralOperator


@dataclass(frozen=True)
class Measurement:
    """y = A x0 + noise of a standard deviation, all in the units of the network's images.

    Args:
        operator: A, of `restoralib.degradations.operators`.
        y: (b, *operator.out_shape).
        sigma: standard deviation of the noise.

    Raises:
        ValueError: y does not have the operator's shape, or sigma is negative or not finite.
    """

    operator: LinearOperator
    y: Tensor
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if tuple(self.y.shape[1:]) != self.operator.out_shape:
            raise ValueError(f"expected a measurement (b, {self.operator.out_shape}), got {tuple(self.y.shape)}")
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"expected a finite sigma >= 0, got {self.sigma}")

    @classmethod
    def of_images(
        cls, operator: LinearOperator, y: Tensor, sigma: float = 0.0, *, low: float = -1.0, high: float = 1.0
    ) -> Measurement:
        """A measurement of images in [0, 1], for a network whose images go from low to high.

        This is the one place where ranges are changed: x = (high - low) z + low turns y = A z + n into
        (high - low) y + low A 1, and sigma into (high - low) sigma.

        Args:
            operator: A.
            y: measurement of images in [0, 1].
            sigma: standard deviation of its noise, for images in [0, 1].
            low: what the network calls 0.
            high: what the network calls 1.
        """
        ones = torch.ones(1, *operator.in_shape, dtype=y.dtype, device=y.device)
        return cls(operator, (high - low) * y + low * operator.forward(ones), (high - low) * sigma)

    def residual(self, x0: Tensor) -> Tensor:
        """y - A x0."""
        return self.y - self.operator.forward(x0)

    def coefficients(self, method: str) -> SpectralMeasurement:
        """The measurement in the operator's right singular vectors, for a method that works there.

        Raises:
            ValueError: the operator has no SVD.
        """
        operator = self.spectral(method)
        inverse = operator.inverse_values(self.y)
        values = operator.Ut(self.y)[:, : inverse.shape[-1]]
        return SpectralMeasurement(operator, inverse * values, self.sigma * inverse, inverse > 0)

    def spectral(self, method: str) -> SpectralOperator:
        """The operator, for methods that need its SVD.

        Raises:
            ValueError: it has none.
        """
        if not isinstance(self.operator, SpectralOperator):
            raise ValueError(
                f"{method} works in the operator's singular vectors, which {type(self.operator).__name__} does not have; "
                "take a SpectralOperator such as MaskOperator, ResizeOperator or CircularBlurOperator, or another method"
            )
        return self.operator


class SpectralMeasurement(NamedTuple):
    """What a measurement says of the image's coefficients in the operator's right singular vectors.

    These are the first k, which have singular values; of the others it says nothing.
    """

    operator: SpectralOperator
    target: Tensor
    """(b, k): the coefficients that it tells, 0 where it tells nothing."""
    level: Tensor
    """(k,) or (b, k): standard deviation of the noise of these."""
    seen: Tensor
    """Like level: whether it tells the coefficient."""


def exchange(operator: SpectralOperator, image: Tensor, coefficients: Tensor, where: Tensor) -> Tensor:
    """An image with other coefficients in place of its own, among the first k of the right singular vectors.

    Args:
        operator: tells the singular vectors.
        image: (b, c, h, w).
        coefficients: the new ones, (b, k).
        where: which are exchanged, (k,) or (b, k).
    """
    change = torch.where(where, coefficients - operator.Vt(image, thin=True), 0)
    return image + operator.V(change.to(image), thin=True)


def project(measurement: Measurement, x0: Tensor) -> Tensor:
    """The image nearest to x0 that agrees with the measurement: x0 - A^+ (A x0 - y)."""
    return x0 + measurement.operator.pinv(measurement.residual(x0))
