"""Video files: what is in them, and their frames one by one."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from restoralib.video.errors import VideoError

__all__ = ["VideoError", "VideoInfo", "video_info"]

_SLACK = Fraction(1, 5)  # seconds by which a header may promise more than there is


def import_av() -> Any:
    """PyAV.

    Raises:
        ImportError: the extra `video` is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise ImportError('films need av (PyAV); pip install "restoralib[video]"') from error
    return av


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Args:
        path: the file.
        codec: of the first video stream, by FFmpeg's name.
        width: of a stored frame, in pixels.
        height: of a stored frame, in pixels.
        frames: packets of video in the file, which are its frames where it is whole.
        rate: average frames a second; None where it is not known.
        time_base: seconds of a unit of time stamps.
        pixel_format: FFmpeg's name.
        duration: seconds from the first to the last moment of any stream that is there.
        promised: seconds that the file's header tells; None where it does not.
        audio: codecs of the sound streams.
        subtitles: codecs of the subtitle streams.
        damaged: packets that are marked as damaged.
    """

    path: Path
    codec: str
    width: int
    height: int
    frames: int
    rate: Fraction | None
    time_base: Fraction
    pixel_format: str
    duration: Fraction
    promised: Fraction | None
    audio: tuple[str, ...]
    subtitles: tuple[str, ...]
    damaged: int = 0

    @property
    def whole(self) -> bool:
        """Whether all that the header promises is there, within a fifth of a second and a hundredth."""
        return self.promised is None or self.promised - self.duration <= _SLACK + self.promised / 100


def open_video(path: str | os.PathLike[str]) -> Any:
    """Open a file for reading. Only local files are opened, also where a playlist names others.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: there is no such file that can be read.
        VideoError: it is empty, damaged or of another kind.
        ImportError: the extra `video` is not installed.
    """
    av, path = import_av(), Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; pass a video file")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; the current directory is {Path.cwd()}")
    with path.open("rb") as file:
        if not file.read(1):
            raise VideoError(f"{path} is empty")
    try:
        # The prefix keeps names with a colon or a dash at the beginning from meaning anything else.
        return av.open(f"file:{path.resolve()}", options={"protocol_whitelist": "file"})
    except av.FFmpegError as error:
        raise VideoError(
            f"{path} cannot be read as a film ({_reason(error)}): it is damaged, cut short, or no video file; fetch it again"
        ) from error


def video_stream(container: Any, path: object) -> Any:
    """The first stream of moving pictures.

    Raises:
        VideoError: there is none; the picture on a record's sleeve is none.
    """
    av = import_av()
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context is not None:
            return stream
    kinds = sorted({stream.type for stream in container.streams} - {"video"})
    holds = f"only {' and '.join(kinds)}" if kinds else "no stream at all"
    raise VideoError(f"{path} has no video stream, it holds {holds}; pass a film, or an image to restore()")


def video_info(path: str | os.PathLike[str]) -> VideoInfo:
    """Look through a video file, without decoding it; the time is that of reading it.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: there is no such file that can be read.
        VideoError: it is empty, damaged, of another kind, or has no video stream.
        ImportError: the extra `video` is not installed.
    """
    av, path = import_av(), Path(path)
    with open_video(path) as container:
        stream = video_stream(container, path)
        frames = damaged = 0
        first: Fraction | None = None
        last = Fraction(0)
        with contextlib.suppress(av.FFmpegError):  # the end of a file that was cut
            for packet in container.demux():
                stamp = packet.dts if packet.pts is None else packet.pts
                if not packet.size or packet.is_discard:
                    continue
                damaged += packet.is_corrupt
                frames += packet.stream.index == stream.index
                if stamp is not None and packet.time_base and not packet.is_corrupt:
                    begins = stamp * packet.time_base
                    first = begins if first is None else min(first, begins)
                    last = max(last, begins + (packet.duration or 0) * packet.time_base)
        context = stream.codec_context
        return VideoInfo(
            path=path,
            codec=context.name,
            width=context.width,
            height=context.height,
            frames=frames,
            rate=stream.average_rate or stream.guessed_rate,
            time_base=stream.time_base,
            pixel_format=context.pix_fmt or "",
            duration=last - (first or 0),
            promised=Fraction(container.duration, av.time_base) if container.duration else None,
            audio=tuple(one.codec_context.name for one in container.streams.audio if one.codec_context),
            subtitles=tuple(one.codec_context.name for one in container.streams.subtitles if one.codec_context),
            damaged=damaged,
        )


@dataclass(frozen=True)
class Stamped:
    """A decoded frame.

    Args:
        frame: as PyAV has it.
        pts: when it is shown, in units of the stream's time base; larger than that of the frame before.
        duration: how long, likewise; 0 where it is not known.
    """

    frame: Any
    pts: int
    duration: int


def decode(container: Any, stream: Any, path: object) -> Iterator[Stamped]:
    """The frames of a stream in the order in which they are shown.

    Frames without a time get that of the frame before and one frame's duration; packets that cannot be decoded are left out,
    with a warning at the end.

    Raises:
        VideoError: not a single frame can be decoded.
    """
    av = import_av()
    stream.thread_type = "AUTO"
    rate = stream.average_rate or stream.guessed_rate
    step = max(1, round(1 / (rate * stream.time_base))) if rate else 1
    lost = shifted = count = 0
    last: int | None = None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            lost += 1  # the file ends amid a packet
            packet = None
        if packet is not None and not packet.size:
            continue  # by which PyAV ends a stream
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            lost += 1
            frames = []
        for frame in frames:
            duration = getattr(frame, "duration", None) or 0
            pts = frame.pts
            if pts is None:
                pts = 0 if last is None else last + step
            elif last is not None and pts <= last:
                shifted += 1
                pts = last + 1
            count, last = count + 1, pts
            yield Stamped(frame, pts, duration)
        if packet is None:
            break
    if not count:
        raise VideoError(f"{path}: no frame of its {stream.codec_context.name} stream can be decoded; fetch or export it again")
    if lost:
        warnings.warn(f"{path}: {lost} damaged packets could not be decoded; their frames are missing", stacklevel=2)
    if shifted:
        warnings.warn(f"{path}: {shifted} frames had no later time than the frame before, and got one", stacklevel=2)


def display_matrix(frame: Any) -> list[int] | None:
    """How the film is turned when it is shown, as FFmpeg's nine numbers; None where it is not."""
    import numpy as np

    for data in frame.side_data:  # a mapping of which one iterates over the values
        if data.type.name == "DISPLAYMATRIX":
            return [int(number) for number in np.frombuffer(data, "<i4")[:9]]
    return None


def _reason(error: Exception) -> str:
    """FFmpeg's words."""
    return str(getattr(error, "strerror", None) or error)
