"""A folder of small images: how near the run comes to the model alone, and what a plain loop takes.

    python benchmarks/batch_throughput.py [--model denoise] [--images 200] [--side 96] [--rounds 3]

Rounds interleave three ways over the same PNG files: the model alone on pictures that are in memory, in the calls that a run
makes; `restore_folder`; a loop of `restore_file`. Wall time says what was seen, on however busy a machine. CPU time of the
thread that runs the model says what the rest of the run takes from it: where other cores have time to read and write, the run
has that share of the model's own throughput. The times that `restoralib.batch.cost` asks for are printed at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from restoralib.batch import Restorer, restore_folder
from restoralib.images import Picture, encode_image, read_image, write_image
from restoralib.restoration import restore_file


def make_images(folder: Path, count: int, side: int) -> list[Path]:
    """Smooth pictures with a little noise, which PNG packs about as well as photographs."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir()
    for number in range(count):
        coarse = torch.rand(1, 3, 8, 8, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0]
        noisy = smooth + 0.05 * torch.randn(3, side, side, generator=generator)
        write_image(folder / f"{number:05}.png", Picture(noisy.clamp(0, 1)))
    return sorted(folder.iterdir())


def clock(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of the wall, of this thread's and of all threads' CPU time."""
    before = time.perf_counter(), time.thread_time(), time.process_time()
    work()
    after = time.perf_counter(), time.thread_time(), time.process_time()
    return dict(zip(("wall", "thread", "process"), (b - a for a, b in zip(before, after, strict=True)), strict=True))


def model_alone(restorer: Restorer, pictures: list[Picture]) -> None:
    """The network on tensors that are ready, as many in a call as in a run."""
    size = restorer.images_in_a_call(pictures[0])
    with torch.inference_mode():
        for start in range(0, len(pictures), size):
            colors = [picture.color[: restorer.network.spec.in_channels] for picture in pictures[start : start + size]]
            restorer.network(torch.stack(colors).contiguous(memory_format=torch.channels_last))


def measure(name: str, count: int, side: int, rounds: int) -> dict[str, float]:
    """Run the three ways and return medians over the rounds."""
    found: dict[str, list[float]] = {}
    restorer = Restorer(name)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        paths = make_images(home / "in", count, side)
        pictures = [read_image(path) for path in paths]
        restorer.load()
        model_alone(restorer, pictures[:4])
        for number in range(rounds):
            plain = home / f"plain{number}"
            plain.mkdir()
            ways: dict[str, Callable[[], object]] = {
                "model": lambda: model_alone(restorer, pictures),
                "run": lambda number=number: restore_folder(home / "in", home / f"out{number}", restorer),
                "loop": lambda plain=plain: [restore_file(path, plain / path.name, restorer.network) for path in paths],
                "read": lambda: [read_image(path) for path in paths],
                "write": lambda: [encode_image(picture) for picture in pictures],
            }
            for way, work in ways.items():
                for kind, seconds in clock(work).items():
                    found.setdefault(f"{way} {kind}", []).append(seconds)
        bytes_read = sum(path.stat().st_size for path in paths) / count
        bytes_written = sum(path.stat().st_size for path in (home / "out0").glob("*.png")) / count
    middle = {key: statistics.median(values) for key, values in found.items()}
    return {
        "images in a call": restorer.images_in_a_call(pictures[0]),
        "model alone, images/s": count / middle["model wall"],
        "restore_folder, images/s": count / middle["run wall"],
        "plain loop, images/s": count / middle["loop wall"],
        "restore_folder / plain loop": middle["loop wall"] / middle["run wall"],
        "CPU of model / of the model's thread in a run": middle["model thread"] / middle["run thread"],
        "CPU of plain loop / of restore_folder": middle["loop process"] / middle["run process"],
        "model_seconds": middle["model thread"] / count,
        "read_seconds": middle["read thread"] / count,
        "write_seconds": middle["write thread"] / count,
        "bytes_read": bytes_read,
        "bytes_written": bytes_written,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="denoise")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(options.model, options.images, options.side, options.rounds)
    print(json.dumps({name: round(value, 6) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
