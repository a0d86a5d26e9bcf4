"""The frame that SwinIR and HAT share: what stands around their stages of layers in windows."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from restoralib.blocks.norm import LayerNorm2d
from restoralib.blocks.window_attention import ShiftedWindows, drop_path_rates, shifted_windows
from restoralib.ops.pad import pad_to_multiple

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K


def patch_resolution(img_size: int | Sequence[int], patch_size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of an image in patches, each given as a side or as both."""
    (height, width), (rows, columns) = ((size, size) if isinstance(size, int) else size for size in (img_size, patch_size))
    return height // rows, width // columns


class SwinBody(nn.Module):
    """A convolution for shallow features, stages of layers in windows for deep ones, and a reconstruction of their sum.

    A network derives from it, adds `conv_after_body` and what it reconstructs with, and says how in `_restored`.

    Args:
        stage: makes a stage of a depth, a number of heads and the layers' rates of stochastic depth; called in the order of
            the flow, when `resolution`, `window_size` and `shift_size` are known.
        depths: layers of each stage.
        num_heads: attention heads of each stage.
        in_chans: channels of the image; the mean of DIV2K is subtracted from three.
        embed_dim: channels of the features.
        resolution: (height, width) of the training patches; `ape` fits it alone.
        window_size: side of the windows in pixels. Where the smaller side of `resolution` is no larger, the windows are as
            small as that and never shifted.
        drop_rate: dropout of the features.
        drop_path_rate: stochastic depth of the last layer, rising from 0 at the first one.
        ape: add a learned table of positions.
        patch_norm: whether a layer norm comes before the first stage.
        upscale: pixels of the result for each of the image, along each axis.
        img_range: factor of the image inside.

    Shapes: (b, in_chans, h, w) -> (b, in_chans, upscale h, upscale w), any height and width, padded inside by reflection.

    Raises:
        ValueError: depths and heads do not match; from `forward` with `ape`, another image size.
    """

    mean: Tensor
    conv_after_body: nn.Module

    def __init__(
        self,
        stage: Callable[[int, int, Sequence[float]], nn.Module],
        depths: Sequence[int],
        num_heads: Sequence[int],
        *,
        in_chans: int,
        embed_dim: int,
        resolution: tuple[int, int],
        window_size: int,
        drop_rate: float,
        drop_path_rate: float,
        ape: bool,
        patch_norm: bool,
        upscale: int,
        img_range: float,
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads) or min(depths, default=0) < 1:
            raise ValueError(f"depths and num_heads should be positive, as many of each, got {depths} and {num_heads}")
        self.resolution = resolution
        self.window_size = min(window_size, *resolution)
        self.shift_size = window_size // 2 if min(resolution) > window_size else 0
        # Layers with smaller windows need their multiples too.
        self.multiple = math.lcm(window_size, self.window_size)
        self.upscale = upscale
        self.img_range = img_range

        mean = torch.tensor(RGB_MEAN) if in_chans == 3 else torch.zeros(in_chans)
        self.register_buffer("mean", mean[:, None, None], persistent=False)
        self.conv_first = nn.Conv2d(in_chans, embed_dim, 3, padding=1)
        norm = LayerNorm2d(embed_dim, eps=1e-5) if patch_norm else nn.Identity()
        self.patch_embed = nn.Sequential(OrderedDict(norm=norm))
        self.absolute_pos_embed = nn.Parameter(torch.empty(1, math.prod(resolution), embed_dim)) if ape else None
        if self.absolute_pos_embed is not None:
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)
        self.pos_drop = nn.Dropout(drop_rate)
        rates = drop_path_rates(drop_path_rate, depths)
        self.layers = nn.ModuleList(map(stage, depths, num_heads, rates))
        self.norm = LayerNorm2d(embed_dim, eps=1e-5)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = pad_to_multiple(image, self.multiple)
        # All of it; for dynamic shapes it tells torch.compile that the sides are multiples, which saves minutes.
        x = x[..., : _round_up(height, self.multiple), : _round_up(width, self.multiple)]
        x = (x - self.mean) * self.img_range
        shallow = self.conv_first(x).contiguous(memory_format=torch.channels_last)
        features = shallow + self.conv_after_body(self.deep_features(shallow))
        restored = self._restored(features, x) / self.img_range + self.mean
        return restored[..., : self.upscale * height, : self.upscale * width]

    def deep_features(self, shallow: Tensor) -> Tensor:
        """The stages; one plan of windows serves all shifted layers."""
        height, width = shallow.shape[2:]
        deep: Tensor = self.patch_embed(shallow)
        if self.absolute_pos_embed is not None:
            if (height, width) != self.resolution:
                expected = " x ".join(map(str, self.resolution))
                raise ValueError(f"with ape, the padded image should be {expected}, got {height} x {width}")
            deep = deep + self.absolute_pos_embed.mT.reshape(1, -1, height, width)
        deep = self.pos_drop(deep)
        shifted = None
        if self.shift_size:
            shifted = shifted_windows(height, width, self.window_size, self.shift_size, deep.device, deep.dtype)
        for stage in self.layers:
            deep = self._run_stage(stage, deep, shifted)
        normed: Tensor = self.norm(deep)
        return normed

    def _run_stage(self, stage: nn.Module, x: Tensor, shifted: ShiftedWindows | None) -> Tensor:
        """Call a stage; a network whose stages need more than the windows overrides it."""
        deep: Tensor = stage(x, shifted)
        return deep

    def _restored(self, features: Tensor, image: Tensor) -> Tensor:
        """The result, made by the network from features and from the image as it sees it."""
        raise NotImplementedError


def _round_up(length: int, multiple: int) -> int:
    return (length + multiple - 1) // multiple * multiple
