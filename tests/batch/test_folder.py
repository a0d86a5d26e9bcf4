"""A folder from end to end: overlap, resumption, bad files, a full disk, cancelling; by the function and by the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import contents, pixels, write_images
from PIL import Image
from torch import nn

from restoralib import restore
from restoralib.archs import NetSpec
from restoralib.batch import MANIFEST, Restorer, read_entries, restore_folder
from restoralib.batch import folder as module
from restoralib.restoration import Cancelled


class Identity(nn.Module):
    """Changes nothing and remembers the sizes of its calls."""

    spec = NetSpec()

    def __init__(self):
        super().__init__()
        self.calls: list[int] = []
        self.eval()

    def forward(self, image):
        self.calls.append(len(image))
        return image


def test_every_image_of_a_folder_is_restored_and_a_second_run_skips_it(folder, tmp_path, net):
    report = restore_folder(folder, tmp_path / "out", net)
    assert (report.restored, report.skipped, report.failures, report.ok) == (6, 0, [], True)
    for source in folder.iterdir():
        expected = restore(np.asarray(Image.open(source)), net, batch=1)
        assert np.abs(pixels(tmp_path / "out" / source.name).astype(int) - expected).max() <= 1
    entries = read_entries(tmp_path / "out")
    assert {entry.output for entry in entries} == {f"{number:03}.png" for number in range(6)}
    assert all(entry.status == "restored" and entry.seconds > 0 and entry.size and entry.mtime_ns for entry in entries)
    before = contents(tmp_path / "out")
    again = restore_folder(folder, tmp_path / "out", net)
    assert (again.restored, again.skipped) == (0, 6) and contents(tmp_path / "out") == before


def test_a_changed_image_is_restored_again(folder, tmp_path):
    restore_folder(folder, tmp_path / "out", Identity())
    Image.new("RGB", (5, 4), (9, 8, 7)).save(folder / "002.png")
    report = restore_folder(folder, tmp_path / "out", Identity())
    assert (report.restored, report.skipped) == (1, 5)
    assert pixels(tmp_path / "out" / "002.png").shape == (4, 5, 3)


def test_bad_files_are_listed_and_the_rest_goes_on(folder, tmp_path):
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "empty.jpg").write_bytes(b"")
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(folder / "alpha.png")
    report = restore_folder([folder, "absent.png"], tmp_path / "out", Identity(), extension="jpg")
    assert report.restored == 6 and not report.ok
    told = {Path(failure.input).name: str(failure) for failure in report.failures}
    assert told.keys() == {"bad.png", "empty.jpg", "alpha.png", "absent.png"}
    assert "this is no PNG" in told["bad.png"] and "the file is empty" in told["empty.jpg"]
    assert "JPEG has no transparency" in told["alpha.png"] and "no such file" in told["absent.png"]
    failed = [entry for entry in read_entries(tmp_path / "out") if entry.status == "failed"]
    assert {Path(entry.input).name for entry in failed} == {"bad.png", "empty.jpg", "alpha.png"}
    assert set(contents(tmp_path / "out")) == {f"{number:03}.jpg" for number in range(6)}
    # What failed is tried again, and no other.
    Image.new("RGB", (8, 8)).save(folder / "bad.png")
    assert restore_folder(folder, tmp_path / "out", Identity(), extension="jpg").restored == 1


def test_an_empty_folder_is_a_failure_with_a_reason(tmp_path):
    (tmp_path / "in").mkdir()
    report = restore_folder(tmp_path / "in", tmp_path / "out", Identity())
    assert not report.ok and "no folder or glob with images" in str(report.failures[0])
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_text_are_kept(tmp_path):
    (source,) = write_images(tmp_path / "in", 1)
    for name in (b"\xff\xfe.png", b"line\nbreak.png", b"-o.png"):
        try:
            os.link(source, os.path.join(os.fsencode(tmp_path / "in"), name))
        except OSError:
            pytest.skip("this file system refuses such names")
    report = restore_folder(tmp_path / "in", tmp_path / "out", Identity())
    assert report.restored == 4
    assert set(os.listdir(os.fsencode(tmp_path / "out"))) >= {b"\xff\xfe.png", b"line\nbreak.png", b"-o.png", b"000.png"}
    assert restore_folder(tmp_path / "in", tmp_path / "out", Identity()).skipped == 4


def test_images_of_one_name_all_get_results(tmp_path):
    write_images(tmp_path / "in", 2)
    write_images(tmp_path / "in", 2, suffix=".jpg")
    report = restore_folder(tmp_path / "in", tmp_path / "out", Identity(), extension="png")
    assert report.restored == 4
    assert set(contents(tmp_path / "out")) == {"in-000.png", "in-000-jpg.png", "in-001.png", "in-001-jpg.png"}


def test_parts_together_are_the_whole_file_for_file(folder, tmp_path, net):
    restore_folder(folder, tmp_path / "whole", net)
    reports = [restore_folder(folder, tmp_path / "parts", net, rank=rank, world=3) for rank in range(3)]
    assert sum(report.restored for report in reports) == 6
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_seeds_come_from_the_name_and_not_from_the_place(folder, tmp_path):
    def noisy(image):
        return image / 2 + torch.rand(image.shape) / 2

    restore_folder(folder, tmp_path / "whole", noisy, spec=NetSpec(), seed=1)
    for name in ("004.png", "001.png"):
        restore_folder(folder / name, tmp_path / "some", noisy, spec=NetSpec(), seed=1)
    whole = contents(tmp_path / "whole")
    assert contents(tmp_path / "some") == {name: whole[name] for name in ("001.png", "004.png")}
    assert whole["001.png"] != whole["002.png"]


def test_reading_and_writing_go_on_beside_the_model(tmp_path, monkeypatch):
    write_images(tmp_path / "in", 8, (70, 70))
    main, inside = threading.get_ident(), threading.Event()
    beside = {"read": 0, "write": 0}

    class Slow(Identity):
        def forward(self, image):
            inside.set()
            deadline = time.monotonic() + 10
            # From the third image on, others must be read and written while this one is restored.
            while len(self.calls) == 3 and not (beside["read"] and beside["write"]) and time.monotonic() < deadline:
                time.sleep(0.005)
            inside.clear()
            return super().forward(image)

    def counted(name, call):
        def wrapper(*arguments, **options):
            assert threading.get_ident() != main
            inside.wait(0.5 if name == "write" else 0.02)
            beside[name] += inside.is_set()
            return call(*arguments, **options)

        return wrapper

    monkeypatch.setattr(module, "HELD", 3 * 70 * 70)  # else all may be read before the first is restored
    monkeypatch.setattr(module, "read_image", counted("read", module.read_image))
    monkeypatch.setattr(module, "write_image", counted("write", module.write_image))
    assert restore_folder(tmp_path / "in", tmp_path / "out", Slow()).restored == 8
    assert beside["read"] and beside["write"]


def test_few_images_are_read_ahead(tmp_path, monkeypatch):
    write_images(tmp_path / "in", 30, (80, 80))
    monkeypatch.setattr(module, "HELD", 4 * 80 * 80)
    read, most = [], []
    original = module.read_image
    monkeypatch.setattr(module, "read_image", lambda *a, **k: (read.append(1), original(*a, **k))[1])

    class Watching(Identity):
        def forward(self, image):
            time.sleep(0.02)
            most.append(len(read) - len(self.calls))
            return super().forward(image)

    assert restore_folder(tmp_path / "in", tmp_path / "out", Watching(), workers=2).restored == 30
    assert max(most) <= 4 + 2


def test_progress_counts_images_and_cancelling_loses_nothing(folder, tmp_path):
    seen = []
    restore_folder(folder, tmp_path / "all", Identity(), progress=lambda *args: seen.append(args))
    assert seen[0] == (0, 6, "restore") and [done for done, *_ in seen] == list(range(7))
    assert all(total == 6 for _, total, _ in seen) and seen[1][2] == "000.png"
    (tmp_path / "out").mkdir()

    class Paced(Identity):
        def forward(self, image):
            deadline = time.monotonic() + 10
            while len(contents(tmp_path / "out")) < len(self.calls) and time.monotonic() < deadline:
                time.sleep(0.005)  # until what was restored is written
            return super().forward(image)

    with pytest.raises(Cancelled, match="of 6 images"):
        restore_folder(folder, tmp_path / "out", Paced(), batch=1, progress=lambda done, total, stage: done < 2)
    done = contents(tmp_path / "out")
    assert 2 <= len(done) < 6
    assert {entry.output for entry in read_entries(tmp_path / "out")} == done.keys()
    assert not list((tmp_path / "out").glob("*.part")) and not list((tmp_path / "out").glob(".*.part"))
    with pytest.raises(ZeroDivisionError):
        restore_folder(folder, tmp_path / "out", Identity(), progress=lambda done, total, stage: 1 / 0)
    assert restore_folder(folder, tmp_path / "out", Identity()).restored == 6 - len(done)


def test_a_full_disk_is_told_and_the_run_ends_where_nothing_more_fits(tmp_path, monkeypatch):
    write_images(tmp_path / "in", 40, (70, 70))
    original, written = module.write_image, []

    def full(path, picture, **options):
        if len(written) >= 3:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        original(path, picture, **options)

    monkeypatch.setattr(module, "write_image", full)
    net = Identity()
    report = restore_folder(tmp_path / "in", tmp_path / "out", net, workers=1)
    assert report.restored == 3 and report.stopped and "were not tried" in report.stopped
    assert "the disk is full" in str(report.failures[0]) and len(net.calls) < 40
    monkeypatch.setattr(module, "write_image", original)
    report = restore_folder(tmp_path / "in", tmp_path / "out", Identity())
    assert (report.restored, report.skipped, report.ok) == (37, 3, True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small file system, as root")
def test_a_file_system_that_is_really_full_loses_nothing(tmp_path):
    write_images(tmp_path / "in", 14, (64, 64))  # 12 kB each
    (tmp_path / "out").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path / "out")]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        report = restore_folder(tmp_path / "in", tmp_path / "out", Identity(), workers=1)
        assert 2 <= report.restored <= 5
        assert "the disk is full" in str(report.failures[0])
        for name in contents(tmp_path / "out"):
            assert np.array_equal(pixels(tmp_path / "out" / name), pixels(tmp_path / "in" / name))
        assert len(contents(tmp_path / "out")) == report.restored
        assert not list((tmp_path / "out").glob(".*.part"))
    finally:
        subprocess.run(["umount", str(tmp_path / "out")], check=True)


def test_files_that_a_killed_process_left_are_removed_later(folder, tmp_path):
    (tmp_path / "out").mkdir()
    old, new, foreign = (tmp_path / "out" / f".{name}.part" for name in ("0123456789abcdef", "fedcba9876543210", "mine"))
    for file in (old, new, foreign):
        file.write_bytes(b"half")
    os.utime(old, (0, 0))
    os.utime(foreign, (0, 0))
    restore_folder(folder, tmp_path / "out", Identity())
    assert [file.exists() for file in (old, new, foreign)] == [False, True, True]


KILLED = """
import os, signal, sys, torch
from restoralib.archs import NetSpec
from restoralib.batch import restore_folder

