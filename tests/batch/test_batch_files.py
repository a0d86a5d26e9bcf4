"""Which files a run reads and writes, what is done already, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from restoralib.batch import (
    MANIFEST,
    Entry,
    Job,
    find_images,
    item_seed,
    parse_shard,
    plan_files,
    plan_jobs,
    read_entries,
    shard,
)
from restoralib.batch.manifest import Manifest, read_manifests
from restoralib.batch.sharding import nested, process_device, processes


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2)).save(path)
    return path


def test_files_folders_and_globs_are_found_once_and_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.jpg", "notes.txt", "deep/c.PNG"):
        touch(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).write_text("no image")
    found, missing = find_images(["b.png", ".", "deep/*", "nothing/*.png", "absent.png"])
    assert found == [Path("b.png"), Path("a.jpg"), Path("deep/c.PNG")]
    assert missing == ["nothing/*.png", "absent.png"]


def test_images_of_one_name_get_files_of_their_own():
    sources = [Path("a/x.png"), Path("b/x.png"), Path("c/X.PNG"), Path("d/x-2.png"), Path("e/x.jpg")]
    jobs = plan_jobs(sources, Path("out"))
    assert [job.target.name for job in jobs] == ["a-x.png", "b-x.png", "c-X.PNG", "x-2.png", "x.jpg"]
    names = [job.target.name for job in plan_jobs(sources, Path("out"), extension="png")]
    assert len({name.casefold() for name in names}) == len(sources)


def test_one_image_may_go_to_a_file():
    (job,) = plan_jobs([Path("x.jpg")], Path("out/y.png"))
    assert job.target == Path("out/y.png")
    with pytest.raises(ValueError, match="one file, not a folder, for 2 images; name a folder"):
        plan_jobs([Path("x.jpg"), Path("z.jpg")], Path("out/y.png"))


@pytest.mark.parametrize("suffix", ["/../../escaped", "../x", "\\..\\x", "a/b"])
def test_suffix_cannot_lead_out_of_the_folder(suffix):
    with pytest.raises(ValueError, match="part of a file name"):
        plan_jobs([Path("x.png")], Path("out"), suffix=suffix)


def test_results_of_an_earlier_run_are_no_inputs():
    jobs = plan_jobs([Path("in/a.png"), Path("in/a_x4.png")], Path("in"), suffix="_x4")
    assert jobs == [Job(Path("in/a.png"), Path("in/a_x4.png"))]


def test_a_link_in_the_output_leads_nowhere_else(tmp_path):
    touch(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "elsewhere.png")
    plan = plan_files([str(tmp_path / "in")], tmp_path / "out")
    assert not plan.jobs and "out of the folder" in str(plan.refused[0])


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    plan = plan_files([str(tmp_path / "in")], tmp_path / "out")
    assert not plan.jobs and "no folder or glob with images" in str(plan.refused[0])


def test_what_is_there_is_skipped_unless_its_input_has_changed(tmp_path):
    source = touch(tmp_path / "in" / "a.png")
    touch(tmp_path / "out" / "a.png")
    assert len(plan_files([str(source)], tmp_path / "out").skipped) == 1  # nothing is known of it
    state = source.stat()
    Manifest(tmp_path / "out").add(
        Entry(str(source.resolve()), "a.png", "restored", 0.1, size=state.st_size, mtime_ns=state.st_mtime_ns)
    )
    assert len(plan_files([str(source)], tmp_path / "out").skipped) == 1
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns + 10))
    assert len(plan_files([str(source)], tmp_path / "out").jobs) == 1


# The manifest


def test_lines_of_a_manifest_come_back_and_unfinished_ones_do_not(tmp_path):
    manifest = Manifest(tmp_path)
    entries = [
        Entry("/in/a\nb.png", "a\nb.png", "restored", 0.25, None, 12, 34),
        Entry("/in/\udcff.png", "\udcff.png", "failed", 0.5, "damaged"),
    ]
    for entry in entries:
        manifest.add(entry)
    assert read_entries(tmp_path) == entries
    with (tmp_path / MANIFEST).open("a") as file:
        file.write('{"input": "/in/c.png", "out')  # killed here
    again = Manifest(tmp_path)
    again.add(entries[0])
    assert read_entries(tmp_path) == [*entries, entries[0]]
    assert read_manifests(tmp_path) == {tmp_path.resolve() / "a\nb.png": entries[0]}


def test_lines_that_lead_out_of_the_folder_count_nothing(tmp_path):
    line = {"input": "/in/a.png", "output": "../a.png", "status": "restored", "seconds": 1}
    (tmp_path / MANIFEST).write_text(f"{json.dumps(line)}\n[1]\nnull\n{{}}\n")
    assert read_manifests(tmp_path) == {}


def test_a_manifest_that_cannot_be_written_is_told_once(tmp_path, caplog):
    (tmp_path / MANIFEST).mkdir()
    manifest = Manifest(tmp_path)
    for _ in range(3):
        manifest.add(Entry("/in/a.png", "a.png", "restored", 1.0))
    assert len([record for record in caplog.records if "cannot write to" in record.message]) == 1


def test_every_process_writes_a_manifest_and_all_are_read(tmp_path):
    for rank in range(2):
        Manifest(tmp_path, rank, 2).add(Entry(f"/in/{rank}.png", f"{rank}.png", "restored", 1.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".restoralib.1-of-2.jsonl", ".restoralib.2-of-2.jsonl"]
    assert len(read_manifests(tmp_path)) == 2


# Parts


def test_parts_hold_every_item_once_whatever_the_order():
    items = [f"{number}.png" for number in range(1000)]
    parts = [shard(items, rank, 4) for rank in range(4)]
    assert sorted(item for part in parts for item in part) == sorted(items)
    assert all(200 < len(part) < 300 for part in parts)
    assert set(shard(items[::-1], 1, 4)) == set(parts[1])
    assert set(shard(items[:500], 1, 4)) == set(parts[1]) & set(items[:500])
    assert shard(map(Path, items), 1, 4) == list(map(Path, parts[1]))


def test_parts_are_the_same_on_every_machine():
    assert shard(["a.png", "b.png", "c.png", "d.png", "\udcff.png"], 0, 2) == ["a.png", "b.png", "c.png", "\udcff.png"]
    assert item_seed(1, "a.png") == 3763040942921102938
    assert item_seed(1, "a.png") != item_seed(2, "a.png") != item_seed(2, "b.png")


def test_parts_that_are_not_there_are_refused():
    for rank, world in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="rank should be 0 to world - 1"):
            shard([], rank, world)
    assert parse_shard("2/8") == (1, 8)
    for text in ("0/8", "9/8", "1", "a/b", "1/", "-1/2"):
        with pytest.raises(ValueError, match="from 1/N to N/N"):
            parse_shard(text)


def test_the_part_of_a_process_is_that_of_torchrun():
    assert processes({}) == (0, 1)
    assert processes({"WORLD_SIZE": "4"}) == (0, 1)
    assert processes({"RANK": "3", "WORLD_SIZE": "4"}) == (3, 4)
    with pytest.raises(ValueError, match="RANK should be 0 to WORLD_SIZE - 1, got RANK=4"):
        processes({"RANK": "4", "WORLD_SIZE": "4"})
    parts = {nested((inner, 3), (outer, 2)) for inner in range(3) for outer in range(2)}
    assert parts == {(rank, 6) for rank in range(6)}


def test_processes_of_a_machine_share_out_its_gpus(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [process_device({"LOCAL_RANK": str(rank)}) for rank in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert process_device({}) == "auto"


def test_names_are_given_before_images_are_shared_out(tmp_path):
    for name in ("x/a.png", "y/a.png", "x/b.png", "y/b.jpg", "x/c.png"):
        touch(tmp_path / name)
    inputs = [str(tmp_path / "x"), str(tmp_path / "y")]
    whole = plan_files(inputs, tmp_path / "out", extension="png")
    parts = [plan_files(inputs, tmp_path / "out", extension="png", part=(rank, 3)) for rank in range(3)]
    assert sorted(job.target for part in parts for job in part.jobs) == sorted(job.target for job in whole.jobs)
    assert len(whole.jobs) == 5
