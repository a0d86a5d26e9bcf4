"""Pairs a second at 256x256: degradations drawn and applied one image at a time, as a loader of training data does."""

import pytest
import torch

from restoralib.degradations import PAIRED_TASKS, BSRGANDegradation, PairedDegradation, RealESRGANDegradation, draw_task

PAIRS, SIDE = 16, 256


def applied(draw, benchmark, device):
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).to(device)

    def call():
        generator = torch.Generator().manual_seed(0)
        for _ in range(PAIRS):
            draw(generator)(image)
        if device.type == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(call, rounds=3, warmup_rounds=1)
    if benchmark.stats:
        benchmark.extra_info["images a second"] = PAIRS / benchmark.stats["median"]


@pytest.mark.parametrize("kind", [PairedDegradation, RealESRGANDegradation, BSRGANDegradation])
def test_pipeline(kind, benchmark, device):
    applied(kind.draw, benchmark, device)


@pytest.mark.parametrize("task", PAIRED_TASKS)
def test_task(task, benchmark, device):
    applied(lambda generator: draw_task(task, generator), benchmark, device)
