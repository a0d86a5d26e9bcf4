"""(f) Names of results never lead out of the output folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from campaign.models import write_checkpoints
from restoralib import cli

NAMES = (
    *("plain", " ", ".", "..", "...", "-o", "--help", "a b", "a\nb", "a\tb", "a\rb", "\x1b[31mred", "[red]a[/red]", "%s%n"),
    *("$(id)", "`id`", "..\\..\\a", "\\\\server\\share", "C:a", "C:\\a", "CON", "nul", "aux.1", "COM1", "a.", "a ", "~root"),
    *("ä", "a\u202eb", "\udcff", "n" * 240, "*", "?", "[a]", "a;b", "a|b", "a>b", "'", '"', "\u2028"),
)
SUFFIXES = ("/../out_of_it", "../x", "\\..\\x", "/etc/x", "a/b", ":stream", "\0", "..")


def snapshot(place: Path):
    """All files under a place with their contents, links as they are."""
    found = {}
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            path = Path(folder) / name
            found[os.fsencode(path)] = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
    return found


def write_image(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(path, "PNG")


class Place:
    """A folder with everything in it, of which only the folder `out` may change."""

    def __init__(self, place: Path):
        self.place, self.out = place / "all", place / "all" / "deep" / "out"
        shutil.rmtree(self.place, ignore_errors=True)
        self.out.mkdir(parents=True)
        self.model = write_checkpoints(place / "models")["nafnet"]

    def run(self, *arguments):
        """What changed outside of the output folder, and the command's outcome."""
        before = snapshot(self.place)
        result = CliRunner().invoke(cli.app, ["restore", *map(str, arguments), *self.model])
        inside = os.fsencode(self.out)
        after = snapshot(self.place)
        changed = [os.fsdecode(name) for name in before.keys() | after.keys() if before.get(name, 0) != after.get(name, 0)]
        outside = [name for name in changed if not os.fsencode(name).startswith(inside)]
        trouble = [f"{arguments}: changed {outside}"] if outside else []
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            trouble.append(f"{arguments}: {result.exception!r}")
        return trouble, result


def run(place: Path):
    """All hostile names, suffixes and links.

    Returns:
        The number of attempts, and the troubles.
    """
    attempts, troubles = 0, []
    for name in NAMES:
        spot = Place(place)
        source = spot.place / "in" / f"{name}.png"
        write_image(source)
        for given in (source, spot.place / "in"):
            found, result = spot.run("-o", spot.out, "--overwrite", "--", given)
            attempts, troubles = attempts + 1, troubles + found
        results = [file for file in spot.out.iterdir() if not file.name.startswith(".restoralib")]
        if name.startswith(".") and result.exit_code == 1:
            continue  # hidden files of a folder are left out
        if [os.fsencode(file.name) for file in results] != [os.fsencode(source.name)]:
            troubles.append(f"{name!r} gave {results}: {result.output}")
    for suffix in SUFFIXES:
        spot = Place(place)
        write_image(spot.place / "in" / "a.png")
        found, result = spot.run(spot.place / "in", "-o", spot.out, "--suffix", suffix)
        attempts, troubles = attempts + 1, troubles + found
        if suffix != ".." and result.exit_code != 1:
            troubles.append(f"the suffix {suffix!r} was taken")
    links = {"a.png": "../victim.png", "b.png": "../not_there.png", "c.png": "c.png", ".restoralib.jsonl": "../victim.txt"}
    for name, to in links.items():
        for extra in ((), ("--overwrite",)):
            spot = Place(place)
            for letter in "abc":
                write_image(spot.place / "in" / f"{letter}.png")
            write_image(spot.out.parent / "victim.png", 7)
            (spot.out.parent / "victim.txt").write_text("victim")
            (spot.out / name).symlink_to(to)
            found, result = spot.run(spot.place / "in", "-o", spot.out, *extra)
            attempts, troubles = attempts + 1, troubles + found
    for given in ("in/../in/a.png", "deep/../in/*.png", "./in/./a.png"):
        spot = Place(place)
        write_image(spot.place / "in" / "a.png")
        found, result = spot.run(spot.place / given, "-o", spot.out)
        attempts, troubles = attempts + 1, troubles + found
        if not (spot.out / "a.png").exists():
            troubles.append(f"{given} gave nothing: {result.output}")
    return {"attempts": attempts, "troubles": troubles}
