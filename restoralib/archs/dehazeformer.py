"""DehazeFormer: dehazing by a small U-Net of convolutions and windowed attention.

Song et al., Vision Transformers for Single Image Dehazing, IEEE TIP 2023, arXiv:2204.03883. The checkpoints of
IDKiro/DehazeFormer load unchanged. Images are RGB in [0, 1] of any size; inside they lie in [-1, 1] and are padded by
reflection at the right and at the bottom to multiples of 4. Where the authors' code needs 25 pixels a side, smaller images are
padded until the reflections of the convolutions fit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.named import named
from restoralib.blocks.reduction import GlobalMean, GlobalReduction
from restoralib.blocks.upsample import PixelShuffleDirect
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.precision import at_least_float32, without_autocast

ConvType = Literal["DWConv", "Conv"]

LEVELS = (0, 1, 2, 1, 0)  # of the five stages: the image's sides are halved so often
REACH = {"DWConv": 2, "Conv": 1}  # pixels that the convolutions reflect at a border


class FeatureMean(GlobalReduction):
    """Mean of an image over channels, height and width, kept as axes of length one.

    Shapes: (b, c, h, w) -> (b, 1, 1, 1).
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3), keepdim=True)


class RescaleNorm(nn.Module):
    """Layer norm over a whole image that gives the statistics it took out back as a scale and a shift.

    Mean and standard deviation are of channels, height and width together; the variance is biased, with `eps` inside the
    root. It is the mean of squares about the known mean: two reductions, but float32 loses nothing where the mean is large.
    Half precision is normed in float32.

    Args:
        dim: channels.
        eps: added to the variance.

    Shapes: (b, c, h, w) -> (b, c, h, w), and scale and shift for the branch behind it, both (b, c, 1, 1).
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(1, dim, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, dim, 1, 1))
        self.meta1 = nn.Conv2d(1, dim, 1)
        self.meta2 = nn.Conv2d(1, dim, 1)
        self.mean = FeatureMean()
        self.variance = FeatureMean()
        for meta, start in ((self.meta1, 1.0), (self.meta2, 0.0)):
            nn.init.trunc_normal_(meta.weight, std=0.02)
            nn.init.constant_(meta.bias, start)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with without_autocast(x):
            precise = x.to(at_least_float32(x.dtype))
            mean = self.mean(precise)
            centered = precise - mean
            std = (self.variance(centered.square()) + self.eps).sqrt()
            normed = (centered / std).to(x.dtype)
        return normed * self.weight + self.bias, self.meta1(std.to(x.dtype)), self.meta2(mean.to(x.dtype))


class ReflectedWindows(NamedTuple):
    """How the attention of a stage reads a feature map; once made, it serves all blocks of the stage with the same shift.

    Args:
        order: (windows n,) the pixel of the map that stands at every place of the windows; reflected ones stand there twice.
        inverse: (h w,) a place in the windows for every pixel, the one that is no reflection.
    """

    order: Tensor
    inverse: Tensor


def reflected_windows(
    height: int, width: int, window_size: int, shift_size: int, device: torch.device | None = None
) -> ReflectedWindows:
    """Windows over a map that reflection extends by `shift_size` pixels at the top and left, then to whole windows.

    The sides should have two pixels or more; shorter maps than the windows are reflected to and fro.
    """
    places, pixels = [], []
    for length in (height, width):
        count = (length + shift_size + window_size - 1) // window_size
        place = torch.arange(count * window_size, dtype=torch.int32, device=device)
        period = 2 * (length - 1)
        phase = (place - shift_size) % period
        pixels.append(torch.minimum(phase, period - phase).view(count, window_size))
        places.append(place.narrow(0, shift_size, length))
    rows, columns = pixels
    order = rows[:, None, :, None] * width + columns[None, :, None, :]
    row, column = places[0][:, None], places[1][None]
    window = row // window_size * columns.shape[0] + column // window_size
    inverse = window * window_size**2 + row % window_size * window_size + column % window_size
    return ReflectedWindows(order.flatten(), inverse.flatten())


class WindowMHSA(nn.Module):
    """Self-attention within windows, with a bias that a small network makes from the relative positions.

    Args:
        dim: channels.
        num_heads: a divisor of `dim`.
        window_size: side of the windows in pixels.

    Shapes: qk (b, 2c, h, w), queries before keys, and v (b, c, h, w) -> (b, c, h, w).
    """

    relative_positions: Tensor

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"embed_dims should be multiples of num_heads where there is attention, got {dim} and {num_heads}")
        self.num_heads = num_heads
        self.pixels = window_size**2
        self.register_buffer("relative_positions", _relative_positions(window_size))
        self.meta = nn.Sequential(nn.Linear(2, 256), nn.ReLU(inplace=True), nn.Linear(256, num_heads))

    def forward(self, qk: Tensor, v: Tensor, windows: ReflectedWindows) -> Tensor:
        b, c, h, w = v.shape
        tokens = (x.permute(0, 2, 3, 1).reshape(b, h * w, -1).index_select(1, windows.order) for x in (qk, v))
        q, k, v = (
            heads
            for x in tokens
            for heads in x.view(-1, self.pixels, x.shape[2] // c, self.num_heads, c // self.num_heads)
            .permute(2, 0, 3, 1, 4)
            .unbind()
        )
        bias = self.meta(self.relative_positions).permute(2, 0, 1)[None]
        mixed = F.scaled_dot_product_attention(q, k, v, bias.to(q.dtype))
        mixed = mixed.transpose(1, 2).reshape(b, -1, c).index_select(1, windows.inverse)
        return mixed.view(b, h, w, c).permute(0, 3, 1, 2)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The window's size tells the positions: a file may lack them, and is not believed where it has some.
        state_dict[prefix + "relative_positions"] = self.relative_positions
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[no-untyped-call]


def _relative_positions(window_size: int) -> Tensor:
    """sign(d) log(1 + |d|) for the rows and columns d between all pairs of a window's pixels, (n, n, 2)."""
    # In numpy: torch's first integer division on the meta device, where files are checked, imports its compiler for a second.
    position = np.stack(np.divmod(np.arange(window_size**2), window_size), -1)
    distance = position[:, None] - position
    return torch.tensor(np.sign(distance) * np.log1p(np.abs(distance)), dtype=torch.float32)


