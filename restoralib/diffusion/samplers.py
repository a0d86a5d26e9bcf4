"""Samplers by name: which ones fit a process, from where they start, and by which times they go."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from restoralib.diffusion.bbdm import BBDM
from restoralib.diffusion.ddbm import DDBM, VEBridge, ddbm_heun
from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import Denoised, Denoiser
from restoralib.diffusion.dpm_solver import dpm_solver_2m
from restoralib.diffusion.edm import EDM, edm_heun
from restoralib.diffusion.flow import Flow, flow_heun
from restoralib.diffusion.goub import GOUB
from restoralib.diffusion.grids import even, karras, training_steps
from restoralib.diffusion.i2sb import I2SB
from restoralib.diffusion.irsde import IRSDE
from restoralib.diffusion.measurement import Measurement
from restoralib.diffusion.noise import Noise
from restoralib.diffusion.process import Process
from restoralib.diffusion.resshift import ResShift
from restoralib.diffusion.sampling import Guidance, Step, ancestral, ddim, sample
from restoralib.diffusion.score_sde import VESDE, VPSDE
from restoralib.diffusion.sde import euler, euler_maruyama


@dataclass(frozen=True)
class Problem:
    """A picture to sample: what every sampler and every guidance needs of it.

    Args:
        process: the process of the network.
        denoise: the network, bound to whatever it is told.
        like: of the state's shape, type and device.
        noise: source of all noise.
        y: the degraded image in the network's range, where the network is conditional.
        measurement: the degraded image with its operator, for a guidance.
        learned_variance: the denoiser gives the variance.
        known: hooks that put back what of the image is known.
    """

    process: Process
    denoise: Denoiser
    like: Tensor
    noise: Noise
    y: Tensor | None = None
    measurement: Measurement | None = None
    learned_variance: bool = False
    known: Guidance | None = None

    @property
    def target(self) -> Tensor | None:
        """The degraded image, where the process goes to it."""
        return self.y if self.process.uses_target else None

    def draw(self) -> Tensor:
        """Standard normal noise of the state's shape."""
        return self.noise(self.like)

    def ancestral(self) -> Step:
        """The step that draws from the posterior, with the network's variance where it has learned one."""
        return ancestral(self.process, y=self.target, variance="learned" if self.learned_variance else "small")

    def sample(self, x: Tensor, times: Iterable[float], step: Step, guidance: Guidance | None = None) -> Tensor:
        """The loop of all steps."""
        return sample(self.denoise, x, list(times), step, noise=self.noise, guidance=guidance or self.known)


class Sampler(NamedTuple):
    """How a state goes from the first time of a grid to the last."""

    run: Callable[[Problem, Tensor, list[float]], Tensor]
    """(problem, state at the first time, times) -> the clean image."""
    calls: Callable[[int], int] = int
    """Network calls for a number of steps."""
    one_step: bool = True
    """Whether it is the loop of one kind of step, which takes hooks."""


class Family(NamedTuple):
    """What is known of sampling a kind of process. Its first sampler is the default."""

    steps: Callable[[Any], int]
    """The default number of steps, and for processes of discrete times the largest."""
    grid: Callable[[Any, int], list[float]]
    start: Callable[[Problem, list[float]], Tensor]
    samplers: Mapping[str, Sampler]
    discrete: bool = True


def _stepping(make: Callable[[Problem], Step]) -> Sampler:
    return Sampler(lambda problem, x, times: problem.sample(x, times, make(problem)))


_ENDS = {VPSDE: 1e-3, VESDE: 1e-5}
"""Where sampling stops short of 0, at which the score has no bound."""


def _kind(process: Process) -> Any:
    return VESDE if isinstance(process, VESDE) else VPSDE


