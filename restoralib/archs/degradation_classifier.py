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
from restoralib.ops.degradation_evidence import CELL, CELL_MAPS, MEASURES, SPECTRA, cells, measures, spectra
from restoralib.ops.precision import full_precision, without_autocast

_DROPOUT = 0.3  # share of features that are left out in training
_MOST = 5.0  # standard deviations; what is further off is as rare as that


class Standard(nn.Module):
    """Numbers less their means and over their spreads among the images of the training; what is far off is held back."""

    mean: Tensor
    spread: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.spread).clamp(-_MOST, _MOST)


def _stages(before: int, widths: Sequence[int]) -> nn.ModuleList:
    """A stage for each width, all but the first at half the size before."""
    return nn.ModuleList(
        nn.Sequential(
            nn.Conv2d((before, *widths)[place], width, 3, 2 if place else 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        for place, width in enumerate(widths)
    )


def _wide(spectral: Sequence[int]) -> int:
    """How many numbers the stages make of the spectra."""
    height, width = SPECTRA[1:]
    for _ in spectral[1:]:
        height, width = -(-height // 2), -(-width // 2)
    return spectral[-1] * height * width


class Judge(nn.Module):
    """Logits from what is measured of images: three small networks, and one for what they make of it.

    One looks at the mean spectra of windows, by which blurs, noises and moire are told apart; one at maps of cells of 8x8
    pixels, which haze, rain and darkness change together; one takes single numbers.

    Args: as of `DegradationClassifier`.

    Shapes: (b, 7, 32, 17), (b, 9, h / 8, w / 8) and (b, 416) -> (b, classes).
    """

    def __init__(self, spectral: Sequence[int], cellular: Sequence[int], numbers: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.spectral_standard = Standard(*SPECTRA)
        self.cellular_standard = Standard(CELL_MAPS, 1, 1)
        self.numbers_standard = Standard(MEASURES)
        self.spectral = _stages(SPECTRA[0], spectral)
        self.cellular = _stages(CELL_MAPS, cellular)
        self.spectrum = nn.Linear(_wide(spectral), numbers)
        self.numbers = nn.Linear(MEASURES, numbers)
        together = 2 * numbers + 2 * sum(cellular[1:])
        self.norm = nn.BatchNorm1d(together)
        self.hidden = nn.Linear(together, hidden)
        self.head = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, spectra: Tensor, cells: Tensor, numbers: Tensor) -> Tensor:
        like = self.head.weight.dtype
        lines, maps = self.spectral_standard(spectra).to(like), self.cellular_standard(cells).to(like)
        for stage in self.spectral:
            lines = stage(lines)
        single = self.numbers_standard(numbers).to(like)
        parts = [self.spectrum(self.dropout(lines.flatten(1))), self.numbers(self.dropout(single))]
        for place, stage in enumerate(self.cellular):
            maps = stage(maps)
            if place:
                mean = maps.mean((2, 3))
                variance = (maps - mean[..., None, None]).square().mean((2, 3))
                parts += [mean, (variance + 1e-4).sqrt()]
        x = F.relu(self.norm(torch.cat(parts, 1)))
        logits: Tensor = self.head(self.dropout(F.relu(self.hidden(self.dropout(x)))))
        return logits


class DegradationClassifier(nn.Module):
    """Measures of a photograph that nothing learned, and a small network that judges by them.

    The measures are those of `restoralib.ops.degradation_evidence`, in float32 at least.

    Args:
        spectral: features of the stages that see the spectra, all but the first at half the size before.
        cellular: the same of those that see the cells; mean and spread of all but the first are judged.
        numbers: features of the single numbers, and of the spectra.
        hidden: features between these and the logits.
        classes: logits; the nine degradations in the order of `restoralib.blocks.degradation_prompt.DEGRADATIONS`.

    Shapes: (b, 3, h, w), any height and width -> (b, classes), independent logits.

    Raises:
        ValueError: a number is no whole number of at least one, or there are fewer than two stages of a kind.
    """

    def __init__(
        self,
        spectral: Sequence[int] = (16, 24, 32),
        cellular: Sequence[int] = (24, 32, 32),
        numbers: int = 48,
        hidden: int = 64,
        classes: int = len(DEGRADATIONS),
    ) -> None:
        super().__init__()
        counts = (*spectral, *cellular, numbers, hidden, classes)
        whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 1 for count in counts)
        if not whole or min(len(spectral), len(cellular)) < 2:
            raise ValueError(
                "expected two widths or more of spectral and of cellular stages, numbers, hidden and classes of at least 1, "
                f"got {spectral}, {cellular}, {numbers}, {hidden}, {classes}"
            )
        self.judge = Judge(spectral, cellular, numbers, hidden, classes)
        self.spec = spec(spectral, cellular, numbers, hidden, classes)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.judge(*self.evidence(image))
        return logits

    def evidence(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is measured of images: spectra, maps of cells, and single numbers."""
        with without_autocast(image):
            seen = full_precision(image)
            maps = cells(seen)
            return spectra(seen), maps, measures(seen, maps)


VARIANTS: dict[str, Variant] = {
    "degradation_classifier": Variant(
        DegradationClassifier,
        {"spectral": [16, 24, 32], "cellular": [24, 32, 32], "numbers": 48, "hidden": 64, "classes": 9},
        ("auto",),
    )
}


def spec(
    spectral: Sequence[int] = (16, 24, 32),
    cellular: Sequence[int] = (24, 32, 32),
    numbers: int = 48,
    hidden: int = 64,
    classes: int = len(DEGRADATIONS),
) -> NetSpec:
    """What a caller must know of `DegradationClassifier(…)`."""
    return NetSpec(
        out_channels=classes,
        multiple=CELL * 2 ** (len(cellular) - 1),
        halo=None,
        global_ops=("spectra", "mean", "spread"),
        tasks=("auto",),
        role="classifier",
    )


_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_LINEAR = ("spectrum", "numbers", "hidden", "head")


def infer_config(state_dict: StateDict) -> Inferred | None:
    """The constructor arguments that made a state dict; None if it is no DegradationClassifier's."""
    found = {}
    for branch in ("spectral", "cellular"):
        names = (f"judge.{branch}.{place}" for place in itertools.count())
        found[branch] = list(itertools.takewhile(lambda name: f"{name}.0.weight" in state_dict, names))
    stages = found["spectral"] + found["cellular"]
    keys = {f"{stage}.0.weight" for stage in stages}
    keys |= {f"{norm}.{part}" for norm in ("judge.norm", *(f"{stage}.1" for stage in stages)) for part in _NORM}
    keys |= {f"judge.{layer}.{part}" for layer in _LINEAR for part in ("weight", "bias")}
    keys |= {f"judge.{name}_standard.{part}" for name in ("spectral", "cellular", "numbers") for part in ("mean", "spread")}
    if min(map(len, found.values())) < 2 or state_dict.keys() != keys:
        return None
    shapes = {layer: tuple(state_dict[f"judge.{layer}.weight"].shape) for layer in _LINEAR}
    kernels = {stage: tuple(state_dict[f"{stage}.0.weight"].shape) for stage in stages}
    if any(len(shape) != 2 for shape in shapes.values()) or any(len(shape) != 4 for shape in kernels.values()):
        return None
    spectral, cellular = ([kernels[stage][0] for stage in names] for names in found.values())
    numbers, (classes, hidden) = shapes["numbers"][0], shapes["head"]
    expected = {
        "spectrum": (numbers, _wide(spectral)),
        "numbers": (numbers, MEASURES),
        "hidden": (hidden, 2 * numbers + 2 * sum(cellular[1:])),
        "head": (classes, hidden),
    }
    if shapes != expected:
        return None
    config = {"spectral": spectral, "cellular": cellular, "numbers": numbers, "hidden": hidden, "classes": classes}
    return Inferred(DegradationClassifier, config)
