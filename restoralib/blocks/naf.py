"""NAFNet's block (arXiv:2204.04676, Fig. 3c)."""

import torch
from torch import Tensor, nn

from restoralib.blocks.channel_attention import SCA
from restoralib.blocks.gates import SimpleGate
from restoralib.blocks.norm import LayerNorm2d


class NAFBlock(nn.Module):
    """Nonlinear-activation-free block: a gated depthwise convolution with channel attention, then a gated feed-forward.

    Both branches are added to the input by learned weights, `beta` and `gamma`, that start at zero: a new block is the
    identity. Keys are those of the authors' code.

    Args:
        channels: channels in and out.
        dw_expand: width of the depthwise convolution, as a multiple of `channels`; even, for the gate halves it.
        ffn_expand: width of the feed-forward, likewise.
        drop_out_rate: dropout after each branch; 0 in all published models.

    Shapes: (b, c, h, w) -> (b, c, h, w), any height and width.
    """

    def __init__(self, channels: int, dw_expand: int = 2, ffn_expand: int = 2, drop_out_rate: float = 0.0) -> None:
        super().__init__()
        dw_width, ffn_width = dw_expand * channels, ffn_expand * channels
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.conv1 = nn.Conv2d(channels, dw_width, 1)
        self.conv2 = nn.Conv2d(dw_width, dw_width, 3, padding=1, groups=dw_width)
        self.conv3 = nn.Conv2d(dw_width // 2, channels, 1)
        self.sca = SCA(dw_width // 2)
        self.sg = SimpleGate()
        self.conv4 = nn.Conv2d(channels, ffn_width, 1)
        self.conv5 = nn.Conv2d(ffn_width // 2, channels, 1)
        self.norm1 = LayerNorm2d(channels)
        self.norm2 = LayerNorm2d(channels)
        self.dropout1 = nn.Dropout(drop_out_rate) if drop_out_rate else nn.Identity()
        self.dropout2 = nn.Dropout(drop_out_rate) if drop_out_rate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.conv2(self.conv1(self.norm1(x)))
        branch = self.dropout1(self.conv3(self.sca(self.sg(branch))))
        x = x + branch * self.beta
        branch = self.dropout2(self.conv5(self.sg(self.conv4(self.norm2(x)))))
        return x + branch * self.gamma
