"""A folder of images: reading, restoring and writing at the same time, and a run that can be stopped and goes on.

Threads read and decode ahead of the model, other threads encode and write behind it; the model runs in the caller's. Decoders
and encoders let other threads run meanwhile, so that on a GPU only the slowest of the three counts.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from restoralib.batch.files import Failure, Job, Plan, make_folder, plan_files
from restoralib.batch.manifest import Entry, Manifest
from restoralib.batch.restorer import Restorer, Result
from restoralib.images import MAX_PIXELS, Picture, check_target, read_image, write_image
from restoralib.restoration.door import ImageOptions, Model
from restoralib.restoration.errors import Cancelled
from restoralib.restoration.run import ProgressCallback

logger = logging.getLogger(__name__)

HELD = 2**25
"""Pixels that are read ahead, and as many that wait to be written: 400 MB of RGB in float32 each."""

_MOST_AHEAD = 256  # images, however small
_FULL = (errno.ENOSPC, errno.EDQUOT)
_GIVE_UP = 10  # images in a row that a full disk does not take
_ABANDONED = 3600  # seconds after which nobody still writes a temporary file


@dataclass
class Report:
    """What a run did.

    Args:
        restored: images that were restored and written.
        skipped: images whose results were there already.
        failures: what was not restored, and why.
        results: inputs that were left out, being results themselves.
        seconds: of the run.
        stopped: why it ended early; None where everything was tried.
    """

    restored: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    results: int = 0
    seconds: float = 0.0
    stopped: str | None = None

    @property
    def ok(self) -> bool:
        """Whether everything is restored."""
        return not self.failures and self.stopped is None


def restore_folder(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    model: Model | Restorer = "auto",
    *,
    suffix: str = "",
    extension: str | None = None,
    keep_metadata: bool = True,
    quality: int = 95,
    overwrite: bool = False,
    rank: int = 0,
    world: int = 1,
    workers: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    progress: ProgressCallback | None = None,
    **options: Unpack[ImageOptions],
) -> Report:
    """Restore the images of a folder into another; a second run does what the first left undone.

    Every result is there whole or not at all. An image that fails is listed and does not stop the others. What was done is told
    by a hidden file beside the results (`restoralib.batch.Entry`); an image that has changed since is restored again.

    Args:
        inputs: a folder, an image file, a glob, or several of these.
        output: a folder, or an image file for one image.
        model: as in `restore`, or a `Restorer` with all its options.
        suffix: put between the name of a result and its extension.
        extension: of the results, such as "png"; None keeps each image's own.
        keep_metadata: copy EXIF, XMP, colour profile and resolution.
        quality: of JPEG and WebP.
        overwrite: restore again what is there, and replace an input where it is its own result.
        rank, world: which of how many parts of the images to do; every image is in one, whatever else is in the folder.
        workers: threads that read, and as many that write; None for half of the cores.
        batch, seed: as in `Restorer`; an image's own seed comes from this and its file's name.
        progress: called with (done, total, stage) in images; its False, or an exception, ends the work within one image.
        options: further arguments of `restore`.

    Raises:
        ValueError: an argument is wrong, or there is no such model.
        FileNotFoundError: there is no such checkpoint.
        Cancelled: `progress` returned False. What was restored by then is written.
    """
    several = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    if isinstance(model, Restorer):
        if options or batch is not None or seed is not None:
            raise ValueError("a Restorer has its options; give them to it, not beside it")
        restorer = model
    else:
        restorer = Restorer(model, batch=batch, seed=seed, **options)
    plan = plan_files(
        [os.fspath(one) for one in several],
        Path(output),
        suffix=suffix,
        extension=extension,
        overwrite=overwrite,
        part=(rank, world),
    )
    return run_plan(
        plan,
        restorer,
        keep_metadata=keep_metadata,
        quality=quality,
        part=(rank, world),
        workers=workers,
        progress=progress,
    )


def run_plan(
    plan: Plan,
    restorer: Restorer,
    *,
    keep_metadata: bool = True,
    quality: int = 95,
    part: tuple[int, int] = (0, 1),
    workers: int | None = None,
    progress: ProgressCallback | None = None,
    tiles: ProgressCallback | None = None,
    alone: bool = False,
) -> Report:
    """Do what `plan_files` planned.

    Args:
        plan: what to do.
        restorer: the model.
        keep_metadata, quality, workers, progress: as in `restore_folder`.
        part: (rank, world) of this process, for the manifest's name.
        tiles: called within the images of a call, with (done, total, stage) in tiles; ends the work as `progress` does.
        alone: there is one image, whose seed is the restorer's own.

    Raises:
        ValueError: the folder cannot be made or takes no files, or the workers are none.
        Cancelled: a callback returned False.
    """
    if workers is None:
        workers = max(1, min(8, (os.cpu_count() or 2) // 2))
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers should be at least 1 and whole, got {workers!r}")
    began = time.perf_counter()
    report = Report(skipped=len(plan.skipped), failures=list(plan.refused), results=len(plan.results))
    if plan.jobs:
        restorer.load()
        make_folder(plan.folder)
        _sweep(plan.folder)
        run = _Run(plan, restorer, report, Manifest(plan.folder, *part), keep_metadata, quality, progress)
        run.go(workers, tiles, alone)
    report.seconds = time.perf_counter() - began
    logger.info("restored %d images in %.1f s", report.restored, report.seconds)
    return report


@dataclass(frozen=True)
class _Read:
    """A job whose image was read, or could not be."""

    job: Job
    picture: Picture | None
    error: Exception | None
    seconds: float
    state: os.stat_result | None

    @property
    def pixels(self) -> int:
        return self.picture.color.shape[-2] * self.picture.color.shape[-1] if self.picture else 0


@dataclass
class _Run:
    """One run: what its stages share.

    Args:
        plan, restorer, keep_metadata, quality, progress: as in `run_plan`.
        report: filled in.
        manifest: gets a line for every image.
    """

    plan: Plan
    restorer: Restorer
    report: Report
    manifest: Manifest
    keep_metadata: bool
    quality: int
    progress: ProgressCallback | None
    done: int = 0
    full: int = 0

    def go(self, workers: int, tiles: ProgressCallback | None, alone: bool) -> None:
        """Read, restore and write until nothing is left, the caller cancels, or the disk is full."""
        self._tell("restore")
        writing: deque[tuple[Job, Future[None], int]] = deque()
        readers = ThreadPoolExecutor(workers, "restoralib-read")
        writers = ThreadPoolExecutor(workers, "restoralib-write")
        try:
            for result in self.restorer.stream(self._pictures(readers, workers, alone), progress=tiles):
                read: _Read = result.key
                if result.picture is None:
                    assert result.error is not None
                    self._failed(read, result.error, result.seconds)
                else:
                    pixels = result.picture.color.shape[-2] * result.picture.color.shape[-1]
                    writing.append((read.job, writers.submit(self._write, read, result), pixels))
                while writing and (writing[0][1].done() or self._too_many(writing)):
                    self._written(*writing.popleft()[:2])
                if self.full >= _GIVE_UP:
                    break
            while writing:
                self._written(*writing.popleft()[:2])
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()  # what is restored is written
            for job, future, _ in writing:
                self._count(job, future)
        if self.full >= _GIVE_UP:
            left = len(self.plan.jobs) - self.done
            self.report.stopped = (
                f"{self.plan.folder} took none of {_GIVE_UP} images in a row, for the disk is full; {left} were not tried. "
                "Free some space and run the same again: what is done stays done"
            )

    # Reading

    def _pictures(self, readers: ThreadPoolExecutor, workers: int, alone: bool) -> Iterator[tuple[Any, Picture, Any]]:
        """Images in order, read ahead as far as their pixels allow; those that cannot be read are told and left out."""
        jobs = iter(self.plan.jobs)
        ahead: deque[Future[_Read]] = deque()
        known = 0  # pixels of the largest image so far
        more = True
        while more or ahead:
            while more and len(ahead) < _MOST_AHEAD:
                finished = [future.result().pixels for future in ahead if future.done()]
                expected = (len(ahead) - len(finished) + 1) * (known or HELD // workers)
                if ahead and sum(finished) + expected > HELD:
                    break
                if (job := next(jobs, None)) is None:
                    more = False
                else:
                    ahead.append(readers.submit(self._read, job))
            if not ahead:
                return
            read = ahead.popleft().result()
            known = max(known, read.pixels)
            if read.picture is None:
                assert read.error is not None
                self._failed(read, read.error)
                continue
            # The job goes on without its image, which would be held until the result is written.
            yield replace(read, picture=None), read.picture, None if alone else read.job.source.name

    def _read(self, job: Job) -> _Read:
        began = time.perf_counter()
        state, picture, failure = None, None, None
        try:
            state = job.source.stat()
            picture = read_image(job.source, max_pixels=self.restorer.options.get("max_pixels", MAX_PIXELS))
            # What cannot be written is no reason to work first.
            transparent = picture.alpha is not None and self.restorer.options.get("alpha") != "drop"
            check_target(job.target, transparent=transparent)
        except Exception as error:
            logger.info("%s failed", job.source, exc_info=True)
            picture, failure = None, error
        return _Read(job, picture, failure, time.perf_counter() - began, state)

    # Writing

    def _write(self, read: _Read, result: Result) -> None:
        began = time.perf_counter()
        assert result.picture is not None
        try:
            write_image(read.job.target, result.picture, keep_metadata=self.keep_metadata, quality=self.quality)
        except Exception as error:
            seconds = read.seconds + result.seconds + time.perf_counter() - began
            self.manifest.add(self._entry(read, seconds, _reason(error)))
            raise
        self.manifest.add(self._entry(read, read.seconds + result.seconds + time.perf_counter() - began))

    def _entry(self, read: _Read, seconds: float, error: str | None = None) -> Entry:
        return Entry(
            input=str(read.job.source.resolve()),
            output=read.job.target.name,
            status="failed" if error else "restored",
            seconds=round(seconds, 6),
            error=error,
            size=read.state.st_size if read.state else None,
            mtime_ns=read.state.st_mtime_ns if read.state else None,
        )

    @staticmethod
    def _too_many(writing: deque[tuple[Job, Future[None], int]]) -> bool:
        return len(writing) > _MOST_AHEAD or (len(writing) > 1 and sum(pixels for *_, pixels in writing) > HELD)

    def _written(self, job: Job, future: Future[None]) -> None:
        """Wait until an image is written."""
        self._count(job, future)
        self._tell(job.source.name)

    def _count(self, job: Job, future: Future[None]) -> None:
        error = future.exception()
        self.done += 1
        if error is None:
            self.report.restored += 1
            self.full = 0
            return
        self.report.failures.append(Failure(str(job.source), _reason(error)))
        self.full = self.full + 1 if isinstance(error, OSError) and error.errno in _FULL else 0

    def _failed(self, read: _Read, error: Exception, seconds: float = 0.0) -> None:
        self.report.failures.append(Failure(str(read.job.source), _reason(error)))
        self.manifest.add(self._entry(read, read.seconds + seconds, _reason(error)))
        self.done += 1
        self._tell(read.job.source.name)

    def _tell(self, stage: str) -> None:
        total = len(self.plan.jobs)
        if self.progress and self.progress(self.done, total, stage) is False and self.done < total:
            raise Cancelled(f"cancelled after {self.done} of {total} images")


def _reason(error: BaseException) -> str:
    """What an error says, or its kind, where it says nothing."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"could not be written, for the disk is full ({error}); free some space and run the same again"
    return str(error) or type(error).__name__


def _sweep(folder: Path) -> None:
    """Remove temporary files that a killed process left behind."""
    for file in folder.glob(".*.part"):
        try:
            if len(file.stem) == 17 and time.time() - file.stat().st_mtime > _ABANDONED:
                file.unlink()
        except OSError:
            logger.info("could not remove %s", file, exc_info=True)
