import torch
import torch.nn.functional as F
from torch import nn

from restoralib.blocks import NormResBlock


def test_it_is_its_formula():
    block, x = NormResBlock(8, 12, groups=4, shortcut="skip").double(), torch.randn(2, 8, 5, 6, dtype=torch.float64)
    h = block.conv1(F.silu(F.group_norm(x, 4, block.norm1.weight, block.norm1.bias, 1e-6)))
    h = block.conv2(F.silu(F.group_norm(h, 4, block.norm2.weight, block.norm2.bias, 1e-6)))
    torch.testing.assert_close(block(x), block.skip(x) + h)


def test_without_a_change_of_channels_there_is_no_shortcut():
    block = NormResBlock(8, groups=4, activation=nn.ReLU())
    assert not [key for key in block.state_dict() if "shortcut" in key]
    x = torch.randn(1, 8, 4, 4)
    h = block.conv2(block.norm2(block.conv1(block.norm1(x).relu())).relu())
    torch.testing.assert_close(block(x), x + h)
