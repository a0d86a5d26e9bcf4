"""Shards hold pairs without loss, and are read by several workers."""

from __future__ import annotations

import sys
import tarfile

import pytest
import torch
from torch.utils.data import DataLoader

from restoralib.data import DatasetError, Pair, open_benchmark, read_shards, write_shards


@pytest.fixture
def pairs(make):
    names = [f"{number}.{number}" for number in range(7)]  # Dots in names are no suffixes.
    make(*(f"lq/{name}.png" for name in names), size=(6, 5))
    return open_benchmark("pairs", make(*(f"gt/{name}.png" for name in names), size=(6, 5)))


def test_shards_give_back_what_was_written(pairs, tmp_path):
    shards = write_shards(tmp_path / "shards", pairs, per_shard=3)
    assert [shard.name for shard in shards] == ["000000.tar", "000001.tar", "000002.tar"]
    assert sorted((tmp_path / "shards").iterdir()) == shards
    items = list(read_shards(tmp_path / "shards"))
    assert [item["name"] for item in items] == list(pairs.names)
    for item, pair in zip(items, pairs, strict=True):
        assert torch.equal(item["degraded"], pair.degraded) and torch.equal(item["clean"], pair.clean)
        assert item["record"] == "{}" and item["caption"] == ""


def test_shards_are_reproducible_byte_for_byte(pairs, tmp_path):
    first, again = (write_shards(tmp_path / folder, pairs[:2])[0].read_bytes() for folder in ("a", "b"))
    assert first == again


def test_deep_and_grey_pixels_stay(tmp_path):
    deep = torch.rand(1, 4, 5)
    write_shards(tmp_path, [Pair("deep", deep, (deep * 255).round() / 255, {"caption": "fog", "beta": 1.5})])
    (item,) = read_shards(tmp_path, keep_gray=True)
    assert (item["degraded"] - deep).abs().max() <= 0.5 / 65535 + 1e-7
    assert torch.equal(item["clean"], (deep * 255).round() / 255)
    assert item["caption"] == "fog" and item["record"] == '{"caption": "fog", "beta": 1.5}'
    assert next(iter(read_shards(tmp_path)))["clean"].shape == (3, 4, 5)


def test_patches_and_order_depend_on_the_seed(pairs, tmp_path):
    write_shards(tmp_path / "s", pairs, per_shard=2)

    def names(**options):
        return [item["name"] for item in read_shards(tmp_path / "s", **options)]

    assert names(shuffle=5, seed=1) == names(shuffle=5, seed=1)
    assert sorted(names(shuffle=5, seed=1)) == sorted(pairs.names)
    assert len({tuple(names(shuffle=5, seed=seed)) for seed in range(6)}) > 3
    first, again, other = (
        torch.stack([item["degraded"] for item in read_shards(tmp_path / "s", size=4, seed=seed)]) for seed in (1, 1, 2)
    )
    assert first.shape == (7, 3, 4, 4)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_share_the_shards(pairs, tmp_path):
    write_shards(tmp_path / "s", pairs, per_shard=3)
    for workers in (2, 4):  # With four, one has no shard.
        loader = DataLoader(read_shards(tmp_path / "s", size=4), batch_size=None, num_workers=workers)
        items = {item["name"]: item["degraded"] for item in loader}
        assert sorted(items) == sorted(pairs.names)
    alone = {item["name"]: item["degraded"] for item in read_shards(tmp_path / "s", size=4)}
    assert all(torch.equal(items[name], alone[name]) for name in items)


def test_broken_shards_are_named(pairs, tmp_path):
    (shard,) = write_shards(tmp_path / "s", pairs)
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2 + 100])
    with pytest.raises(DatasetError, match=r"000000\.tar is no tar file, or cut short"):
        read_shards(shard)
    shard.write_bytes(data[:1200] + b"x" * 512 + data[1712:])
    with pytest.raises(DatasetError, match=r"000000\.tar"):
        list(read_shards(shard))
    shard.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"000000\.tar is empty"):
        read_shards([shard])
    with pytest.raises(DatasetError, match="gone is missing"):
        read_shards(tmp_path / "gone")
    with pytest.raises(DatasetError, match="is missing"):
        read_shards("pipe:echo dangerous")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"holds no \.tar file"):
        read_shards(tmp_path / "empty")
    with tarfile.open(shard, "w") as tar:
        tar.add(__file__, "000.py")
    with pytest.raises(DatasetError, match=r"000000\.tar/000 has no 'json'"):
        list(read_shards(shard))


def test_writing_stops_without_a_half_shard(pairs, tmp_path):
    broken = [pairs[0], pairs[1], Pair("c", None, pairs[2].clean)]
    with pytest.raises(DatasetError, match="c lacks an image"):
        write_shards(tmp_path / "s", broken, per_shard=2)
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["000000.tar"]
    assert [item["name"] for item in read_shards(tmp_path / "s")] == list(pairs.names[:2])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        write_shards(tmp_path / "s", pairs, per_shard=0)
    with pytest.raises(ValueError, match="side of a patch, should be at least 1"):
        read_shards(tmp_path / "s", size=0)


def test_webdataset_is_named_where_it_is_missing(pairs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    for call in (lambda: write_shards(tmp_path, pairs), lambda: read_shards(tmp_path)):
        with pytest.raises(ImportError, match=r"shards need webdataset; pip install .restoralib\[data\]"):
            call()
