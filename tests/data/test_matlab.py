"""SIDD and DND in their own files, and what their servers take."""

from __future__ import annotations

import base64
import csv

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from restoralib.data import DatasetError, matlab, open_benchmark, write_dnd_submission, write_sidd_submission


def blocks(seed, shape=(2, 3, 8, 8, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def sidd(tmp_path):
    for seed, name in enumerate(("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb", "BenchmarkNoisyBlocksSrgb")):
        scipy.io.savemat(tmp_path / f"{name}.mat", {name: blocks(seed)}, do_compression=True)
    return tmp_path


@pytest.fixture
def dnd(tmp_path):
    """Two photographs with two boxes each, stored as MATLAB stores 7.3."""
    (tmp_path / "images_srgb").mkdir()
    draw = np.random.default_rng(0)
    boxes = np.array([[3, 5, 10, 12], [1, 1, 8, 8]], dtype=np.float64)  # Top, left, bottom, right: 1-based, inclusive.
    with h5py.File(tmp_path / "info.mat", "w") as file:
        info = file.create_group("info")
        places = info.create_dataset("boundingboxes", (1, 2), dtype=h5py.ref_dtype)
        for number in range(2):
            cells = file.create_dataset(f"#refs#/{number}", data=boxes.T)
            places[0, number] = cells.ref
            image = draw.random((20, 30, 3), dtype=np.float32)  # Rows, columns, colours.
            with h5py.File(tmp_path / "images_srgb" / f"{number + 1:04d}.mat", "w") as photograph:
                photograph["InoisySRGB"] = image.T
            np.save(tmp_path / f"{number}.npy", image)
    return tmp_path


def test_sidd_validation(sidd):
    benchmark = open_benchmark("sidd", sidd)
    assert benchmark.names[:4] == ("00_00", "00_01", "00_02", "01_00") and len(benchmark) == 6
    assert benchmark.protocol == "sidd"
    pair = benchmark["01_02"]
    assert pair.facts == {"image": 1, "block": 2}
    for image, seed in ((pair.degraded, 0), (pair.clean, 1)):
        assert torch.equal((image * 255).round().byte(), torch.from_numpy(blocks(seed)[1, 2]).permute(2, 0, 1))
    assert [problem.reason for problem in benchmark.problems] == ["holds 6 pairs of sidd (validation), papers count 1280"]


def test_sidd_benchmark_has_no_truth(sidd):
    benchmark = open_benchmark("sidd", sidd, split="benchmark")
    assert benchmark[5].clean is None
    assert torch.equal((benchmark[5].degraded * 255).round().byte(), torch.from_numpy(blocks(2)[1, 2]).permute(2, 0, 1))
    assert benchmark.protocol is None


def test_sidd_half_copied(sidd):
    truth = sidd / "ValidationGtBlocksSrgb.mat"
    data = truth.read_bytes()
    truth.write_bytes(data[: len(data) // 2])
    benchmark = open_benchmark("sidd", sidd)
    with pytest.raises(DatasetError, match=r"ValidationGtBlocksSrgb\.mat is damaged"):
        benchmark[0]
    truth.unlink()
    benchmark = open_benchmark("sidd", sidd)
    assert (truth, "is missing") in {(problem.file, problem.reason) for problem in benchmark.problems}
    with pytest.raises(DatasetError, match="is missing"):
        benchmark[0]
    scipy.io.savemat(truth, {"ValidationGtBlocksSrgb": blocks(1, (1, 3, 8, 8, 3))})
    assert "arrays of different shapes" in open_benchmark("sidd", sidd).problems[0].reason
    scipy.io.savemat(truth, {"other": blocks(1)})
    assert "holds no array ValidationGtBlocksSrgb" in open_benchmark("sidd", sidd).problems[0].reason
    truth.write_bytes(b"")
    assert open_benchmark("sidd", sidd).problems[0].reason == "is empty (0 bytes)"
    with pytest.raises(DatasetError, match=r"holds none of ValidationNoisyBlocksSrgb\.mat"):
        open_benchmark("sidd", sidd.parent)


@pytest.fixture
def small(monkeypatch):
    """The benchmarks' sizes, made small."""
    for name, value in {
        "SIDD_IMAGES": 2,
        "SIDD_BLOCKS": 3,
        "SIDD_SIDE": 8,
        "DND_IMAGES": 2,
        "DND_BOXES": 2,
        "DND_SIDE": 8,
    }.items():
        monkeypatch.setattr(matlab, name, value)


def test_sidd_submission_holds_the_blocks_in_order(sidd, tmp_path, small):
    benchmark = open_benchmark("sidd", sidd, split="benchmark")
    restored = [pair.degraded for pair in benchmark]
    write_sidd_submission(tmp_path / "SubmitSrgb.csv", restored)
    with (tmp_path / "SubmitSrgb.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["ID", "BLOCK"] and [row[0] for row in rows[1:]] == list("012345")
    stored = np.stack([np.frombuffer(base64.b64decode(row[1]), np.uint8).reshape(8, 8, 3) for row in rows[1:]])
    assert np.array_equal(stored, blocks(2).reshape(6, 8, 8, 3))
    write_sidd_submission(tmp_path / "SubmitSrgb.mat", iter(restored))
    assert np.array_equal(scipy.io.loadmat(tmp_path / "SubmitSrgb.mat")["DenoisedBlocksSrgb"], blocks(2))


def test_submissions_that_would_be_refused(tmp_path, small):
    block = torch.zeros(3, 8, 8)
    with pytest.raises(DatasetError, match="has 6 blocks, got 5"):
        write_sidd_submission(tmp_path / "a.csv", [block] * 5)
    with pytest.raises(DatasetError, match="has 6 blocks, got 0"):
        write_sidd_submission(tmp_path / "a.csv", [])
    with pytest.raises(ValueError, match=r"takes \.csv or \.mat"):
        write_sidd_submission(tmp_path / "a.zip", [block] * 6)
    with pytest.raises(ValueError, match=r"block 1 should be floating point of shape \(3, 8, 8\), got .* \(3, 8, 9\)"):
        write_sidd_submission(tmp_path / "a.csv", [block, torch.zeros(3, 8, 9)])
    with pytest.raises(DatasetError, match="has 4 boxes, got 3"):
        write_dnd_submission(tmp_path / "dnd", [block] * 3)


def test_dnd_boxes_are_one_based_and_inclusive(dnd):
    benchmark = open_benchmark("dnd", dnd)
    assert benchmark.names == ("0001_01", "0001_02", "0002_01", "0002_02")
    image = np.load(dnd / "1.npy")
    pair = benchmark["0002_01"]
    assert pair.clean is None and benchmark.protocol is None
    assert torch.equal(pair.degraded, torch.from_numpy(image[2:10, 4:12]).permute(2, 0, 1))
    assert benchmark.problems[0].reason == "holds 4 pairs of dnd (test), papers count 1000"


def test_dnd_submission(dnd, tmp_path, small):
    benchmark = open_benchmark("dnd", dnd)
    write_dnd_submission(tmp_path / "out", (pair.degraded * 1.5 for pair in benchmark))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0001.mat", "0002.mat"]
    stored = scipy.io.loadmat(tmp_path / "out" / "0002.mat")
    assert stored["Idenoised"].size == 2 and not stored["israw"] and stored["eval_version"] == "1.0"
    box = stored["Idenoised"].reshape(-1)[1]
    assert box.dtype == np.float32
    assert np.array_equal(box, (benchmark["0002_02"].degraded * 1.5).clamp(0, 1).permute(1, 2, 0).numpy())


def test_dnd_half_copied(dnd):
    first = dnd / "images_srgb" / "0001.mat"
    data = first.read_bytes()
    first.write_bytes(data[:-200])
    (dnd / "images_srgb" / "0002.mat").unlink()
    benchmark = open_benchmark("dnd", dnd)
    reasons = {problem.file.name: problem.reason for problem in benchmark.problems}
    assert reasons["0001.mat"].startswith("is damaged, not whole") and reasons["0002.mat"] == "is missing"
    for name, word in (("0001_01", "0001.mat is damaged"), ("0002_01", "0002.mat is missing")):
        with pytest.raises(DatasetError, match=word):
            benchmark[name]
    with h5py.File(dnd / "images_srgb" / "0002.mat", "w") as file:
        file["Inoisy"] = np.zeros((3, 30, 20))
    with pytest.raises(DatasetError, match="has no InoisySRGB, but Inoisy"):
        open_benchmark("dnd", dnd)["0002_01"]
    with h5py.File(dnd / "images_srgb" / "0002.mat", "w") as file:
        file["InoisySRGB"] = np.zeros((3, 5, 5))
    with pytest.raises(DatasetError, match=r"image of \(3, 5, 5\), in which Hdf5Box"):
        open_benchmark("dnd", dnd)["0002_01"]
    (dnd / "info.mat").unlink()
    with pytest.raises(DatasetError, match=r"info\.mat is missing; it tells which boxes"):
        open_benchmark("dnd", dnd)
    with h5py.File(dnd / "info.mat", "w") as file:
        file["info"] = np.zeros(3)
    with pytest.raises(DatasetError, match="has no info/boundingboxes"):
        open_benchmark("dnd", dnd)


def test_packages_that_are_missing_are_named(sidd, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "scipy.io", None)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"restoralib\[data\]"):
        open_benchmark("sidd", sidd)
    (sidd / "info.mat").write_bytes(b"x")
    with pytest.raises(ImportError, match=r"restoralib\[data\]"):
        open_benchmark("dnd", sidd)
