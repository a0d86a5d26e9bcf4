"""Filtering of images with kernels: any border, one kernel or one an image; sharpening; blur before decimation."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from restoralib.degradations.kernels import gaussian_kernel, opencv_sigma
from restoralib.ops import resize
from restoralib.ops.pad import mirrored
from restoralib.ops.precision import full_precision

Padding = Literal["reflect", "symmetric", "replicate", "circular", "zeros"]
PADDINGS: tuple[Padding, ...] = ("reflect", "symmetric", "replicate", "circular", "zeros")
_FOURIER_TAPS = 17 * 17  # measured: from here on the Fourier transform wins


def border_positions(length: int, before: int, after: int, padding: Padding) -> Tensor:
    """Which sample stands at each position of a line that is longer by `before` and `after`.

    A line shorter than its border goes on as numpy's and OpenCV's borders do: mirrored lines bounce between their ends,
    circular ones go round again, and the mirror of a single sample is that sample.

    Args:
        length: samples of the line.
        before: positions to add in front.
        after: positions to add at the end.
        padding: "reflect" mirrors about the last sample, "symmetric" about its outer edge, so that it is repeated;
            "replicate" repeats it for ever, "circular" goes on at the other end, "zeros" adds zeros.

    Returns:
        (before + length + after), int64, on the CPU; -1 for a zero.

    Raises:
        ValueError: the padding is unknown.
    """
    place = torch.arange(-before, length + after)
    if padding == "circular":
        return place % length
    if padding == "replicate" or (padding == "reflect" and length == 1):
        return place.clamp(0, length - 1)
    if padding == "reflect":
        place = place % (2 * length - 2)
        return torch.where(place < length, place, 2 * length - 2 - place)
    if padding == "symmetric":
        return mirrored(place, length)
    if padding == "zeros":
        return torch.where((place >= 0) & (place < length), place, -1)
    raise ValueError(f"unknown padding {padding!r}; choose one of {', '.join(PADDINGS)}")


def pad_border(image: Tensor, margins: tuple[int, int, int, int], padding: Padding = "reflect") -> Tensor:
    """The image with a border of any width; `border_positions` says what stands in it.

    Args:
        image: (..., h, w) with at least one pixel.
        margins: pixels to add left, right, above and below, as torch orders them.
        padding: one of `PADDINGS`.

    Returns:
        (..., above + h + below, left + w + right).

    Raises:
        ValueError: the padding is unknown or the image has no pixel.
    """
    if 0 in image.shape[-2:]:
        raise ValueError(f"expected images with at least one pixel, got {tuple(image.shape)}")
    if padding == "zeros":
        return F.pad(image, margins)
    left, right, above, below = margins
    for axis, before, after in ((-2, above, below), (-1, left, right)):
        places = border_positions(image.shape[axis], before, after, padding)
        if before or after:
            image = image.index_select(axis, places.to(image.device))
    return image


def filter2d(image: Tensor, kernel: Tensor, *, padding: Padding = "reflect", convolve: bool = False) -> Tensor:
    """Filter every channel with a kernel; the size stays.

    The middle of a kernel with an even side is the sample right of or below its centre. Maps smaller than the kernel are
    extended as `border_positions` says. Kernels of 17x17 and more go through the Fourier transform, which is faster and
    spreads a NaN over its channel.

    Args:
        image: (b, c, h, w), floating point; half types are computed in float32.
        kernel: (kh, kw), or (b, kh, kw) with one for each image.
        padding: the border; one of `PADDINGS`.
        convolve: turn the kernel round, a convolution in the sense of mathematics; else correlate, as networks and OpenCV do.

    Returns:
        (b, c, h, w), of the image's type.

    Raises:
        ValueError: shapes do not fit, or the padding is unknown.
        TypeError: the image is not of floating point.
    """
    _check(image, kernel)
    kh, kw = kernel.shape[-2:]
    above, left = kh // 2, kw // 2
    if convolve:
        kernel = kernel.flip(-2, -1)
        above, left = kh - 1 - above, kw - 1 - left
    exact = full_precision(image)
    padded = pad_border(exact, (left, kw - 1 - left, above, kh - 1 - above), padding)
    kernel = kernel.to(padded)
    return correlate(padded, kernel).to(image.dtype)


def correlate(image: Tensor, kernel: Tensor) -> Tensor:
    """Filter where the kernel fits inside the image, without a border.

    Args:
        image: (b, c, h, w), float32 or float64.
        kernel: (kh, kw), or (b, kh, kw) with one for each image, of the image's type.

    Returns:
        (b, c, h - kh + 1, w - kw + 1).
    """
    (b, c, h, w), (kh, kw) = image.shape, kernel.shape[-2:]
    if kh * kw >= _FOURIER_TAPS:
        sides = _fast_length(h), _fast_length(w)
        spectrum = torch.fft.rfft2(kernel, sides).conj()
        spectrum = spectrum if kernel.ndim == 2 else spectrum[:, None]
        whole = torch.fft.irfft2(torch.fft.rfft2(image, sides) * spectrum, sides)
        # What follows these samples reaches over the end and round to the beginning.
        return whole[..., : h - kh + 1, : w - kw + 1].contiguous()
    # As channels of one image with a kernel each, also where the kernel is the same: several times faster than as a batch.
    kernels = kernel.expand(b * c, kh, kw) if kernel.ndim == 2 else kernel.repeat_interleave(c, 0)
    return F.conv2d(image.flatten(0, 1)[None], kernels[:, None], groups=b * c).view(b, c, h - kh + 1, w - kw + 1)


def gaussian_blur(image: Tensor, sigma: float, *, size: int | None = None, padding: Padding = "reflect") -> Tensor:
    """Blur by a round Gaussian, along columns and then rows.

    Args:
        image: (b, c, h, w).
        sigma: standard deviation in pixels; 0 leaves the image as it is.
        size: side of the window in pixels, odd; None for three sigma on either side.
        padding: the border; one of `PADDINGS`.

    Returns:
        (b, c, h, w), of the image's type.

    Raises:
        ValueError: sigma is negative, the size is not odd, or `filter2d` finds fault.
        TypeError: the image is not of floating point.
    """
    if sigma == 0:
        return image
    line = gaussian_kernel(2 * math.ceil(3 * sigma) + 1 if size is None else size, sigma).sum(0)
    _check(image, line[None])
    shares, half = line.tolist(), len(line) // 2
    blurred = full_precision(image)
    # Sums of moved copies, in the same order on every device. On a CPU they are measured to take a third to a sixth of the
    # time of grouped convolutions on large images in float64, and up to four times as long in float32.
    for axis, margins in ((-2, (0, 0, half, half)), (-1, (half, half, 0, 0))):
        padded, length = pad_border(blurred, margins, padding), blurred.shape[axis]
        blurred = shares[0] * padded.narrow(axis, 0, length)
        for place, share in enumerate(shares[1:], 1):
            blurred = torch.add(blurred, padded.narrow(axis, place, length), alpha=share)
    return blurred.to(image.dtype)


def usm_sharpen(
    image: Tensor,
    *,
    weight: float = 0.5,
    radius: int = 50,
    sigma: float | None = None,
    threshold: float = 10.0,
    padding: Padding = "reflect",
) -> Tensor:
    """Sharpen edges by unsharp masking and leave flat parts alone.

    The difference from a blurred copy is added where it exceeds the threshold; the mask of these places is blurred, too, so
    that no seam shows. Real-ESRGAN's targets are made so.

    Args:
        image: (b, c, h, w) in [0, 1].
        weight: how much of the difference is added.
        radius: side of the Gaussian window in pixels; an even one becomes one more.
        sigma: standard deviation of the Gaussian; None for OpenCV's choice, 0.3 ((side - 1) / 2 - 1) + 0.8.
        threshold: smallest difference that is sharpened, in levels of 255.
        padding: the border; one of `PADDINGS`.

    Returns:
        (b, c, h, w) in [0, 1].

    Raises:
        ValueError: the image is not (b, c, h, w), or the padding is unknown.
        TypeError: the image is not of floating point.

    Source: Wang et al. 2021 (arXiv:2107.10833), section 3.5.
    """
    size = radius + 1 - radius % 2
    spread = opencv_sigma(size) if sigma is None else sigma
    residual = image - gaussian_blur(image, spread, size=size, padding=padding)
    mask = ((residual * 255).abs() > threshold).to(image)
    soft = gaussian_blur(mask, spread, size=size, padding=padding)
    sharp = (image + weight * residual).clamp(0, 1)
    return soft * sharp + (1 - soft) * image


def blur_decimate(
    image: Tensor, kernel: Tensor, scale: int, *, offset: int = 0, padding: Padding = "circular", convolve: bool = True
) -> Tensor:
    """Classical super-resolution's low resolution: a convolution, then every `scale`-th pixel.

    Args:
        image: (b, c, h, w).
        kernel: (kh, kw), or (b, kh, kw) with one for each image.
        scale: the factor of decimation.
        offset: row and column of the first pixel that is kept.
        padding: the border; one of `PADDINGS`.
        convolve: as in `filter2d`.

    Returns:
        (b, c, h', w') with h' = ceil((h - offset) / scale), w' alike.

    Raises:
        ValueError: scale or offset do not fit, or `filter2d` finds fault.

    Source: Zhang et al. 2020, USRNet (arXiv:2003.10428).
    """
    if scale < 1 or not 0 <= offset < min(image.shape[-2:]):
        raise ValueError(f"expected a scale from 1 and an offset inside the image, got {scale} and {offset}")
    return filter2d(image, kernel, padding=padding, convolve=convolve)[..., offset::scale, offset::scale]


def blur_resize(image: Tensor, kernel: Tensor, scale: float, *, padding: Padding = "circular", convolve: bool = True) -> Tensor:
    """Blind super-resolution's low resolution: a convolution, then MATLAB's bicubic `imresize`.

    Args:
        image: (b, c, h, w).
        kernel: (kh, kw), or (b, kh, kw) with one for each image.
        scale: new side over old side, 0.25 for a quarter.
        padding: the border of the convolution; one of `PADDINGS`.
        convolve: as in `filter2d`.

    Returns:
        (b, c, ceil(scale h), ceil(scale w)), which may overshoot [0, 1].

    Source: Zhang et al. 2018, SRMD (arXiv:1712.06116).
    """
    return resize(filter2d(image, kernel, padding=padding, convolve=convolve), scale)


def _fast_length(length: int) -> int:
    """The next number without prime factors above five."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def _check(image: Tensor, kernel: Tensor) -> None:
    if image.ndim != 4:
        raise ValueError(f"expected images (b, c, h, w), got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise TypeError(f"expected images of floating point, got {image.dtype}; divide 8-bit values by 255")
    if kernel.ndim not in (2, 3) or 0 in kernel.shape or (kernel.ndim == 3 and kernel.shape[0] != image.shape[0]):
        raise ValueError(f"expected a kernel (kh, kw) or one an image ({image.shape[0]}, kh, kw), got {tuple(kernel.shape)}")
