"""Peak memory of one step of SANA's transformer over a latent in tiles, for growing pictures.

    python benchmarks/temporal_memory.py                                    # CPU: 2 layers at full width, float32
    python benchmarks/temporal_memory.py --device cuda --layers 20 --dtype bfloat16

Weights are random. Every size runs in a process of its own. The peak is what the step takes beyond weights and inputs, which
are there before: on a CPU the resident set's (VmHWM - VmRSS, with allocations returned to the system at once) and, in a second
run, the live bytes that torch's allocator counts; on a GPU torch.cuda.max_memory_allocated. "shapes" is the allocator's count
with products of matrices and convolutions left out, whose results are zeros: minutes in place of hours, the same tensors, but
not what the kernels need for themselves. The goal is

    peak(size) <= 1.1 peak(one tile) + output(size)

for the block-causal mode; the peaks of other modes are printed for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from restoralib.archs import VARIANTS
from restoralib.archs.sana import SanaTransformer
from restoralib.diffusion import Flow, ddim, sample
from restoralib.latent import exact_denoiser, overlap_denoiser, temporal_denoiser, whole_denoiser

FACTOR, TILE = 32, 1024 // 32
DENOISERS = {
    "causal": lambda net, text: temporal_denoiser(net, text, TILE),
    "overlap": lambda net, text: overlap_denoiser(net, text, TILE, 0),
    "exact": lambda net, text: exact_denoiser(net, text, TILE),
    "whole": whole_denoiser,
}


def resident(name):
    """A line of /proc/self/status in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def allocator_peak(run):
    """Live bytes at most, as torch's allocator counts them."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    memory = sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"])
    totals = [event["args"]["Total Allocated"] for event in memory]
    before = totals[0] - memory[0]["args"]["Bytes"]
    return max(totals) - before


class WithoutArithmetic(TorchDispatchMode):
    """Zeros in place of what takes time."""

    SLOW = ("mm", "bmm", "addmm", "baddbmm", "linear", "matmul", "convolution", "conv2d")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name not in self.SLOW and "scaled_dot_product" not in name:
            return func(*args, **kwargs or {})
        meta = tree_map_only(torch.Tensor, lambda x: x.to("meta"), (args, kwargs or {}))
        return tree_map_only(torch.Tensor, lambda x: torch.zeros_like(x, device="cpu"), func(*meta[0], **meta[1]))


def measure(size, mode, layers, device, dtype, count):
    """Peak and seconds of a step, in this process."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(0)
    config = VARIANTS["sana_1600m_1024"].config | {"num_layers": layers}
    with torch.device(device):
        net = SanaTransformer(**config).to(dtype).eval()
        x = torch.randn(1, 32, size // FACTOR, size // FACTOR, dtype=dtype)
        text = torch.randn(1, 300, 2304, dtype=dtype)
    denoise = DENOISERS[mode](net, text)

    @torch.inference_mode()
    def step():
        return sample(denoise, x, [1.0, 0.95], ddim(Flow()))

    began = time.perf_counter()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() - before
    elif count == "allocator":
        peak = allocator_peak(step)
    elif count == "shapes":
        with WithoutArithmetic():
            peak = allocator_peak(step)
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        before = resident("VmRSS")
        step()
        peak = resident("VmHWM") - before
    weights = sum(parameter.numel() * parameter.element_size() for parameter in net.parameters())
    return {"peak": peak, "seconds": time.perf_counter() - began, "output": x.numel() * x.element_size(), "weights": weights}


def main():
    """Every size and mode in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--modes", nargs="+", choices=DENOISERS, default=["causal"])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--counts", nargs="+", choices=("resident", "allocator", "shapes"), default=["resident", "allocator"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    if options.one:
        size, mode, count = options.one.split(",")
        print(json.dumps(measure(int(size), mode, options.layers, options.device, dtype, count)))
        return
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    fixed = [sys.executable, __file__, "--layers", str(options.layers), "--device", options.device, "--dtype", options.dtype]
    for mode in options.modes:
        for count in options.counts[:1] if options.device == "cuda" else options.counts:
            first = None
            for size in options.sizes:
                child = subprocess.run(
                    [*fixed, "--one", f"{size},{mode},{count}"], env=environment, check=True, capture_output=True, text=True
                )
                told = json.loads(child.stdout.splitlines()[-1])
                first = first or told["peak"]
                share = (told["peak"] - told["output"]) / first
                print(
                    f"{mode} {count} {size} px: peak {told['peak'] / 1e6:.1f} MB, output {told['output'] / 1e6:.2f} MB, "
                    f"(peak - output) / first size's {share:.3f}, weights {told['weights'] / 1e6:.0f} MB, "
                    f"{told['seconds']:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
