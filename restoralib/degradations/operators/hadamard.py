"""Compressed sensing by the Walsh-Hadamard transform."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from restoralib.degradations.degradation import seeded
from restoralib.degradations.operators.operator import SpectralOperator, image_shape


def walsh_hadamard(x: Tensor) -> Tensor:
    """The Walsh-Hadamard transform along the last axis in Hadamard's order: orthonormal and its own inverse.

    Args:
        x: (..., n), n a power of two.

    Raises:
        ValueError: n is no power of two.
    """
    n = x.shape[-1]
    if n < 1 or n & (n - 1):
        raise ValueError(f"expected a power of two, got {n}")
    half = 1
    while half < n:
        low, high = x.reshape(*x.shape[:-1], n // (2 * half), 2, half).unbind(-2)
        x = torch.stack([low + high, low - high], -2).flatten(-3)
        half *= 2
    return x / n**0.5


class HadamardOperator(SpectralOperator):
    """Compressed sensing: coefficients of the Walsh-Hadamard transform of the pixels in random order.

    The first ones are kept, of every channel the same.

    Args:
        in_shape: of an image, (c, h, w); h w is a power of two.
        ratio: part of the coefficients that is kept, above 0 and at most 1.
        seed: of the random order of pixels.
        order: the order itself, a permutation of 0 .. h w - 1, in place of the seed's.

    Raises:
        ValueError: h w is no power of two, the ratio keeps nothing, or the order is no permutation.

    Source: Kawar et al. 2022, DDRM (arXiv:2201.11793).
    """

    def __init__(self, in_shape: Sequence[int], ratio: float = 0.5, *, seed: int = 0, order: Tensor | None = None) -> None:
        c, h, w = image_shape(in_shape)
        n = h * w
        if n & (n - 1):
            raise ValueError(f"expected a power of two of pixels, got {h}x{w}")
        count = int(ratio * n)
        if not 1 <= count <= n:
            raise ValueError(f"expected a ratio that keeps 1 to {n} coefficients, got {ratio}")
        order = torch.randperm(n, generator=seeded(seed)) if order is None else order.cpu().long()
        if order.shape != (n,) or not torch.equal(order.sort().values, torch.arange(n)):
            raise ValueError(f"expected a permutation of {n} pixels, got {tuple(order.shape)}")
        super().__init__((c, h, w), (c, count), order=order, back=order.argsort())

    @property
    def singular_values(self) -> Tensor:
        return torch.ones(self.out_shape, dtype=torch.float64).flatten()

    def _forward(self, x: Tensor) -> Tensor:
        return walsh_hadamard(x.flatten(2)[..., self.table("order", x)])[..., : self.out_shape[1]]

    def _adjoint(self, y: Tensor) -> Tensor:
        c, h, w = self.in_shape
        full = torch.nn.functional.pad(y, (0, h * w - y.shape[-1]))
        return walsh_hadamard(full)[..., self.table("back", y)].reshape(len(y), c, h, w)

    def _vt(self, x: Tensor) -> Tensor:
        coefficients = walsh_hadamard(x.flatten(2)[..., self.table("order", x)])
        count = self.out_shape[1]
        return torch.cat([coefficients[..., :count].flatten(1), coefficients[..., count:].flatten(1)], 1)

    def _v(self, z: Tensor) -> Tensor:
        c, count = self.out_shape
        missing = self.in_shape[1] * self.in_shape[2] - count
        kept, rest = z[:, : c * count].reshape(len(z), c, count), z[:, c * count :].reshape(len(z), c, missing)
        mixed = walsh_hadamard(torch.cat([kept, rest], 2))
        return mixed[..., self.table("back", z)].reshape(len(z), *self.in_shape)

    def _ut(self, y: Tensor) -> Tensor:
        return y.flatten(1)

    def _u(self, z: Tensor) -> Tensor:
        return z.reshape(len(z), *self.out_shape)
