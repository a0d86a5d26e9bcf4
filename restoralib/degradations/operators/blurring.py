"""Blur with any kernel: on a circle, where the Fourier transform decomposes it, and with other borders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from restoralib.degradations.filters import Padding, border_positions, correlate, filter2d
from restoralib.degradations.operators.operator import LinearOperator, SpectralOperator, image_shape
from restoralib.degradations.operators.separable import SeparableBlurOperator


def blur_operator(
    in_shape: Sequence[int], kernel: Tensor, *, padding: Padding = "circular", convolve: bool = False
) -> LinearOperator:
    """The operator of `filter2d`, in the form that knows most about itself.

    On a circle it is a `CircularBlurOperator`; with another border a `SeparableBlurOperator` where the kernel is a column
    times a row, which both have an SVD, else a `BlurOperator`, which has none.

    Args:
        in_shape: of an image, (c, h, w).
        kernel: (kh, kw), or (b, kh, kw) with one for each image.
        padding: the border, one of `PADDINGS`.
        convolve: turn the kernel round, a convolution in the sense of mathematics; else correlate.

    Raises:
        ValueError: the kernel has another shape, or the padding is unknown.
    """
    if padding == "circular":
        return CircularBlurOperator(in_shape, kernel, convolve=convolve)
    if kernel.ndim == 2 and 0 not in kernel.shape and kernel.shape[0] % 2 and kernel.shape[1] % 2:
        u, s, vt = torch.linalg.svd(kernel.double())
        if len(s) == 1 or s[1] <= 1e-12 * s[0]:
            column, row = u[:, 0] * s[0].sqrt(), vt[0] * s[0].sqrt()
            if convolve:
                column, row = column.flip(0), row.flip(0)
            return SeparableBlurOperator(in_shape, column, row, padding=padding)
    return BlurOperator(in_shape, kernel, padding=padding, convolve=convolve)


class CircularBlurOperator(SpectralOperator):
    """Blur with a circular border.

    The Fourier transform turns it into a product with the kernel's spectrum. Its real form, the Hartley transform, gives the
    right singular vectors; the spectrum's absolute values are the singular values, and its phases turn the vectors of each
    frequency and its opposite into the left ones.

    Args:
        in_shape: of an image, (c, h, w).
        kernel: (kh, kw), or (b, kh, kw) with one for each image; it may be larger than the image.
        convolve: turn the kernel round, a convolution in the sense of mathematics; else correlate.

    Raises:
        ValueError: the kernel has another shape.
    """

    def __init__(self, in_shape: Sequence[int], kernel: Tensor, *, convolve: bool = False) -> None:
        c, h, w = image_shape(in_shape)
        spectrum = _spectrum(kernel, h, w, convolve)
        super().__init__((c, h, w), (c, h, w), spectrum.shape[0] if kernel.ndim == 3 else None, spectrum=spectrum)
        self._tables["half"] = spectrum[..., : w // 2 + 1]

    @property
    def singular_values(self) -> Tensor:
        values = self._tables["spectrum"].abs().expand(-1, *self.in_shape).flatten(1)
        return values if self.batch is not None else values[0]

    def _filter(self, x: Tensor, half: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * half, x.shape[-2:])

    def _forward(self, x: Tensor) -> Tensor:
        return self._filter(x, self.table("half", x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._filter(y, self.table("half", y).conj())

    def _vt(self, x: Tensor) -> Tensor:
        return _hartley(x).flatten(1)

    def _v(self, z: Tensor) -> Tensor:
        return _hartley(z.reshape(len(z), *self.in_shape))

    def _ut(self, y: Tensor) -> Tensor:
        return self._turn(_hartley(y), 1).flatten(1)

    def _u(self, z: Tensor) -> Tensor:
        return _hartley(self._turn(z.reshape(len(z), *self.in_shape), -1))

    def _turn(self, z: Tensor, sign: int) -> Tensor:
        """Turn the coefficients of each frequency and its opposite by the spectrum's phase, or back."""
        if "cosine" not in self._tables:
            spectrum = self._tables["spectrum"]
            size = spectrum.abs()
            # Where the spectrum is zero, any phase will do.
            unit = torch.where(size > 0, spectrum / size.clamp(min=torch.finfo(size.dtype).tiny), 1)
            self._tables |= {"cosine": unit.real, "sine": unit.imag}
        return self.table("cosine", z) * z + sign * self.table("sine", z) * _opposite(z)


class BlurOperator(LinearOperator):
    """Blur with any kernel and any border; its pseudo-inverse comes by conjugate gradients.

    Args:
        in_shape: of an image, (c, h, w).
        kernel: (kh, kw), or (b, kh, kw) with one for each image.
        padding: the border, one of `PADDINGS`.
        convolve: turn the kernel round, a convolution in the sense of mathematics; else correlate.

    Raises:
        ValueError: the kernel has another shape, or the padding is unknown.
    """

    def __init__(
        self, in_shape: Sequence[int], kernel: Tensor, *, padding: Padding = "reflect", convolve: bool = False
    ) -> None:
        check_kernel(kernel)
        super().__init__(in_shape, in_shape, kernel.shape[0] if kernel.ndim == 3 else None, kernel=kernel.double())
        self.padding, self.convolve = padding, convolve
        for axis, side in (("rows", -2), ("columns", -1)):
            taps, length = kernel.shape[side], self.in_shape[side]
            before = taps // 2 if not convolve else taps - 1 - taps // 2
            self._tables[axis] = border_positions(length, before, taps - 1 - before, padding)

    def _forward(self, x: Tensor) -> Tensor:
        return filter2d(x, self.table("kernel", x), padding=self.padding, convolve=self.convolve)

    def _adjoint(self, y: Tensor) -> Tensor:
        kernel = self.table("kernel", y)
        kernel = kernel if self.convolve else kernel.flip(-2, -1)  # once more turned round
        kh, kw = kernel.shape[-2:]
        spread = correlate(F.pad(y, (kw - 1, kw - 1, kh - 1, kh - 1)), kernel)
        for name, axis in (("rows", -2), ("columns", -1)):
            places = self.table(name, y)
            inside = (places >= 0).to(y)  # what fell on zeros of the border is lost
            spread = spread * (inside[:, None] if axis == -2 else inside)
            shape = list(spread.shape)
            shape[axis] = self.in_shape[axis]
            spread = spread.new_zeros(shape).index_add(axis, places.clamp(min=0), spread)
        return spread


