"""Padding to multiples: at the right and at the bottom only, for every size."""

import numpy as np
import pytest
import torch

from restoralib.ops import pad_to_multiple

MODES = ("reflect", "symmetric", "replicate", "constant")
SIDES = (1, 2, 3, 5, 7, 8, 9, 17)


def numpy_pad(image: torch.Tensor, multiples: tuple[int, int], mode: str) -> torch.Tensor:
    """Axis by axis with numpy's modes, and edges where a mirror does not reach."""
    array = image.numpy()
    for axis, multiple in zip((-2, -1), multiples, strict=True):
        length = array.shape[axis]
        count = -length % multiple
        fits = count < length if mode == "reflect" else count <= length if mode == "symmetric" else mode == "constant"
        widths = [(0, 0)] * array.ndim
        widths[axis] = (0, count)
        array = np.pad(array, widths, mode=mode if fits else "edge")
    return torch.from_numpy(array)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("multiple", [1, 4, 8, (8, 3)])
def test_equals_numpy_for_every_size(mode, multiple):
    multiples = multiple if isinstance(multiple, tuple) else (multiple, multiple)
    for height in SIDES:
        for width in SIDES:
            image = torch.rand(2, height, width)
            padded = pad_to_multiple(image, multiple, mode)
            assert torch.equal(padded, numpy_pad(image, multiples, mode))
            assert torch.equal(padded[..., :height, :width], image)


@pytest.mark.parametrize("shape", [(6, 7), (1, 6, 7), (2, 3, 6, 7), (2, 2, 3, 6, 7)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float16, torch.float64])
def test_any_rank_and_type(shape, dtype):
    image = torch.ones(shape, dtype=dtype)
    for mode in MODES:
        padded = pad_to_multiple(image, 4, mode)
        assert padded.shape == (*shape[:-2], 8, 8) and padded.dtype == dtype


def test_an_image_that_fits_is_given_back_itself():
    image = torch.rand(1, 3, 8, 16)
    assert pad_to_multiple(image, 8) is image


@pytest.mark.parametrize("mode", MODES)
def test_channels_last_memory_is_kept(mode):
    image = torch.rand(2, 3, 9, 5).to(memory_format=torch.channels_last)
    assert pad_to_multiple(image, 8, mode).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mode", MODES)
def test_gradients(mode):
    image = torch.rand(1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pad_to_multiple(x, 4, mode), (image,))


@pytest.mark.parametrize("mode", MODES)
def test_compiles_in_one_graph(mode):
    torch.compiler.reset()  # the limit on recompilations counts for all modes together
    compiled = torch.compile(lambda x: pad_to_multiple(x, 8, mode), backend="eager", fullgraph=True)
    for shape in ((1, 3, 9, 13), (1, 3, 10, 14), (1, 3, 1, 1)):
        image = torch.rand(shape)
        assert torch.equal(compiled(image), pad_to_multiple(image, 8, mode))


@pytest.mark.parametrize(
    ("shape", "multiple", "mode", "message"),
    [
        ((1, 3, 4, 4), 0, "reflect", "multiple should be at least 1, got 0"),
        ((1, 3, 4, 4), (4, -1), "reflect", "multiple should be at least 1"),
        ((1, 3, 4, 4), 8, "circular", "unknown mode 'circular'; choose one of reflect"),
        ((1, 3, 0, 4), 8, "reflect", "at least one pixel, got shape"),
        ((4,), 8, "reflect", r"expects \(..., h, w\)"),
    ],
)
def test_bad_arguments_are_named(shape, multiple, mode, message):
    with pytest.raises(ValueError, match=message):
        pad_to_multiple(torch.zeros(shape), multiple, mode)
