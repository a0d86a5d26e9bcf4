"""restore() from end to end with the bundled weights, and the memory that a 12-megapixel photograph takes."""

import subprocess
import sys

import pytest
import torch

from restoralib import restore
from restoralib.restoration import estimate, understand

SIZES = {"512x512": (512, 512), "1920x1080": (1080, 1920)}


@pytest.mark.parametrize("task", ["denoise", "sr4"])
@pytest.mark.parametrize("size", SIZES)
def test_restore(benchmark, task, size):
    image = torch.rand(3, *SIZES[size])
    benchmark.pedantic(restore, (image, task), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("size", SIZES)
def test_the_classifier_looks_at_an_image(benchmark, size):
    image = torch.rand(3, *SIZES[size])
    estimate(image[:, :64, :64])  # loads it
    benchmark.pedantic(estimate, (image,), rounds=3)


def test_a_sentence_is_understood(benchmark):
    wish = benchmark(understand, "Could you remove the rain and brighten it a little, but please keep the grain as it is?")
    assert wish.tasks == ("derain", "low_light")


MEMORY = """
import resource, sys, time
import torch
from restoralib import create_model, restore
torch.manual_seed(0)
net = create_model("nafnet_sidd_width32")
image = torch.rand(3, 3000, 4000)
restore(image[:, :64, :64], net)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
restored = restore(image, net)
seconds = time.perf_counter() - began
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert restored.shape == image.shape
print((after - before) / 2**20, seconds)
"""


def test_a_12_megapixel_photograph_through_nafnet_width32_stays_below_1500_mb(record_property, capsys):
    result = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True)
    gigabytes, seconds = map(float, result.stdout.split())
    with capsys.disabled():
        print(f"\n4000x3000 through NAFNet-width32: {gigabytes:.2f} GB above the model and the input, {seconds:.0f} s")
    record_property("peak GB", gigabytes)
    record_property("seconds", seconds)
    assert gigabytes < 1.5