def _reverse_sde(problem: Problem) -> Step:
    process: Any = problem.process
    if isinstance(process, IRSDE):  # as its code: the noise is subtracted, in the last step too
        return euler_maruyama(process, y=problem.y, noise_scale=-1, last_noise=True)
    noisy, mean, end = euler_maruyama(process), euler_maruyama(process, noise_scale=0), _ENDS[_kind(process)]

    def step(x: Tensor, denoised: Denoised, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        return (noisy if r > end else mean)(x, denoised, t, r, noise)  # what is left at the end is the mean, as in their code

    return step


def _leave(problem: Problem, noisy: bool) -> Tensor:
    process: Any = problem.process
    return process.leave(problem.y, problem.draw() if noisy else None)


def _target(problem: Problem, times: list[float]) -> Tensor:
    assert problem.y is not None
    return problem.y


def _around_target(problem: Problem, times: list[float]) -> Tensor:
    process: Any = problem.process
    return process.start(problem.y, problem.draw())


def _noise(problem: Problem, times: list[float]) -> Tensor:
    return problem.draw()


def _scaled_noise(problem: Problem, times: list[float]) -> Tensor:
    return float(problem.process.coefficients(times[0]).s) * problem.draw()


def _whole(first: int, steps: int) -> list[float]:
    """Whole numbers from the first to 0, as evenly as rounding lets them."""
    return torch.linspace(first, 0, steps + 1, dtype=torch.float64).round().tolist()


POSTERIOR = _stepping(Problem.ancestral)
DDIM = _stepping(lambda problem: ddim(problem.process, y=problem.target))
_SDE = _stepping(_reverse_sde)
_ODE = _stepping(lambda problem: euler(problem.process, y=problem.target))  # type: ignore[arg-type]
_MEAN = _stepping(lambda problem: ancestral(problem.process, y=problem.target, variance="none"))
_BRIDGE = Sampler(
    lambda problem, x, times: ddbm_heun(problem.denoise, problem.process, x, times, noise=problem.noise),  # type: ignore[arg-type]
    lambda steps: 3 * steps - 1,
    False,
)


def _heun(run: Callable[..., Tensor]) -> Sampler:
    return Sampler(lambda problem, x, times: run(problem.denoise, x, times), lambda steps: 2 * steps - 1, False)


_GOUB = {
    "sde": _SDE,
    "mean-ode": _stepping(lambda problem: euler_maruyama(problem.process, y=problem.y, noise_scale=0)),  # type: ignore[arg-type]
    "posterior": POSTERIOR,
    "ddim": DDIM,
}
_DPM = Sampler(lambda problem, x, times: dpm_solver_2m(problem.denoise, problem.process, x, times), one_step=False)
# The first kind that a process is tells all, so bridges come before what they are bent from.
FAMILIES: dict[Any, Family] = {
    DDPM: Family(
        len,
        lambda process, steps: [*training_steps(len(process), steps), -1],
        _noise,
        {"posterior": POSTERIOR, "ddim": DDIM, "dpm++": _DPM},
    ),
    # It has no score at T: the first step from there is made without the network.
    GOUB: Family(lambda process: len(process) - 1, lambda process, steps: _whole(len(process) - 1, steps), _target, _GOUB),
    IRSDE: Family(
        len,
        lambda process, steps: _whole(len(process), steps),
        _around_target,
        {"posterior": POSTERIOR, "sde": _SDE, "ode": _ODE, "ddim": DDIM},
    ),
    I2SB: Family(
        lambda process: len(process) - 1,
        lambda process, steps: _whole(len(process) - 1, steps),
        _target,
        {"posterior": POSTERIOR, "ode": _MEAN},
    ),
    ResShift: Family(len, lambda process, steps: _whole(len(process), steps), _around_target, {"posterior": POSTERIOR}),
    BBDM: Family(len, lambda process, steps: _whole(len(process), steps), _target, {"posterior": POSTERIOR, "ddim": DDIM}),
    EDM: Family(
        lambda process: 18,
        lambda process, steps: karras(steps, 80.0, 0.002).tolist(),
        _scaled_noise,
        {"heun": _heun(edm_heun), "ode": _ODE, "posterior": POSTERIOR, "ddim": DDIM},
        False,
    ),
    Flow: Family(
        lambda process: 50, lambda process, steps: even(steps).tolist(), _noise, {"heun": _heun(flow_heun), "ode": DDIM}, False
    ),
    DDBM: Family(
        lambda process: 40,
        # The slope has no bound at the end itself.
        lambda process, steps: karras(steps, _end(process) - 1e-4, 0.002 if isinstance(process, VEBridge) else 1e-4).tolist(),
        _target,
        {"heun": _BRIDGE},
        False,
    ),
    VPSDE: Family(
        lambda process: 1000,
        lambda process, steps: even(steps, 1.0, _ENDS[VPSDE]).tolist(),
        _noise,
        {"sde": _SDE, "ode": _ODE, "posterior": POSTERIOR, "ddim": DDIM},
        False,
    ),
    VESDE: Family(
        lambda process: 1000,
        lambda process, steps: even(steps, 1.0, _ENDS[VESDE]).tolist(),
        _scaled_noise,
        {"sde": _SDE, "ode": _ODE, "posterior": POSTERIOR, "ddim": DDIM},
        False,
    ),
}
SAMPLERS = tuple(dict.fromkeys(name for family in FAMILIES.values() for name in family.samplers))


def _end(process: Any) -> float:
    return process.sigma_max if isinstance(process, VEBridge) else process.t_max


def family_of(process: Process) -> Family:
    """What is known of sampling a process.

    Raises:
        TypeError: nothing is.
    """
    for kind, family in FAMILIES.items():
        if isinstance(process, kind):
            return family
    raise TypeError(f"no sampler is known by name for {type(process).__name__}; call restoralib.diffusion.sample with a step")


def find_sampler(process: Process, name: str | None = None) -> Sampler:
    """A sampler for a process; None for the one that its authors prefer.

    Raises:
        ValueError: there is none of this name, or it does not fit the process.
    """
    fitting = family_of(process).samplers
    if name is None:
        return next(iter(fitting.values()))
    check_name("sampler", name, SAMPLERS)
    if name not in fitting:
        raise ValueError(
            f"sampler {name!r} does not fit {type(process).__name__}, which is sampled by {', '.join(map(repr, fitting))}"
        )
    return fitting[name]


def time_grid(process: Process, steps: int | None = None) -> list[float]:
    """The times by which a process is sampled, falling; None for as many steps as its authors take.

    Raises:
        ValueError: steps are no whole number of at least 1, or more than the process has.
    """
    family = family_of(process)
    usual = family.steps(process)
    count = usual if steps is None else steps
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"steps should be at least 1 and whole, got {steps!r}")
    if family.discrete and count > usual:
        raise ValueError(f"{type(process).__name__} has {usual} steps, from which a sampler can take 1 to {usual}, got {steps}")
    return family.grid(process, count)


def run_sampler(problem: Problem, name: str | None, times: list[float]) -> Tensor:
    """Sample a picture, from the start that belongs to its process."""
    sampler = find_sampler(problem.process, name)
    if isinstance(problem.process, GOUB):
        return sampler.run(problem, _leave(problem, noisy=name != "mean-ode"), times)
    return sampler.run(problem, family_of(problem.process).start(problem, times), times)


def check_name(kind: str, name: str, known: Iterable[str]) -> None:
    """Refuse an unknown name, and name the nearest.

    Raises:
        ValueError: it is not among the known ones.
    """
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown {kind} {name!r}; {hint}choose one of {', '.join(known)}")
