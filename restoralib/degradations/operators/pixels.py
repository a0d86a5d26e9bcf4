"""Operators pixel by pixel: denoising's identity and inpainting's mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from restoralib.degradations.operators.operator import SpectralOperator, image_shape


class MaskOperator(SpectralOperator):
    """Multiply by a mask: inpainting keeps pixels at 1 and loses those at 0.

    Args:
        in_shape: of an image, (c, h, w).
        mask: (h, w), (1, h, w) or (c, h, w) for all images, or (b, 1 or c, h, w) with one for each; not negative.

    Raises:
        ValueError: the mask does not fit the image, or a value is negative.
    """

    def __init__(self, in_shape: Sequence[int], mask: Tensor) -> None:
        shape = image_shape(in_shape)
        wide = mask[(None,) * (4 - mask.ndim)] if 2 <= mask.ndim <= 4 else mask
        if wide.ndim != 4 or wide.shape[1] not in (1, shape[0]) or tuple(wide.shape[2:]) != shape[1:]:
            raise ValueError(f"expected a mask for images {shape}, got {tuple(mask.shape)}")
        if bool((wide < 0).any()):
            raise ValueError("a mask should not be negative")
        super().__init__(shape, shape, wide.shape[0] if mask.ndim == 4 else None, mask=wide.double())

    @property
    def singular_values(self) -> Tensor:
        wide = self._tables["mask"].expand(-1, *self.in_shape).flatten(1)
        return wide if self.batch is not None else wide[0]

    def _forward(self, x: Tensor) -> Tensor:
        return x * self.table("mask", x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)

    def _vt(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def _v(self, z: Tensor) -> Tensor:
        return z.reshape(len(z), *self.in_shape)

    def _ut(self, y: Tensor) -> Tensor:
        return y.flatten(1)

    def _u(self, z: Tensor) -> Tensor:
        return z.reshape(len(z), *self.in_shape)


class IdentityOperator(MaskOperator):
    """Leave the image as it is: denoising.

    Args:
        in_shape: of an image, (c, h, w).
    """

    def __init__(self, in_shape: Sequence[int]) -> None:
        super().__init__(in_shape, torch.ones(image_shape(in_shape)[1:]))

    def _forward(self, x: Tensor) -> Tensor:
        return x