class Attention(nn.Module):
    """Attention in windows and a convolution beside it, both of the same values (W-MHSA-PC); or the latter alone.

    Args:
        dim: channels.
        conv_type: "DWConv" for a depthwise 5x5 convolution, "Conv" for two full 3x3 ones; both reflect at the border. Without
            attention, "Conv" has no further layers.
        attention: (heads, side of the windows); None for the convolution alone.
        gain: of the initial weights; all but queries and keys start smaller in deeper networks.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, dim: int, conv_type: ConvType, attention: tuple[int, int] | None, gain: float = 1.0) -> None:
        super().__init__()
        if conv_type == "Conv":
            self.conv: nn.Module = nn.Sequential(
                _start(nn.Conv2d(dim, dim, 3, padding=1, padding_mode="reflect"), gain),
                nn.ReLU(inplace=True),
                _start(nn.Conv2d(dim, dim, 3, padding=1, padding_mode="reflect"), gain),
            )
        else:
            self.conv = _start(nn.Conv2d(dim, dim, 5, padding=2, groups=dim, padding_mode="reflect"), gain)
        self.projects = conv_type == "DWConv" or attention is not None
        if self.projects:
            self.V = _start(nn.Conv2d(dim, dim, 1), gain)
            self.proj = _start(nn.Conv2d(dim, dim, 1), gain)
        self.attends = attention is not None
        if attention is not None:
            self.QK = _start(nn.Conv2d(dim, 2 * dim, 1))
            self.attn = WindowMHSA(dim, *attention)

    def forward(self, x: Tensor, windows: ReflectedWindows | None = None) -> Tensor:
        if not self.projects:
            convolved: Tensor = self.conv(x)
            return convolved
        v = self.V(x)
        mixed = self.conv(v)
        if self.attends:
            mixed = mixed + self.attn(self.QK(x), v, windows)
        projected: Tensor = self.proj(mixed)
        return projected


class Mlp(nn.Module):
    """The feed-forward: 1x1, ReLU, 1x1. Shapes: (b, c, h, w) -> (b, c, h, w)."""

    def __init__(self, dim: int, hidden: int, gain: float = 1.0) -> None:
        super().__init__()
        layers = (_start(nn.Conv2d(dim, hidden, 1), gain), nn.ReLU(inplace=True), _start(nn.Conv2d(hidden, dim, 1), gain))
        self.mlp = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mlp(x)
        return mixed


class TransformerBlock(nn.Module):
    """Attention behind a RescaleNorm, or a convolution without norm; then a feed-forward. Each is added to its input.

    Shapes: (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(
        self, dim: int, hidden: int, conv_type: ConvType, attention: tuple[int, int] | None, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.norm1 = RescaleNorm(dim) if attention else None
        self.attn = Attention(dim, conv_type, attention, gain)
        self.mlp = Mlp(dim, hidden, gain)

    def forward(self, x: Tensor, windows: ReflectedWindows | None = None) -> Tensor:
        if self.norm1 is None:
            x = x + self.attn(x)
        else:
            normed, scale, shift = self.norm1(x)
            x = x + (self.attn(normed, windows) * scale + shift)
        mixed: Tensor = x + self.mlp(x)
        return mixed


class Stage(nn.Module):
    """The blocks of one resolution, of which the last `attn_ratio` have attention; odd ones have their windows shifted.

    Shapes: (b, c, h, w) -> (b, c, h, w); sides of two pixels or more.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        window_size: int,
        hidden: int,
        attn_ratio: float,
        conv_type: ConvType,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        attends = _attends(depth, attn_ratio)
        self.shifts = [window_size // 2 * (index % 2) if attends[index] else None for index in range(depth)]
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, hidden, conv_type, (num_heads, window_size) if attention else None, gain)
            for attention in attends
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        plans = {
            shift: reflected_windows(height, width, self.window_size, shift, x.device)
            for shift in dict.fromkeys(self.shifts)
            if shift is not None
        }
        for block, shift in zip(self.blocks, self.shifts, strict=True):
            x = block(x) if shift is None else block(x, plans[shift])
        return x


def _attends(depth: int, attn_ratio: float) -> list[bool]:
    """Which blocks of a stage have attention: the last ones, counted in floating point as the authors do."""
    return [index >= depth - attn_ratio * depth for index in range(depth)]


class SKFusion(nn.Module):
    """Selective kernels: a sum of two maps, weighted for every channel by what both have in the mean.

    Args:
        dim: channels.
        reduction: `dim` is divided by this in between, but no fewer than 4 channels are left.

    Shapes: two of (b, c, h, w) -> (b, c, h, w).
    """

    def __init__(self, dim: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(dim // reduction, 4)
        self.mean = GlobalMean()
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, hidden, 1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(hidden, 2 * dim, 1, bias=False)
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        logits = self.mlp(self.mean(first + second))
        weights = logits.view(-1, 2, first.shape[1], 1, 1).softmax(1)
        return first * weights[:, 0] + second * weights[:, 1]


class DehazeFormer(nn.Module):
    """Five stages at full, half, quarter, half and full resolution, and a soft reconstruction.

    The arguments from `embed_dims` on have one entry for each stage. The defaults are those of the size b.

    Args:
        in_chans: channels of the image.
        out_chans: channels of the reconstruction, one more than `in_chans`: K and B of K x - B + x.
        window_size: side of the windows in pixels of the stage.
        embed_dims: channels; those of the last two stages are those of the second and the first.
        mlp_ratios: widths of the feed-forwards, as multiples of the channels.
        depths: blocks.
        num_heads: attention heads; divisors of the channels, and without effect where there is no attention.
        attn_ratio: parts of the blocks that have attention, always the last ones.
        conv_type: "DWConv" (depthwise 5x5) or "Conv" (two full 3x3), the convolution in every block.

    Shapes: (b, in_chans, h, w) -> (b, in_chans, h, w), any height and width.

    Raises:
        ValueError: the arguments make no network.
    """

    derived_suffixes = ("relative_positions",)
    """Endings of the keys that follow from the configuration: files may lack them."""

    def __init__(
        self,
        in_chans: int = 3,
        out_chans: int = 4,
        window_size: int = 8,
        embed_dims: Sequence[int] = (24, 48, 96, 48, 24),
        mlp_ratios: Sequence[float] = (2.0, 4.0, 4.0, 2.0, 2.0),
        depths: Sequence[int] = (16, 16, 16, 8, 8),
        num_heads: Sequence[int] = (2, 4, 6, 1, 1),
        attn_ratio: Sequence[float] = (0.25, 0.5, 0.75, 0.0, 0.0),
        conv_type: Sequence[ConvType] = ("DWConv",) * 5,
    ) -> None:
        super().__init__()
        stages: dict[str, Sequence[Any]] = {"embed_dims": embed_dims, "mlp_ratios": mlp_ratios, "depths": depths}
        stages |= {"num_heads": num_heads, "attn_ratio": attn_ratio, "conv_type": conv_type}
        _check(in_chans, out_chans, window_size, stages)
        gain = (8 * sum(depths)) ** -0.25

        def stage(index: int) -> Stage:
            hidden = int(embed_dims[index] * mlp_ratios[index])
            numbers = (embed_dims[index], depths[index], num_heads[index], window_size, hidden)
            return Stage(*numbers, attn_ratio[index], conv_type[index], gain)

        first, second, third, fourth, fifth = embed_dims
        self.patch_embed = named("proj", nn.Conv2d(in_chans, first, 3, padding=1, padding_mode="reflect"))
        self.layer1 = stage(0)
        self.patch_merge1 = named("proj", nn.Conv2d(first, second, 2, stride=2))
        self.skip1 = nn.Conv2d(first, first, 1)
        self.layer2 = stage(1)
        self.patch_merge2 = named("proj", nn.Conv2d(second, third, 2, stride=2))
        self.skip2 = nn.Conv2d(second, second, 1)
        self.layer3 = stage(2)
        self.patch_split1 = named("proj", PixelShuffleDirect(third, 2, fourth, kernel_size=1))
        self.fusion1 = SKFusion(fourth)
        self.layer4 = stage(3)
        self.patch_split2 = named("proj", PixelShuffleDirect(fourth, 2, fifth, kernel_size=1))
        self.fusion2 = SKFusion(fifth)
        self.layer5 = stage(4)
        reconstruction = nn.Conv2d(fifth, out_chans, 3, padding=1, padding_mode="reflect")
        self.patch_unembed = named("proj", nn.Sequential(reconstruction))
        # A reflection takes at least one pixel more than it makes; nothing else limits the sides.
        smallest = max((REACH[kind] + 1) << level for kind, level in zip(conv_type, LEVELS, strict=True))
        self.smallest = smallest + -smallest % 4
        self.spec = spec(in_chans=in_chans, out_chans=out_chans, window_size=window_size, **stages)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        multiples = [self.smallest if side <= self.smallest - 4 else 4 for side in (height, width)]
        x = 2 * pad_to_multiple(image, (multiples[0], multiples[1])) - 1
        k, b = self.features(x).tensor_split((1,), 1)
        restored = (k * x - b + x + 1) / 2
        return restored[..., :height, :width]

    def features(self, x: Tensor) -> Tensor:
        """The U-Net: what the soft reconstruction is made from, K before B. Sides should be multiples of 4."""
        x = self.patch_embed(x).contiguous(memory_format=torch.channels_last)
        full = self.layer1(x)
        half = self.layer2(self.patch_merge1(full))
        x = self.layer3(self.patch_merge2(half))
        x = self.patch_split1(x)
        x = self.fusion1(x, self.skip2(half)) + x
        x = self.patch_split2(self.layer4(x))
        x = self.fusion2(x, self.skip1(full)) + x
        features: Tensor = self.patch_unembed(self.layer5(x))
        return features


def _check(in_chans: int, out_chans: int, window_size: int, stages: dict[str, Sequence[Any]]) -> None:
    if in_chans < 1:
        raise ValueError(f"in_chans should be at least 1, got {in_chans}")
    if out_chans != in_chans + 1:
        raise ValueError(f"out_chans should be in_chans + 1, for K and B of K x - B + x, got {out_chans} and {in_chans}")
    if window_size < 1:
        raise ValueError(f"window_size should be at least 1, got {window_size}")
    for name, values in stages.items():
        if len(values) != 5:
            raise ValueError(f"{name} should have five entries, one for each stage, got {values!r}")
    for name in ("embed_dims", "depths", "num_heads"):
        if min(stages[name]) < 1:
            raise ValueError(f"{name} should be at least 1, got {stages[name]!r}")
    dims = stages["embed_dims"]
    if any(dim * ratio < 1 for dim, ratio in zip(dims, stages["mlp_ratios"], strict=True)):
        raise ValueError(f"mlp_ratios should leave a channel or more of embed_dims {dims!r}, got {stages['mlp_ratios']!r}")
    if (dims[3], dims[4]) != (dims[1], dims[0]):
        raise ValueError(f"the last two of embed_dims should be the second and the first, for they are joined, got {dims!r}")
    for kind in stages["conv_type"]:
        if kind not in REACH:
            raise ValueError(f"conv_type should be one of {', '.join(REACH)}, got {kind!r}")
    for ratio in stages["attn_ratio"]:
        if not 0 <= ratio <= 1:
            raise ValueError(f"attn_ratio should lie between 0 and 1, got {ratio!r}")


def _start(layer: nn.Conv2d, gain: float = 1.0) -> nn.Conv2d:
    """The layer with initial weights of DeepNet (arXiv:2203.00555): Xavier's times a gain."""
    weights = math.prod(layer.kernel_size) * (layer.in_channels + layer.out_channels) / layer.groups
    nn.init.trunc_normal_(layer.weight, std=gain * math.sqrt(2 / weights))
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


_DEFAULTS: dict[str, Any] = {
    "in_chans": 3,
    "out_chans": 4,
    "window_size": 8,
    "embed_dims": (24, 48, 96, 48, 24),
    "mlp_ratios": (2.0, 4.0, 4.0, 2.0, 2.0),
    "depths": (16, 16, 16, 8, 8),
    "num_heads": (2, 4, 6, 1, 1),
    "attn_ratio": (0.25, 0.5, 0.75, 0.0, 0.0),
    "conv_type": ("DWConv",) * 5,
}
_WIDE = {"embed_dims": (48, 96, 192, 96, 48)}
_FULL = {"conv_type": ("Conv",) * 5}
_SIZES: dict[str, dict[str, Any]] = {
    "t": _DEFAULTS | {"depths": (4, 4, 4, 2, 2), "attn_ratio": (0.0, 0.5, 1.0, 0.0, 0.0)},
    "s": _DEFAULTS | {"depths": (8, 8, 8, 4, 4)},
    "b": _DEFAULTS,
    "d": _DEFAULTS | {"depths": (32, 32, 32, 16, 16)},
    "w": _DEFAULTS | _WIDE,
    "m": _DEFAULTS | _FULL | {"depths": (12, 12, 12, 6, 6)},
    "l": _DEFAULTS | _FULL | _WIDE | {"depths": (16, 16, 16, 12, 12)},
}

VARIANTS: dict[str, Variant] = {
    f"dehazeformer_{name}": Variant(DehazeFormer, _SIZES[name[0]], ("dehaze",))
    for name in (
        *(f"{size}_{data}" for size in "tsbm" for data in ("indoor", "outdoor", "reside6k", "rshaze")),
        *("l_indoor", "d", "w"),  # of the last two no figures are known
    )
}


def spec(**config: Any) -> NetSpec:
    """What a caller must know of `DehazeFormer(**config)`."""
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in (_DEFAULTS | config).items()}
    attention = [any(_attends(*stage)) for stage in zip(config["depths"], config["attn_ratio"], strict=True)]
    grids = [config["window_size"] << level for level, attends in zip(LEVELS, attention, strict=True) if attends]
    return NetSpec(
        in_channels=config["in_chans"],
        out_channels=config["in_chans"],
        multiple=math.lcm(4, *grids),
        halo=None,
        global_ops=("RescaleNorm", "SKFusion") if grids else ("SKFusion",),
        tasks=("dehaze",) if config in _SIZES.values() else (),
        unrecorded=("window_size",),
        color="gray" if config["in_chans"] == 1 else "rgb",
    )


_KEY = re.compile(
    r"((patch_embed|patch_merge[12])\.proj|skip[12]|(patch_split[12]|patch_unembed)\.proj\.0)\.(weight|bias)"
    r"|fusion[12]\.mlp\.[02]\.weight"
    r"|layer(?P<stage>[1-5])\.blocks\.(?P<block>\d+)\."
    r"((norm1(\.meta[12])?|attn\.(conv(\.[02])?|V|proj|QK|attn\.meta\.[02])|mlp\.mlp\.[02])\.(weight|bias)"
    r"|attn\.attn\.relative_positions)"
)


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no DehazeFormer's, or has windows of more than 32 pixels.

    The windows' size shows in `relative_positions` alone, which a file may lack: then it is 8, as in all published models.
    Of `mlp_ratios` and `attn_ratio` the weights only keep the whole numbers that they lead to.
    """
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    hidden_keys = [f"layer{stage}.blocks.0.mlp.mlp.0.weight" for stage in range(1, 6)]
    merges = ("patch_embed.proj.weight", "patch_merge1.proj.weight", "patch_merge2.proj.weight")
    four = (*merges, *hidden_keys, "patch_unembed.proj.0.weight")
    if not all(key in state_dict and state_dict[key].ndim == 4 for key in four):
        return None
    first, second, third = (state_dict[key].shape[0] for key in merges)
    dims = (first, second, third, second, first)
    in_chans = state_dict["patch_embed.proj.weight"].shape[1]
    if not in_chans * first * second * third or len(state_dict["patch_unembed.proj.0.weight"]) != in_chans + 1:
        return None
    depths, ratios, heads, conv_types, windows = [], [], [], [], set()
    for number, (dim, usual_heads) in enumerate(zip(dims, _DEFAULTS["num_heads"], strict=True), start=1):
        block = f"layer{number}.blocks.{{}}."
        depth = sum(key.startswith(f"layer{number}.") and key.endswith(".mlp.mlp.0.weight") for key in state_dict)
        attends = [block.format(index) + "attn.QK.weight" in state_dict for index in range(depth)]
        bias = state_dict.get(block.format(depth - 1) + "attn.attn.meta.2.bias")
        count = usual_heads if bias is None else bias.numel()
        if attends != sorted(attends) or (any(attends) and (bias is None or not count or dim % count)):
            return None  # only the last blocks have attention
        depths.append(depth)
        ratios.append(_attention_ratio(depth, sum(attends)))
        heads.append(count)
        conv_types.append("Conv" if block.format(0) + "attn.conv.0.weight" in state_dict else "DWConv")
    for key, value in state_dict.items():
        if key.endswith(".relative_positions"):
            window = math.isqrt(math.isqrt(value.numel() // 2))
            if not 0 < window <= 32 or value.shape != (window**2, window**2, 2):
                return None
            windows.add(window)
    if len(windows) > 1:
        return None
    config = {
        "in_chans": in_chans,
        "out_chans": in_chans + 1,
        "window_size": min(windows, default=8),
        "embed_dims": dims,
        "mlp_ratios": tuple(_least_ratio(len(state_dict[key]), dim) for key, dim in zip(hidden_keys, dims, strict=True)),
        "depths": tuple(depths),
        "num_heads": tuple(heads),
        "attn_ratio": tuple(ratios),
        "conv_type": tuple(conv_types),
    }
    assumed = {}
    if any(ratios) and not windows:
        assumed["window_size"] = "there are no relative_positions; all published models have windows of 8 pixels"
    return Inferred(DehazeFormer, config, assumed)


def _attention_ratio(depth: int, count: int) -> float:
    """A ratio that gives the last `count` of the blocks attention."""
    ratio = count / depth
    return ratio if sum(_attends(depth, ratio)) == count else math.nextafter(ratio, 1)


def _least_ratio(hidden: int, dim: int) -> float:
    """The least factor with int(dim * factor) == hidden."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)
