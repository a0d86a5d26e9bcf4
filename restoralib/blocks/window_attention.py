"""Attention within windows, and the Swin Transformer layers that SwinIR and its descendants are made of.

Liu et al., Swin Transformer, ICCV 2021, arXiv:2103.14030; Liang et al., SwinIR, ICCVW 2021, arXiv:2108.10257. Keys of the
state dicts are those of the authors' code. Plain views cut the windows, for torch.compile traces einops three times as long.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restoralib.ops.pad import pad_to_multiple

ResiConnection = Literal["1conv", "3conv"]


def window_partition(x: Tensor, window_size: int) -> Tensor:
    """Cut (b, h, w, c) into windows (b, windows, n, c), row by row; n = window_size**2 pixels, row by row.

    Raises:
        ValueError: a side is no multiple of the window.
    """
    b, height, width, c = x.shape
    if height % window_size or width % window_size:
        raise ValueError(
            f"height and width should be multiples of the window's {window_size} pixels, got {height} x {width}; "
            "extend it by restoralib.ops.pad_to_multiple"
        )
    rows, columns = height // window_size, width // window_size
    x = x.reshape(b, rows, window_size, columns, window_size, c).transpose(2, 3)
    return x.reshape(b, rows * columns, window_size**2, c)


def window_reverse(windows: Tensor, window_size: int, height: int, width: int) -> Tensor:
    """Put windows (b, windows, n, c) together again as (b, height, width, c)."""
    b, _, _, c = windows.shape
    rows, columns = height // window_size, width // window_size
    x = windows.reshape(b, rows, columns, window_size, window_size, c).transpose(2, 3)
    return x.reshape(b, height, width, c)


class ShiftedWindows(NamedTuple):
    """How layers that are shifted read an image; once made, it serves all layers of a network.

    Args:
        order: (h w,) pixels of the image in the order of the windows, those windows last that hold pixels from opposite sides.
        inverse: (h w,) where each pixel stands in that order.
        mask: (m, n, n) what the last m windows add to their logits.
    """

    order: Tensor
    inverse: Tensor
    mask: Tensor


def shifted_windows(
    height: int,
    width: int,
    window_size: int,
    shift_size: int,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> ShiftedWindows:
    """The windows of an image that was moved cyclically by `shift_size` pixels up and to the left.

    A side that is no multiple of the window counts as padded to one. Only the last row and the last column of windows have a
    mask, so that the others do not pay for it.
    """
    pixels, side = _shifted_pixels(height, width, window_size, shift_size, device)
    rows, columns = -(-height // window_size), -(-width // window_size)
    border = torch.zeros(rows, columns, dtype=torch.int, device=device)
    border[-1] = 1
    border[:, -1] = 1
    # Borders last, else in order; the keys differ, for ONNX has no stable sort.
    windows = (rows * columns * border.flatten() + torch.arange(rows * columns, device=device)).argsort()
    masked = rows + columns - 1
    order = pixels[windows].flatten()
    return ShiftedWindows(order, order.argsort(), _walls(side[windows.narrow(0, rows * columns - masked, masked)], dtype))


def shift_mask(
    height: int,
    width: int,
    window_size: int,
    shift_size: int,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """What all windows of a shifted image add to their logits, row by row, as the authors' files hold it.

    Returns:
        (windows, n, n), 0 between pixels of one side of the image, -100 between those of opposite sides.
    """
    return _walls(_shifted_pixels(height, width, window_size, shift_size, device)[1], dtype)


def _shifted_pixels(
    height: int, width: int, window_size: int, shift_size: int, device: torch.device | None
) -> tuple[Tensor, Tensor]:
    """For every window of the shifted image its pixels, and the sides that they come from, each (windows, n)."""
    height, width = height + -height % window_size, width + -width % window_size
    pixels = torch.arange(height * width, device=device).view(1, height, width, 1)
    # The shift brings the first rows and columns to the far end. No remainder by the width: ONNX has none by a size.
    rows, columns = torch.arange(height, device=device).view(1, -1, 1, 1), torch.arange(width, device=device).view(1, 1, -1, 1)
    side = 2 * (rows < shift_size) + (columns < shift_size)
    moved = (x.roll((-shift_size, -shift_size), (1, 2)) for x in (pixels, side))
    order, sides = (window_partition(x, window_size)[0, :, :, 0] for x in moved)
    return order, sides


def _walls(side: Tensor, dtype: torch.dtype) -> Tensor:
    return -100.0 * (side[:, :, None] != side[:, None, :]).to(dtype)


def in_windows(
    x: Tensor,
    window_size: int,
    transform: Callable[[Tensor, Tensor | None], Tensor],
    shifted: ShiftedWindows | None = None,
) -> Tensor:
    """Cut (b, h, w, c) into windows, transform them, and put them together again.

    Args:
        x: whose sides are multiples of the window.
        window_size: side of the windows in pixels.
        transform: maps windows (b, windows, n, c) and a mask to as many windows; the mask (m, n, n) is for the logits of the
            last m windows, None for no mask.
        shifted: the windows of this size of image moved by a shift; None for windows from the first pixel on.
    """
    b, h, w, c = x.shape
    if shifted is None:
        return window_reverse(transform(window_partition(x, window_size), None), window_size, h, w)
    count, n = (h // window_size) * (w // window_size), window_size**2
    windows = x.reshape(b, h * w, c).index_select(1, shifted.order).view(b, count, n, c)
    windows = transform(windows, shifted.mask)
    return windows.view(b, h * w, -1).index_select(1, shifted.inverse).view(b, h, w, -1)


def attend_in_windows(
    windows: Tensor,
    qkv: nn.Module,
    proj: nn.Module,
    bias: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Multi-head self-attention among the pixels of each window (Swin, eq. 4).

    Args:
        windows: (b, windows, n, c).
        qkv: makes (…, 3c) of (…, c): the queries of all heads, then the keys, then the values.
        proj: mixes the heads' results.
        bias: (heads, n, n), added to the logits.
        mask: (m, n, n), added to the logits of the last m windows.
        scale: factor of the logits; None for (c / heads)**-0.5.
        dropout: of the attention weights.
    """
    b, count, n, c = windows.shape
    if mask is not None and mask.shape[0] < count:
        masked = mask.shape[0]  # len() would fix it for torch.export
        free = count - masked
        without = attend_in_windows(windows.narrow(1, 0, free), qkv, proj, bias, None, scale, dropout)
        within = attend_in_windows(windows.narrow(1, free, masked), qkv, proj, bias, mask, scale, dropout)
        return torch.cat([without, within], 1)
    heads = bias.shape[0]
    q, k, v = qkv(windows).view(b * count, n, 3, heads, c // heads).permute(2, 0, 3, 1, 4).unbind()
    logits = bias[None] if mask is None else (bias + mask[:, None]).expand(b, -1, -1, -1, -1).flatten(0, 1)
    mixed = F.scaled_dot_product_attention(q, k, v, logits.to(q.dtype), dropout_p=dropout, scale=scale)
    output: Tensor = proj(mixed.transpose(1, 2).reshape(b, count, n, c))
    return output


def relative_position_index(window_size: int) -> Tensor:
    """Rows of a bias table for all pairs of a window's pixels, (n, n)."""
    # In numpy: torch's first integer division on the meta device, where files are checked, imports its compiler for a second.
    axes = np.divmod(np.arange(window_size**2), window_size)
    rows, columns = (axis[:, None] - axis + window_size - 1 for axis in axes)
    return torch.tensor(rows * (2 * window_size - 1) + columns, dtype=torch.int64)


def relative_position_bias_table(side: int, num_heads: int) -> nn.Parameter:
    """A learned bias of every head for each of side x side relative positions, (side**2, num_heads)."""
    table = nn.Parameter(torch.empty(side**2, num_heads))
    nn.init.trunc_normal_(table, std=0.02)
    return table


def projection(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer that starts as Swin's do: normal weights of std 0.02, biases of zero."""
    layer = nn.Linear(inputs, outputs, bias)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def feed_forward(dim: int, width: int, drop: float = 0.0) -> nn.Sequential:
    """Two linear layers with GELU between them; weights lie under `fc1` and `fc2`."""
    return nn.Sequential(
        OrderedDict(
            fc1=projection(dim, width),
            act=nn.GELU(),
            drop1=nn.Dropout(drop),
            fc2=projection(width, dim),
            drop2=nn.Dropout(drop),
        )
    )


def residual_conv(channels: int, connection: ResiConnection = "1conv") -> nn.Module:
    """The convolution before a residual sum: one 3x3, or a bottleneck of three with a quarter of the channels."""
    if connection == "1conv":
        return nn.Conv2d(channels, channels, 3, padding=1)
    if connection == "3conv":
        return nn.Sequential(
            nn.Conv2d(channels, channels // 4, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels // 4, channels // 4, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels // 4, channels, 3, padding=1),
        )
    raise ValueError(f"resi_connection should be '1conv' or '3conv', got {connection!r}")


def drop_path_rates(last: float, depths: Sequence[int]) -> list[list[float]]:
    """Stochastic depth of the layers of each stage, rising from 0 at the first layer to `last` at the last one."""
    count = sum(depths)
    rates = iter([last * layer / max(count - 1, 1) for layer in range(count)])
    return [list(islice(rates, depth)) for depth in depths]


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., arXiv:1603.09382): in training a branch vanishes for some images of the batch.

    Args:
        rate: probability to vanish; branches that stay are divided by 1 - rate.

    Shapes: (b, …) -> (b, …).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        return x * F.dropout(x.new_ones(x.shape[:1] + (1,) * (x.ndim - 1)), self.rate)


class IndexedAttention(nn.Module):
    """Attention within windows (Swin, eq. 4), whose caller has the rows of the bias table for all pairs of pixels.

    Args:
        dim: channels in and out.
        num_heads: a divisor of `dim`.
        window_size: side of the windows in pixels.
        qkv_bias: whether queries, keys and values have biases.
        qk_scale: factor of the logits; None for (dim / num_heads)**-0.5.
        attn_drop: dropout of the attention weights.
        proj_drop: dropout of the result.

    Shapes: windows (b, w, n, c) and the index (n, n) -> (b, w, n, c); `mask` as for `attend_in_windows`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int = 8,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim should be a multiple of num_heads, got {dim} and {num_heads}")
        self.num_heads = num_heads
        self.scale = qk_scale or (dim // num_heads) ** -0.5
        self.attn_drop = attn_drop
        self.relative_position_bias_table = relative_position_bias_table(2 * window_size - 1, num_heads)
        self.qkv = projection(dim, 3 * dim, qkv_bias)
        self.proj = projection(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, windows: Tensor, index: Tensor, mask: Tensor | None = None) -> Tensor:
        bias = self.relative_position_bias_table.T[:, index]
        dropout = self.attn_drop if self.training else 0.0
        output: Tensor = self.proj_drop(attend_in_windows(windows, self.qkv, self.proj, bias, mask, self.scale, dropout))
        return output


class WindowAttention(IndexedAttention):
    """Self-attention among the pixels of a window, with a learned bias for every relative position (Swin, eq. 4).

    Args:
        dim: channels in and out.
        num_heads: a divisor of `dim`.
        window_size: side of the window in pixels.
        qkv_bias: whether queries, keys and values have biases.
        qk_scale: factor of the logits; None for (dim / num_heads)**-0.5.
        attn_drop: dropout of the attention weights.
        proj_drop: dropout of the result.

    Shapes: windows (b, w, n, c) with n = window_size**2 -> (b, w, n, c). `mask` (m, n, n) is added to the logits of the last m
    windows.
    """

    relative_position_index: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int = 8,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__(dim, num_heads, window_size, qkv_bias, qk_scale, attn_drop, proj_drop)
        self.register_buffer("relative_position_index", relative_position_index(window_size))

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return super().forward(windows, self.relative_position_index, mask)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The window's size tells the index: a file may lack it, and is not believed where it has one.
        state_dict[prefix + "relative_position_index"] = self.relative_position_index
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[no-untyped-call]


class STL(nn.Module):
    """Swin Transformer layer: attention within windows, then a feed-forward, each after a layer norm and added to its input.

    A shifted layer moves the image cyclically by `shift_size` first and back in the end, so that its windows straddle
    those of its neighbours. Sides that are no multiples of the window are padded by reflection, and cropped again.

    Args:
        dim: channels in and out.
        num_heads: a divisor of `dim`.
        window_size: side of the windows in pixels.
        shift_size: pixels to shift; 0 for none, window_size // 2 in every second layer of SwinIR.
        mlp_ratio: width of the feed-forward, as a multiple of `dim`.
        qkv_bias: whether queries, keys and values have biases.
        qk_scale: factor of the logits; None for (dim / num_heads)**-0.5.
        drop: dropout of both branches.
        attn_drop: dropout of the attention weights.
        drop_path: probability of stochastic depth.
        resolution: (height, width) for which the state dict of a shifted layer holds `attn_mask`, as the authors' files do;
            None for no mask there. It changes no result: the mask is made for the image at hand.

    Shapes: (b, c, h, w) -> (b, c, h, w), any height and width, fastest in channels_last memory. A caller with many layers
    gives them the `shifted_windows` of that size; a layer that is not shifted ignores them.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int = 8,
        shift_size: int = 0,
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        resolution: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= shift_size < window_size:
            raise ValueError(f"shift_size should be at least 0 and less than window_size, got {shift_size} and {window_size}")
        self.window_size = window_size
        self.shift_size = shift_size
        self.resolution = resolution
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window_size, qkv_bias, qk_scale, attn_drop, drop)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = feed_forward(dim, int(dim * mlp_ratio), drop)

    def forward(self, x: Tensor, shifted: ShiftedWindows | None = None) -> Tensor:
        height, width = x.shape[2:]
        x = pad_to_multiple(x, self.window_size).permute(0, 2, 3, 1)
        plan = None
        if self.shift_size:
            h, w = x.shape[1:3]
            plan = shifted or shifted_windows(h, w, self.window_size, self.shift_size, x.device, x.dtype)
        x = in_windows(x, self.window_size, self._transform, plan)
        return x[:, :height, :width].permute(0, 3, 1, 2)

    def _transform(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        windows = windows + self.drop_path(self.attn(self.norm1(windows), mask))
        windows = windows + self.drop_path(self.mlp(self.norm2(windows)))
        return windows

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)  # type: ignore[no-untyped-call]
        if self.shift_size and self.resolution:
            # On the meta device, where files are checked, the shape alone: it must not cost what a file claims.
            weight, pixels = self.norm1.weight, self.window_size**2
            windows = math.prod(-(-side // self.window_size) for side in self.resolution)
            if weight.is_meta:
                mask = weight.new_empty(windows, pixels, pixels)
            else:
                mask = shift_mask(*self.resolution, self.window_size, self.shift_size, weight.device, weight.dtype)
            destination[prefix + "attn_mask"] = mask

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Files hold the mask of their training size, or none; it is made anew for every image.
        if self.shift_size:
            state_dict.pop(prefix + "attn_mask", None)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[no-untyped-call]


class RSTB(nn.Module):
    """Residual Swin Transformer block: layers, every second one shifted, and a convolution, added to the input (SwinIR, eq. 6).

    Args:
        dim: channels in and out.
        depth: number of layers.
        num_heads: a divisor of `dim`.
        window_size: side of the windows in pixels.
        shifted: False for no shift in any layer.
        resi_connection: "1conv" for one 3x3 convolution, "3conv" for a bottleneck of three.
        drop_path: probability of stochastic depth, for all layers or for each.
        use_checkpoint: compute each layer again in the backward pass of training, which saves memory for time.
        **layer: further arguments of `STL`.

    Shapes: as `STL`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        window_size: int = 8,
        shifted: bool = True,
        resi_connection: ResiConnection = "1conv",
        drop_path: float | Sequence[float] = 0.0,
        use_checkpoint: bool = False,
        **layer: Any,
    ) -> None:
        super().__init__()
        rates = drop_path if isinstance(drop_path, Sequence) else [drop_path] * depth
        self.window_size = window_size
        self.shift_size = window_size // 2 if shifted and depth > 1 else 0
        self.use_checkpoint = use_checkpoint
        layers = nn.ModuleList(
            STL(dim, num_heads, window_size, index % 2 * self.shift_size, drop_path=rate, **layer)
            for index, rate in zip(range(depth), rates, strict=True)
        )
        self.residual_group = nn.ModuleDict({"blocks": layers})
        self.conv = residual_conv(dim, resi_connection)

    def forward(self, x: Tensor, shifted: ShiftedWindows | None = None) -> Tensor:
        if self.shift_size and shifted is None:
            height, width = x.shape[2:]
            shifted = shifted_windows(height, width, self.window_size, self.shift_size, x.device, x.dtype)
        deep = x
        for layer in self.residual_group["blocks"].children():
            deep = checkpoint(layer, deep, shifted, use_reentrant=False) if self.use_checkpoint else layer(deep, shifted)
        residual: Tensor = self.conv(deep)
        return x + residual
