"""One micro-benchmark a block, 48 channels (64 for attention in windows of 8) at 128x128."""

import pytest
import torch

from restoralib import blocks

SIDE = 128
BLOCKS = {
    "LayerNorm2d": lambda: blocks.LayerNorm2d(48),
    "NAFBlock": lambda: blocks.NAFBlock(48),
    "SCA": lambda: blocks.SCA(48),
    "ChannelAttention": lambda: blocks.ChannelAttention(48),
    "MDTA": lambda: blocks.MDTA(48, 1, False),
    "GDFN": lambda: blocks.GDFN(48, 2.66, False),
    "LinearAttention": lambda: blocks.LinearAttention(48, 3),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_block(name, timed):
    timed(BLOCKS[name](), torch.rand(1, 48, SIDE, SIDE), pixels=SIDE**2)
