"""Filtering against scipy on every border, and its properties."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch._subclasses.fake_tensor import FakeTensorMode

from restoralib.degradations import (
    PADDINGS,
    blur_decimate,
    blur_resize,
    border_positions,
    filter2d,
    gaussian_blur,
    gaussian_kernel,
    pad_border,
    pulse_kernel,
    usm_sharpen,
)
from restoralib.ops import resize

SCIPY = {"reflect": "mirror", "symmetric": "reflect", "replicate": "nearest", "circular": "wrap", "zeros": "constant"}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 3), (13, 9)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 2), (4, 6), (9, 9), (19, 21)])
def test_filter2d_is_scipys_on_any_size_and_border(padding, shape, kernel):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, *shape, generator=generator, dtype=torch.float64)
    taps = torch.rand(*kernel, generator=generator, dtype=torch.float64)
    for convolve, reference in ((False, ndimage.correlate), (True, ndimage.convolve)):
        if convolve and any(side % 2 == 0 for side in kernel):
            continue  # scipy's middle of an even kernel is another for a convolution
        expected = np.stack([[reference(c, taps.numpy(), mode=SCIPY[padding]) for c in i] for i in image.numpy()])
        ours = filter2d(image, taps, padding=padding, convolve=convolve)
        torch.testing.assert_close(ours, torch.from_numpy(expected))


@pytest.mark.parametrize("padding", ["reflect", "symmetric", "replicate", "circular"])
@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_borders_are_numpys_however_wide(padding, length):
    mode = {"replicate": "edge", "circular": "wrap"}.get(padding, padding)
    line = np.arange(length)
    expected = np.pad(line, (11, 8), mode=mode)
    assert border_positions(length, 11, 8, padding).tolist() == expected.tolist()
    image = torch.from_numpy(line).double().view(1, 1, -1)
    assert pad_border(image, (11, 8, 2, 0), padding)[0, 1].tolist() == expected.tolist()


@pytest.mark.parametrize("side", [5, 19])
def test_an_image_may_have_its_own_kernel(side):
    image = torch.rand(3, 2, 8, 7, dtype=torch.float64)
    kernels = torch.rand(3, side, side, dtype=torch.float64)
    alone = torch.cat([filter2d(image[i : i + 1], kernels[i]) for i in range(3)])
    torch.testing.assert_close(filter2d(image, kernels), alone)


@pytest.mark.parametrize("kernel", [(3, 3), (4, 6), (5, 2)])
def test_convolution_is_the_adjoint_of_correlation_on_a_circle(kernel):
    x, y = torch.rand(2, 1, 1, 9, 8, dtype=torch.float64)
    taps = torch.rand(kernel, dtype=torch.float64)
    left = (filter2d(x, taps, padding="circular") * y).sum()
    right = (x * filter2d(y, taps, padding="circular", convolve=True)).sum()
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_type_stays(dtype):
    image = torch.rand(1, 3, 12, 12)
    filtered = filter2d(image.to(dtype), gaussian_kernel(5, 1.0))
    assert filtered.dtype == dtype
    torch.testing.assert_close(filtered.float(), filter2d(image, gaussian_kernel(5, 1.0)), atol=1e-2, rtol=0)


def test_filter2d_is_differentiable_in_image_and_kernel():
    image = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    kernel = torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(filter2d, (image, kernel))


def test_gaussian_blur_is_the_filter_of_the_whole_kernel():
    image = torch.rand(1, 3, 20, 17, dtype=torch.float64)
    torch.testing.assert_close(gaussian_blur(image, 1.5, size=9), filter2d(image, gaussian_kernel(9, 1.5)))
    assert gaussian_blur(image, 0) is image
    torch.testing.assert_close(gaussian_blur(image, 2.0), filter2d(image, gaussian_kernel(13, 2.0)))


def test_kernels_follow_the_image_to_its_device():
    """Fake tensors know their device and refuse to be mixed, without a device being there."""
    kernels = [gaussian_kernel(5, 1.0), gaussian_kernel(21, 3.0)]
    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(1, 3, 9, 8, device="cuda")
        for kernel in kernels:
            results = [filter2d(image, kernel, padding=padding) for padding in PADDINGS]
            results.append(blur_decimate(image, kernel, 2))
            assert all(result.device.type == "cuda" for result in results)


def test_sharpening_leaves_flat_parts_alone_and_steepens_an_edge():
    flat = torch.full((1, 3, 60, 60), 0.4)
    torch.testing.assert_close(usm_sharpen(flat), flat)
    edge = torch.cat([torch.full((1, 1, 40, 30), 0.3), torch.full((1, 1, 40, 30), 0.7)], 3)
    sharp = usm_sharpen(edge)
    assert sharp[..., 30].min() > 0.7 and sharp[..., 29].max() < 0.3
    faint = 0.5 + (edge - 0.5) * 0.05  # five levels: below the threshold
    torch.testing.assert_close(usm_sharpen(faint), faint)
    assert usm_sharpen(torch.rand(1, 1, 1, 1)).shape == (1, 1, 1, 1)


def test_low_resolution_is_blur_and_then_less():
    image = torch.rand(2, 3, 11, 14, dtype=torch.float64)
    assert torch.equal(blur_decimate(image, pulse_kernel(3), 3, offset=1), image[..., 1::3, 1::3])
    kernel = gaussian_kernel(5, 1.2)
    assert torch.equal(blur_resize(image, kernel, 0.5), resize(filter2d(image, kernel, padding="circular"), 0.5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: filter2d(torch.zeros(3, 4, 4), pulse_kernel(3)), ValueError, r"\(b, c, h, w\)"),
        (lambda: filter2d(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), pulse_kernel(3)), TypeError, "divide 8-bit"),
        (lambda: filter2d(torch.zeros(2, 3, 4, 4), torch.zeros(3, 3, 3)), ValueError, r"one an image \(2, kh, kw\)"),
        (lambda: filter2d(torch.zeros(2, 3, 4, 4), pulse_kernel(3), padding="wrap"), ValueError, "choose one of reflect"),
        (lambda: filter2d(torch.zeros(2, 3, 0, 4), pulse_kernel(3)), ValueError, "at least one pixel"),
        (lambda: blur_decimate(torch.zeros(1, 3, 4, 4), pulse_kernel(3), 2, offset=4), ValueError, "offset inside"),
        (lambda: gaussian_blur(torch.zeros(1, 3, 4, 4), 1.0, size=4), ValueError, "odd"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
