"""FSRCNN: super-resolution of the luma on the small image, by one transposed convolution at the end.

Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016, arXiv:1608.00367. The bare state dicts
of the usual PyTorch port load unchanged. Works on Y of BT.601 (limited range, / 255); `restore()` enlarges the chroma beside.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from restoralib.archs.spec import NetSpec


class FSRCNN(nn.Module):
    def __init__(self, scale_factor: int, num_channels: int = 1, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__()
        self.first_part = nn.Sequential(nn.Conv2d(num_channels, d, 5, padding=2), nn.PReLU(d))
        layers: list[nn.Module] = [nn.Conv2d(d, s, 1), nn.PReLU(s)]
        for _ in range(m):
            layers += [nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)]
        self.mid_part = nn.Sequential(*layers, nn.Conv2d(s, d, 1), nn.PReLU(d))
        self.last_part = nn.ConvTranspose2d(d, num_channels, 9, scale_factor, padding=4, output_padding=scale_factor - 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.out_channels * layer.weight[0, 0].numel())))
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.last_part.weight, std=0.001)
        nn.init.zeros_(self.last_part.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        return self.last_part(self.mid_part(self.first_part(image)))