class BlurDecimateOperator(LinearOperator):
    """Blur on a circle and keep every scale-th pixel: classical super-resolution.

    Where the scale divides the sides, the Fourier transform gives pseudo-inverse and `prox` in closed form: decimation adds
    the scale^2 frequencies that become one. Else they come by conjugate gradients. A Gaussian along the axes has an SVD, too:
    `SeparableOperator` with the rows of `SeparableBlurOperator`'s matrices that are kept.

    Args:
        in_shape: of an image, (c, h, w).
        kernel: (kh, kw), or (b, kh, kw) with one for each image.
        scale: the factor of decimation; the first pixel of each block is kept.
        convolve: turn the kernel round, as classical super-resolution does; else correlate.

    Raises:
        ValueError: the kernel has another shape, or the scale is below one.

    Source: Zhang et al. 2020, USRNet (arXiv:2003.10428), for the closed form.
    """

    def __init__(self, in_shape: Sequence[int], kernel: Tensor, scale: int, *, convolve: bool = True) -> None:
        if scale < 1:
            raise ValueError(f"scale should be at least 1, got {scale}")
        self.blur = CircularBlurOperator(in_shape, kernel, convolve=convolve)
        c, h, w = self.blur.in_shape
        super().__init__((c, h, w), (c, -(-h // scale), -(-w // scale)), self.blur.batch)
        self.scale = scale
        self._closed = h % scale == 0 and w % scale == 0
        if self._closed:
            power = self.blur._tables["spectrum"].abs() ** 2
            folded = power.reshape(-1, 1, scale, h // scale, scale, w // scale).sum((-4, -2))
            self._tables["power"] = folded / scale**2  # the eigenvalues of A A^T

    def _forward(self, x: Tensor) -> Tensor:
        return self.blur._forward(x)[..., :: self.scale, :: self.scale]

    def _adjoint(self, y: Tensor) -> Tensor:
        spread = y.new_zeros(y.shape[0], *self.in_shape)
        spread[..., :: self.scale, :: self.scale] = y
        return self.blur._adjoint(spread)

    def _solve(self, y: Tensor, inverse: Tensor) -> Tensor:
        return self._adjoint(torch.fft.ifft2(torch.fft.fft2(y) * inverse).real)

    def _pinv(self, y: Tensor, rtol: float | None) -> Tensor:
        if not self._closed:
            return super()._pinv(y, rtol)
        power = self.table("power", y)
        rtol = torch.finfo(y.dtype).eps * max(self.in_shape[-2:]) if rtol is None else rtol
        kept = power > rtol**2 * power.amax((-2, -1), keepdim=True)
        return self._solve(y, torch.where(kept, 1 / power.clamp(min=torch.finfo(y.dtype).tiny), 0))

    def _prox(self, x: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        if not self._closed:
            return super()._prox(x, y, rho)
        return x + self._solve(y - self._forward(x), 1 / (self.table("power", y) + rho))


def check_kernel(kernel: Tensor) -> None:
    """Raise ValueError unless it is (kh, kw) or (b, kh, kw)."""
    if kernel.ndim not in (2, 3) or 0 in kernel.shape:
        raise ValueError(f"expected a kernel (kh, kw) or one an image (b, kh, kw), got {tuple(kernel.shape)}")


def _spectrum(kernel: Tensor, h: int, w: int, convolve: bool) -> Tensor:
    """The Fourier transform (1 or b, 1, h, w) of the response to a pulse at the origin, complex128."""
    check_kernel(kernel)
    taps = kernel.double().reshape(-1, *kernel.shape[-2:])
    kh, kw = kernel.shape[-2:]
    rows, columns = ((torch.arange(count) - count // 2) % length for count, length in ((kh, h), (kw, w)))
    response = taps.new_zeros(taps.shape[0], h, kw).index_add(1, rows, taps)
    response = taps.new_zeros(taps.shape[0], h, w).index_add(2, columns, response)[:, None]
    spectrum = torch.fft.fft2(response)
    # Opposite frequencies are conjugate to the last bit, on which the left singular vectors' being orthonormal rests.
    spectrum = (spectrum + _opposite(spectrum).conj()) / 2
    return spectrum if convolve else spectrum.conj().resolve_conj()


def _hartley(x: Tensor) -> Tensor:
    """The two-dimensional Hartley transform: real, orthonormal and its own inverse."""
    half = torch.fft.rfft2(x, norm="ortho")
    # What is left out of a real image's spectrum is conjugate to what is opposite.
    rest = half[..., 1 : (x.shape[-1] + 1) // 2].flip(-2, -1).roll(1, -2)
    return torch.cat([half.real - half.imag, rest.real + rest.imag], -1)


def _opposite(z: Tensor) -> Tensor:
    """The values at the opposite frequencies."""
    return z.flip(-2, -1).roll((1, 1), (-2, -1))
