"""Any network as a denoiser: what it predicts, what it is given, and one form of answer for all samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from restoralib.diffusion.process import Process, Time

Prediction = Literal["eps", "x0", "v", "score", "velocity"]
PREDICTIONS = ("eps", "x0", "v", "score", "velocity")


@dataclass(frozen=True)
class Denoised:
    """What a denoiser says of a state.

    Args:
        x0: the clean image, as far as it can be told.
        variance: where a network has learned the variance of the reverse step: -1 for the smallest that is possible, 1 for the
            largest, like x0.
    """

    x0: Tensor
    variance: Tensor | None = None


class Denoiser(Protocol):
    """Anything that can be called with a state and its time."""

    def __call__(self, x: Tensor, t: Tensor, /) -> Denoised:
        """What is under the noise of the state x at time t."""
        ...


def to_x0(prediction: Prediction, value: Tensor, process: Process, x_t: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
    """The clean image that a prediction means.

    With (M), x_t = a x0 + b y + s eps: eps is the noise; v = a eps - s x0 (Salimans & Ho, arXiv:2202.00512); the score is
    -eps / s; the velocity is eps - x0, that of the straight path of flow matching.

    Args:
        prediction: "eps", "x0", "v", "score" or "velocity".
        value: what the network gave.
        process: tells a, b and s.
        x_t: the state that it was given.
        t: its time.
        y: the degraded image, for processes with b.

    Raises:
        ValueError: there is no such prediction.
    """
    if prediction == "x0":
        return value
    if prediction == "eps":
        return process.clean(x_t, value, t, y)
    a, b, s = process.at(t, x_t)
    if prediction == "score":
        return process.clean(x_t, -s * value, t, y)
    rest = x_t - process.of_target(b, y)
    if prediction == "v":
        return (a * rest - s * value) / (a**2 + s**2)
    if prediction == "velocity":
        return (rest - s * value) / (a + s)
    raise ValueError(f"unknown prediction {prediction!r}; choose one of {', '.join(PREDICTIONS)}")


def from_x0(prediction: Prediction, x0: Tensor, process: Process, x_t: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
    """What a network with this prediction gives where the clean image is x0: the way back of `to_x0`."""
    if prediction == "x0":
        return x0
    eps = process.noise(x_t, x0, t, y)
    a, _, s = process.at(t, x_t)
    if prediction == "eps":
        return eps
    if prediction == "score":
        return -eps / s
    if prediction == "v":
        return a * eps - s * x0
    if prediction == "velocity":
        return eps - x0
    raise ValueError(f"unknown prediction {prediction!r}; choose one of {', '.join(PREDICTIONS)}")


class NotFiniteError(FloatingPointError, RuntimeError):
    """A network gives NaN or infinity in the midst of a sampling."""


def call_network(
    net: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor, time: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """What a network gives for a state and the number that it is told of the time, (b,) of the state's type."""
    label = t if time is None else time(t)
    return net(x, label.to(device=x.device, dtype=x.dtype).expand(x.shape[0]))


def check_output(value: Tensor, x: Tensor, t: Tensor, channels: int) -> Tensor:
    """What a network gave for a state x at a time, if it has so many channels, the state's size, and no NaN or infinity.

    Raises:
        ValueError: it has another shape.
        NotFiniteError: it has values that are not finite; under `torch.compile` that is not checked.
    """
    expected = (x.shape[0], channels, *x.shape[2:])
    if value.shape != expected:
        raise ValueError(f"the network gives {tuple(value.shape)} for a state {tuple(x.shape)}; expected {expected}")
    if not torch.compiler.is_compiling() and not bool(value.isfinite().all()):
        raise NotFiniteError(
            f"the network gives values that are not finite at time {float(t.max()):g}; look at the range of its input "
            f"(from {float(x.min()):.3g} to {float(x.max()):.3g}), its weights, or the precision"
        )
    return value


def _check_tells(prediction: Prediction, process: Process, t: Tensor) -> None:
    """Refuse a time at which the state has nothing that a prediction could tell the clean image by."""
    if prediction == "x0" or torch.compiler.is_compiling():
        return
    a, _, s = process.coefficients(t)
    told = a if prediction in ("eps", "score") else a + s
    if not bool((told > 0).all()):
        raise ValueError(
            f"{prediction!r} does not tell the clean image at time {float(t.max()):g}, where {type(process).__name__} leaves "
            "nothing of it in the state; begin at an earlier time, or take a network that predicts x0"
        )


def denoiser(
    net: Callable[[Tensor, Tensor], Tensor],
    process: Process,
    prediction: Prediction = "eps",
    *,
    y: Tensor | None = None,
    learned_variance: bool = False,
    time: Callable[[Tensor], Tensor] | None = None,
    clip: tuple[float, float] | None = None,
) -> Denoiser:
    """A network as a denoiser.

    Args:
        net: gives the prediction for a state and the time that it understands: `net(x, time(t))`, (b, c, h, w) and (b,).
            A network with a condition is bound to it first: `lambda x, t: net(torch.cat([x, y], 1), t)`.
        process: the process that it was trained for.
        prediction: what it predicts: "eps", "x0", "v", "score" or "velocity".
        y: the degraded image, for processes that go to it.
        learned_variance: the network gives twice the channels, the second half being the variance between its bounds.
        time: the number that the network is given for a time of the process; None: the time itself.
        clip: bounds of the clean image.

    Raises:
        ValueError: there is no such prediction; when called, the network gives another shape, or its prediction does not tell
            the clean image at this time, as eps where nothing is left of it.
        RuntimeError: when called, the network gives values that are not finite.
    """
    if prediction not in PREDICTIONS:
        raise ValueError(f"unknown prediction {prediction!r}; choose one of {', '.join(PREDICTIONS)}")

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        _check_tells(prediction, process, t)
        value = check_output(call_network(net, x, t, time), x, t, x.shape[1] * (1 + learned_variance))
        value, variance = value.chunk(2, dim=1) if learned_variance else (value, None)
        x0 = to_x0(prediction, value, process, x, t, y)
        return Denoised(x0 if clip is None else x0.clamp(*clip), variance)

    return denoise