class Net(torch.nn.Module):
    spec = NetSpec()
    count = 0
    def forward(self, image):
        Net.count += 1
        if Net.count == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return 1 - image

restore_folder(sys.argv[1], sys.argv[2], Net().eval(), batch=1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_a_killed_run_goes_on_and_nothing_is_half_written(tmp_path):
    write_images(tmp_path / "in", 9)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "in"), str(tmp_path / "out"), "5"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    done = contents(tmp_path / "out")
    assert len(done) < 9
    for name in done:
        assert np.array_equal(pixels(tmp_path / "out" / name), 255 - pixels(tmp_path / "in" / name))

    class Inverse(Identity):
        def forward(self, image):
            return 1 - super().forward(image)

    net = Inverse()
    report = restore_folder(tmp_path / "in", tmp_path / "out", net, batch=1)
    assert (report.restored, report.skipped) == (9 - len(done), len(done)) and len(net.calls) == 9 - len(done)
    for source in (tmp_path / "in").iterdir():
        assert np.array_equal(pixels(tmp_path / "out" / source.name), 255 - pixels(source))
    assert done.items() <= contents(tmp_path / "out").items()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_runs_that_are_killed_at_any_moment_end_with_every_image(tmp_path, checkpoint):
    write_images(tmp_path / "in", 60)
    command = [sys.executable, "-m", "restoralib", "restore", str(tmp_path / "in"), "-m", str(checkpoint)]
    restore_folder(tmp_path / "in", tmp_path / "whole", str(checkpoint))
    out, whole = tmp_path / "out", contents(tmp_path / "whole")
    out.mkdir()
    for number in range(6):
        enough, deadline = len(contents(out)) + 2 + number, time.monotonic() + 300
        run = subprocess.Popen([*command, "-o", str(out)], stderr=subprocess.DEVNULL)
        while run.poll() is None and len(contents(out)) < enough and time.monotonic() < deadline:
            time.sleep(0.001)
        run.kill()
        run.wait()
        assert len(contents(out)) >= min(enough, 60)
        assert all(whole[name] == data for name, data in contents(out).items())
    assert subprocess.run([*command, "-o", str(out)], check=False, stderr=subprocess.DEVNULL).returncode == 0
    assert contents(out) == whole


