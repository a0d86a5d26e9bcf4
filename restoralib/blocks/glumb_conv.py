"""The gated feed-forward network of DC-AE (arXiv:2410.10733) and SANA (arXiv:2410.10629, there Mix-FFN)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.blocks.norm import RMSNorm2d


class Border(NamedTuple):
    """Inputs of a `GLUMBConv` just outside a tile, which its 3x3 convolution sees in place of zeros.

    Everything before that convolution works pixel by pixel, so that the borders are as wide as the input, not as the hidden
    features.

    Args:
        top: the row above, (b, c, 1, columns), beginning with the pixel above `left` where that is given. It may hold one
            pixel more at its end, the one above and right of the tile. None where the picture ends.
        left: the column left of the tile, (b, c, h, 1); None where the picture ends.
    """

    top: Tensor | None = None
    left: Tensor | None = None


class GLUMBConv(nn.Module):
    """An inverted bottleneck with a gate: 1x1 -> SiLU -> 3x3 depthwise -> a SiLU(g) -> 1x1, then norm and residual where asked.

    Keys are those of diffusers.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        expand_ratio: hidden channels behind the gate for each channel in.
        norm_type: None, or "rms_norm" over the channels of the output.
        residual_connection: the input is added.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h, w).

    Raises:
        ValueError: an unknown norm, or a residual between different widths.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expand_ratio: float = 4,
        norm_type: str | None = None,
        residual_connection: bool = True,
    ) -> None:
        super().__init__()
        if norm_type not in (None, "rms_norm"):
            raise ValueError(f"norm_type should be None or 'rms_norm', got {norm_type!r}")
        if residual_connection and in_channels != out_channels:
            raise ValueError(f"a residual needs as many channels out as in, got {out_channels} and {in_channels}")
        hidden = int(expand_ratio * in_channels)
        self.residual_connection = residual_connection
        self.conv_inverted = nn.Conv2d(in_channels, 2 * hidden, 1)
        self.conv_depth = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.conv_point = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self.norm = RMSNorm2d(out_channels) if norm_type else None

    def forward(self, x: Tensor, border: Border | None = None) -> Tensor:
        hidden = F.silu(self.conv_inverted(x))
        if border is None:
            hidden = self.conv_depth(hidden)
        else:
            hidden = F.conv2d(
                self._surround(hidden, border), self.conv_depth.weight, self.conv_depth.bias, groups=self.conv_depth.groups
            )
        value, gate = hidden.chunk(2, 1)
        out: Tensor = self.conv_point(value * F.silu(gate))
        if self.norm is not None:
            out = self.norm(out)
        return out + x if self.residual_connection else out

    def _surround(self, hidden: Tensor, border: Border) -> Tensor:
        """Hidden features with one pixel more on all sides: what is known of the border, else zeros."""
        width, known = hidden.shape[-1], int(border.left is not None)
        if border.left is None:
            hidden = F.pad(hidden, (1, 1, 0, 1))
        else:
            if border.left.shape[-2:] != (hidden.shape[-2], 1):
                raise ValueError(f"left should be {hidden.shape[-2]}x1, a column of the tile, got {tuple(border.left.shape)}")
            hidden = F.pad(torch.cat((F.silu(self.conv_inverted(border.left)), hidden), -1), (0, 1, 0, 1))
        if border.top is None:
            return F.pad(hidden, (0, 0, 1, 0))
        more = border.top.shape[-1] - width - known
        if more not in (0, 1) or border.top.shape[-2] != 1:
            raise ValueError(f"top should be 1x{width + known}, or a column more, got {tuple(border.top.shape)}")
        return torch.cat((F.pad(F.silu(self.conv_inverted(border.top)), (1 - known, 1 - more)), hidden), -2)
