"""SCA and squeeze-and-excitation against their formulas."""

import pytest
import torch
from torch import nn

from restoralib.blocks import SCA, CALayer, ChannelAttention


def test_sca_is_one_linear_map_of_the_means():
    block, x = SCA(5).double(), torch.randn(2, 5, 3, 4, dtype=torch.float64)
    weights = x.mean((2, 3)) @ block[1].weight[:, :, 0, 0].T + block[1].bias
    torch.testing.assert_close(block(x), x * weights[:, :, None, None])


@pytest.mark.parametrize("bias", [True, False])
def test_channel_attention_is_a_bottleneck_of_the_means(bias):
    block, x = ChannelAttention(8, reduction=4, bias=bias).double(), torch.randn(2, 8, 3, 4, dtype=torch.float64)
    assert block[1].weight.shape == (2, 8, 1, 1)
    hidden = (x.mean((2, 3)) @ block[1].weight[:, :, 0, 0].T + (block[1].bias if bias else 0)).relu()
    weights = torch.sigmoid(hidden @ block[3].weight[:, :, 0, 0].T + (block[3].bias if bias else 0))
    torch.testing.assert_close(block(x), x * weights[:, :, None, None])


def test_rcans_layer_is_the_same_under_other_keys():
    ours, theirs = ChannelAttention(8, reduction=4), CALayer(8, reduction=4)
    names = {"1.": "conv_du.0.", "3.": "conv_du.2."}
    theirs.load_state_dict({names[key[:2]] + key[2:]: value for key, value in ours.state_dict().items()})
    x = torch.randn(2, 8, 3, 4)
    assert torch.equal(theirs(x), ours(x))


@pytest.mark.parametrize("cls", [SCA, ChannelAttention, lambda channels, pool: CALayer(channels, 2, pool=pool)])
def test_another_pool_takes_the_place_of_the_global_mean(cls):
    block, x = cls(4, pool=nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)), torch.randn(1, 4, 6, 6)
    far = x.clone()
    far[..., 5, 5] += 1
    assert torch.equal(block(far)[..., :4, :4], block(x)[..., :4, :4])


def test_keys_are_the_authors():
    assert SCA(4).state_dict().keys() == {"1.weight", "1.bias"}
    assert ChannelAttention(4).state_dict().keys() == {"1.weight", "1.bias", "3.weight", "3.bias"}