def test_wrong_arguments_are_told_before_any_work(folder, tmp_path):
    for options, words in (
        ({"workers": 0}, "workers should be at least 1"),
        ({"rank": 3, "world": 2}, "rank should be 0 to world - 1"),
        ({"suffix": "../x"}, "part of a file name"),
        ({"model": "denoize"}, "unknown model 'denoize'"),
        ({"model": Restorer("sr2"), "seed": 1}, "a Restorer has its options"),
    ):
        with pytest.raises(ValueError, match=words):
            restore_folder(folder, tmp_path / "out", **{"model": Identity(), **options})
    assert not (tmp_path / "out").exists()
    (tmp_path / "notes").write_text("no folder")
    with pytest.raises(ValueError, match="names a file, not a folder"):
        restore_folder(folder, tmp_path / "notes", Identity())


# By the command


@pytest.fixture
def run(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from restoralib import cli

    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_the_command_does_a_part(run, folder, checkpoint, tmp_path):
    for number in (1, 2):
        result = run("restore", "in", "-m", checkpoint, "-o", "out", "--shard", f"{number}/2", "--workers", 1)
        assert result.exit_code == 0 and f"part {number} of 2: " in result.output, result.output
    assert run("restore", "in", "-m", checkpoint, "-o", "whole").exit_code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole") and len(contents(tmp_path / "out")) == 6
    assert (tmp_path / "whole" / MANIFEST).exists() and not (tmp_path / "out" / MANIFEST).exists()
    result = run("restore", "in", "-m", checkpoint, "-o", "out", "--shard", "3/2")
    assert result.exit_code == 1 and "from 1/N to N/N" in result.output


def test_the_command_lists_names_that_are_no_text(run, checkpoint, tmp_path):
    (tmp_path / "in").mkdir()
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff[red].png")).write_bytes(b"no image")
    except OSError:
        pytest.skip("this file system refuses such names")
    result = run("restore", "in", "-m", checkpoint, "-o", "out")
    assert result.exit_code == 1 and "\\udcff[red].png" in result.output.replace("\n", "")


@pytest.mark.slow
def test_two_processes_of_torchrun_give_what_one_gives(folder, checkpoint, tmp_path):
    (folder / "bad.png").write_bytes(b"no image")
    common = ["-m", "restoralib", "restore", str(folder), "-m", str(checkpoint), "--device", "cpu"]
    one = subprocess.run([sys.executable, *common, "-o", str(tmp_path / "one")], check=False, capture_output=True, text=True)
    assert one.returncode == 1 and "6 restored, 1 failed" in one.stderr
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *common[:1], *common[1:]]
    two = subprocess.run([sys.executable, *launch, "-o", str(tmp_path / "two")], check=False, capture_output=True, text=True)
    assert "part 1 of 2" in two.stderr and "part 2 of 2" in two.stderr, two.stderr
    assert two.returncode == 1
    assert contents(tmp_path / "two") == contents(tmp_path / "one") and len(contents(tmp_path / "two")) == 6
    manifests = sorted(path.name for path in (tmp_path / "two").glob(".restoralib*"))
    assert manifests == [".restoralib.1-of-2.jsonl", ".restoralib.2-of-2.jsonl"]
    lines = [json.loads(line) for name in manifests for line in (tmp_path / "two" / name).read_text().splitlines()]
    assert sorted(line["output"] for line in lines) == sorted([*contents(tmp_path / "one"), "bad.png"])
