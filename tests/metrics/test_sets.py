"""Figures of whole sets: the Fréchet distance, the accumulator, and the FS of RealIR-Bench."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch

from restoralib.metrics import (
    Accumulator,
    Moments,
    fid,
    frechet_distance,
    gather_moments,
    inception_input,
    realir_fs,
    realir_fs_evaluator,
    realir_fs_table,
)


def test_frechet_distance_of_gaussians_that_commute_is_known():
    deviations, others = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([2.0, 2.0, 1.5]).double()
    first = Moments(11, torch.zeros(3).double(), 10 * torch.diag(deviations**2))
    second = Moments(21, torch.tensor([1.0, 0.0, 2.0]).double(), 20 * torch.diag(others**2))
    expected = 5 + ((deviations - others) ** 2).sum().item()
    assert frechet_distance(first, second).item() == pytest.approx(expected)
    assert frechet_distance(first, first).item() == pytest.approx(0, abs=1e-12)


def test_moments_of_batches_are_those_of_the_whole_set():
    features = torch.randn(57, 6) * torch.arange(1, 7) + 100
    parts = [Moments.of(part) for part in features.split(10)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert merged.count == 57
    assert torch.allclose(merged.mean, features.double().mean(0))
    assert torch.allclose(merged.covariance, features.double().T.cov())
    assert frechet_distance(merged, Moments.of(features)).item() == pytest.approx(0, abs=1e-9)


def test_fid_of_few_samples_is_finite_and_bad_sets_are_named():
    features = torch.randn(5, 40)
    assert fid(features, torch.randn(7, 40)).isfinite()
    with pytest.raises(ValueError, match="at least two vectors, got 1"):
        fid(features[:1], features)
    with pytest.raises(ValueError, match="40 and 39 dimensions cannot be compared"):
        fid(features, features[:, 1:])
    with pytest.raises(ValueError, match=r"features \(n, d\)"):
        fid(features[0], features)
    with pytest.raises(ValueError, match="n at least 1"):
        fid(features[:0], features)
    with pytest.raises(ValueError, match="1 of 5 features are not finite, first that of image 3; leave it out"):
        fid(features, features.index_fill(0, torch.tensor([3]), math.nan))
    with pytest.raises(ValueError, match="cannot be joined"):
        Moments.of(features).merge(Moments.of(features[:, 1:]))


def test_fid_takes_any_extractor_of_features():
    images, others = torch.rand(30, 3, 16, 16), torch.rand(30, 3, 16, 16) ** 2

    def extract(batch):
        return torch.nn.functional.adaptive_avg_pool2d(batch, 2).flatten(1)

    assert fid(extract(images), extract(others)) > 10 * fid(extract(images[:15]), extract(images[15:]))


def test_moments_are_gathered_batch_by_batch_without_gradients():
    images = torch.rand(23, 3, 8, 8)
    extract = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    gathered = gather_moments(images.split(5), extract)
    assert gathered.count == 23
    assert not gathered.mean.requires_grad
    assert torch.allclose(gathered.covariance, Moments.of(extract(images).detach()).covariance, rtol=1e-6)
    with pytest.raises(ValueError, match="no image"):
        gather_moments([], extract)


def test_input_of_published_fids_is_resized_without_antialiasing():
    image = torch.rand(2, 3, 40, 70)
    prepared = inception_input(image)
    assert prepared.shape == (2, 3, 299, 299)
    assert -1 <= prepared.min() < -0.9
    whole = torch.rand(1, 3, 299, 299)
    assert torch.allclose(inception_input(whole), 2 * whole - 1)
    # Every third pixel, for the sampling points are their middles, and nothing between them is averaged.
    assert torch.allclose(inception_input(torch.rand(1, 3, 897, 897).round()).abs(), torch.ones(()), atol=1e-4)
    with pytest.raises(ValueError, match="repeat grey"):
        inception_input(image[:, :1])


def test_accumulated_figures_are_those_of_the_whole_set_in_any_order():
    scores = 30 + 5 * torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gathered = Accumulator()
    for value in scores[:3]:
        gathered.update(psnr=value, ssim=0.5)
    others = []
    for part in scores[3:].split(13):
        other = Accumulator()
        other.update(psnr=part)
        others.append(other)
    for other in reversed(others):
        gathered.merge(other)
    summary = gathered.summaries()["psnr"]
    assert (summary.count, summary.finite) == (100, 100)
    assert summary.mean == pytest.approx(scores.mean().item(), rel=1e-12)
    assert summary.std == pytest.approx(scores.std().item(), rel=1e-12)
    assert (summary.low, summary.high) == (scores.min().item(), scores.max().item())
    assert gathered.summaries()["ssim"].count == 3
    assert gathered.means() == {"psnr": summary.mean, "ssim": 0.5}
    gathered.update(lpips=0.1, dists=torch.tensor(0.1, requires_grad=True))
    assert gathered.means()["lpips"] == 0.1
    assert gathered.means()["dists"] == pytest.approx(0.1)


def test_infinite_and_undefined_scores_are_counted_apart():
    gathered = Accumulator()
    gathered.update(psnr=torch.tensor([30.0, math.inf, 32.0]))
    summary = gathered.summaries()["psnr"]
    assert (summary.mean, summary.finite_mean, summary.infinite, summary.undefined) == (math.inf, 31.0, 1, 0)
    gathered.update(psnr=math.nan)
    summary = gathered.summaries()["psnr"]
    assert math.isnan(summary.mean)
    assert (summary.finite_mean, summary.count, summary.finite, summary.undefined) == (31.0, 4, 2, 1)
    only = Accumulator()
    only.update(psnr=torch.tensor([math.inf, math.inf]))
    assert only.means() == {"psnr": math.inf}
    only.merge(gathered)
    assert only.summaries()["psnr"].finite_mean == 31.0
    assert math.isnan(Accumulator.from_state({"psnr": Accumulator().state().get("psnr", zero())}).means()["psnr"])


def zero():
    return {key: 0 for key in ("count", "infinite", "undefined", "finite_mean", "scatter", "low", "high")}


def test_state_is_small_plain_json_and_comes_back():
    gathered = Accumulator()
    for start in range(0, 10_000, 100):
        gathered.update(psnr=torch.arange(start, start + 100), lpips=torch.tensor([math.inf]))
    text = json.dumps(gathered.state(), allow_nan=False)
    assert len(text) < 400
    assert Accumulator.from_state(json.loads(text)).state() == gathered.state()


def test_scores_of_another_shape_are_named_and_nothing_is_taken_in():
    gathered = Accumulator()
    with pytest.raises(ValueError, match=r"ssim should be one score an image, \(b,\), got \(2, 3\)"):
        gathered.update(psnr=torch.ones(2), ssim=torch.ones(2, 3))
    assert gathered.means() == {}


WORKER = """
import sys, torch
import torch.distributed as dist
from restoralib.metrics import Accumulator
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
own = Accumulator()
own.update(psnr=torch.arange(10.0)[rank::2])
states = [None, None]
dist.all_gather_object(states, own.state())
merged = Accumulator()
for state in states:
    merged.merge(Accumulator.from_state(state))
