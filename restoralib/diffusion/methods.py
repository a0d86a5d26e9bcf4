"""Training-free restoration by name: each method with its step, its guidance, its start and its authors' numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from restoralib.degradations.operators import MaskOperator
from restoralib.diffusion.ddnm import ddnm, ddnm_plus
from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.ddrm import ddrm, ddrm_start
from restoralib.diffusion.diffpir import diffpir, noised_measurement
from restoralib.diffusion.dps import DPS
from restoralib.diffusion.grids import training_steps
from restoralib.diffusion.ilvr import ILVR, low_pass_of
from restoralib.diffusion.mcg import MCG
from restoralib.diffusion.measurement import Measurement
from restoralib.diffusion.pigdm import PiGDM, pinv_start
from restoralib.diffusion.process import Process
from restoralib.diffusion.red_diff import red_diff
from restoralib.diffusion.repaint import RePaint
from restoralib.diffusion.samplers import Problem, check_name, time_grid
from restoralib.diffusion.sampling import Guidance, Step, ddim, renoised
from restoralib.diffusion.travel import sample_with_travel, travel_schedule


class Method(ABC):
    """How an unconditional network and a measurement make an image. Subclasses are dataclasses of the method's numbers."""

    steps: ClassVar[int] = 100
    """As the authors have it."""
    needs_gradient: ClassVar[bool] = False
    """Whether the network is differentiated, and so has to see the whole picture."""
    clips: ClassVar[bool] = True
    """Whether the authors cut clean images to their range."""
    svd_for: ClassVar[str] = ""
    """Its name, where the operator needs an SVD."""
    samplers: ClassVar[tuple[str, ...]] = ()
    """Samplers that it may be given; it brings its own where there are none."""

    def times(self, process: DDPM, steps: int | None = None) -> list[float]:
        """The times that are visited.

        Raises:
            ValueError: steps are no whole number of at least 1, or more than the process has.
        """
        return time_grid(process, min(self.steps, len(process)) if steps is None else steps)

    def calls(self, times: list[float]) -> int:
        """Network calls: one for each step down."""
        return sum(t > r for t, r in pairwise(times))

    def check(self, measurement: Measurement) -> None:
        """Raise ValueError where the method does not suit a measurement."""
        if self.svd_for:
            measurement.spectral(self.svd_for)

    @abstractmethod
    def run(self, problem: Problem, times: list[float], sampler: str | None = None) -> Tensor:
        """The clean image.

        Args:
            problem: with a measurement.
            times: see `times`.
            sampler: one of `samplers`; None for the first.
        """


class Guided(Method):
    """A method that is a guidance around the steps of a sampler."""

    samplers: ClassVar[tuple[str, ...]] = ("posterior", "ddim")

    @abstractmethod
    def guidance(self, problem: Problem, times: list[float]) -> Guidance:
        """The hooks."""

    def run(self, problem: Problem, times: list[float], sampler: str | None = None) -> Tensor:
        """Sample from noise, with the hooks."""
        step = ddim(problem.process) if sampler == "ddim" else problem.ancestral()
        return problem.sample(problem.draw(), times, step, self.guidance(problem, times))


def _measured(problem: Problem) -> Measurement:
    assert problem.measurement is not None
    return problem.measurement


def _strided(process: DDPM, grid: list[float]) -> list[float]:
    """Steps with one stride from 0 on, as DDRM and DDNM take them, where that gives as many as the grid has."""
    count = len(grid) - 1
    return grid if len(process) % count else [*training_steps(len(process), count, "floor_stride"), -1]


