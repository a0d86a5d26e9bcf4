"""A film in, the restored film out."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from restoralib.restoration import Cancelled
from restoralib.restoration.door import Model, ModelOptions
from restoralib.restoration.run import ProgressCallback
from restoralib.video.clip import Clip
from restoralib.video.encoding import Encoder, Encoding, Plan, choose_codec, make_plan
from restoralib.video.errors import VideoError
from restoralib.video.joining import container_of, copied_streams, join
from restoralib.video.pieces import Pieces
from restoralib.video.pixels import Layout, layout_of, to_images, to_planes, unpack
from restoralib.video.reading import Stamped, VideoInfo, decode, display_matrix, open_video, video_info, video_stream

logger = logging.getLogger(__name__)

_PLAIN = (str, int, float, bool, type(None))


def restore_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    model: Model = "denoise",
    *,
    batch: int = 4,
    blend: float = 0.0,
    encoding: Encoding | None = None,
    audio: bool = True,
    overwrite: bool = False,
    resume: bool = True,
    partial_source: bool = False,
    piece: int = 128,
    progress: ProgressCallback | bool | None = None,
    seed: int = 0,
    **options: Unpack[ModelOptions],
) -> None:
    """Restore a film. Sound and subtitles are copied, every frame keeps its time, and memory does not grow with the length.

    Frames are decoded, restored in batches and encoded at the same time. Constant and variable frame rates, colour matrix and
    range, the shape of pixels, the display's rotation, chapters and titles are those of the source. The first stream of moving
    pictures is restored; further ones, data and attachments are left out.

    The result grows in pieces in the folder `.NAME.restoralib` beside the target, which is written from them at the end, whole.
    A run that was stopped, by a kill or by `progress`, goes on after its last piece when it is called again with the same
    source, model and arguments; its frames are those of a run that was not stopped.

    Args:
        source: a video file.
        target: the file to write; its suffix tells the format: .mp4, .mkv, .mov, .webm …
        model: as in `restore`; "auto" looks at the first frames and does with all what it finds there.
        batch: frames, or tiles of them, in a call of the network.
        blend: strength of `Steady`, which takes flicker from what does not move: 0 for none, 0.7 for most of it.
        encoding: codec, pixel format and options; None for H.264 of high quality, or what the target's format has in its place.
        audio: copy the sound.
        overwrite: replace the target if it is there.
        resume: go on with pieces that are there; False drops them, and leaves none when it is stopped.
        partial_source: take a source that is cut short or damaged for what there is of it.
        piece: frames of a piece, rounded up to whole batches; what is lost at most when a run is stopped.
        progress: called with (done, total, stage) in frames, done = 0 before the first; its False, or an exception, ends the
            work within a tile. The total is counted before, without decoding. True writes to the log.
        seed: frame k draws its random numbers by seed + k.
        options: further arguments of `restore`, those of `restore_iter`.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: there is no such file or folder.
        FileExistsError: the target is there, and `overwrite` is not given.
        VideoError: the source is no film, damaged or cut short, or the target's format does not take its sound. It is a
            ValueError.
        ValueError, TypeError, OutOfMemory, FloatingPointError: as `restore` raises them.
        Cancelled: `progress` returned False.
        ImportError: the extra `video` is not installed.
    """
    source, target = Path(source), Path(target)
    if not isinstance(piece, int) or isinstance(piece, bool) or piece < 1:
        raise ValueError(f"piece should be at least 1 and whole, got {piece!r}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is there already; name another file, or pass overwrite=True")
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target} is the source itself, which is read until the end; name another file")
    info = video_info(source)
    _check_whole(info, partial_source)
    encoding = encoding or Encoding()
    container = container_of(target)
    with open_video(source) as given:
        streams = copied_streams(given, video_stream(given, source), container, target, audio=audio)
    clip = Clip(model, batch=batch, blend=blend, seed=seed, **options)
    callback = _log_progress if progress is True else progress or None
    pieces = Pieces(target)
    with pieces.locked():
        job = _job(source, clip, model, encoding, batch * -(-piece // batch), options)
        if not resume:
            pieces.clear()
        count = pieces.begin(job)
        finished = False
        try:
            work = _Work(info, target, clip, encoding, pieces, container.header, container.codecs, job["piece"], callback)
            with open_video(source) as given:
                count = work.run(given, count)
            _report(callback, work.total, work.total, "join")
            join(source, target, pieces, count, streams)
            finished = True
        finally:
            if finished or not resume or not any(pieces.folder.glob("*.packets")):
                pieces.remove()


class _Work:
    """One run over the frames of a film.

    Args:
        info: of the source.
        target: the file to write.
        clip: what restores.
        encoding: what is asked for.
        pieces: where results go.
        header: whether the target's header holds the encoder's parameters.
        codecs: what the target takes.
        piece: frames of a piece, a multiple of the batch.
        callback: is told of progress.
    """

    def __init__(
        self,
        info: VideoInfo,
        target: Path,
        clip: Clip,
        encoding: Encoding,
        pieces: Pieces,
        header: bool,
        codecs: frozenset[str],
        piece: int,
        callback: ProgressCallback | None,
    ) -> None:
        self.info = info
        self.target = target
        self.clip = clip
        self.encoding = encoding
        self.pieces = pieces
        self.header = header
        self.codecs = codecs
        self.piece = piece
        self.callback = callback
        self.total = info.frames
        self.plan: tuple[Plan, Layout] | None = None
        self.encoder: Encoder | None = None
        self.durations: dict[int, int] = {}

    def run(self, given: Any, count: int) -> int:
        """Restore what is not in the first `count` pieces yet; the number of all pieces."""
        stream = video_stream(given, self.info.path)
        frames = decode(given, stream, self.info.path)
        done = self.pieces.frames(count)
        if count:
            logger.info("%s: goes on at frame %d of %d", self.target, done, self.total)
            self.clip.steady.load_state(self.pieces.state(count - 1))
        first = next(frames)  # decode() raises where there is none
        layout = layout_of(first.frame)
        _warn_of_loss(first.frame, self.info.path)
        shape = (first.frame.height, first.frame.width)
        # The first frames are what "auto" goes by, also where a run goes on.
        if done and self.clip.chain is None:
            head = [first, *itertools.islice(frames, self.clip.batch - 1)]
            self.clip.choose(to_images([unpack(one.frame, layout) for one in head], layout, self.clip.device))
            rest: Iterator[Stamped] = itertools.chain(head, frames)
        else:
            rest = itertools.chain([first], frames)
        rest = itertools.islice(rest, done, None)

        def read() -> list[tuple[list[np.ndarray[Any, Any]], int, int]]:
            batch = []
            for stamped in itertools.islice(rest, self.clip.batch):
                if (stamped.frame.height, stamped.frame.width) != shape or layout_of(stamped.frame) != layout:
                    raise VideoError(
                        f"{self.info.path}: frames change from {shape[1]} x {shape[0]} {layout.pixel_format} to "
                        f"{stamped.frame.width} x {stamped.frame.height} {stamped.frame.format.name} at "
                        f"{float(stamped.pts * stream.time_base):.3f} s; cut the film there, and restore the parts"
                    )
                batch.append((unpack(stamped.frame, layout), stamped.pts, stamped.duration))
            return batch

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead = reader.submit(read)
            writing: Future[None] | None = None
            try:
                _report(self.callback, done, self.total, "restore")
                while batch := ahead.result():
                    ahead = reader.submit(read)
                    images = to_images([planes for planes, _, _ in batch], layout, self.clip.device)
                    within = partial(self._within, done)
                    with torch.no_grad():
                        restored = self.clip.restore(images, done, within if self.callback else None)
                    if self.plan is None:
                        self._open(stream, first.frame, layout, (restored.shape[-2], restored.shape[-1]))
                    assert self.plan is not None
                    planes = to_planes(restored, self.plan[1])
                    done += len(batch)
                    last = done % self.piece == 0
                    if writing:
                        writing.result()
                    state = self.clip.steady.state() if last and self.clip.steady.strength else {}
                    number = count if last else None
                    stamps = [(pts, duration) for _, pts, duration in batch]
                    writing = writer.submit(self._write, planes, stamps, number, state)
                    count += last
                    _report(self.callback, done, max(self.total, done), "restore")
                if writing:
                    writing.result()
                if self.encoder:
                    self._write([], [], count, {})
                    count += 1
            finally:
                ahead.cancel()
        self.total = done
        return count

    def _within(self, done: int, *_: Any) -> Any:
        """Asked within a frame: whether to go on."""
        assert self.callback is not None
        return self.callback(done, max(self.total, done), "restore")

    def _open(self, stream: Any, frame: Any, layout: Layout, size: tuple[int, int]) -> None:
        matrix = display_matrix(frame)
        if matrix:
            scale = size[1] // frame.width
            matrix[6:8] = [scale * shift for shift in matrix[6:8]]
        codec = choose_codec(self.encoding, self.target, set(self.codecs), layout.depth > 8)
        self.plan = make_plan(self.encoding, codec, layout, size, stream, frame, header=self.header, matrix=matrix)
        self.pieces.put_plan(self.plan[0])

    def _write(
        self,
        frames: list[list[np.ndarray[Any, Any]]],
        stamps: list[tuple[int, int]],
        number: int | None,
        state: Mapping[str, Tensor],
    ) -> None:
        """Encode frames, and end the piece of a number."""
        assert self.plan is not None
        if self.encoder is None:
            self.encoder = Encoder(*self.plan)
        for planes, (pts, duration) in zip(frames, stamps, strict=True):
            self.encoder.add(planes, pts)
            self.durations[pts] = duration
        if number is not None:
            self.pieces.put(number, self.encoder.finish(), self.durations, state)
            self.encoder, self.durations = None, {}


def _check_whole(info: VideoInfo, partial_source: bool) -> None:
    if partial_source or (info.whole and not info.damaged):
        return
    seconds = (
        f"{float(info.duration):.2f} of {float(info.promised):.2f} s" if info.promised else f"{float(info.duration):.2f} s"
    )
    damaged = f", {info.damaged} packets are damaged" if info.damaged else ""
    raise VideoError(
        f"{info.path} is cut short or damaged: {seconds} and {info.frames} frames are there{damaged}; fetch it again, or pass "
        "partial_source=True to restore what there is"
    )


def _warn_of_loss(frame: Any, path: Path) -> None:
    if frame.interlaced_frame:
        warnings.warn(f"{path} is interlaced; its frames show two moments each, so deinterlace it first", stacklevel=4)
    if any(component.is_alpha for component in frame.format.components):
        warnings.warn(f"{path}: the transparency of its frames is left out", stacklevel=4)


def _report(callback: ProgressCallback | None, done: int, total: int, stage: str) -> None:
    if callback and callback(done, total, stage) is False:
        raise Cancelled(f"cancelled after {done} of {total} frames")


def _log_progress(done: int, total: int, stage: str) -> None:
    logger.info("%s: %d of %d frames", stage, done, total)


def _job(source: Path, clip: Clip, model: Model, encoding: Encoding, piece: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values that tell all on which the frames of the result depend."""
    from restoralib import __version__

    stat = source.stat()
    kept = {name: value for name, value in options.items() if name != "device"}
    return {
        "version": __version__,
        "source": [str(source.resolve()), stat.st_size, stat.st_mtime_ns],
        "model": [model if isinstance(model, str) else "", identity(clip.found)],
        "options": identity(kept),
        "encoding": [encoding.codec, encoding.pixel_format, dict(encoding.options)],
        "batch": clip.batch,
        "piece": piece,
        "blend": clip.steady.strength,
        "seed": clip.seed,
    }


def identity(value: Any) -> Any:
    """Plain values that are equal for what gives equal results; of a network, its class and a hash of its weights."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, nn.Module):
        digest = hashlib.sha256()
        for name, tensor in value.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return [f"{type(value).__module__}.{type(value).__qualname__}", repr(getattr(value, "spec", "")), digest.hexdigest()]
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.detach().cpu().numpy().tobytes()).hexdigest()]
    if isinstance(value, Mapping):
        return {str(name): identity(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    if isinstance(value, partial):
        return ["partial", identity(value.func), identity(value.args), identity(value.keywords)]
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, {one.name: identity(getattr(value, one.name)) for one in fields(value)}]
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)  # with an address in it, it is never equal, and the work begins anew
