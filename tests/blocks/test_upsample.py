"""Up- and downsamplers: exact sizes, layouts of the weights, and the shuffle's order."""

import pytest
import torch
from torch import nn

from restoralib.blocks import PixelShuffleDirect, PixelShuffleUpsample, PixelUnshuffleDownsample, TransposedConvUpsample


@pytest.mark.parametrize(("scale", "stages"), [(1, []), (2, [2]), (3, [3]), (4, [2, 2]), (8, [2, 2, 2])])
def test_pixel_shuffle_stages(scale, stages):
    block = PixelShuffleUpsample(4, scale)
    assert [layer.upscale_factor for layer in block if isinstance(layer, nn.PixelShuffle)] == stages
    shapes = {f"{2 * index}.weight": (4 * stage**2, 4, 3, 3) for index, stage in enumerate(stages)}
    assert {name: tuple(value.shape) for name, value in block.state_dict().items() if "weight" in name} == shapes
    assert block(torch.randn(1, 4, 3, 5)).shape == (1, 4, 3 * scale, 5 * scale)


@pytest.mark.parametrize("scale", [0, -2, 5, 6, 9])
def test_pixel_shuffle_refuses_other_scales(scale):
    with pytest.raises(ValueError, match=f"power of two or 3, got {scale}"):
        PixelShuffleUpsample(4, scale)


@pytest.mark.parametrize("scale", [1, 2, 3, 5])
def test_shuffle_puts_channel_groups_side_by_side(scale):
    block = PixelShuffleDirect(3, scale, out_channels=2, kernel_size=1, bias=False)
    x = torch.randn(1, 3, 4, 5)
    output = block(x)
    assert block.state_dict().keys() == {"0.weight"}
    for row in range(scale):
        for column in range(scale):
            weight = block[0].weight[row * scale + column :: scale**2, :, 0, 0]
            expected = torch.einsum("bchw,dc->bdhw", x, weight)
            torch.testing.assert_close(output[..., row::scale, column::scale], expected)


def test_downsampling_undoes_upsampling():
    up, down = (
        PixelShuffleDirect(4, 2, 4, kernel_size=1, bias=False),
        PixelUnshuffleDownsample(4, 2, 16, kernel_size=1, bias=False),
    )
    nn.init.dirac_(down[0].weight)
    x = torch.randn(1, 4, 3, 5)
    torch.testing.assert_close(down(up(x)), up[0](x))


def test_downsampling_refuses_channels_that_do_not_divide():
    with pytest.raises(ValueError, match="multiple of scale\\*\\*2 = 4, got 6"):
        PixelUnshuffleDownsample(3)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("extra", [0, 1, 2, 5])
def test_transposed_convolution_scales_exactly_and_is_centred(scale, extra):
    block = TransposedConvUpsample(1, scale, kernel_size=scale + extra, bias=False).double()
    for height, width in ((1, 1), (4, 7)):
        assert block(torch.rand(1, 1, height, width).double()).shape == (1, 1, scale * height, scale * width)
    nn.init.ones_(block.weight)
    image = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    image[..., 4, 4] = 1
    columns = block(image)[0, 0].sum(0).nonzero().float()
    assert abs(columns.mean() - (scale * 4.5 - 0.5)) <= 0.5


def test_every_pixel_of_the_default_kernel_has_as_many_taps():
    block = TransposedConvUpsample(1, 3, bias=False)
    nn.init.ones_(block.weight)
    interior = block(torch.ones(1, 1, 8, 8))[..., 3:-3, 3:-3]
    assert torch.equal(interior, torch.full_like(interior, 4))


@pytest.mark.parametrize(("scale", "kernel_size"), [(1, None), (0, 4), (4, 3)])
def test_transposed_convolution_refuses_gaps(scale, kernel_size):
    with pytest.raises(ValueError, match="at least 2 and kernel_size no less"):
        TransposedConvUpsample(4, scale, kernel_size=kernel_size)
