"""Times that can be compared: calls in turn, and what the machine can do at most, in the same run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

Call = Callable[[], object]


def interleaved(calls: Mapping[str, Call], rounds: int = 5) -> dict[str, list[float]]:
    """Seconds of each call in each round; every round makes all calls, beginning with another one."""
    names = list(calls)
    for call in calls.values():
        call()  # whatever happens at a first call
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter()
            calls[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(seconds: Mapping[str, list[float]], slower: str, faster: str) -> float:
    """How many times as long one call takes as another: the median over the rounds, in which both met the same load."""
    return statistics.median(a / b for a, b in zip(seconds[slower], seconds[faster], strict=True))


def ceilings(rounds: int = 3) -> dict[str, float]:
    """Multiply-adds a second in float32, the best of some rounds and of five shapes: products of matrices, convolutions."""
    kinds: dict[str, list[tuple[Call, int]]] = {"matmul": [], "1x1 convolution": [], "3x3 convolution": []}
    for n in (256, 512, 768, 1024, 1536):
        a, b = torch.rand(n, n), torch.rand(n, n)
        kinds["matmul"].append((lambda a=a, b=b: a @ b, n**3))
    for channels, side in ((32, 256), (64, 128), (128, 64), (256, 64), (512, 32)):
        for kernel, kind in ((1, "1x1 convolution"), (3, "3x3 convolution")):
            conv = torch.nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
            conv = conv.to(memory_format=torch.channels_last)
            x = torch.rand(1, channels, side, side).to(memory_format=torch.channels_last)
            kinds[kind].append((lambda conv=conv, x=x: conv(x), (kernel * channels * side) ** 2))
    best = {}
    with torch.inference_mode():
        for kind, cases in kinds.items():
            rates = []
            for call, count in cases:
                call()
                for _ in range(rounds):
                    began = time.perf_counter()
                    call()
                    rates.append(count / (time.perf_counter() - began))
            best[kind] = max(rates)
    return best


def multiply_adds(net: torch.nn.Module, *inputs: Tensor) -> int:
    """Products of convolutions and of matrices in one call, by torch's flop counter."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(*inputs)
    return counter.get_total_flops() // 2


def machine() -> dict[str, object]:
    """Where this runs, and how busy it is."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            model = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }
