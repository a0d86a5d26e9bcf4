"""What a run is judged by: the mean PSNR of pairs that it does not train on, and pictures of the first few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from restoralib.comparison import enlarge_to, side_by_side
from restoralib.metrics.psnr import psnr

Restore = Callable[[nn.Module, Tensor, Tensor], Tensor]


def first_result(net: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
    """What a network makes of images; the first, where it gives several."""
    restored = net(degraded)
    return restored[0] if isinstance(restored, tuple | list) else restored


@dataclass(frozen=True)
class Validation:
    """Mean PSNR over pairs, for `train`'s `validate`, and pictures of them.

    Args:
        pairs: (degraded, clean), each (c, h, w) in [0, 1].
        restore: how a network is run on degraded and clean (1, c, h, w); by default it is called with the former.
        shown: how many pairs become pictures: degraded, restored and clean from left to right.
    """

    pairs: Sequence[tuple[Tensor, Tensor]]
    restore: Restore = first_result
    shown: int = 4

    def __call__(self, net: nn.Module) -> float:
        figures = [psnr(self._restored(net, degraded, clean), clean[None]).item() for degraded, clean in self.pairs]
        return sum(figures) / len(figures)

    def pictures(self, net: nn.Module) -> dict[str, Tensor]:
        """The first pairs with what the network makes of them, (3, h, w)."""
        rows = {}
        for number, (degraded, clean) in enumerate(self.pairs[: self.shown]):
            larger = enlarge_to(degraded, (clean.shape[-2], clean.shape[-1]))
            rows[f"pair{number}"] = side_by_side([larger, self._restored(net, degraded, clean)[0], clean])
        return rows

    def _restored(self, net: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
        device = next(net.parameters()).device
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(0)  # what a network draws is the same at every validation
            return self.restore(net, degraded[None].to(device), clean[None].to(device)).float().cpu().clamp(0, 1)
