"""The gated feed-forward network of DC-AE (arXiv:2410.10733) and SANA (arXiv:2410.10629, there Mix-FFN)."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.blocks.norm import RMSNorm2d


class Border(NamedTuple):
    """Inputs of a `GLUMBConv` just outside a tile, which its 3x3 convolution sees in place of zeros.

    Everything before that convolution works pixel by pixel, so that the borders are as wide as the input, not as the hidden
    features.

    Args:
        top: the row above, (b, c, 1, columns); None for zeros.
        left: the column left of the tile, (b, c, h, 1); None for zeros.
        bottom: the row below, like `top`.
        right: the column right of the tile, like `left`.
        corners: whether `top` and `bottom` begin one pixel left of the tile, and whether they end one pixel right of it. A
            corner that is not there is zero.
    """

    top: Tensor | None = None
    left: Tensor | None = None
    bottom: Tensor | None = None
    right: Tensor | None = None
    corners: tuple[bool, bool] = (False, False)


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
        hidden = self.conv_depth(hidden)
        if border is not None:
            self._add_border(hidden, border)
        value, gate = hidden.chunk(2, 1)
        out: Tensor = self.conv_point(value * F.silu(gate))
        if self.norm is not None:
            out = self.norm(out)
        return out + x if self.residual_connection else out

    def _add_border(self, hidden: Tensor, border: Border) -> None:
        """Add what the 3x3 convolution makes of the pixels outside: it is linear, so only the outermost results change."""
        (height, width), first, last = hidden.shape[-2:], *border.corners
        rows, columns = (1, width + first + last), (height, 1)
        for name, side, size in (
            ("top", border.top, rows),
            ("left", border.left, columns),
            ("bottom", border.bottom, rows),
            ("right", border.right, columns),
        ):
            if side is not None and side.shape[-2:] != size:
                raise ValueError(
                    f"{name} should be {size[0]}x{size[1]} beside this tile, got {side.shape[-2]}x{side.shape[-1]}"
                )
        weight, groups = self.conv_depth.weight, self.conv_depth.groups
        for row, place, taps in (
            (border.top, hidden[..., :1, :], weight[..., :1, :]),
            (border.bottom, hidden[..., -1:, :], weight[..., 2:, :]),
        ):
            if row is not None:
                place += F.conv2d(F.pad(F.silu(self.conv_inverted(row)), (1 - first, 1 - last)), taps, groups=groups)
        for column, place, taps in (
            (border.left, hidden[..., :1], weight[..., :1]),
            (border.right, hidden[..., -1:], weight[..., 2:]),
        ):
            if column is not None:
                place += F.conv2d(F.silu(self.conv_inverted(column)), taps, padding=(1, 0), groups=groups)
