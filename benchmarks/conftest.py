"""Benchmarks run on random weights, in inference mode, on the CPU or with --device on another one."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where to run the benchmarks")


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture
def device(request):
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def timed(benchmark, device):
    """Time a module on an input, both put on the device in channels_last memory, with the throughput as extra information."""

    def run(module, *inputs, pixels=None):
        module = module.to(device).eval()
        inputs = [x.to(device, memory_format=torch.channels_last) if x.ndim == 4 else x.to(device) for x in inputs]
        if any(p.ndim == 4 for p in module.parameters()):
            module = module.to(memory_format=torch.channels_last)

        def call():
            result = module(*inputs)
            if device.type == "cuda":
                torch.cuda.synchronize()
            return result

        call()
        benchmark.pedantic(call, rounds=5, warmup_rounds=1)
        if pixels and benchmark.stats:
            benchmark.extra_info["microseconds per pixel"] = benchmark.stats["median"] * 1e6 / pixels

    return run
