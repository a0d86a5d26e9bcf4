"""GLUMBConv against its formula, and a tile with borders against the whole."""

import pytest
import torch
import torch.nn.functional as F

from restoralib.blocks import Border, GLUMBConv


def test_it_is_the_formula():
    block = GLUMBConv(6, 6, 2.5, "rms_norm").double()
    torch.nn.init.normal_(block.norm.weight)
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    hidden = F.silu(F.conv2d(x, block.conv_inverted.weight, block.conv_inverted.bias))
    value, gate = F.conv2d(hidden, block.conv_depth.weight, block.conv_depth.bias, padding=1, groups=30).split(15, 1)
    out = F.conv2d(value * gate * gate.sigmoid(), block.conv_point.weight)
    out = out / (out.square().mean(1, keepdim=True) + 1e-5).sqrt() * block.norm.weight.view(-1, 1, 1)
    torch.testing.assert_close(block(x), x + out)


@pytest.mark.parametrize("where", [(3, 7, 2, 6), (0, 4, 3, 11), (5, 9, 0, 4), (4, 5, 6, 7), (0, 9, 0, 11)])
def test_a_tile_with_its_border_is_a_part_of_the_whole(where):
    block = GLUMBConv(4, 6, 2, residual_connection=False).double()
    x = torch.randn(1, 4, 9, 11, dtype=torch.float64)
    top, bottom, left, right = where
    corners = left > 0, right < 11
    across = slice(left - corners[0], right + corners[1])
    border = Border(
        x[..., top - 1 : top, across] if top else None,
        x[..., top:bottom, left - 1 : left] if left else None,
        x[..., bottom : bottom + 1, across] if bottom < 9 else None,
        x[..., top:bottom, right : right + 1] if right < 11 else None,
        corners,
    )
    tile = block(x[..., top:bottom, left:right], border)
    torch.testing.assert_close(tile, block(x)[..., top:bottom, left:right])


def test_a_border_that_is_not_there_is_zeros():
    block = GLUMBConv(4, 4, 2).double()
    x = torch.randn(1, 4, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(block(x, Border()), block(x))
    torch.testing.assert_close(block(x[..., 2:, :], Border(x[..., 1:2, :])), block(x)[..., 2:, :])
    torch.testing.assert_close(block(x[..., 3:], Border(left=x[..., 2:3])), block(x)[..., 3:])


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="should be None or 'rms_norm', got 'batch_norm'"):
        GLUMBConv(4, 4, norm_type="batch_norm")
    with pytest.raises(ValueError, match="as many channels out as in, got 6 and 4"):
        GLUMBConv(4, 6)
    block, x = GLUMBConv(4, 4), torch.rand(1, 4, 5, 6)
    with pytest.raises(ValueError, match="top should be 1x6 beside this tile, got 1x5"):
        block(x, Border(torch.rand(1, 4, 1, 5)))
    with pytest.raises(ValueError, match="left should be 5x1"):
        block(x, Border(left=torch.rand(1, 4, 6, 1)))
