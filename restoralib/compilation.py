"""torch.compile where it works, eager code where it does not."""

from __future__ import annotations

import functools
import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from restoralib.archs.spec import example_inputs

logger = logging.getLogger(__name__)

Backend = Literal["auto", "inductor", "eager"]

_PAIRS = 5
_LONG_ENOUGH = 0.02  # seconds of a call in which Python's share and the clock's do not count
# Of the images on which both forms are timed; tiles are not much larger, and for smaller ones torch takes other convolutions.
_SIDES = (128, 256)


def compile(model: nn.Module, *, backend: Backend = "auto", inputs: Sequence[Tensor] | None = None) -> nn.Module:
    """Compile a network with Inductor if that works here and is faster; a missing compiler or Triton never raises.

    The network is tried on an image in eval mode, which compiles it for all sizes on its grid of `multiple` pixels, and both
    forms are timed call by call in turn: the compiled one is kept where it is the faster. Sizes off the grid cost at most three
    graphs more, for the sides that are padded, and tiny ones another, for which torch has other convolutions. A module without
    a spec is compiled at its first call, and not timed unless `inputs` are given. Weights, statistics and modes stay as they
    were. The log says which was chosen, and why.

    Args:
        model: the network, on the device and in the precision in which it will run.
        backend: "auto" keeps the faster; "inductor" takes Inductor wherever it works, and warns where it does not; "eager"
            changes nothing.
        inputs: what to call it with; by default an image of 128 or 256 pixels a side.

    Returns:
        The compiled network, or the network itself; both have its attributes and parameters.

    Raises:
        ValueError: the backend is unknown.
    """
    if backend not in ("auto", "inductor", "eager"):
        raise ValueError(f"unknown backend {backend!r}; choose auto, inductor or eager")
    name, device = type(model).__name__, next((p.device for p in model.parameters()), torch.device("cpu"))
    if backend == "eager":
        return model
    reason = _inductor_fault(device.type)
    if reason is None:
        compiled: nn.Module = torch.compile(model, dynamic=True)  # type: ignore[assignment]
        try:
            gain = _gain(model, compiled, inputs)
        except Exception as error:  # whatever a compiler trips over, eager code still runs
            reason = _first_line(error)
        else:
            if backend == "inductor" or gain is None or gain > 1:
                found = "" if gain is None else f", {gain:.2f} times as fast as eagerly"
                logger.info("%s runs compiled by Inductor on %s%s", name, device, found)
                return compiled
            reason = f"compiled by Inductor it is {gain:.2f} times as fast"
    logger.log(logging.WARNING if backend == "inductor" else logging.INFO, "%s runs eagerly on %s: %s", name, device, reason)
    return model


def available_backends(device: str | torch.device = "cpu") -> tuple[str, ...]:
    """The backends that work on a device, the preferred one first."""
    return ("eager",) if _inductor_fault(torch.device(device).type) else ("inductor", "eager")


@functools.cache
def _inductor_fault(device: str) -> str | None:
    """Why Inductor does not work on a kind of device, found out by compiling a sum; None where it works."""

    def increase(x: Tensor) -> Tensor:
        return x + 1

    try:
        torch.compile(increase)(torch.zeros(8, device=device))
    except Exception as error:  # no compiler, no Triton, no such device
        return _first_line(error)
    return None


@torch.inference_mode()  # as in restore: a graph that was compiled in another mode would be compiled again
def _gain(model: nn.Module, compiled: nn.Module, inputs: Sequence[Tensor] | None) -> float | None:
    """How many times faster the compiled form is; None where nobody knows what to call it with. The model stays as it was."""
    spec = getattr(model, "spec", None)
    like = next(model.parameters(), None)
    if inputs is None and (spec is None or like is None):
        return None

    def examples() -> Iterator[Sequence[Tensor]]:
        if inputs is not None:
            yield inputs
            return
        assert spec is not None and like is not None
        for side in _SIDES:
            step = -(-side // spec.multiple) * spec.multiple
            yield example_inputs(spec, (step, step + spec.multiple), make=torch.zeros, dtype=like.dtype, device=like.device)

    with _evaluated(model):
        for given in examples():
            compiled(*given)  # compiles, at the first size
            _seconds(model, given)  # whatever happens at a first call
            if _seconds(model, given) >= _LONG_ENOUGH:
                break
        pairs = [(_seconds(model, given), _seconds(compiled, given)) for _ in range(_PAIRS)]
    return statistics.median(eager / later for eager, later in pairs)


def _seconds(module: nn.Module, inputs: Sequence[Tensor]) -> float:
    """How long one call takes, to the end of the device's work."""

    def wait() -> None:
        if inputs[0].device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    began = time.perf_counter()
    module(*inputs)
    wait()
    return time.perf_counter() - began


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """The model in eval mode: training would change the statistics of batch norms and draw random numbers."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
