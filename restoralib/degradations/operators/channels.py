"""Operators that mix the channels of each pixel: colour to grey."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from restoralib.degradations.operators.operator import SpectralOperator, image_shape


class ChannelOperator(SpectralOperator):
    """Multiply the channels of each pixel by a matrix.

    Args:
        in_shape: of an image, (c, h, w).
        matrix: (d, c).

    Raises:
        ValueError: the matrix does not fit the channels.
    """

    def __init__(self, in_shape: Sequence[int], matrix: Tensor) -> None:
        shape = image_shape(in_shape)
        if matrix.ndim != 2 or matrix.shape[0] < 1 or matrix.shape[1] != shape[0]:
            raise ValueError(f"expected a matrix (d, {shape[0]}) for images {shape}, got {tuple(matrix.shape)}")
        u, s, vt = torch.linalg.svd(matrix.double(), full_matrices=True)
        super().__init__(shape, (matrix.shape[0], *shape[1:]), matrix=matrix.double(), u=u, s=s, vt=vt)

    @property
    def singular_values(self) -> Tensor:
        return self._tables["s"].repeat_interleave(self.in_shape[1] * self.in_shape[2])

    def _mix(self, matrix: Tensor, x: Tensor) -> Tensor:
        return torch.einsum("dc,bchw->bdhw", matrix, x)

    def _forward(self, x: Tensor) -> Tensor:
        return self._mix(self.table("matrix", x), x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._mix(self.table("matrix", y).T, y)

    def _vt(self, x: Tensor) -> Tensor:
        return self._mix(self.table("vt", x), x).flatten(1)

    def _v(self, z: Tensor) -> Tensor:
        return self._mix(self.table("vt", z).T, z.reshape(len(z), *self.in_shape))

    def _ut(self, y: Tensor) -> Tensor:
        return self._mix(self.table("u", y).T, y).flatten(1)

    def _u(self, z: Tensor) -> Tensor:
        return self._mix(self.table("u", z), z.reshape(len(z), *self.out_shape))


class GreyOperator(ChannelOperator):
    """Colour to grey.

    Args:
        in_shape: of an image, (c, h, w).
        weights: of the channels; None for their mean, as DDRM's and DDNM's colourisation has it. (0.299, 0.587, 0.114) is
            the luma of JPEG.

    Raises:
        ValueError: there are not as many weights as channels.
    """

    def __init__(self, in_shape: Sequence[int], weights: Sequence[float] | None = None) -> None:
        channels = image_shape(in_shape)[0]
        row = [1 / channels] * channels if weights is None else list(weights)
        super().__init__(in_shape, torch.tensor([row], dtype=torch.float64))
