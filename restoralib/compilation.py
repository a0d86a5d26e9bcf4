"""torch.compile where it works, eager code where it does not."""

from __future__ import annotations

import functools
import logging
from typing import Literal

import torch
from torch import Tensor, nn

from restoralib.archs.spec import example_inputs

logger = logging.getLogger(__name__)

Backend = Literal["auto", "inductor", "eager"]


def compile(model: nn.Module, *, backend: Backend = "auto") -> nn.Module:
    """Compile a network with Inductor if that works here; a missing compiler or Triton never raises.

    A restorer is tried on a small image in eval mode, which compiles it for all sizes; another module is compiled at its first
    call. Weights, statistics and modes stay as they were. The log says which backend was chosen, and why.

    Args:
        model: the network, on the device and in the precision in which it will run.
        backend: "auto" and "inductor" try Inductor, of which "inductor" warns where it does not work; "eager" changes nothing.

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
            _try_out(compiled)
        except Exception as error:  # whatever a compiler trips over, eager code still runs
            reason = _first_line(error)
        else:
            logger.info("%s runs compiled by Inductor on %s", name, device)
            return compiled
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


@torch.no_grad()
def _try_out(model: nn.Module) -> None:
    """Run a restorer on a small image, its own size where it takes only one; the model stays as it was."""
    spec = getattr(model, "spec", None)
    like = next(model.parameters(), None)
    if spec is None or like is None:
        return
    # In training mode the run would change the statistics of batch norms and draw random numbers.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        model(*example_inputs(spec, make=torch.zeros, dtype=like.dtype, device=like.device))
    finally:
        for module, training in modes:
            module.training = training


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
