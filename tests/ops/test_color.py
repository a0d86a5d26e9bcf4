"""BT.601 as MATLAB's rgb2ycbcr: known colours, the standard's formula, and the way back."""

import pytest
import torch

from restoralib.ops import rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb

BLACK, WHITE, RED, GREEN, BLUE = (0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)


def pixel(color) -> torch.Tensor:
    return torch.tensor(color, dtype=torch.float64).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("color", "levels"),
    [
        (BLACK, (16, 128, 128)),
        (WHITE, (235, 128, 128)),
        ((0.5, 0.5, 0.5), (125.5, 128, 128)),
        (RED, (81.481, 90.203, 240)),
        (GREEN, (144.553, 53.797, 34.214)),
        (BLUE, (40.966, 240, 109.786)),
    ],
)
def test_known_colours(color, levels):
    torch.testing.assert_close(rgb_to_ycbcr(pixel(color)).flatten() * 255, torch.tensor(levels, dtype=torch.float64))
    torch.testing.assert_close(rgb_to_y(pixel(color)).item() * 255, float(levels[0]))


def test_matrix_is_the_standards():
    # BT.601-7: luma weights .299, .587, .114 on 219 levels, colour differences divided by 1.772 and 1.402 on 224 levels.
    image = torch.rand(2, 3, 5, 4, dtype=torch.float64)
    red, green, blue = image.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    expected = torch.stack((16 + 219 * luma, 128 + 224 * (blue - luma) / 1.772, 128 + 224 * (red - luma) / 1.402), 1) / 255
    torch.testing.assert_close(rgb_to_ycbcr(image), expected, atol=1e-5, rtol=0)  # MATLAB's three decimals


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 7, 5), (2, 4, 3, 6, 6)])
def test_round_trip_and_shapes(shape):
    image = torch.rand(shape, dtype=torch.float64)
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(image)), image)
    torch.testing.assert_close(rgb_to_y(image), rgb_to_ycbcr(image)[..., :1, :, :])


def test_gradients():
    image = torch.rand(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    for function in (rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb):
        assert torch.autograd.gradcheck(function, (image,))


@pytest.mark.parametrize("function", [rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_type_is_kept_and_near(function, dtype):
    image = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    out = function(image.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), function(image), atol=8 * torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize("function", [rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb])
def test_compiles_in_one_graph(function):
    image = torch.rand(1, 3, 4, 5)
    torch.testing.assert_close(torch.compile(function, backend="eager", fullgraph=True)(image), function(image))


@pytest.mark.parametrize("function", [rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb])
@pytest.mark.parametrize("shape", [(3, 4), (1, 4, 4), (2, 4, 5, 5)])
def test_other_channel_counts_are_refused(function, shape):
    with pytest.raises(ValueError, match=r"expects three channels in axis -3, got shape"):
        function(torch.zeros(shape))