@dataclass(frozen=True)
class ByDDRM(Method):
    """DDRM: the singular vectors of the operator, each by what the measurement knows of it (arXiv:2201.11793).

    Args:
        eta: share of the noise that is drawn anew.
        eta_b: how far the measurement is followed.
    """

    eta: float = 0.85
    eta_b: float = 1.0
    svd_for: ClassVar[str] = "DDRM"
    steps: ClassVar[int] = 20
    clips: ClassVar[bool] = False

    def times(self, process: DDPM, steps: int | None = None) -> list[float]:
        """Evenly strided from 0 where the number divides T."""
        return _strided(process, super().times(process, steps))

    def run(self, problem: Problem, times: list[float], sampler: str | None = None) -> Tensor:
        """From the measurement with the noise that it lacks."""
        measurement, process = _measured(problem), problem.process
        start = ddrm_start(process, measurement, times[0], problem.draw())
        return problem.sample(start, times, ddrm(process, measurement, eta=self.eta, eta_b=self.eta_b))


@dataclass(frozen=True)
class ByDDNM(Method):
    """DDNM: the measurement's range and the network's null space, for measurements without noise (arXiv:2212.00490).

    Args:
        eta: share of the noise that is drawn anew.
        travel_length: how far it goes back up.
        travel_repeat: how often each stretch is walked; 1 for no travel.
    """

    eta: float = 0.85
    travel_length: int = 1
    travel_repeat: int = 1
    clips: ClassVar[bool] = False

    def times(self, process: DDPM, steps: int | None = None) -> list[float]:
        """Evenly strided from 0 where the number divides T, and travelled."""
        return _travelled(_strided(process, super().times(process, steps)), self.travel_length, self.travel_repeat)

    def check(self, measurement: Measurement) -> None:
        """Without noise."""
        if measurement.sigma:
            raise ValueError("guidance 'ddnm' is for measurements without noise; pass 'ddnm+' where there is a sigma")

    def run(self, problem: Problem, times: list[float], sampler: str | None = None) -> Tensor:
        """From noise."""
        step, process = self.step(problem.process, _measured(problem)), problem.process
        return sample_with_travel(problem.denoise, process, problem.draw(), times, step, up="x0", noise=problem.noise)

    def step(self, process: Process, measurement: Measurement) -> Step:
        """`ddnm`."""
        return ddnm(process, measurement, eta=self.eta)


@dataclass(frozen=True)
class ByDDNMPlus(ByDDNM):
    """DDNM+: DDNM for measurements with noise, by singular values (arXiv:2212.00490).

    Args:
        eta, travel_length, travel_repeat: as for `ByDDNM`.
    """

    svd_for: ClassVar[str] = "DDNM+"

    def check(self, measurement: Measurement) -> None:
        """The operator needs an SVD; noise is welcome."""
        Method.check(self, measurement)

    def step(self, process: Process, measurement: Measurement) -> Step:
        """`ddnm_plus`."""
        return ddnm_plus(process, measurement, eta=self.eta)


@dataclass(frozen=True)
class ByDPS(Guided):
    """DPS: down the gradient of the misfit after every step (arXiv:2209.14687).

    Args:
        scale: step length; None for the authors' 0.5 of inpainting, 0.3 of other operators.
    """

    scale: float | None = None
    steps: ClassVar[int] = 1000
    needs_gradient: ClassVar[bool] = True

    def guidance(self, problem: Problem, times: list[float]) -> Guidance:
        """`DPS`."""
        return DPS(_measured(problem), self.length(problem))

    def length(self, problem: Problem) -> float:
        """Of a step."""
        usual = 0.5 if isinstance(_measured(problem).operator, MaskOperator) else 0.3
        return usual if self.scale is None else self.scale


@dataclass(frozen=True)
class ByMCG(ByDPS):
    """MCG: the step of DPS, and the projection on the noised measurement (arXiv:2206.00941).

    Args:
        scale: as for `ByDPS`.
    """

    def guidance(self, problem: Problem, times: list[float]) -> Guidance:
        """`MCG`."""
        return MCG(_measured(problem), self.length(problem), process=problem.process)


