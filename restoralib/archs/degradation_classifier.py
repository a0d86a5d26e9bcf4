"""DegradationClassifier: which of the nine degradations a photograph shows, each by itself.

A small network of our own, after no paper. Images are RGB in [0, 1], of any size, at the resolution at which they were spoilt:
rescaling wipes out the traces of noise and compression. Below some 32 pixels a side there is little to see.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.degradation_prompt import DEGRADATIONS

_GAIN = 8.0  # brings a trace of 5 of 255 to the size of the image's own contrasts


class ResidualConv(nn.Module):
    """x + conv(relu(x)): a stage looks twice at the size that it made."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.relu(x))


class DegradationClassifier(nn.Module):
    """Stages that halve the size, from the image beside its fine detail; mean and spread of each go to the logits.

    The fine detail, what a mean of 3x3 takes away, is amplified, so that faint traces are no smaller than edges. Early stages
    tell noise and blocks, late ones haze and rain; none is rescaled by a norm, for strength is what is asked.

    Args:
        widths: features at full size, and after each halving.
        hidden: features between the statistics and the logits.
        classes: logits; the nine degradations in the order of `restoralib.blocks.degradation_prompt.DEGRADATIONS`.

    Shapes: (b, 3, h, w), any height and width -> (b, classes), independent logits.

    Raises:
        ValueError: a number is no whole number of at least one, or there are fewer than two widths.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 48, 64), hidden: int = 64, classes: int = len(DEGRADATIONS)) -> None:
        super().__init__()
        numbers = (*widths, hidden, classes)
        if len(widths) < 2 or not all(isinstance(number, int) and number >= 1 for number in numbers):
            raise ValueError(
                f"expected two widths or more, hidden and classes of at least 1, got {widths}, {hidden}, {classes}"
            )
        self.stem = nn.Conv2d(6, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in zip(widths, widths[1:], strict=False)
        )
        self.blocks = nn.ModuleList(ResidualConv(width) for width in widths[1:])
        self.hidden = nn.Linear(2 * sum(widths[1:]), hidden)
        self.head = nn.Linear(hidden, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.head.weight, std=0.01)  # begin undecided
        self.spec = spec(widths, hidden, classes)

    def forward(self, image: Tensor) -> Tensor:
        detail = image - F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = self.stem(torch.cat([4 * (image - 0.5), torch.tanh(_GAIN * detail)], 1))
        statistics = []
        for down, block in zip(self.downs, self.blocks, strict=True):
            x = block(down(F.relu(x)))
            seen = F.relu(x).float()  # in half precision the squares overflow
            mean = seen.mean((2, 3))
            spread = (seen - mean[..., None, None]).square().mean((2, 3))
            statistics += [mean, (spread + 1e-6).sqrt()]
        logits: Tensor = self.head(F.relu(self.hidden(torch.cat(statistics, 1).to(x.dtype))))
        return logits


VARIANTS: dict[str, Variant] = {
    "degradation_classifier": Variant(DegradationClassifier, {"widths": [16, 32, 48, 64], "hidden": 64, "classes": 9})
}


def spec(widths: Sequence[int] = (16, 32, 48, 64), hidden: int = 64, classes: int = len(DEGRADATIONS)) -> NetSpec:
    """What a caller must know of `DegradationClassifier(…)`."""
    return NetSpec(
        out_channels=classes, multiple=2 ** (len(widths) - 1), halo=None, global_ops=("mean", "spread"), role="classifier"
    )


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no DegradationClassifier's."""
    stages = sum(key.startswith("downs.") and key.endswith(".weight") for key in state_dict)
    layers = ["stem", *(f"downs.{i}" for i in range(stages)), *(f"blocks.{i}.conv" for i in range(stages)), "hidden", "head"]
    if stages < 1 or state_dict.keys() != {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}:
        return None
    shapes = {layer: tuple(state_dict[f"{layer}.weight"].shape) for layer in layers}
    widths = [shapes[layer][0] for layer in layers[: stages + 1] if shapes[layer]]
    if len(widths) != stages + 1 or shapes["stem"][1:] != (6, 3, 3) or len(shapes["head"]) != 2:
        return None
    if shapes["hidden"] != (shapes["head"][1], 2 * sum(widths[1:])):
        return None
    return Inferred(DegradationClassifier, {"widths": widths, "hidden": shapes["head"][1], "classes": shapes["head"][0]})
