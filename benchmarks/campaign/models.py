"""The small models that the campaign runs, as modules and as files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from restoralib.archs import FSRCNN, NAFNet, NetSpec


class Blur(nn.Module):
    """One 3x3 convolution a channel, for images of one or three channels; slow enough for nothing."""

    spec = NetSpec(halo=1)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1, 3, 3), 1 / 9))

    def forward(self, image):
        return nn.functional.conv2d(image, self.weight.expand(image.shape[1], -1, -1, -1), padding=1, groups=image.shape[1])


def small_fsrcnn():
    """An x2 network with random weights."""
    torch.manual_seed(0)
    net = FSRCNN(2, d=4, s=3, m=1)
    nn.init.normal_(net.last_part.weight, std=0.05)
    return net.eval()


def small_nafnet():
    """A network that changes nothing."""
    net = NAFNet(width=2, middle_blk_num=1, enc_blk_nums=(1,), dec_blk_nums=(1,))
    nn.init.zeros_(net.ending.weight)
    nn.init.zeros_(net.ending.bias)
    return net.eval()


def write_checkpoints(folder: Path) -> dict[str, tuple[str, ...]]:
    """Arguments of the command line for each model; the files are made where they are not."""
    folder.mkdir(parents=True, exist_ok=True)
    nafnet, fsrcnn = folder / "nafnet.pth", folder / "fsrcnn.pth"
    if not nafnet.exists():
        torch.save({"params": small_nafnet().state_dict()}, nafnet)
    if not fsrcnn.exists():
        torch.save(small_fsrcnn().state_dict(), fsrcnn)
    return {"nafnet": ("-m", str(nafnet)), "fsrcnn": ("-m", str(fsrcnn), "--set", "scale=2"), "sr2": ("-m", "sr2")}


SCALES = {"nafnet": 1, "blur": 1, "fsrcnn": 2, "sr2": 2}
