"""SCUNet: denoising, blind or of real photographs, by a U-Net of blocks that are half Swin Transformer, half convolutions.

Zhang et al., Practical Blind Image Denoising via Swin-Conv-UNet and Data Synthesis, arXiv:2203.13278. The checkpoints of
cszn/SCUNet and cszn/KAIR load unchanged. Images are in [0, 1], grey or RGB, of any size: they are padded inside by repetition
of the last pixels at the right and at the bottom to multiples of 64.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.window_attention import (
    DropPath,
    ShiftedWindows,
    attend_in_windows,
    drop_path_rates,
    in_windows,
    projection,
    relative_position_index,
    shifted_windows,
)
from restoralib.ops.pad import pad_to_multiple

WINDOW = 8  # pixels of a window's side
HEAD = 32  # features of a head


class WMSA(nn.Module):
    """Self-attention within windows; its biases lie as an image of relative positions for each head.

    Args:
        dim: channels in and out, a multiple of 32.

    Shapes: windows (b, w, 64, c) -> (b, w, 64, c). `mask` (m, 64, 64) is added to the logits of the last m windows.
    """

    index: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.relative_position_params = nn.Parameter(torch.empty(dim // HEAD, 2 * WINDOW - 1, 2 * WINDOW - 1))
        nn.init.trunc_normal_(self.relative_position_params, std=0.02)
        self.register_buffer("index", relative_position_index(WINDOW), persistent=False)
        self.embedding_layer = projection(dim, 3 * dim)
        self.linear = projection(dim, dim)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        bias = self.relative_position_params.flatten(1)[:, self.index]
        return attend_in_windows(windows, self.embedding_layer, self.linear, bias, mask)


class SwinTBlock(nn.Module):
    """Attention within windows, then a feed-forward, each behind a layer norm and added to its input.

    Args:
        dim: channels in and out, a multiple of 32.
        shifted: whether the windows are moved by half of their size.
        drop_path: probability of stochastic depth.

    Shapes: (b, h, w, c) -> (b, h, w, c), of whole windows.
    """

    def __init__(self, dim: int, shifted: bool, drop_path: float = 0.0) -> None:
        super().__init__()
        self.shifted = shifted
        self.ln1 = nn.LayerNorm(dim)
        self.msa = WMSA(dim)
        self.drop_path = DropPath(drop_path)
        self.ln2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(projection(dim, 4 * dim), nn.GELU(), projection(4 * dim, dim))

    def forward(self, x: Tensor, shifted: ShiftedWindows) -> Tensor:
        return in_windows(x, WINDOW, self._transform, shifted if self.shifted else None)

    def _transform(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        windows = windows + self.drop_path(self.msa(self.ln1(windows), mask))
        windows = windows + self.drop_path(self.mlp(self.ln2(windows)))
        return windows


class SCBlock(nn.Module):
    """The swin-conv block: one half of the channels passes a transformer block, the other a residual block (Fig. 2).

    Args:
        dim: channels in and out, a multiple of 64.
        shifted: whether the windows are moved by half of their size.
        drop_path: probability of stochastic depth of the transformer.

    Shapes: (b, c, h, w) -> (b, c, h, w), of whole windows.
    """

    def __init__(self, dim: int, shifted: bool, drop_path: float = 0.0) -> None:
        super().__init__()
        half = dim // 2
        self.trans_block = SwinTBlock(half, shifted, drop_path)
        self.conv1_1 = nn.Conv2d(dim, dim, 1)
        self.conv1_2 = nn.Conv2d(dim, dim, 1)
        self.conv_block = nn.Sequential(
            nn.Conv2d(half, half, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor, shifted: ShiftedWindows) -> Tensor:
        local, wide = self.conv1_1(x).chunk(2, 1)
        local = local + self.conv_block(local)
        wide = self.trans_block(wide.permute(0, 2, 3, 1), shifted).permute(0, 3, 1, 2)
        return x + self.conv1_2(torch.cat((local, wide), 1))


class SCUNet(nn.Module):
    """The network of Fig. 2, with the authors' constructor arguments and state-dict keys.

    Args:
        in_nc: channels of the image.
        config: blocks of the four levels down and the three up again, 4 of each in all published models; every second one of
            a level is shifted.
        dim: channels of the first level, a multiple of 64; each further level doubles them.
        drop_path_rate: stochastic depth of the last block, rising from 0 at the first one; in training only.
        input_resolution: side of the training patches. Windows of levels where that leaves only one are never shifted; the
            published models have 256, where all levels are.

    Shapes: (b, in_nc, h, w) -> (b, in_nc, h, w), any height and width.

    Raises:
        ValueError: the arguments make no network.
    """

    def __init__(
        self,
        in_nc: int = 3,
        config: Sequence[int] = (2, 2, 2, 2, 2, 2, 2),
        dim: int = 64,
        drop_path_rate: float = 0.0,
        input_resolution: int = 256,
    ) -> None:
        super().__init__()
        if len(config) != 7 or min(config) < 1:
            raise ValueError(f"config should be seven positive numbers of blocks, got {config}")
        if in_nc < 1 or dim < 1 or dim % (2 * HEAD):
            raise ValueError(f"in_nc should be at least 1 and dim a multiple of {2 * HEAD}, got {in_nc} and {dim}")
        rates = drop_path_rates(drop_path_rate, config)

        def blocks(stage: int) -> list[nn.Module]:
            level = min(stage, 6 - stage)
            straddles = input_resolution // 2**level > WINDOW
            return [SCBlock(2**level * dim, straddles and index % 2 == 1, rate) for index, rate in enumerate(rates[stage])]

        def down(level: int) -> nn.Module:
            return nn.Conv2d(2**level * dim, 2 ** (level + 1) * dim, 2, 2, bias=False)

        def up(level: int) -> nn.Module:
            return nn.ConvTranspose2d(2 ** (level + 1) * dim, 2**level * dim, 2, 2, bias=False)

        self.m_head = nn.Sequential(nn.Conv2d(in_nc, dim, 3, padding=1, bias=False))
        self.m_down1 = nn.Sequential(*blocks(0), down(0))
        self.m_down2 = nn.Sequential(*blocks(1), down(1))
        self.m_down3 = nn.Sequential(*blocks(2), down(2))
        self.m_body = nn.Sequential(*blocks(3))
        self.m_up3 = nn.Sequential(up(2), *blocks(4))
        self.m_up2 = nn.Sequential(up(1), *blocks(5))
        self.m_up1 = nn.Sequential(up(0), *blocks(6))
        self.m_tail = nn.Sequential(nn.Conv2d(dim, in_nc, 3, padding=1, bias=False))
        self.spec = spec(in_nc, config, dim, drop_path_rate, input_resolution)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = pad_to_multiple(image, 64, "replicate")
        # One plan of shifted windows for each level, whose walls let nothing through.
        plans = []
        for side in (1, 2, 4, 8):
            plan = shifted_windows(x.shape[2] // side, x.shape[3] // side, WINDOW, WINDOW // 2, x.device, x.dtype)
            plans.append(plan._replace(mask=plan.mask.masked_fill(plan.mask < 0, -torch.inf)))
        x1 = self.m_head(x).contiguous(memory_format=torch.channels_last)
        x2 = _run(self.m_down1, x1, plans[0])
        x3 = _run(self.m_down2, x2, plans[1])
        x4 = _run(self.m_down3, x3, plans[2])
        x = _run(self.m_body, x4, plans[3])
        x = _run(self.m_up3, x + x4, plans[2])
        x = _run(self.m_up2, x + x3, plans[1])
        x = _run(self.m_up1, x + x2, plans[0])
        x = self.m_tail(x + x1)
        return x[..., :height, :width]


def _run(level: nn.Sequential, x: Tensor, shifted: ShiftedWindows) -> Tensor:
    for layer in level:
        x = layer(x, shifted) if isinstance(layer, SCBlock) else layer(x)
    return x


_COLOR: dict[str, Any] = {"in_nc": 3, "config": (4,) * 7, "dim": 64}
_GRAY = _COLOR | {"in_nc": 1}

VARIANTS: dict[str, Variant] = {
    **{f"scunet_color_{sigma}": Variant(SCUNet, _COLOR, ("denoise",)) for sigma in (15, 25, 50)},
    **{f"scunet_gray_{sigma}": Variant(SCUNet, _GRAY, ("denoise",)) for sigma in (15, 25, 50)},
    "scunet_color_real_psnr": Variant(SCUNet, _COLOR, ("denoise_real",)),
    "scunet_color_real_gan": Variant(SCUNet, _COLOR, ("denoise_real",)),
}


def spec(
    in_nc: int = 3,
    config: Sequence[int] = (2, 2, 2, 2, 2, 2, 2),
    dim: int = 64,
    drop_path_rate: float = 0.0,
    input_resolution: int = 256,
) -> NetSpec:
    """What a caller must know of `SCUNet(in_nc, …)`."""
    told = {"in_nc": in_nc, "config": tuple(config), "dim": dim}
    tasks = [task for variant in VARIANTS.values() if variant.config == told for task in variant.tasks]
    return NetSpec(
        in_channels=in_nc,
        out_channels=in_nc,
        multiple=64,
        halo=_halo(config, input_resolution),
        tasks=tuple(dict.fromkeys(tasks)),
        unrecorded=("drop_path_rate", "input_resolution"),
        color="gray" if in_nc == 1 else "rgb",
    )


def _halo(config: Sequence[int], input_resolution: int) -> int:
    """How far a pixel of the result sees: from every phase of the grid of 64, the view of the longest path followed back."""
    halo = 0
    for pixel in range(64):
        first, last = pixel - 1, pixel + 1  # m_tail
        for stage, depth in reversed(list(enumerate(config))):
            level = min(stage, 6 - stage)
            if stage < 3:  # m_down's strided convolution
                first, last = 2 * first, 2 * last + 1
            straddles = input_resolution // 2**level > WINDOW
            for block in reversed(range(depth)):
                origin = WINDOW // 2 if straddles and block % 2 else 0
                left = (first - origin) // WINDOW * WINDOW + origin
                right = (last - origin) // WINDOW * WINDOW + origin + WINDOW - 1
                first, last = min(first - 2, left), max(last + 2, right)  # two convolutions, or the window
            if stage > 3:  # m_up's transposed one
                first, last = first // 2, last // 2
        halo = max(halo, pixel - first, last - pixel)
    return halo + 1  # m_head


_BLOCK_KEY = (
    r"trans_block\.(ln[12]|msa\.(embedding_layer|linear)|mlp\.[02])\.(weight|bias)|trans_block\.msa\.relative_position_params"
    r"|conv1_[12]\.(weight|bias)|conv_block\.[02]\.weight"
)
_KEY = re.compile(rf"(m_head|m_tail)\.0\.weight|m_(down|up)[123]\.\d+\.weight|m_(down[123]|body|up[123])\.\d+\.({_BLOCK_KEY})")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no SCUNet's."""
    if not all(_KEY.fullmatch(key) for key in state_dict):
        return None
    head = state_dict.get("m_head.0.weight")
    config = tuple(
        sum(key.startswith(f"m_{level}.") and key.endswith(".conv1_1.weight") for key in state_dict)
        for level in ("down1", "down2", "down3", "body", "up3", "up2", "up1")
    )
    if (
        head is None
        or head.ndim != 4
        or not head.shape[1]
        or not head.shape[0]
        or head.shape[0] % (2 * HEAD)
        or not min(config)
    ):
        return None
    return Inferred(SCUNet, {"in_nc": head.shape[1], "config": config, "dim": head.shape[0]})
