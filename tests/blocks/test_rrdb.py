import torch
import torch.nn.functional as F

from restoralib.blocks import RRDB, ResidualDenseBlock


def test_a_dense_block_is_its_formula():
    block, x = ResidualDenseBlock(4, 3).double(), torch.randn(2, 4, 5, 6, dtype=torch.float64)
    seen = [x]
    for conv in (block.conv1, block.conv2, block.conv3, block.conv4):
        seen.append(F.leaky_relu(conv(torch.cat(seen, 1)), 0.2))
    torch.testing.assert_close(block(x), x + 0.2 * block.conv5(torch.cat(seen, 1)))


def test_a_residual_in_residual_block_is_its_formula():
    block, x = RRDB(4, 3).double(), torch.randn(2, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(block(x), x + 0.2 * block.rdb3(block.rdb2(block.rdb1(x))))
