"""DegradationClassifier: which of the nine degradations a photograph shows, each by itself.

A small network of our own, after no paper. Images are RGB in [0, 1], of any size, at the resolution at which they were spoilt:
rescaling wipes out the traces of noise and compression. Below some 32 pixels a side there is little to see.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.spec import Inferred, NetSpec, StateDict, Variant
from restoralib.blocks.degradation_prompt import DEGRADATIONS
from restoralib.ops.precision import at_least_float32

_GAIN = 8.0  # brings a trace of 5 of 255 to the size of the image's own contrasts


class Stage(nn.Module):
    """Halves the size, then looks at it once more."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.down(x))
        return F.relu(x + self.norm2(self.conv(F.relu(x))))


class DegradationClassifier(nn.Module):
    """Stages that halve the size, from the image beside its fine detail; mean and spread of each go to the logits.

    The fine detail, what a mean of 3x3 takes away, is amplified, so that faint traces are no smaller than edges. Early stages
    tell noise and blocks, late ones haze and rain; logarithms bring strengths of all sizes to one scale. The norms are those of
    batches, which in use only scale: a norm of each image would take away the strength that is asked for.

    Args:
        widths: features at full size, and after each halving.
        hidden: features between the statistics and the logits.
        classes: logits; the nine degradations in the order of `restoralib.blocks.degradation_prompt.DEGRADATIONS`.

    Shapes: (b, 3, h, w), any height and width -> (b, classes), independent logits.

    Raises:
        ValueError: a number is no whole number of at least one, or there are fewer than two widths.
    """

    def __init__(self, widths: Sequence[int] = (16, 24, 48, 64), hidden: int = 64, classes: int = len(DEGRADATIONS)) -> None:
        super().__init__()
        numbers = (*widths, hidden, classes)
        if len(widths) < 2 or not all(isinstance(number, int) and number >= 1 for number in numbers):
            raise ValueError(
                f"expected two widths or more, hidden and classes of at least 1, got {widths}, {hidden}, {classes}"
            )
        self.stem = nn.Conv2d(6, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(itertools.starmap(Stage, itertools.pairwise(widths)))
        self.norm = nn.BatchNorm1d(2 * sum(widths[1:]))
        self.hidden = nn.Linear(2 * sum(widths[1:]), hidden)
        self.head = nn.Linear(hidden, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.head.weight, std=0.01)  # begin undecided
        self.spec = spec(widths, hidden, classes)

    def forward(self, image: Tensor) -> Tensor:
        detail = image - F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = F.relu(self.stem(torch.cat([4 * (image - 0.5), torch.tanh(_GAIN * detail)], 1)))
        statistics = []
        for stage in self.stages:
            x = stage(x)
            seen = x.to(at_least_float32(x.dtype))  # in half precision the squares overflow
            mean = seen.mean((2, 3))
            variance = (seen - mean[..., None, None]).square().mean((2, 3))
            statistics += [(mean + 1e-3).log(), (variance + 1e-6).log() / 2]
        logits: Tensor = self.head(F.relu(self.hidden(self.norm(torch.cat(statistics, 1)).to(x.dtype))))
        return logits


VARIANTS: dict[str, Variant] = {
    "degradation_classifier": Variant(
        DegradationClassifier, {"widths": [16, 24, 48, 64], "hidden": 64, "classes": 9}, ("auto",)
    )
}


def spec(widths: Sequence[int] = (16, 24, 48, 64), hidden: int = 64, classes: int = len(DEGRADATIONS)) -> NetSpec:
    """What a caller must know of `DegradationClassifier(…)`."""
    return NetSpec(
        out_channels=classes,
        multiple=2 ** (len(widths) - 1),
        halo=None,
        global_ops=("mean", "spread"),
        tasks=("auto",),
        role="classifier",
    )


_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no DegradationClassifier's."""
    number = sum(key.startswith("stages.") and key.endswith(".down.weight") for key in state_dict)
    convolutions = [f"stages.{i}.{layer}" for i in range(number) for layer in ("down", "conv")]
    norms = [f"stages.{i}.norm{j}" for i in range(number) for j in (1, 2)] + ["norm"]
    keys = {f"{layer}.weight" for layer in convolutions} | {f"{norm}.{part}" for norm in norms for part in _NORM}
    keys |= {f"{layer}.{part}" for layer in ("stem", "hidden", "head") for part in ("weight", "bias")}
    if number < 1 or state_dict.keys() != keys:
        return None
    shapes = {key: tuple(state_dict[f"{key}.weight"].shape) for key in ("stem", "hidden", "head", *convolutions)}
    if shapes["stem"][1:] != (6, 3, 3) or len(shapes["head"]) != 2 or any(len(shapes[key]) != 4 for key in convolutions):
        return None
    widths = [shapes["stem"][0], *(shapes[f"stages.{i}.down"][0] for i in range(number))]
    if shapes["hidden"] != (shapes["head"][1], 2 * sum(widths[1:])):
        return None
    return Inferred(DegradationClassifier, {"widths": widths, "hidden": shapes["head"][1], "classes": shapes["head"][0]})
