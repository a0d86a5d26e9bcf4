"""Which files a run over many images reads and which it writes."""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from restoralib.batch.manifest import Entry, read_manifests
from restoralib.batch.sharding import shard
from restoralib.images import FORMATS

# What nobody means as the name of a folder.
# fmt: off
OTHER_SUFFIXES = frozenset({
    ".apng", ".arw", ".avif", ".cr2", ".cr3", ".dng", ".eps", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".j2k",
    ".jfif", ".jp2", ".jpe", ".jxl", ".nef", ".pdf", ".pgm", ".pnm", ".ppm", ".psd", ".raw", ".svg", ".tga",
})
# fmt: on


@dataclass(frozen=True)
class Job:
    """One image to restore.

    Args:
        source: the file to read.
        target: the file to write.
    """

    source: Path
    target: Path


@dataclass(frozen=True)
class Failure:
    """What was not restored.

    Args:
        input: the file, or the argument that names none.
        reason: why.
    """

    input: str
    reason: str

    def __str__(self) -> str:
        named = self.reason.startswith((f"{self.input}:", f"{self.input} "))
        return self.reason if named else f"{self.input}: {self.reason}"


@dataclass
class Plan:
    """What a run has to do.

    Args:
        folder: where the results and the manifest go.
        jobs: to do now.
        skipped: whose results are there.
        refused: what names no image, or would destroy something.
        results: inputs that are left out, being results themselves.
    """

    folder: Path
    jobs: list[Job] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    refused: list[Failure] = field(default_factory=list)
    results: list[Path] = field(default_factory=list)


def plan_files(
    inputs: Iterable[str],
    output: Path,
    *,
    suffix: str = "",
    extension: str | None = None,
    overwrite: bool = False,
    part: tuple[int, int] = (0, 1),
) -> Plan:
    """Find the images and say where each goes, and what of that is done already.

    Names are given before the images are shared out, so that every process of a cluster gives the same ones.

    Args:
        inputs: files, folders (their images, not those of subfolders) and globs.
        output: a folder, or an image file for one image.
        suffix: put between the name of a result and its extension.
        extension: of the results, such as "png"; None keeps each source's own.
        overwrite: do again what is there, and replace an input where it is its own result.
        part: (rank, world), which of how many equal parts to do.

    Raises:
        ValueError: the output or the suffix cannot be, or several images would go into one file.
    """
    several = is_folder(output)
    folder = output if several else output.parent
    records = read_manifests(folder)
    origins = {target: Path(entry.input) for target, entry in records.items()}
    found, missing = find_images(inputs, output if several else None)
    sources = drop_results(found, origins) if several else found
    jobs = plan_jobs(sources, output, suffix=suffix, extension=extension, records=origins)
    kept = {job.source for job in jobs}
    plan = Plan(folder, results=[source for source in found if source not in kept])
    rank, world = part
    if rank == 0:
        plan.refused = [Failure(argument, "no such file, and no folder or glob with images") for argument in missing]
    inputs_there = {job.source.resolve() for job in jobs}
    inside = folder.resolve()
    for job in shard(jobs, rank, world, key=lambda job: job.target.name):
        reason = refusal(job, inputs_there, inside, overwrite=overwrite)
        entry = records.get(inside / job.target.name)
        if reason is None and not overwrite:
            reason = other_source(job, entry)
        if reason:
            plan.refused.append(Failure(str(job.source), reason))
        elif not overwrite and job.target.exists() and not changed(job.source, entry):
            plan.skipped.append(job)
        else:
            plan.jobs.append(job)
    return plan


def find_images(arguments: Iterable[str], output: Path | None = None) -> tuple[list[Path], list[str]]:
    """Files, the images of folders (not of their subfolders) and the matches of globs, in this order, each once.

    Hidden files of folders are left out, and what a glob that begins above the output folder finds in that.

    Returns:
        The files, and the arguments that name none.
    """
    found: dict[Path, Path] = {}
    missing = []
    for argument in arguments:
        path = Path(argument)
        if path.is_file():
            files = [path]
        elif path.is_dir():
            files = sorted(file for file in path.iterdir() if is_image(file) and not file.name.startswith("."))
        else:
            files = sorted(file for file in map(Path, glob.glob(argument, recursive=True)) if is_image(file))
        if not files:
            missing.append(argument)
        if output and not path.exists() and glob_root(path) in output.resolve().parents:
            files = [file for file in files if output.resolve() not in Path(os.path.realpath(file)).parents]
        for file in files:
            try:
                found.setdefault(file.resolve(), file)
            except RuntimeError:  # Python before 3.13 says so of links in a circle.
                missing.append(str(file))
    return list(found.values()), missing


def is_image(file: Path) -> bool:
    """Whether a name is that of an image that can be read."""
    return file.suffix.lower() in FORMATS


def glob_root(pattern: Path) -> Path:
    """The folder in which a glob begins."""
    return next(folder for folder in pattern.parents if not glob.has_magic(str(folder))).resolve()


