"""The mission's pairs: a clean photograph, spoilt by one to three of the nine degradations, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from restoralib.degradations.blur import DefocusBlur, GaussianBlur, MotionBlur
from restoralib.degradations.camera import CameraNoise
from restoralib.degradations.chain import Chain, record
from restoralib.degradations.color import ColorJitter
from restoralib.degradations.degradation import Degradation, check_image, choice, integer, uniform
from restoralib.degradations.downsample import Downsample
from restoralib.degradations.flare import Flare
from restoralib.degradations.haze import Haze
from restoralib.degradations.jpeg import JPEG
from restoralib.degradations.kernels import opencv_sigma
from restoralib.degradations.low_light import LowLight, UnevenLight
from restoralib.degradations.moire import Moire
from restoralib.degradations.motion import CameraShake, FrameAverage
from restoralib.degradations.noise import GaussianNoise, PoissonNoise
from restoralib.degradations.rain import Rain
from restoralib.degradations.raindrop import Raindrops
from restoralib.degradations.reflection import Reflection

PAIRED_TASKS: tuple[str, ...] = (
    "denoise",
    "denoise_real",
    "jpeg",
    "deblur",
    "defocus",
    "derain",
    "dehaze",
    "low_light",
    "demoire",
)
"""The nine degradations, by the names of the tasks that undo them."""

FIXED_GRID: Mapping[str, tuple[Degradation, ...]] = {
    "denoise": tuple(GaussianNoise(float(sigma)) for sigma in (10, 15, 25, 35, 50)),
    "jpeg": tuple(JPEG(quality) for quality in (15, 25, 40)),
    "deblur": tuple(GaussianBlur(size=size, sigma=opencv_sigma(size)) for size in (3, 5, 7, 9)),
    "resize": tuple(Downsample(float(scale), back="bicubic") for scale in (2, 3, 4)),
}
"""Degradations of fixed strength, for tests that are to be compared: the mission's grid. The noise has seed 0."""


def _noise(generator: torch.Generator) -> Degradation:
    """Gaussian of sigma 5..50, a quarter of the time that of photons, scale 1..5."""
    return GaussianNoise.draw(generator) if uniform(0, 1, generator) < 0.75 else PoissonNoise.draw(generator)


def _blur(generator: torch.Generator) -> Degradation:
    """A shaking hand, a panning camera, a straight motion, or a Gaussian of side 3 to 11, as likely as each other."""
    kind = choice(("shake", "pan", "line", "gaussian"), generator)
    if kind == "gaussian":
        size = choice((3, 5, 7, 9, 11), generator)
        return GaussianBlur(size=size, sigma=opencv_sigma(size))
    if kind == "shake":
        return CameraShake.draw(generator)
    return FrameAverage.draw(generator) if kind == "pan" else MotionBlur.draw(generator)


def _darkness(generator: torch.Generator) -> Degradation:
    """Darkness by formula half of the time, by a camera with one to four stops too little light, or by one lamp."""
    kind = choice(("formula", "camera", "lamp"), generator, (0.5, 0.25, 0.25))
    if kind == "camera":
        return CameraNoise.draw(generator, shot=(1e-4, 1e-3), stops=(1.0, 4.0))
    return LowLight.draw(generator) if kind == "formula" else UnevenLight.draw(generator)


_DRAWS: Mapping[str, Callable[[torch.Generator], Degradation]] = {
    "denoise": _noise,
    "denoise_real": CameraNoise.draw,
    "jpeg": JPEG.draw,
    "deblur": _blur,
    "defocus": DefocusBlur.draw,
    "derain": Rain.draw,
    "dehaze": Haze.draw,
    "low_light": _darkness,
    "demoire": Moire.draw,
    # Beside the nine.
    "resize": lambda generator: Downsample.draw(generator, back="bicubic"),
    "color": ColorJitter.draw,
    "deflare": Flare.draw,
    "dereflect": Reflection.draw,
    "deraindrop": Raindrops.draw,
}


def draw_task(task: str, generator: torch.Generator) -> Degradation:
    """Draw the degradation that a task undoes.

    Noise is Gaussian of sigma 5 to 50 or of photons with scale 1 to 5, JPEG has qualities 10 to 40, the factor of "resize" lies
    in 2 to 4, brightness and contrast of "color" in 0.8 to 1.2: the mission's ranges. The others draw from the ranges that
    their classes state.

    Args:
        task: one of `PAIRED_TASKS`, or "resize" (down and up again), "color", "deflare", "dereflect", "deraindrop".
        generator: source of all randomness, on the CPU.

    Raises:
        ValueError: the task is unknown.
    """
    if task not in _DRAWS:
        raise ValueError(f"unknown task {task!r}; choose among {', '.join(_DRAWS)}")
    return _DRAWS[task](generator)


@dataclass(frozen=True)
class PairedDegradation(Degradation):
    """One to three degradations in the order in which they were drawn; images keep their size.

    Args:
        tasks: names of what undoes each step, in order.
        steps: the degradations.
    """

    tasks: tuple[str, ...] = ()
    steps: tuple[Degradation, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tasks) != len(self.steps):
            raise ValueError(f"expected a task for each step, got {len(self.tasks)} for {len(self.steps)}")

    def __call__(self, image: Tensor) -> Tensor:
        return Chain(self.steps)(check_image(image))

    @classmethod
    def draw(
        cls,
        generator: torch.Generator,
        *,
        tasks: Sequence[str] = PAIRED_TASKS,
        count: tuple[int, int] = (1, 3),
    ) -> Self:
        """Draw degradations without repeating one.

        Args:
            generator: source of all randomness, on the CPU.
            tasks: to choose from, all equally likely.
            count: range of how many, both ends included; never more than there are tasks.

        Raises:
            ValueError: a task is unknown, there is none, or the count is not a range.
        """
        if not tasks or not 0 <= count[0] <= count[1]:
            raise ValueError(f"expected tasks and a range of their count, got {tuple(tasks)} and {count}")
        most = min(count[1], len(tasks))
        number = integer(min(count[0], most), most, generator)
        chosen = tuple(tasks[index] for index in torch.randperm(len(tasks), generator=generator)[:number].tolist())
        return cls(chosen, tuple(draw_task(task, generator) for task in chosen))


class DegradedPair(NamedTuple):
    """What `degraded_pair` gives: the clean image, the degraded one, and the record by which `rebuild` makes that again."""

    clean: Tensor
    degraded: Tensor
    record: dict[str, Any]


def degraded_pair(
    clean: Tensor,
    generator: torch.Generator,
    *,
    tasks: Sequence[str] = PAIRED_TASKS,
    count: tuple[int, int] = (1, 3),
) -> DegradedPair:
    """Spoil clean images at random, all of the batch by the same parameters.

    `record["tasks"]` names what is to be undone; `rebuild(record)(clean)` gives the degraded images again.

    Args:
        clean: (b, c, h, w) in [0, 1].
        generator: source of all randomness, on the CPU.
        tasks: to choose from.
        count: range of how many.
    """
    degradation = PairedDegradation.draw(generator, tasks=tasks, count=count)
    return DegradedPair(clean, degradation(clean), record(degradation))
