"""Peak memory of `restore` against the size of the image, and the work that tiles do twice.

    python benchmarks/memory.py --sides 512 1024 2048 4096 8192

Each size runs in a process of its own: a small network of scale 1, an array of uint8 in and out, tiles by default. Of the peak
(resident) the image itself in and out, 3 bytes a pixel each, is taken off: what is left should not grow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch

from restoralib.restoration.plan import choose_tile, plan_image
from restoralib.zoo import list_models, model_info

CHILD = """
import json, resource, sys, time
import numpy as np
import torch
from restoralib import restore
from restoralib.archs import NAFNet
torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(0)
net = NAFNet(width=4, middle_blk_num=1, enc_blk_nums=(1,), dec_blk_nums=(1,)).eval()
side = int(sys.argv[1])
row = np.random.default_rng(0).integers(0, 256, (side, 3), np.uint8)
image = np.broadcast_to(row, (side, side, 3)).copy()
began = time.perf_counter()
restored = restore(image, net)
seconds = time.perf_counter() - began
assert restored.shape == image.shape and restored.dtype == np.uint8
print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "seconds": seconds}))
"""


def measured(side: int, threads: int) -> dict[str, float]:
    """Peak in MB, what the image takes in and out, and seconds."""
    command = [sys.executable, "-c", CHILD, str(side), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return {**found, "image": 2 * 3 * side**2 / 2**20}


def overlap_work(side: int, name: str) -> float | None:
    """By how much the tiles of a square image are larger than it, all in all; None where it is not cut."""
    spec = _spec(name)
    tile = choose_tile((side, side), "auto", spec, torch.device("cpu"), 1)
    plan = plan_image((side, side), tile, spec)
    if len(plan) == 1:
        return None
    rows, columns = (sum(stop - start for start, stop in spans) for spans in (plan.rows, plan.columns))
    return rows * columns / side**2 - 1


def _spec(name: str):
    from restoralib import archs
    from restoralib.checkpoints import skeleton

    info = model_info(name)
    return skeleton(getattr(archs, info.cls), info.config).spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", action="store_true", help="only the work that tiles do twice, which needs no run")
    options = parser.parse_args()
    if not options.work:
        head = ("side", "peak, MB", "image in and out, MB", "beyond, MB", "of the smallest's", "seconds")
        print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
        least = None
        for side in options.sides:
            found = measured(side, options.threads)
            beyond = found["peak"] - found["image"]
            least = least or beyond
            numbers = (found["peak"], found["image"], beyond)
            print(
                f"| {side} | {' | '.join(f'{x:.0f}' for x in numbers)} | {beyond / least:.2f} | {found['seconds']:.1f} |",
                flush=True,
            )
    sides = (1080, 2048, 4096)
    print(f"\n| network | {' | '.join(f'{side}x{side}' for side in sides)} |\n| --- | {'--- | ' * len(sides)}")
    seen = set()
    for name in list_models():
        info = model_info(name)
        if info.role == "restorer" and info.cls not in seen:
            seen.add(info.cls)
            shares = [overlap_work(side, name) for side in sides]
            print(f"| {name} | {' | '.join('' if share is None else f'{100 * share:.0f} %' for share in shares)} |")


if __name__ == "__main__":
    main()