assert merged.summaries()["psnr"].count == 10 and abs(merged.means()["psnr"] - 4.5) < 1e-12
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(tmp_path):
    store = f"file://{tmp_path}/store"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(rank), store], env=environment) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]


def test_fs_of_an_image_is_its_gain_times_what_stays():
    before, after = torch.tensor([2.0, 4.0, 1.0]), torch.tensor([4.0, 3.0, 5.0])
    distance = torch.tensor([0.25, 0.1, 0.0])
    assert realir_fs(before, after, distance).tolist() == pytest.approx([0.3, 0.0, 0.8])
    assert realir_fs_evaluator(before, after, distance).item() == pytest.approx(1.1 / 3)
    assert realir_fs_table(before, after, distance).item() == pytest.approx(0.2 * 2 * (1 - 0.35 / 3))


@pytest.mark.parametrize(
    ("distance", "gain", "printed"),
    [(0.445, 1.312, 0.146), (0.413, 1.306, 0.153), (0.525, 1.578, 0.150), (0.371, 1.076, 0.135), (0.582, 1.900, 0.159)],
)
def test_fs_of_the_papers_table(distance, gain, printed):
    """Rows of RealIR-Bench: mean LPIPS, mean gain and FS, as printed."""
    before, distances = torch.ones(4), torch.full((4,), distance)
    assert realir_fs_table(before, before + gain, distances).item() == pytest.approx(printed, abs=1e-3)


def test_images_without_an_answer_are_left_out():
    before, after = torch.tensor([2.0, math.nan, 2.0]), torch.tensor([4.0, 4.0, 4.0])
    distance = torch.tensor([0.5, 0.0, 0.5])
    assert realir_fs(before, after, distance).isnan().tolist() == [False, True, False]
    assert realir_fs_evaluator(before, after, distance).item() == pytest.approx(0.2)
    assert realir_fs_table(before, after, distance).item() == pytest.approx(0.2)
    assert realir_fs_table(before * math.nan, after, distance).isnan()


def test_scores_out_of_range_are_named():
    with pytest.raises(ValueError, match="scores before should lie between 1 and 5, got 0 to 3"):
        realir_fs(torch.tensor([0.0, 3.0]), torch.ones(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"one shape \(b,\)"):
        realir_fs(torch.ones(2), torch.ones(3), torch.zeros(2))
