"""The robustness campaign: `cd benchmarks; python -m campaign --out ../docs/robustness.json`.

Parts that were finished stay in the log of an earlier run and are not run again. Figures are written when all parts are there.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from random import Random

import hypothesis
import numpy as np
import PIL
import tifffile
import torch

PARTS = ("inputs", "checkpoints", "disturbed", "folders", "together", "names")


def main() -> None:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "restoralib-campaign", help="for the logs")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs and of the kills")
    parser.add_argument("--kinds", nargs="*", help="of inputs; all by default")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for part in given.parts or PARTS:
        done = given.work / f"{part}.json"
        if done.exists():
            continue
        began = time.process_time()
        with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
            figures = run_part(part, Path(folder), given)
        figures["seconds of this process"] = round(time.process_time() - began, 1)
        print(part, json.dumps(figures, indent=2), flush=True)
        if not (part == "inputs" and given.kinds):
            done.write_text(json.dumps(figures, indent=2))
    if given.out:
        files = {part: given.work / f"{part}.json" for part in PARTS}
        found = {part: json.loads(file.read_text()) for part, file in files.items() if file.exists()}
        given.out.write_text(json.dumps({"environment": environment(given.seed), **found}, indent=2) + "\n")


def run_part(part: str, folder: Path, given: argparse.Namespace) -> dict:
    """The figures of a part."""
    if part == "inputs":
        from campaign import inputs
        from campaign.process import worker

        log = given.work / "inputs.jsonl"
        counts = {kind: round(count * given.share) for kind, count in inputs.COUNTS.items()}
        inputs.campaign(counts, given.seed, log, given.kinds)
        figures = inputs.summary(log)
        (repeated,) = worker(inputs.again, folder, round(1000 * given.share), given.seed, timeout=1200)
        return figures | {"again": repeated}
    if part == "checkpoints":
        from campaign import checkpoints
        from campaign.process import worker

        return checkpoints.summary(list(worker(checkpoints.run, folder, timeout=900)))
    if part == "disturbed":
        from campaign import disturbed

        figures = disturbed.run()
        return {"ways": figures, "faults": disturbed.faults(figures)}
    if part == "folders":
        from campaign import folders

        runs = folders.Runs(folder)
        kills = runs.kill(round(100 * given.share), Random(given.seed))
        return {"kills": kills, "full disk": runs.full_disk(), "limit on file sizes": runs.no_large_files()}
    if part == "together":
        from campaign import together

        return together.run()
    from campaign import names

    return names.run(folder)


def environment(seed: int) -> dict[str, str | int]:
    """What the figures were measured with."""
    versions = {module.__name__: module.__version__ for module in (torch, np, PIL, tifffile, hypothesis)}
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "seed": seed,
        "date": time.strftime("%Y-%m-%d"),
    }
    return {**versions, **found, "seed": seed, "date": time.strftime("%Y-%m-%d")}


if __name__ == "__main__":
    main()
