"""What a linear operator is: A with its adjoint, its pseudo-inverse and, where it is known in closed form, its SVD."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from restoralib.degradations.operators.conjugate_gradients import least_squares
from restoralib.ops.precision import full_precision

Shape = tuple[int, ...]


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape (c, h, w) of an image.

    Raises:
        ValueError: there are more or fewer sides, or one is nothing.
    """
    sides = tuple(shape)
    if len(sides) != 3 or min(sides) < 1:
        raise ValueError(f"expected the shape (c, h, w) of an image with at least one pixel, got {sides}")
    return sides[0], sides[1], sides[2]


class LinearOperator(ABC):
    """A linear map of images (b, c, h, w) to measurements.

    It knows the shape of what it takes and gives, as a matrix does. Tables are kept in float64 and follow the type and the
    device of what comes in; half types are computed in float32. Everything is differentiable.

    Args:
        in_shape: of an image, without the batch: (c, h, w).
        out_shape: of a measurement, without the batch.
        batch: how many images it is for, where every image has a kernel or mask of its own; None for any number.
        tables: constant tensors by name, for `table`.
    """

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int], batch: int | None = None, **tables: Tensor) -> None:
        self.in_shape, self.out_shape, self.batch = image_shape(in_shape), tuple(out_shape), batch
        self._tables = tables
        self._casts: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor: ...

    def forward(self, x: Tensor) -> Tensor:
        """A x.

        Args:
            x: (b, *in_shape).

        Returns:
            (b, *out_shape).

        Raises:
            ValueError: x has another shape.
            TypeError: x is not of floating point.
        """
        return self._run(self._forward, x, self.in_shape)

    __call__ = forward

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, for which <A x, y> = <x, A^T y>.

        Args:
            y: (b, *out_shape).

        Returns:
            (b, *in_shape).

        Raises:
            ValueError: y has another shape.
            TypeError: y is not of floating point.
        """
        return self._run(self._adjoint, y, self.out_shape)

    def pinv(self, y: Tensor, *, rtol: float | None = None) -> Tensor:
        """A^+ y: the smallest of the images that come nearest to the measurement.

        Operators without an SVD find it by conjugate gradients, which stop at a residual of `rtol` or after 200 steps; for an
        ill-conditioned operator, they leave out the directions that would amplify rounding most.

        Args:
            y: (b, *out_shape).
            rtol: singular values below this part of the largest count as zero; None for what rounding leaves. For
                conjugate gradients, the residual of the normal equations where they stop.

        Returns:
            (b, *in_shape).

        Raises:
            ValueError: y has another shape.
            TypeError: y is not of floating point.
        """
        return self._run(lambda y: self._pinv(y, rtol), y, self.out_shape)

    def prox(self, x: Tensor, y: Tensor, rho: float | Tensor) -> Tensor:
        """The image that minimises |A z - y|^2 + rho |z - x|^2 over z, which is x + A^T (A A^T + rho)^-1 (y - A x).

        Args:
            x: the image to stay near to, (b, *in_shape).
            y: the measurement, (b, *out_shape).
            rho: weight, positive; one, or one for each image, (b,).

        Returns:
            (b, *in_shape).

        Raises:
            ValueError: a shape is another, or rho is not positive.
            TypeError: x or y is not of floating point.
        """
        self._check(y, self.out_shape)
        weight = rho if isinstance(rho, Tensor) else torch.tensor(rho, dtype=torch.float64)
        if not bool((weight > 0).all()):
            raise ValueError(f"rho should be positive, got {rho}; pinv is its limit at 0")
        if weight.numel() not in (1, len(y)):
            raise ValueError(f"rho should be one number, or one for each of {len(y)} images, got shape {tuple(weight.shape)}")

        def run(x: Tensor) -> Tensor:
            return self._prox(x, y.to(x), weight.to(x).reshape(-1, *[1] * len(self.in_shape)))

        return self._run(run, x, self.in_shape)

    def matrix(self) -> Tensor:
        """A as an array (m, n) in float64, for small images: its columns are the images of the unit vectors."""
        n = math.prod(self.in_shape)
        if self.batch is not None and self.batch != 1:
            raise ValueError(f"an operator for {self.batch} different images is no single matrix")
        basis = torch.eye(n, dtype=torch.float64).reshape(n, *self.in_shape)
        columns = [self.forward(vector[None])[0].flatten() for vector in basis]
        return torch.stack(columns, 1)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        """This operator after another."""
        from restoralib.degradations.operators.composed import ComposedOperator

        return ComposedOperator(self, other)

    def table(self, name: str, like: Tensor) -> Tensor:
        """A constant tensor in the type (or its complex or integer kind) and on the device of another."""
        held = self._tables[name]
        dtype = like.dtype
        if held.is_complex():
            dtype = dtype.to_complex()
        elif not held.is_floating_point():
            dtype = held.dtype
        key = (name, dtype, like.device)
        if key not in self._casts:
            # An ordinary tensor even where it is first used in inference mode, so that gradients may pass later.
            with torch.inference_mode(False):
                self._casts[key] = held.to(dtype).to(like.device)
        return self._casts[key]

    def _pinv(self, y: Tensor, rtol: float | None) -> Tensor:
        return least_squares(self._forward, self._adjoint, y, rtol=rtol)

    def _prox(self, x: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        return x + least_squares(self._forward, self._adjoint, y - self._forward(x), damping=rho)

    def _check(self, x: Tensor, shape: Shape) -> None:
        if tuple(x.shape[1:]) != shape or x.ndim != len(shape) + 1:
            raise ValueError(f"expected (b, {', '.join(map(str, shape))}), got {tuple(x.shape)}")
        if self.batch is not None and x.shape[0] != self.batch:
            raise ValueError(f"expected a batch of {self.batch}, one an own kernel or mask, got {x.shape[0]}")
        if not x.is_floating_point():
            raise TypeError(f"expected floating point, got {x.dtype}; divide 8-bit values by 255")

    def _run(self, step: Callable[[Tensor], Tensor], x: Tensor, shape: Shape) -> Tensor:
        self._check(x, shape)
        return step(full_precision(x)).to(x.dtype)


class SpectralOperator(LinearOperator):
    """An operator with a singular value decomposition A = U S V^T in closed form, all of it real.

    Coefficients are vectors: (b, n) on the side of images and (b, m) on that of measurements. The first of both belong to
    `singular_values`, in the same order, which need not fall; what follows has the singular value zero.
    """

    @property
    @abstractmethod
    def singular_values(self) -> Tensor:
        """(k,) with k at most min(m, n), or (b, k) where every image has its own; float64, not negative."""

    @abstractmethod
    def _vt(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _v(self, z: Tensor) -> Tensor: ...

    @abstractmethod
    def _ut(self, y: Tensor) -> Tensor: ...

    @abstractmethod
    def _u(self, z: Tensor) -> Tensor: ...

    def _thin_vt(self, x: Tensor) -> Tensor:
        return self._vt(x)[:, : self.values_like(x).shape[-1]]

    def _thin_v(self, z: Tensor) -> Tensor:
        return self._v(_fit(z, math.prod(self.in_shape)))

    def Vt(self, x: Tensor, *, thin: bool = False) -> Tensor:
        """V^T x: the coefficients (b, n) of images (b, *in_shape), or the first k alone, which have singular values."""
        return self._run(self._thin_vt if thin else self._vt, x, self.in_shape)

    def V(self, z: Tensor, *, thin: bool = False) -> Tensor:
        """V z: images (b, *in_shape) of coefficients (b, n), or of the first k alone, (b, k), the others being zero."""
        if thin:
            return self._run(self._thin_v, z, (self.values_like(z).shape[-1],))
        return self._run(self._v, z, (math.prod(self.in_shape),))

    def Ut(self, y: Tensor) -> Tensor:
        """U^T y: the coefficients (b, m) of measurements (b, *out_shape)."""
        return self._run(self._ut, y, self.out_shape)

    def U(self, z: Tensor) -> Tensor:
        """U z: measurements (b, *out_shape) of coefficients (b, m)."""
        return self._run(self._u, z, (math.prod(self.out_shape),))

    def values_like(self, x: Tensor) -> Tensor:
        """The singular values in the type and on the device of a tensor."""
        if "singular_values" not in self._tables:
            self._tables["singular_values"] = self.singular_values
        return self.table("singular_values", x)

    def inverse_values(self, like: Tensor, rtol: float | None = None) -> Tensor:
        """1 / s in the type and on the device of a tensor, and 0 where a singular value counts as zero, as in `pinv`."""
        s = self.values_like(like)
        if rtol is None:
            rtol = torch.finfo(like.dtype).eps * max(self.in_shape[-2:])
        largest = s.amax(-1, keepdim=True)
        return torch.where((s > rtol * largest) & (s > 0), 1 / s.clamp(min=torch.finfo(like.dtype).tiny), 0)

    def _pinv(self, y: Tensor, rtol: float | None) -> Tensor:
        inverse = self.inverse_values(y, rtol)
        return self._thin_v(self._ut(y)[:, : inverse.shape[-1]] * inverse)

    def _prox(self, x: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        s, weight = self.values_like(x), rho.flatten(1)
        misfit = self._ut(y - self._forward(x))[:, : s.shape[-1]]
        return x + self._thin_v(misfit * s / (s**2 + weight))


def _fit(z: Tensor, length: int) -> Tensor:
    """Coefficients with zeros behind, up to a length."""
    return torch.nn.functional.pad(z, (0, length - z.shape[1]))
