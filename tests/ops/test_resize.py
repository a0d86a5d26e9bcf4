"""`resize` against its own definition in numpy and by its properties; tests/degradations holds MATLAB's figures."""

import math

import numpy as np
import pytest
import torch

from restoralib.ops import resize


def matlab_resize_line(line: np.ndarray, size: int, scale: float, antialias: bool) -> np.ndarray:
    """The textbook formula, one output sample after the other: a mean of the samples under the kernel, edges mirrored."""

    def cubic(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    stretch = min(scale, 1) if antialias else 1
    padded = np.pad(line, 100, mode="symmetric")
    out = []
    for index in range(size):
        center = (index + 0.5) / scale - 0.5
        weights = np.array([cubic((center - position) * stretch) for position in range(-100, len(line) + 100)])
        out.append((weights @ padded) / weights.sum())
    return np.array(out)


@pytest.mark.parametrize("length", [1, 2, 7, 20])
@pytest.mark.parametrize("scale", [0.1, 1 / 3, 0.5, 0.7, 1.3, 2, 4])
@pytest.mark.parametrize("antialias", [True, False])
def test_resize_is_the_textbook_formula(length, scale, antialias):
    line = np.random.default_rng(0).random(length)
    size = math.ceil(round(scale * length, 9))
    expected = torch.from_numpy(matlab_resize_line(line, size, scale, antialias))
    lines = torch.from_numpy(line)
    torch.testing.assert_close(resize(lines[None], (1.0, scale), antialias=antialias)[0], expected)
    torch.testing.assert_close(resize(lines[:, None], (scale, 1.0), antialias=antialias)[:, 0], expected)


@pytest.mark.parametrize("kernel", ["box", "bilinear", "bicubic", "lanczos2", "lanczos3"])
@pytest.mark.parametrize("size", [(1, 1), (3, 17), (31, 2)])
def test_constant_image_stays_constant(kernel, size):
    image = torch.full((1, 3, 9, 7), 0.3, dtype=torch.float64)
    resized = resize(image, size=size, kernel=kernel)
    assert resized.shape == (1, 3, *size)
    torch.testing.assert_close(resized, torch.full_like(resized, 0.3))


@pytest.mark.parametrize("kernel", ["box", "bilinear", "bicubic", "lanczos2", "lanczos3"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 8), (2, 3, 4, 1)])
def test_scale_one_is_the_identity(kernel, shape):
    image = torch.rand(shape)
    assert torch.equal(resize(image, 1, kernel=kernel), image)


def test_box_reduction_is_the_mean_of_blocks():
    image = torch.rand(2, 8, 12, dtype=torch.float64)
    torch.testing.assert_close(resize(image, 0.25, kernel="box"), torch.nn.functional.avg_pool2d(image, 4))


def test_a_mirrored_image_is_resized_to_the_mirrored_result():
    image = torch.rand(3, 12, 18, dtype=torch.float64)
    torch.testing.assert_close(resize(image.flip(-1, -2), 0.5), resize(image, 0.5).flip(-1, -2))


def test_gradient_is_the_adjoint():
    image = torch.rand(2, 7, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize(x, 0.6), (image,))
    cotangent = torch.rand_like(resize(image, 0.6))
    (adjoint,) = torch.autograd.grad(resize(image, 0.6), image, cotangent)
    other = torch.rand_like(image)
    torch.testing.assert_close((resize(other, 0.6) * cotangent).sum(), (other * adjoint).sum())


def test_size_with_scale_places_the_samples_by_the_scale():
    image = torch.rand(11, 11, dtype=torch.float64)
    assert torch.equal(resize(image, 0.5, size=(5, 4)), resize(image, 0.5)[:5, :4])


def test_levels_give_whole_levels_within_range():
    resized = resize((torch.rand(3, 16, 16) > 0.5).double(), 0.5, levels=255) * 255
    torch.testing.assert_close(resized, resized.round())
    assert resized.min() >= 0 and resized.max() <= 255


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(dtype):
    image = torch.rand(3, 15, 20)
    halved = resize(image.to(dtype), 0.5)
    assert halved.dtype == dtype
    torch.testing.assert_close(halved.float(), resize(image, 0.5), atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("image", "arguments", "error", "message"),
    [
        (torch.zeros(4, 4, dtype=torch.uint8), {"scale": 0.5}, TypeError, "divide 8-bit values by 255"),
        (torch.zeros(4), {"scale": 0.5}, ValueError, "at least one pixel"),
        (torch.zeros(3, 0, 4), {"scale": 0.5}, ValueError, "at least one pixel"),
        (torch.zeros(4, 4), {}, ValueError, "a scale or a size"),
        (torch.zeros(4, 4), {"scale": 0}, ValueError, "positive"),
        (torch.zeros(4, 4), {"size": (0, 4)}, ValueError, "positive"),
        (torch.zeros(4, 4), {"scale": 2, "kernel": "cubic"}, ValueError, "choose one of box"),
    ],
)
def test_bad_arguments_are_named(image, arguments, error, message):
    with pytest.raises(error, match=message):
        resize(image, **arguments)
