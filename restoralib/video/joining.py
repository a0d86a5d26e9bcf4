"""The restored pieces and the source's sound and subtitles as one file; nothing is encoded again."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from restoralib.video.encoding import Plan
from restoralib.video.errors import VideoError
from restoralib.video.pieces import Pieces
from restoralib.video.reading import import_av, open_video, video_stream

logger = logging.getLogger(__name__)

FORMATS = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".ts", ".nut")
"""Suffixes of the files that are written."""

# FFmpeg does not say of MPEG's transport streams what they take.
_MORE = {
    "mpegts": frozenset(
        {"h264", "libx264", "h264_nvenc", "hevc", "libx265", "hevc_nvenc", "mpeg4", "dvbsub"}
        | {"aac", "mp3", "mp3float", "ac3", "eac3", "dca", "truehd", "opus", "libopus"}
    )
}
_OPTIONS = {"mp4": {"movflags": "+faststart"}, "mov": {"movflags": "+faststart"}}
_ENCODERS_OWN = (
    "encoder",
    "duration",
    "rotate",
    "handler_name",
    "vendor_id",
    "major_brand",
    "minor_version",
    "compatible_brands",
)


@dataclass(frozen=True)
class Container:
    """What is known of the format of a file to write.

    Args:
        name: FFmpeg's name of the format.
        codecs: that it takes, by the names of encoders and decoders.
        header: whether the parameters of encoders go into the file's header.
    """

    name: str
    codecs: frozenset[str]
    header: bool


def container_of(target: Path) -> Container:
    """The format of a file by its suffix.

    Raises:
        VideoError: the suffix is that of no format for films.
        FileNotFoundError, IsADirectoryError: the folder is not there, or the target is one.
    """
    av = import_av()
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a directory; name a file in it")
    if not target.resolve().parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist; create it first")
    if target.suffix.lower() not in FORMATS:
        suffix = target.suffix or "a name without a suffix"
        raise VideoError(f"{target}: {suffix} tells no format of films; name the file {', '.join(FORMATS)}")
    # It asks for a file, which is made when something is written.
    with av.open(f"file:{_beside(target)}", "w") as container:
        name, codecs = container.format.name, frozenset(container.supported_codecs)
        header = bool(container.format.flags & av.format.Flags.global_header.value)
    return Container(name, codecs | _MORE.get(name, frozenset()), header)


def copied_streams(source: Any, picture: Any, container: Container, target: Path, *, audio: bool = True) -> list[int]:
    """Numbers of the streams that are copied: sound, and subtitles where the format takes them.

    Raises:
        VideoError: the format does not take a stream of sound.
    """
    kept = []
    for stream in source.streams:
        name = stream.codec_context.name if stream.codec_context else None
        if stream.index == picture.index or (stream.type == "audio" and not audio):
            continue
        if stream.type not in ("audio", "subtitle") or name is None:
            logger.info("stream %d (%s) is left out", stream.index, stream.type)
        elif {name, stream.codec_context.codec.canonical_name} & container.codecs:
            kept.append(stream.index)
        elif stream.type == "audio":
            raise VideoError(
                f"{target.suffix} files do not take {name}, the codec of the sound, which is copied as it is; name the file "
                ".mkv, or leave the sound out with audio=False"
            )
        else:
            warnings.warn(f"{target.suffix} files take no {name} subtitles, which are left out; .mkv keeps them", stacklevel=3)
    return kept


def join(source: Path, target: Path, pieces: Pieces, count: int, streams: list[int]) -> None:
    """Write a film from its pieces and the streams of its source; it is there whole or not at all.

    Args:
        source: the degraded film.
        target: the file to write; one that is there is replaced.
        pieces: the restored frames.
        count: of pieces.
        streams: numbers of the source's streams that are copied.

    Raises:
        VideoError: the format refuses something.
    """
    av = import_av()
    plan = pieces.plan()
    temporary = _beside(target)
    options = next((options for name, options in _OPTIONS.items() if target.suffix.lower() == f".{name}"), {})
    try:
        with open_video(source) as given, av.open(f"file:{temporary}", "w", options=dict(options)) as made:
            _set_metadata(made, given)
            picture = video_stream(given, source)
            written, copies = None, {}
            for stream in given.streams:
                if stream.index == picture.index:
                    written = _picture_stream(made, plan, picture)
                elif stream.index in streams:
                    copies[stream.index] = made.add_stream_from_template(stream)
                    _describe(copies[stream.index], stream)
            _interleave(made, written, _video_packets(pieces, count, plan), given, copies)
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{target} cannot be written: {error}; another format, such as .mkv, may take it") from error
    finally:
        temporary.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    """A name in the same folder, with the same suffix."""
    return target.resolve().with_name(f".{secrets.token_hex(8)}.part{target.suffix}")


def _set_metadata(made: Any, given: Any) -> None:
    made.metadata.update({name: value for name, value in given.metadata.items() if name.lower() not in _ENCODERS_OWN})
    chapters = given.chapters() if hasattr(given, "chapters") else []
    if chapters:
        made.set_chapters(chapters)


def _describe(stream: Any, source: Any) -> None:
    """Language, title and the like."""
    stream.metadata.update({name: value for name, value in source.metadata.items() if name.lower() not in _ENCODERS_OWN})
    if source.disposition:
        stream.disposition = source.disposition.value


def _picture_stream(made: Any, plan: Plan, source: Any) -> Any:
    """The stream of restored frames. Its encoder only writes the header; the packets are there already."""
    stream = made.add_stream(plan.codec, rate=Fraction(*plan.rate), options=dict(plan.options))
    plan.configure(stream.codec_context)
    stream.time_base = Fraction(*plan.time_base)
    _describe(stream, source)
    if plan.matrix:
        if hasattr(stream, "set_display_matrix"):
            stream.set_display_matrix(plan.matrix)
        else:
            warnings.warn("this version of av cannot write that the film is turned; install av 18 or newer", stacklevel=4)
    return stream


def _video_packets(pieces: Pieces, count: int, plan: Plan) -> Iterator[Any]:
    """The packets of all pieces, with times of decoding that grow from one to the next.

    Packet k is decoded at the time when frame k - d is shown, with d the farthest that an encoder looks ahead. Times of pieces
    by themselves would overlap where frames are unevenly spaced.
    """
    av = import_av()
    base = Fraction(*plan.time_base)
    ahead = pieces.delay(count)
    step = max(1, round(1 / (Fraction(*plan.rate) * base)))
    shown: deque[int] = deque()
    for number in range(count):
        content = list(pieces.packets(number))
        times = sorted(encoded.pts for encoded, _ in content)
        if not shown and times:
            shown.extend(times[0] - step * (ahead - index) for index in range(ahead))
        shown.extend(times)
        for encoded, duration in content:
            packet = av.Packet(encoded.data)
            packet.pts, packet.dts, packet.time_base = encoded.pts, shown.popleft(), base
            packet.duration = duration
            packet.is_keyframe = encoded.keyframe
            yield packet


def _interleave(made: Any, written: Any, video: Iterator[Any], given: Any, copies: dict[int, Any]) -> None:
    """Write packets by their times, so that the writer has to hold few."""
    waiting = next(video, None)

    def catch_up(moment: Fraction | None) -> None:
        nonlocal waiting
        while waiting is not None and (moment is None or waiting.dts * waiting.time_base <= moment):
            waiting.stream = written
            made.mux(waiting)
            waiting = next(video, None)

    av = import_av()
    if copies:
        packets = given.demux([given.streams[index] for index in copies])
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                break  # the end of a file that was cut
            if packet is None:
                break
            if packet.dts is None or not packet.size:
                continue
            catch_up(packet.dts * packet.time_base)
            packet.stream = copies[packet.stream.index]
            made.mux(packet)
    catch_up(None)
