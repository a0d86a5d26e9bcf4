"""NAFNet's block against its figure, written with plain functions."""

import pytest
import torch
import torch.nn.functional as F

from restoralib.blocks import NAFBlock


def layer_norm(x: torch.Tensor, norm) -> torch.Tensor:
    mean, variance = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


def figure_3c(block: NAFBlock, x: torch.Tensor) -> torch.Tensor:
    def conv(name: str, features: torch.Tensor, **options) -> torch.Tensor:
        layer = block.get_submodule(name)
        return F.conv2d(features, layer.weight, layer.bias, **options)

    y = conv("conv1", layer_norm(x, block.norm1))
    y = conv("conv2", y, padding=1, groups=y.shape[1])
    width = y.shape[1] // 2
    y = y[:, :width] * y[:, width:]
    y = y * conv("sca.1", y.mean((2, 3), keepdim=True))
    x = x + conv("conv3", y) * block.beta
    y = conv("conv4", layer_norm(x, block.norm2))
    width = y.shape[1] // 2
    return x + conv("conv5", y[:, :width] * y[:, width:]) * block.gamma


@pytest.mark.parametrize(("dw_expand", "ffn_expand"), [(2, 2), (4, 2), (2, 6)])
def test_block_is_its_figure(dw_expand, ffn_expand):
    block = NAFBlock(6, dw_expand, ffn_expand).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(block(x), figure_3c(block, x))


def test_a_new_block_is_the_identity():
    x = torch.randn(1, 6, 4, 5)
    assert torch.equal(NAFBlock(6)(x), x)


def test_dropout_acts_in_training_only():
    block, x = NAFBlock(6, drop_out_rate=0.5), torch.randn(1, 6, 8, 8)
    torch.nn.init.ones_(block.beta)
    assert not torch.equal(block(x), block(x))
    assert torch.equal(block.eval()(x), block(x))
