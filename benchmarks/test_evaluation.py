"""What an evaluation costs: the measures by themselves, and a set of images from files to figures."""

import pytest
import torch

from restoralib.evaluation import MEASURES, evaluate
from restoralib.evaluation.measures import load_measure
from restoralib.metrics import PROTOCOLS

FREE = [name for name, measure in MEASURES.items() if measure.network is None]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Eight random images of 256x256, as files."""
    from restoralib.images import Picture, write_image

    folder = tmp_path_factory.mktemp("photographs")
    for number in range(8):
        image = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(number))
        write_image(folder / f"{number}.png", Picture(image))
    return folder


@pytest.mark.parametrize("name", FREE)
def test_measure(benchmark, name):
    """One pair of 512x512, rounded to 8 bits as the protocol says."""
    restored, target = torch.rand(2, 1, 3, 512, 512)
    measure = load_measure(MEASURES[name])
    benchmark.pedantic(measure, (restored, target, PROTOCOLS["rgb"], 1), rounds=5, warmup_rounds=1)
    if benchmark.stats:
        benchmark.extra_info["images per second"] = 1 / benchmark.stats["median"]


@pytest.mark.parametrize("model", ["bicubic", "sr4"])
def test_super_resolution_of_eight_files(benchmark, photographs, model):
    benchmark.pedantic(evaluate, (model, photographs), {"scale": 4}, rounds=3, warmup_rounds=1)


def test_the_work_around_a_model(benchmark, photographs):
    """Reading, noise and PSNR: nothing is restored."""
    benchmark.pedantic(evaluate, ("identity", photographs), {"noise": 25, "metrics": ["psnr"]}, rounds=3, warmup_rounds=1)