@dataclass(frozen=True)
class ByPiGDM(Guided):
    """PiGDM: along the gradient through the pseudo-inverse, from A^+ y, by DDIM (ICLR 2023).

    Args:
        weight: of the guidance.
        eta: DDIM's, in [0, 1]; None for 1.
        renoise: take steps that keep no noise in place of DDIM's; on photographs these gave 1.3 dB more in 20 steps, and less
            varied samples.

    Raises:
        ValueError: there is an eta and renoise; in `run`, the sampler "ddim" and renoise.
    """

    weight: float = 1.0
    eta: float | None = None
    renoise: bool = False
    needs_gradient: ClassVar[bool] = True
    clips: ClassVar[bool] = False
    samplers: ClassVar[tuple[str, ...]] = ("ddim",)

    def __post_init__(self) -> None:
        if self.renoise and self.eta is not None:
            raise ValueError(f"eta is DDIM's, and renoise takes other steps; leave out eta={self.eta:g} or renoise")

    def guidance(self, problem: Problem, times: list[float]) -> Guidance:
        """`PiGDM`, with adaptive weights."""
        return PiGDM(_measured(problem), problem.process, self.weight)

    def run(self, problem: Problem, times: list[float], sampler: str | None = None) -> Tensor:
        """From the pseudo-inverse."""
        process = problem.process
        if self.renoise and sampler is not None:
            raise ValueError(f"sampler {sampler!r} does not fit ByPiGDM(renoise=True), which brings its own steps")
        start = pinv_start(_measured(problem), process)(torch.tensor(times[0]), problem.draw())
        step = renoised(process) if self.renoise else ddim(process, eta=1.0 if self.eta is None else self.eta)
        return problem.sample(start, times, step, self.guidance(problem, times))


@dataclass(frozen=True)
class ByDiffPIR(Method):
    """DiffPIR: half-quadratic splitting (arXiv:2305.08995), and the network's clean image of the last state.

    Args:
        lam: weight of the network's image; the authors' lambda of 1 is 1/4 here, see `diffpir`.
        zeta: share of the noise that is drawn anew; None for the authors' 1 of inpainting, 0.1 of other operators.
    """

    lam: float = 0.25
    zeta: float | None = None

    def times(self, process: DDPM, steps: int | None = None) -> list[float]:
        """Denser towards the clean end: the squares of T - 1 - t are even; those that round to one time are visited once.

        Raises:
            ValueError: as for `Method.times`, or there is one step: the last call of the network is without the measurement.
        """
        total, count = len(process), len(super().times(process, steps)) - 1
        if count < 2:
            raise ValueError("DiffPIR takes at least 2 steps, for the last is the network's alone; got 1")
        positions = torch.linspace(0, total**2, count, dtype=torch.float64).sqrt().long().clamp(max=total - 1).tolist()
        return [total - 1 - place for place in dict.fromkeys(positions)]

    def calls(self, times: list[float]) -> int:
        """One for each time."""
        return len(times)

    def run(self, problem: Problem, times: list[float], sampler: str | None = None) -> Tensor:
        """From the measurement in image space, brought to the first time's noise."""
        process, measurement = problem.process, _measured(problem)
        assert isinstance(process, DDPM)
        operator, y = measurement.operator, measurement.y
        first = y if operator.out_shape == operator.in_shape else operator.pinv(y)
        x = noised_measurement(process, first, measurement.sigma, torch.tensor(times[0]), problem.draw())
        zeta = self.zeta if self.zeta is not None else 1.0 if isinstance(operator, MaskOperator) else 0.1
        if len(times) > 1:
            x = problem.sample(x, times, diffpir(process, measurement, lam=self.lam, zeta=zeta))
        return problem.denoise(x, torch.tensor(times[-1], dtype=torch.float64)).x0


