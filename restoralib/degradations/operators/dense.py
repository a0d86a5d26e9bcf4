"""An operator by its matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from restoralib.degradations.operators.operator import SpectralOperator, image_shape


class DenseOperator(SpectralOperator):
    """Any linear map of small images, by its matrix.

    Args:
        in_shape: of an image, (c, h, w), n numbers.
        matrix: (m, n).
        out_shape: of a measurement; None for (m,).
        svd: U (m, m), singular values (k,) and V (n, n) to use instead of torch's, which fixes their order and signs; U may be
            None where k is m and no value is zero.

    Raises:
        ValueError: shapes do not fit.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        matrix: Tensor,
        out_shape: Sequence[int] | None = None,
        *,
        svd: tuple[Tensor | None, Tensor, Tensor] | None = None,
    ) -> None:
        if matrix.ndim != 2:
            raise ValueError(f"expected a matrix (m, n), got {tuple(matrix.shape)}")
        in_shape = image_shape(in_shape)
        m, n = matrix.shape
        shape = (m,) if out_shape is None else tuple(out_shape)
        if (math.prod(shape), math.prod(in_shape)) != (m, n):
            raise ValueError(f"expected {math.prod(shape)} x {math.prod(in_shape)} numbers, got a matrix {m} x {n}")
        if svd is None:
            u, s, vt = torch.linalg.svd(matrix.double(), full_matrices=True)
        else:
            s, vt = svd[1].double(), svd[2].double().mT
            u = matrix.double() @ vt[: len(s)].mT / s if svd[0] is None else svd[0].double()
        if u.shape != (m, m) or vt.shape != (n, n) or s.ndim != 1 or len(s) > min(m, n):
            raise ValueError(f"expected U {m} x {m}, V {n} x {n} and at most {min(m, n)} singular values")
        super().__init__(in_shape, shape, matrix=matrix.double(), u=u, s=s, vt=vt)

    @property
    def singular_values(self) -> Tensor:
        return self._tables["s"]

    def _forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.table("matrix", x).mT).reshape(len(x), *self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return (y.flatten(1) @ self.table("matrix", y)).reshape(len(y), *self.in_shape)

    def _vt(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.table("vt", x).mT

    def _v(self, z: Tensor) -> Tensor:
        return (z @ self.table("vt", z)).reshape(len(z), *self.in_shape)

    def _ut(self, y: Tensor) -> Tensor:
        return y.flatten(1) @ self.table("u", y)

    def _u(self, z: Tensor) -> Tensor:
        return (z @ self.table("u", z).mT).reshape(len(z), *self.out_shape)