def is_folder(output: Path) -> bool:
    """Whether an output is a folder, there or to be made, and no image file.

    Raises:
        ValueError: it is a file, or would be one, that holds no image.
    """
    if output.is_dir():
        return True
    if is_image(output):
        return False
    if output.exists():
        raise ValueError(f"{output} names a file, not a folder; name another output")
    if output.suffix.lower() in OTHER_SUFFIXES:
        raise ValueError(f"{output}: {output.suffix} is not written; name a folder, or a file in {', '.join(sorted(FORMATS))}")
    return True


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and check that it takes files.

    Raises:
        ValueError: it cannot be made, or takes none.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {folder}: {error.strerror}; name another output") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write to the folder {folder}; name another output")


def drop_results(sources: Sequence[Path], records: Mapping[Path, Path]) -> list[Path]:
    """Leave out what is recorded as the result of another of the sources."""
    known = {source.resolve() for source in sources}
    return [
        source
        for source in sources
        if (origin := records.get(source.resolve())) is None or origin == source.resolve() or origin not in known
    ]


def names_of(source: Path, suffix: str, extension: str | None) -> list[str]:
    """The name of a result, and two that tell more of its source, for where that name is another's."""
    path = source.resolve()
    ending = f".{extension}" if extension else source.suffix
    kind = f"-{source.suffix[1:]}" if ending != source.suffix else ""
    long = f"{path.parent.name}-{source.stem}{kind}"
    key = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return [f"{name}{suffix}{ending}" for name in (source.stem, long, f"{long}-{key}")]


def plan_jobs(
    sources: Sequence[Path],
    output: Path,
    *,
    suffix: str = "",
    extension: str | None = None,
    records: Mapping[Path, Path] | None = None,
) -> list[Job]:
    """Where each image goes: a file of its own directly in `output`, or `output` itself where that names an image file.

    A result has its source's name. Sources that share one have results that are named by their folders too; what is recorded
    keeps its name.

    Args:
        sources: files to read; with a suffix, those that are results of others in the same folder are left out.
        output: a folder, or an image file where there is one source.
        suffix: put between the name and its extension.
        extension: of the written files, such as "png"; None keeps each source's own.
        records: results that are there, and their sources.

    Raises:
        ValueError: several sources for one file, a suffix that leads out of the folder, or an output that is no image file.
    """
    if not is_folder(output):
        if len(sources) > 1:
            raise ValueError(f"{output} names one file, not a folder, for {len(sources)} images; name a folder")
        return [Job(source, output) for source in sources]
    # On Windows a colon begins a stream of a file, or ends a drive.
    if Path(f"x{suffix}").name != f"x{suffix}" or set(suffix) & set("\\:\0"):
        raise ValueError(f"a suffix is a part of a file name, got {suffix!r}")
    kept, names = {}, {}
    inside = output.resolve()
    for source in sources:
        names[source] = names_of(source, suffix, extension)
        for name in names[source] if records else ():
            target = inside / name
            if (records or {}).get(target) == source.resolve() and target.exists():
                kept[source] = name
                break
    # Some file systems take A.png and a.png for one file.
    for _ in range(2):
        counts = Counter((kept.get(source) or names[source][0]).casefold() for source in sources)
        for source in sources:
            if source not in kept and counts[names[source][0].casefold()] > 1:
                names[source] = names[source][1:]
    jobs = [Job(source, output / (kept.get(source) or names[source][0])) for source in sources]
    # A folder that is its own output holds the results of earlier runs.
    results = {Path(os.path.realpath(job.target)) for job in jobs if suffix and job.source.resolve().parent == inside}
    return [job for job in jobs if job.source.resolve() not in results]


def refusal(job: Job, sources: set[Path], folder: Path, *, overwrite: bool) -> str | None:
    """Why a job would destroy an input or write elsewhere, None where it does not.

    Args:
        job: what to do.
        sources: the resolved paths of all inputs.
        folder: the resolved one of the results.
        overwrite: an input may be replaced by its own result.
    """
    target = Path(os.path.realpath(job.target))  # Path.resolve refuses links in a circle, which a result may replace
    if target == job.source.resolve():
        return None if overwrite else "would overwrite its input; name another output, a suffix, or overwrite it"
    if target in sources:
        return f"would overwrite {job.target}, another input; name another output or a suffix"
    if job.target.is_symlink() and folder not in target.parents:
        return f"{job.target} is a link to {target}, out of the folder; remove it, or name another output"
    return None


def other_source(job: Job, entry: Entry | None) -> str | None:
    """Why a target that is there is not this job's result, None where it is or where nothing is known."""
    if entry is None or Path(entry.input) == job.source.resolve() or not job.target.exists():
        return None
    return f"{job.target} is the result of {entry.input} already; choose another folder or suffix, or overwrite it"


def changed(source: Path, entry: Entry | None) -> bool:
    """Whether an input is known to be another than when its result was written."""
    if entry is None or entry.size is None:
        return False
    try:
        state = source.stat()
    except OSError:
        return False
    return (state.st_size, state.st_mtime_ns) != (entry.size, entry.mtime_ns)
