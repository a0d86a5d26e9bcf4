"""Which networks are fast enough for video on this machine, measured at that moment."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from restoralib.restoration.door import restore
from restoralib.restoration.network import choose_device, placed
from restoralib.zoo import create_model, list_models, model_info
from restoralib.zoo.measured import multiply_adds

SIDE = 256
RATE = 20.0
_PASSES = 3
_CHANNELS = 64  # of the convolution whose speed bounds that of networks


@dataclass(frozen=True)
class Speed:
    """How fast `restore` was with a model.

    Args:
        model: its name.
        images_per_second: of `side` x `side` pixels, one after the other.
        multiply_adds: for an image of 256x256.
    """

    model: str
    images_per_second: float
    multiply_adds: int


@dataclass(frozen=True)
class Found:
    """What was measured.

    Args:
        speeds: of the models that reach the rate, fastest first.
        slower: of those that were measured and do not.
        hopeless: names of models whose multiply-adds alone take too long.
        left: names of models for which there was no time.
    """

    speeds: tuple[Speed, ...]
    slower: tuple[Speed, ...]
    hopeless: tuple[str, ...]
    left: tuple[str, ...]


def find_realtime(
    names: Sequence[str] | None = None,
    *,
    rate: float = RATE,
    side: int = SIDE,
    device: str | torch.device = "auto",
    budget: float = 60.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Found:
    """Measure which models restore at least `rate` images a second here, small ones first.

    Each is measured by `restore` on a colour image that is in memory, in a few passes, the median of which counts; weights that
    are not in the package are random. A model is not tried where a plain 3x3 convolution, which is faster than any network,
    would not do its multiply-adds in time.

    Args:
        names: models to look at; None for all. Those that restore no image by themselves are left out.
        rate: images a second.
        side: of the image in pixels.
        device: as for `restore`.
        budget: seconds after which no further model is begun.
        clock: gives seconds.

    Raises:
        ValueError: a name is unknown, there is no such device, or a number is not positive.
    """
    if not (rate > 0 and side > 0 and budget > 0):
        raise ValueError(f"rate, side and budget should be positive, got {rate}, {side} and {budget}")
    place, began = choose_device(device), clock()
    infos = [model_info(name) for name in (list_models() if names is None else names)]
    costs = {info.name: cost for info in infos if info.role == "restorer" and (cost := multiply_adds(info.name)) is not None}
    share = (side / 256) ** 2
    most = _convolution_rate(place, clock) / rate
    image = torch.rand(3, side, side)
    seen: dict[str, float] = {}  # configurations published under several names are measured once
    speeds: list[Speed] = []
    left: list[str] = []
    hopeless = [name for name in costs if costs[name] * share > most]
    for name in sorted(costs.keys() - set(hopeless), key=lambda name: (costs[name], name)):
        info = model_info(name)
        key = name if info.bundled else json.dumps([info.cls, info.config], sort_keys=True)
        if key not in seen:
            if clock() - began > budget:
                left.append(name)
                continue
            net = create_model(name, weights="bundled" if info.bundled else None)
            seen[key] = _images_per_second(placed(net, place, torch.float32), image, place, rate, clock)
        speeds.append(Speed(name, seen[key], costs[name]))
    speeds.sort(key=lambda speed: -speed.images_per_second)
    fast = tuple(speed for speed in speeds if speed.images_per_second >= rate)
    return Found(fast, tuple(speeds[len(fast) :]), tuple(sorted(hopeless)), tuple(left))


def _images_per_second(
    net: nn.Module, image: torch.Tensor, device: torch.device, rate: float, clock: Callable[[], float]
) -> float:
    def once() -> None:
        restore(image, net, device=device, tile=None, seed=0)

    once()  # whatever happens at a first call
    times: list[float] = []
    for seconds in _timed(once, clock):
        times.append(seconds)
        if len(times) == _PASSES or seconds > 5 / rate:  # far off: no need to be exact
            break
    return 1 / max(statistics.median(times), 1e-9)


def _convolution_rate(device: torch.device, clock: Callable[[], float]) -> float:
    """Multiply-adds a second of a 3x3 convolution between 64 channels of 256x256 pixels, the best of a few passes."""
    conv = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1).to(device).to(memory_format=torch.channels_last)
    x = torch.rand(1, _CHANNELS, 256, 256, device=device).to(memory_format=torch.channels_last)

    def once() -> None:
        conv(x).sum().item()  # waits for the device

    with torch.inference_mode():
        once()
        best = min(seconds for seconds, _ in zip(_timed(once, clock), range(_PASSES), strict=False))
    return 9 * _CHANNELS**2 * 256**2 / max(best, 1e-9)


def _timed(call: Callable[[], None], clock: Callable[[], float]) -> Iterator[float]:
    """Seconds of one call after the other, for ever."""
    while True:
        began = clock()
        call()
        yield clock() - began
