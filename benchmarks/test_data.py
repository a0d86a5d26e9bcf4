"""Pairs a second: from files and from memory, stored and drawn, in one process of one thread, as a DataLoader's worker is."""

import numpy as np
import pytest
import torch
from PIL import Image

from restoralib.data import CleanPairs, StoredPairs, open_benchmark, read_photographs, read_shards, write_shards
from restoralib.degradations import GaussianNoise

COUNT = 16


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of BSD's size: 481x321, smooth enough that a PNG has its usual size."""
    root = tmp_path_factory.mktemp("photographs")
    draw = np.random.default_rng(0)
    for side in ("gt", "lq"):
        (root / side).mkdir()
        for number in range(COUNT):
            small = Image.fromarray(draw.integers(0, 256, (40, 60, 3), dtype=np.uint8))
            small.resize((481, 321), Image.Resampling.BICUBIC).save(root / side / f"{number}.png")
    return root


def timed(benchmark, read):
    """Run and note the pairs a second."""
    count = benchmark.pedantic(lambda: sum(1 for _ in read()), rounds=3, warmup_rounds=1)
    assert count == COUNT
    benchmark.extra_info["pairs a second"] = COUNT / benchmark.stats["median"]


def test_benchmark_pairs(benchmark, folder):
    pairs = open_benchmark("pairs", folder)
    timed(benchmark, lambda: pairs)


@pytest.mark.parametrize("source", ["files", "memory"])
@pytest.mark.parametrize("degrade", [GaussianNoise.draw, 4], ids=["noise", "bicubic4"])
def test_clean_pairs(benchmark, folder, source, degrade):
    photographs = folder / "gt" if source == "files" else read_photographs(folder / "gt")
    pairs = CleanPairs(photographs, degrade, size=256)
    timed(benchmark, lambda: pairs)


def test_stored_pairs(benchmark, folder):
    pairs = StoredPairs(open_benchmark("pairs", folder), size=256)
    timed(benchmark, lambda: pairs)


def test_shards(benchmark, folder, tmp_path):
    write_shards(tmp_path, open_benchmark("pairs", folder))
    timed(benchmark, lambda: read_shards(tmp_path, size=256))


def test_opening_a_thousand_pairs(benchmark, tmp_path):
    """Names, partners and ends of files are checked; nothing is decoded."""
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for side in ("gt", "lq"):
        (tmp_path / side).mkdir()
        for number in range(1000):
            image.save(tmp_path / side / f"{number}.png")
    assert len(benchmark.pedantic(lambda: open_benchmark("pairs", tmp_path), rounds=3)) == 1000
