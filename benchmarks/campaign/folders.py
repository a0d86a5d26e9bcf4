"""(d) SIGKILL at random moments of a folder run, and a full disk: nothing lost or half-written, and the rerun finishes.

Runs are children of this process, made by fork, so that a hundred of them do not import torch a hundred times; nothing may have
made threads before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from campaign.models import write_checkpoints
from restoralib import cli

IMAGES = 12
SUFFIXES = ("png", "jpg", "tif", "webp")


def write_inputs(folder: Path, count=IMAGES, side=48):
    """Noise, which no format makes small."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (side, side + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.{SUFFIXES[number % len(SUFFIXES)]}", quality=95)


def digests(folder: Path):
    """Names and contents of the files that are to be seen."""
    seen = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in seen}


def start(arguments, prepare=None, log=os.devnull):
    """`restoralib ARGUMENTS` in a child; its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        sys.stdout = sys.stderr = open(log, "a", buffering=1)  # noqa: SIM115
        os.dup2(sys.stderr.fileno(), 1), os.dup2(sys.stderr.fileno(), 2)
        if prepare:
            prepare()
        torch.set_num_threads(1)
        cli.app(list(map(str, arguments)), standalone_mode=True)
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 0 if done.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 99
    finally:
        os._exit(code)


def finish(child):
    """The exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Runs:
    """Folder runs in a place of their own, against the results of one that nothing disturbed."""

    def __init__(self, place: Path):
        self.place, self.inputs, self.log = place, place / "in", place / "log"
        write_inputs(self.inputs)
        self.model = write_checkpoints(place / "models")["nafnet"]
        self.sources = digests(self.inputs)
        began = time.perf_counter()
        code = finish(start(self.arguments(place / "sound"), log=self.log))
        self.seconds = time.perf_counter() - began
        assert code == 0, self.log.read_text()
        self.expected = digests(place / "sound")
        assert len(self.expected) == IMAGES

    def arguments(self, out):
        return ["restore", self.inputs, *self.model, "-o", out]

    def troubles(self, out: Path, whole: bool):
        """What is wrong with a folder of results, and with the inputs."""
        found = digests(out) if out.is_dir() else {}
        wrong = [f"{name} is not what it should be" for name, digest in found.items() if self.expected.get(name) != digest]
        if whole and found.keys() != self.expected.keys():
            wrong.append(f"{len(self.expected.keys() - found.keys())} results are missing")
        if digests(self.inputs) != self.sources:
            wrong.append("an input has changed")
        return wrong, len(found)

    def kill(self, count, random: Random):
        """SIGKILL at random moments, then the same command again."""
        figures = {"kills": 0, "too late": 0, "results there at the kill": [], "temporary files left": 0, "troubles": []}
        while figures["kills"] < count:
            out = self.place / "out"
            shutil.rmtree(out, ignore_errors=True)
            child = start(self.arguments(out), log=self.log)
            time.sleep(random.uniform(0, self.seconds))
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            if finish(child) != -signal.SIGKILL:
                figures["too late"] += 1
                continue
            figures["kills"] += 1
            wrong, there = self.troubles(out, whole=False)
            figures["results there at the kill"].append(there)
            before = {file.name: file.stat().st_mtime_ns for file in out.glob("[!.]*")} if out.is_dir() else {}
            code = finish(start(self.arguments(out), log=self.log))
            wrong += self.troubles(out, whole=True)[0] + ([f"the rerun ended with {code}"] if code else [])
            wrong += [f"{name} was done again" for name, when in before.items() if (out / name).stat().st_mtime_ns != when]
            figures["temporary files left"] += len(list(out.glob(".*.part")))
            figures["troubles"] += wrong
        there = figures.pop("results there at the kill")
        mean = round(sum(there) / max(1, len(there)), 1)
        return figures | {"results there at the kill, mean": mean, "kills between results": sum(0 < n < IMAGES for n in there)}

    def full_disk(self):
        """A tmpfs of 50 kB where one can be mounted; the rerun has a larger one."""
        out = self.place / "small"
        out.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", out], capture_output=True).returncode:
            return {"mounted": False, "troubles": []}
        try:
            code = finish(start(self.arguments(out), log=self.place / "full.log"))
            wrong, there = self.troubles(out, whole=False)
            said = (self.place / "full.log").read_text()
            if code != 1 or "disk is full" not in said.replace("\n", " "):
                wrong.append(f"exit code {code}, and it said {said[-500:]}")
            if list(out.glob(".*.part")):
                wrong.append("a part of a file is left")
            subprocess.run(["mount", "-o", "remount,size=4m", out], check=True, capture_output=True)
            code = finish(start(self.arguments(out), log=self.log))
            wrong += self.troubles(out, whole=True)[0] + ([f"the rerun ended with {code}"] if code else [])
        finally:
            subprocess.run(["umount", out], capture_output=True)
        return {"mounted": True, "results that fitted": there, "of": IMAGES, "troubles": wrong}

    def no_large_files(self):
        """A limit of 6 kB on every file, as a quota sets one."""
        out = self.place / "limited"
        shutil.rmtree(out, ignore_errors=True)

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

        code = finish(start(self.arguments(out), limit, self.place / "limit.log"))
        wrong, there = self.troubles(out, whole=False)
        if code != 1 or there == IMAGES:
            wrong.append(f"exit code {code} and {there} results")
        if list(out.glob(".*.part")):
            wrong.append("a part of a file is left")
        code = finish(start(self.arguments(out), log=self.log))
        wrong += self.troubles(out, whole=True)[0] + ([f"the rerun ended with {code}"] if code else [])
        return {"results that fitted": there, "of": IMAGES, "troubles": wrong}
