import pytest
import torch
import torch.nn.functional as F

from restoralib.blocks import ResidualBlock


@pytest.mark.parametrize("residual_scale", [1.0, 0.1])
def test_block_is_its_formula(residual_scale):
    block, x = ResidualBlock(4, residual_scale).double(), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    hidden = F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1).relu()
    branch = F.conv2d(hidden, block.conv2.weight, block.conv2.bias, padding=1)
    torch.testing.assert_close(block(x), x + residual_scale * branch)
    assert block.state_dict().keys() == {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"}
