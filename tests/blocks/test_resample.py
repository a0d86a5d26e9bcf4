"""Sampling by two, written out."""

import pytest
import torch
import torch.nn.functional as F

from restoralib.blocks import CornerDownsample, HalvingDownsample, NearestUpsample


def test_doubling_repeats_every_pixel():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    doubled = torch.tensor([[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2).view(1, 1, 4, 6)
    assert torch.equal(NearestUpsample(1, use_conv=False)(x), doubled.float())
    up = NearestUpsample(1, 2)
    assert torch.equal(up(x), up.conv(doubled.float())) and set(up.state_dict()) == {"conv.weight", "conv.bias"}


def test_halving_takes_means_or_every_second_pixel():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert HalvingDownsample(1, use_conv=False)(x).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    down = HalvingDownsample(1)
    torch.nn.init.dirac_(down.op.weight)
    torch.nn.init.zeros_(down.op.bias)
    assert down(x).flatten().tolist() == [0, 2, 8, 10] and down(x[..., :3, :3]).shape == (1, 1, 2, 2)
    assert HalvingDownsample(1, use_conv=False)(x[..., :3, :3]).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("block", [NearestUpsample, HalvingDownsample])
def test_channels_change_by_a_convolution_alone(block):
    with pytest.raises(ValueError, match="without a convolution out_channels should be 8, got 4; set use_conv"):
        block(8, 4, use_conv=False)


def test_corner_downsampling_looks_right_and_down():
    layer, x = CornerDownsample(3).double(), torch.randn(1, 3, 4, 6, dtype=torch.float64)
    expected = F.conv2d(F.pad(x, (0, 1, 0, 1)), layer.conv.weight, layer.conv.bias, stride=2)
    torch.testing.assert_close(layer(x), expected)
