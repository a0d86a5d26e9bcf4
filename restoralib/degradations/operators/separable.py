"""Operators along columns and rows: X to L X R^T on every channel. Resizing, average pooling, separable blurs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from restoralib.degradations.filters import Padding, border_positions
from restoralib.degradations.operators.operator import SpectralOperator, image_shape
from restoralib.ops.resize import Kernel, resize_taps, resized_length


class SeparableOperator(SpectralOperator):
    """Multiply every channel by one matrix from the left and by another from the right: L X R^T.

    The SVD follows from those of the two matrices. They are dense, which suits the sizes that diffusion works on.

    Args:
        in_shape: of an image, (c, h, w).
        left: (h', h), along columns.
        right: (w', w), along rows; None for the same as left.

    Raises:
        ValueError: the matrices do not fit the image.
    """

    def __init__(self, in_shape: Sequence[int], left: Tensor, right: Tensor | None = None) -> None:
        c, h, w = image_shape(in_shape)
        right = left if right is None else right
        if left.ndim != 2 or right.ndim != 2 or (left.shape[1], right.shape[1]) != (h, w):
            raise ValueError(
                f"expected matrices (h', {h}) and (w', {w}) for images {(c, h, w)}, "
                f"got {tuple(left.shape)} and {tuple(right.shape)}"
            )
        super().__init__((c, h, w), (c, left.shape[0], right.shape[0]), left=left.double(), right=right.double())

    @cached_property
    def _kept(self) -> tuple[int, int]:
        """Singular values of the two matrices; decomposes them when they are first asked for."""
        counts = []
        for side in ("left", "right"):
            u, s, vt = torch.linalg.svd(self._tables[side], full_matrices=True)
            self._tables |= {f"{side}_u": u, f"{side}_s": s, f"{side}_vt": vt}
            counts.append(len(s))
        return counts[0], counts[1]

    @property
    def singular_values(self) -> Tensor:
        rows, columns = self._kept
        both = self._tables["left_s"][:, None] * self._tables["right_s"]
        return both.expand(self.in_shape[0], rows, columns).flatten()

    def _forward(self, x: Tensor) -> Tensor:
        return self.table("left", x) @ x @ self.table("right", x).mT

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.table("left", y).mT @ y @ self.table("right", y)

    def _vt(self, x: Tensor) -> Tensor:
        kept = self._kept
        return _corner_first(self.table("left_vt", x) @ x @ self.table("right_vt", x).mT, kept)

    def _v(self, z: Tensor) -> Tensor:
        kept = self._kept
        return self.table("left_vt", z).mT @ _corner_back(z, self.in_shape, kept) @ self.table("right_vt", z)

    def _thin_vt(self, x: Tensor) -> Tensor:
        rows, columns = self._kept
        return (self.table("left_vt", x)[:rows] @ x @ self.table("right_vt", x)[:columns].mT).flatten(1)

    def _thin_v(self, z: Tensor) -> Tensor:
        rows, columns = self._kept
        corner = z.reshape(len(z), self.in_shape[0], rows, columns)
        return self.table("left_vt", z)[:rows].mT @ corner @ self.table("right_vt", z)[:columns]

    def _ut(self, y: Tensor) -> Tensor:
        kept = self._kept
        return _corner_first(self.table("left_u", y).mT @ y @ self.table("right_u", y), kept)

    def _u(self, z: Tensor) -> Tensor:
        kept = self._kept
        return self.table("left_u", z) @ _corner_back(z, self.out_shape, kept) @ self.table("right_u", z).mT


class ResizeOperator(SeparableOperator):
    """Resize as `ops.resize` and MATLAB's `imresize` do.

    Args:
        in_shape: of an image, (c, h, w).
        scale: factor along both axes.
        kernel: interpolation kernel of `ops.resize`.
        antialias: widen the kernel when shrinking.

    Raises:
        ValueError: the scale is not positive.
    """

    def __init__(self, in_shape: Sequence[int], scale: float, *, kernel: Kernel = "bicubic", antialias: bool = True) -> None:
        if not scale > 0:
            raise ValueError(f"scale should be positive, got {scale}")
        left, right = (_resizing(side, scale, kernel, antialias) for side in image_shape(in_shape)[1:])
        super().__init__(in_shape, left, right)


class AveragePoolOperator(SeparableOperator):
    """The mean of each block of factor times factor pixels, super-resolution in DDRM, DDNM and PiGDM.

    Args:
        in_shape: of an image, (c, h, w).
        factor: side of a block; it divides height and width.

    Raises:
        ValueError: the factor does not divide the sides; `ResizeOperator(..., kernel="box")` takes any.
    """

    def __init__(self, in_shape: Sequence[int], factor: int) -> None:
        _, h, w = image_shape(in_shape)
        if factor < 1 or h % factor or w % factor:
            raise ValueError(f'{h}x{w} is no multiple of {factor}; crop, or take ResizeOperator(..., kernel="box")')
        row = torch.full((1, factor), 1 / factor, dtype=torch.float64)
        left, right = (torch.kron(torch.eye(side // factor, dtype=torch.float64), row) for side in (h, w))
        super().__init__(in_shape, left, right)


class SeparableBlurOperator(SeparableOperator):
    """Blur with a kernel that is a column times a row, such as a Gaussian along the axes or a box, with any border.

    Args:
        in_shape: of an image, (c, h, w).
        column: taps along columns, (kh,).
        row: taps along rows, (kw,); None for the same.
        padding: the border, one of `PADDINGS`.

    Raises:
        ValueError: the taps are no lines, or the padding is unknown.
    """

    def __init__(
        self, in_shape: Sequence[int], column: Tensor, row: Tensor | None = None, *, padding: Padding = "reflect"
    ) -> None:
        row = column if row is None else row
        if column.ndim != 1 or row.ndim != 1 or 0 in (*column.shape, *row.shape):
            raise ValueError(f"expected lines of taps, got {tuple(column.shape)} and {tuple(row.shape)}")
        _, h, w = image_shape(in_shape)
        super().__init__(in_shape, _filtering(h, column, padding), _filtering(w, row, padding))


def _resizing(length: int, scale: float, kernel: Kernel, antialias: bool) -> Tensor:
    size = resized_length(length, scale)
    positions, weights = resize_taps(length, size, scale, kernel, antialias)
    return torch.zeros(size, length, dtype=torch.float64).scatter_add_(1, positions, weights)


def _filtering(length: int, taps: Tensor, padding: Padding) -> Tensor:
    """The matrix (length, length) of a correlation with a border."""
    count = len(taps)
    places = border_positions(length, count // 2, count - 1 - count // 2, padding)
    windows = places.unfold(0, count, 1)
    weights = torch.where(windows >= 0, taps.double(), 0)
    return torch.zeros(length, length, dtype=torch.float64).scatter_add_(1, windows.clamp(min=0), weights)


def _corner_first(z: Tensor, kept: tuple[int, int]) -> Tensor:
    """(b, c, p, q) as vectors that begin with the upper left corners of `kept` rows and columns."""
    rows, columns = kept
    parts = (z[..., :rows, :columns], z[..., :rows, columns:], z[..., rows:, :])
    return torch.cat([part.flatten(1) for part in parts], 1)


def _corner_back(z: Tensor, shape: Sequence[int], kept: tuple[int, int]) -> Tensor:
    """The other way round."""
    (rows, columns), (c, p, q) = kept, shape
    corner, beside, below = torch.split(z, [c * rows * columns, c * rows * (q - columns), c * (p - rows) * q], 1)
    upper = torch.cat([corner.reshape(len(z), c, rows, columns), beside.reshape(len(z), c, rows, q - columns)], 3)
    return torch.cat([upper, below.reshape(len(z), c, p - rows, q)], 2)
