"""Residual blocks with an embedding of time against their formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.blocks import TimedResBlock, TimedSequential


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("resample", [None, "up", "down"])
@pytest.mark.parametrize("width", [32, 64])
def test_block_is_its_formula(modulated, resample, width):
    torch.manual_seed(0)
    block = TimedResBlock(32, 6, width, use_scale_shift_norm=modulated, resample=resample).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, emb = torch.randn(2, 32, 4, 6, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)

    def norm(x, layer):
        return F.group_norm(x, 32, layer.weight, layer.bias)

    def change(x):
        if resample == "down":
            return F.avg_pool2d(x, 2)
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3) if resample == "up" else x

    hidden = block.in_layers[2](change(F.silu(norm(x, block.in_layers[0]))))
    first, *second = block.emb_layers[1](F.silu(emb))[:, :, None, None].split(width, dim=1)
    if modulated:
        hidden = norm(hidden, block.out_layers[0]) * (1 + first) + second[0]
    else:
        hidden = norm(hidden + first, block.out_layers[0])
    expected = block.skip_connection(change(x)) + block.out_layers[3](F.silu(hidden))
    torch.testing.assert_close(block(x, emb), expected)


def test_a_new_block_is_its_skip_connection():
    block, x, emb = TimedResBlock(32, 6, 64), torch.randn(1, 32, 3, 3), torch.randn(1, 6)
    assert torch.equal(block(x, emb), block.skip_connection(x))


def test_dropout_acts_in_training_only():
    block, x, emb = TimedResBlock(32, 6, dropout=0.5), torch.randn(1, 32, 8, 8), torch.randn(1, 6)
    nn.init.normal_(block.out_layers[3].weight)
    assert not torch.equal(block(x, emb), block(x, emb))
    assert torch.equal(block.eval()(x, emb), block(x, emb))


def test_only_timed_layers_get_the_time():
    block, x, emb = TimedResBlock(32, 6), torch.randn(1, 32, 3, 3), torch.randn(1, 6)
    assert torch.equal(TimedSequential(nn.SiLU(), block)(x, emb), block(F.silu(x), emb))
