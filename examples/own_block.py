"""NAFNet's block in a network of one's own, trained for a minute on one photograph's patches.

    python examples/own_block.py [--steps 150]

It shows how blocks are put together, not how a good denoiser is made: one photograph and so few steps make none. For a real
recipe see restoralib/training/denoise.py.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from restoralib.blocks import LayerNorm2d, NAFBlock
from restoralib.data.photographs import random_patches, read_photographs
from restoralib.losses import psnr_loss
from restoralib.metrics import psnr

SIGMA = 25 / 255


class SmallDenoiser(nn.Module):
    """Two of NAFNet's blocks between a convolution in and one out, added to the image: (b, 3, h, w) -> the same."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            NAFBlock(width),
            NAFBlock(width),
            LayerNorm2d(width),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return image + self.body(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args().steps

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    photograph = read_photographs(Path(__file__).parent)["chelsea"]
    net = SmallDenoiser()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for _ in range(steps):
        clean = random_patches([photograph], 64, 8, generator).float() / 255
        noisy = clean + SIGMA * torch.randn(clean.shape, generator=generator)
        loss = psnr_loss(net(noisy), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    clean = photograph[None].float() / 255
    noisy = clean + SIGMA * torch.randn(clean.shape, generator=generator)
    with torch.inference_mode():
        restored = net(noisy)
    before, after = psnr(noisy, clean).item(), psnr(restored, clean).item()
    print(f"{steps} steps: PSNR {before:.2f} dB of the noisy photograph, {after:.2f} dB restored")


if __name__ == "__main__":
    main()