@dataclass(frozen=True)
class ByILVR(Guided):
    """ILVR: what the operator keeps is taken from the measurement after every step (arXiv:2108.02938).

    Args:
        free: share of the steps, the last ones, that are left alone; of 100 the authors have the last 20, and the one before.

    Raises:
        ValueError: free is not in [0, 1), or in `guidance`, there are so few steps that none is left to guide.
    """

    free: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.free < 1:
            raise ValueError(f"expected free in [0, 1), got {self.free}")

    def guidance(self, problem: Problem, times: list[float]) -> Guidance:
        """`ILVR`."""
        measurement = _measured(problem)
        rising = times[-2::-1]
        until = rising[min(round(self.free * len(rising)), len(rising) - 1)] if self.free else times[-1]
        if until == rising[-1]:
            raise ValueError(
                f"ILVR leaves the last steps alone (free {self.free:g}), and of {len(rising)} none is left that follows the "
                "measurement; take more steps or a smaller free"
            )
        low_pass = low_pass_of(measurement.operator)
        return ILVR(problem.process, low_pass, measurement.operator.pinv(measurement.y), until)


@dataclass(frozen=True)
class ByRePaint(Method):
    """RePaint: what is known is put in after every step, and the way is walked up and down (arXiv:2201.09865).

    Args:
        length: how far it goes back up.
        repeat: how often each stretch is walked; 1 for no travel, which is the inpainting of score-based SDEs. As in the
            authors' schedule there is none either where the steps are no more than `length`.
    """

    length: int = 10
    repeat: int = 10
    steps: ClassVar[int] = 250

    def times(self, process: DDPM, steps: int | None = None) -> list[float]:
        """Down and up."""
        return _travelled(super().times(process, steps), self.length, self.repeat)

    def check(self, measurement: Measurement) -> None:
        """The operator has to be a mask of 0 and 1."""
        mask_of(measurement, "RePaint")

    def run(self, problem: Problem, times: list[float], sampler: str | None = None) -> Tensor:
        """From noise."""
        measurement = _measured(problem)
        guidance = RePaint(problem.process, measurement.y, 1 - mask_of(measurement, "RePaint"))
        step, process = problem.ancestral(), problem.process
        return sample_with_travel(problem.denoise, process, problem.draw(), times, step, noise=problem.noise, guidance=guidance)


@dataclass(frozen=True)
class ByREDdiff(Method):
    """RED-diff: the posterior's mode by gradient descent, with the network as a regulariser (arXiv:2305.04391).

    Args:
        rate: Adam's learning rate.
        weight: of the regulariser.
    """

    rate: float = 0.1
    weight: float = 0.25
    clips: ClassVar[bool] = False

    def run(self, problem: Problem, times: list[float], sampler: str | None = None) -> Tensor:
        """From A^+ y."""
        return red_diff(
            problem.denoise,
            problem.process,
            _measured(problem),
            times,
            rate=self.rate,
            weight=self.weight,
            noise=problem.noise,
        )


METHODS: dict[str, Method] = {
    "ddrm": ByDDRM(),
    "ddnm": ByDDNM(),
    "ddnm+": ByDDNMPlus(),
    "dps": ByDPS(),
    "mcg": ByMCG(),
    "pigdm": ByPiGDM(),
    "diffpir": ByDiffPIR(),
    "ilvr": ByILVR(),
    "repaint": ByRePaint(),
    "red-diff": ByREDdiff(),
}


def find_method(guidance: str | Method) -> Method:
    """The method of a name; a method is itself.

    Raises:
        ValueError: there is none of this name.
    """
    if isinstance(guidance, Method):
        return guidance
    check_name("guidance", guidance, METHODS)
    return METHODS[guidance]


def mask_of(measurement: Measurement, method: str) -> Tensor:
    """What is known of the image: 1 there, 0 elsewhere.

    Raises:
        ValueError: the operator is no mask, or has other values.
    """
    operator = measurement.operator
    if not isinstance(operator, MaskOperator):
        raise ValueError(f"{method} fills holes: it needs a MaskOperator, got {type(operator).__name__}; pass inpainting(mask)")
    mask = operator.table("mask", measurement.y)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(f"{method} needs a mask of 0 and 1, got values from {float(mask.min()):g} to {float(mask.max()):g}")
    return mask


def _travelled(times: list[float], length: int, repeat: int) -> list[float]:
    rising = times[-2::-1]
    return [rising[place] if place >= 0 else times[-1] for place in travel_schedule(len(rising), length, repeat)]
