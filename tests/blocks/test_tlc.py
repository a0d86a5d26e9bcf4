"""Local means against plain definitions of the authors' two forms."""

import pytest
import torch
import torch.nn.functional as F

from restoralib.blocks.tlc import LocalMean, box_mean


def clipped_box_means(x, window):
    """Means of all windows that lie inside, each axis of the window clipped to the image; then the border repeated."""
    size = x.shape[2:]
    return repeat_border(F.avg_pool2d(x, [min(pair) for pair in zip(window, size, strict=True)], stride=1), size)


def fast_means(x, window, max_strides):
    """The authors' `fast_imp` as it is described: an integral image of every r-th pixel, without its leading zeros."""
    size = x.shape[2:]
    strides = [min(limit, max(r for r in range(1, 6) if side % r == 0)) for side, limit in zip(size, max_strides, strict=True)]
    integral = x[:, :, :: strides[0], :: strides[1]].cumsum(2).cumsum(3)
    h, w = (min(n - 1, k // r) for n, k, r in zip(integral.shape[2:], window, strides, strict=True))
    sums = integral[..., h:, w:] - integral[..., h:, :-w] - integral[..., :-h, w:] + integral[..., :-h, :-w]
    return repeat_border(F.interpolate(sums / (h * w), scale_factor=tuple(map(float, strides))), size)


def repeat_border(x, size):
    missing = [size[1] - x.shape[3], size[0] - x.shape[2]]
    return F.pad(x, [part for count in missing for part in (count // 2, count - count // 2)], mode="replicate")


@pytest.mark.parametrize("length", [1, 2, 7, 8, 33])
def test_box_mean_is_the_mean_of_every_window(length):
    x = torch.randn(2, length, 3, dtype=torch.float64)
    for size in range(1, length + 1):
        torch.testing.assert_close(box_mean(x, size, axis=1), x.unfold(1, size, 1).mean(-1))
    torch.testing.assert_close(box_mean(x, length + 5, axis=1), x.mean(1, keepdim=True))


@pytest.mark.parametrize("window", [(1, 1), (2, 3), (4, 4), (7, 12), (13, 5), (40, 5), (7, 40)])
@pytest.mark.parametrize("size", [(13, 17), (8, 9), (1, 20), (20, 2)])
def test_local_mean_is_its_definition(size, window):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(LocalMean(window)(x).expand_as(x), clipped_box_means(x, window))


@pytest.mark.parametrize("window", [(5, 5), (9, 40), (16, 7)])
@pytest.mark.parametrize("max_strides", [(5, 5), (3, 2), (1, 4)])
@pytest.mark.parametrize("size", [(20, 24), (17, 30), (12, 50)])
def test_fast_local_mean_is_its_definition(size, window, max_strides):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(LocalMean(window, max_strides)(x).expand_as(x), fast_means(x, window, max_strides))


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 30), (5, 30)])
def test_fast_local_mean_takes_sides_too_short_to_thin_out(size):
    assert LocalMean((3, 3), (5, 5))(torch.ones(1, 1, *size)).expand(1, 1, *size).eq(1).all()


@pytest.mark.parametrize("max_strides", [None, (5, 5)])
def test_a_window_over_all_is_the_global_mean(max_strides):
    x = torch.randn(2, 3, 24, 20)
    assert torch.equal(LocalMean((24, 31), max_strides)(x), x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
def test_large_maps_keep_their_precision(dtype, error):
    x = (1000 + torch.rand(1, 1, 500, 700)).to(dtype)
    exact = LocalMean((384, 383))(x.double())
    assert ((LocalMean((384, 383))(x).double() - exact) / exact).abs().max() < error


def test_memory_format_and_gradients():
    x = torch.randn(1, 4, 9, 11, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    assert LocalMean((4, 5))(x).is_contiguous(memory_format=torch.channels_last)
    assert torch.autograd.gradcheck(LocalMean((4, 5)), x)
    assert torch.autograd.gradcheck(LocalMean((4, 5), (2, 2)), x)


@pytest.mark.parametrize("max_strides", [None, (5, 5)])
def test_compiles_in_one_graph(max_strides):
    mean = LocalMean((6, 9), max_strides)
    compiled = torch.compile(mean, backend="aot_eager", fullgraph=True)
    for size in ((4, 8), (20, 24)):
        x = torch.randn(1, 2, *size)
        torch.testing.assert_close(compiled(x), mean(x))
