"""(c) Out-of-memory at every tile of a run, and NaN in half precision at every tile: the result is the undisturbed one."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from campaign.models import Blur, small_fsrcnn
from restoralib import restore
from restoralib.archs import NetSpec


class Disturbed(nn.Module):
    """A network that fails once, at a call of a number, in one of two ways; it counts its calls."""

    def __init__(self, net, at=None, how="memory"):
        super().__init__()
        self.net, self.spec, self.at, self.how, self.calls = net, net.spec, at, how, 0
        self.eval()

    def forward(self, image):
        self.calls += 1
        hit = self.calls - 1 == self.at
        if hit and self.how == "memory":
            raise torch.OutOfMemoryError("out of memory, as asked")
        restored = self.net(image)
        half = torch.is_autocast_enabled(image.device.type)
        return restored * torch.nan if hit and self.how == "nan" and half else restored


class Copy(nn.Module):
    """The image itself, exact in every type."""

    spec = NetSpec(halo=0)

    def forward(self, image):
        return image * 1


def run(side=(150, 190), tile=64):
    """Every disturbance, one after the other.

    Returns:
        For each way and network: the number of runs, and the largest difference.
    """
    image = (torch.rand(3, *side, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    figures = {}
    for name, net in {"Blur": Blur().eval(), "FSRCNN": small_fsrcnn()}.items():
        sound = Disturbed(net)
        expected = restore(image, sound, tile=tile)
        worst = 0.0
        for at in range(sound.calls):
            disturbed = Disturbed(net, at)
            worst = max(worst, float((restore(image, disturbed, tile=tile) - expected).abs().max()))
            assert disturbed.calls > sound.calls  # it began again with smaller tiles
        figures[f"out of memory, {name}"] = {"runs": sound.calls, "largest difference": worst}
    for dtype in ("bfloat16", "float16"):
        for name, net in {"Copy": Copy().eval(), "Blur": Blur().eval(), "FSRCNN": small_fsrcnn()}.items():
            sound = Disturbed(net)
            half, full = restore(image, sound, tile=tile, dtype=dtype), restore(image, net, tile=tile)
            worst = 0.0
            for at in range(sound.calls):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    result = restore(image, Disturbed(net, at, "nan"), tile=tile, dtype=dtype)
                assert sum("overflows" in str(one.message) for one in caught) == 1
                worst = max(worst, float((result - full).abs().max()))
            # The tile that failed is computed in float32, so the result lies between those of the two types.
            figures[f"NaN in {dtype}, {name}"] = {
                "runs": sound.calls,
                "largest difference": worst,
                "of half precision itself": float((half - full).abs().max()),
            }
    return figures


def faults(figures):
    """The ways whose result is not the undisturbed one."""
    allowed = {name: max(1e-6, found.get("of half precision itself", 0)) for name, found in figures.items()}
    return [name for name, found in figures.items() if found["largest difference"] > allowed[name]]
