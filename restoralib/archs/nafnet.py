"""NAFNet and its ancestors: denoising and deblurring by a U-Net of plain blocks.

Chen et al., Simple Baselines for Image Restoration, ECCV 2022, arXiv:2204.04676. The checkpoints of megvii-research/NAFNet
load unchanged. Images are RGB in [0, 1] of any size: they are padded inside with zeros at the right and at the bottom.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import NetSpec
from restoralib.blocks.naf import NAFBlock


class NAFNet(nn.Module):
    def __init__(
        self,
        img_channel: int = 3,
        width: int = 16,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (),
        dec_blk_nums: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.intro = nn.Conv2d(img_channel, width, 3, padding=1)
        self.ending = nn.Conv2d(width, img_channel, 3, padding=1)
        self.encoders = nn.ModuleList()
        self.decoders = nn.ModuleList()
        self.middle_blks = nn.Sequential()
        self.ups = nn.ModuleList()
        self.downs = nn.ModuleList()
        for depth in enc_blk_nums:
            self.encoders.append(nn.Sequential(*(NAFBlock(width) for _ in range(depth))))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, stride=2))
            width *= 2
        self.middle_blks.extend(NAFBlock(width) for _ in range(middle_blk_num))
        for depth in dec_blk_nums:
            self.ups.append(nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)))
            width //= 2
            self.decoders.append(nn.Sequential(*(NAFBlock(width) for _ in range(depth))))
        self.multiple = 2 ** len(enc_blk_nums)
        self.spec = NetSpec(halo=None, global_ops=("SCA",), multiple=self.multiple)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, -width % self.multiple, 0, -height % self.multiple))
        x = self.intro(padded)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            x = decoder(up(x) + skip)
        return (self.ending(x) + padded)[..., :height, :width]
