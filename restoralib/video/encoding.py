"""How restored frames are encoded: the codec and pixel format for a file, and packets out of frames."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from restoralib.video.errors import VideoError
from restoralib.video.pixels import Layout, layout_for, pack
from restoralib.video.reading import import_av

# For a result that is hard to tell from its frames, at the usual speed.
_QUALITY: dict[str, dict[str, str]] = {
    "libx264": {"preset": "medium", "crf": "16"},
    "libx265": {"preset": "medium", "crf": "17", "x265-params": "log-level=error"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "2", "crf": "20", "b": "0", "row-mt": "1"},
    "libsvtav1": {"preset": "8", "crf": "22"},
    "ffv1": {"level": "3", "slicecrc": "1"},
}
_NAMES = {"h264": "libx264", "hevc": "libx265", "h265": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
_BY_CHOICE = ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "mpeg4", "ffv1")
_BY_CHOICE_DEEP = ("libx265", "libvpx-vp9", "libsvtav1", "libx264", "ffv1")
_EVEN = ("libx264", "libx265", "libsvtav1")  # encoders without odd sides where chroma is subsampled; so are those of GPUs
_BITS = 0.25  # a pixel, for encoders without a scale of quality


@dataclass(frozen=True)
class Encoding:
    """How the frames of a film are written.

    Args:
        codec: an encoder of FFmpeg ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1", "h264_nvenc" …) or one of "h264",
            "hevc", "vp9", "av1"; "auto" is H.264, H.265 for more than 8 bits, or the first of these, VP9, AV1, MPEG-4 and FFV1
            that the file's format takes.
        pixel_format: such as "yuv420p"; "auto" is the source's, or the nearest that the encoder has.
        options: of the encoder, beside or in place of those for a quality that is hard to tell from the frames (crf 16 for
            H.264): {"crf": "20", "preset": "slow"}.
    """

    codec: str = "auto"
    pixel_format: str = "auto"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All that an encoder is opened with; plain values, so that it can be stored.

    Args:
        codec: the encoder's name.
        pixel_format: of its frames.
        options: of the encoder.
        width: of the frames.
        height: of the frames.
        time_base: of time stamps.
        rate: average frames a second.
        color: range, matrix, primaries and transfer by the numbers of H.273 (range: FFmpeg's); 0 or 2 for unspecified.
        aspect: width of a pixel by its height; None where the source says nothing.
        header: whether the file's header holds the encoder's parameters.
        matrix: how the film is turned when it is shown.
    """

    codec: str
    pixel_format: str
    options: dict[str, str]
    width: int
    height: int
    time_base: Sequence[int]
    rate: Sequence[int]
    color: Sequence[int]
    aspect: Sequence[int] | None
    header: bool
    matrix: list[int] | None

    def configure(self, context: Any) -> None:
        """Set a codec context up."""
        context.width, context.height, context.pix_fmt = self.width, self.height, self.pixel_format
        context.time_base, context.framerate = Fraction(*self.time_base), Fraction(*self.rate)
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = self.color
        if self.aspect:
            context.sample_aspect_ratio = Fraction(*self.aspect)
        context.options = dict(self.options)

    def open(self) -> Any:
        """An encoder."""
        context = import_av().CodecContext.create(self.codec, "w")
        self.configure(context)
        if self.header:
            context.flags |= _global_header()
        return context


def choose_codec(encoding: Encoding, target: Path, supported: set[str], deep: bool) -> Any:
    """The encoder for a file.

    Args:
        encoding: what is asked for.
        target: the file, for messages.
        supported: what its format takes.
        deep: whether the source has more than 8 bits.

    Raises:
        VideoError: there is no such encoder, or the format does not take what it makes.
    """
    av = import_av()
    wanted = _NAMES.get(encoding.codec, encoding.codec)
    names = (_BY_CHOICE_DEEP if deep else _BY_CHOICE) if wanted == "auto" else (wanted,)
    reason = f"{target.suffix} takes none of {', '.join(names)} that FFmpeg has here; name a file .mp4, .mkv, .mov or .webm"
    shallow = None
    for name in names:
        try:
            codec = av.codec.Codec(name, "w")
        except ValueError:  # UnknownCodecError is one
            reason = reason if wanted == "auto" else f"this FFmpeg has no encoder {name!r}; try {', '.join(_NAMES)} or ffv1"
            continue
        if codec.type != "video" or not codec.video_formats:
            reason = f"{name!r} does not encode pictures; try {', '.join(_NAMES)} or ffv1"
        elif {name, codec.canonical_name} & supported:
            if not deep or wanted != "auto" or _is_deep(codec):
                return codec
            shallow = shallow or codec
        elif wanted != "auto":
            reason = f"{target.suffix} files do not take {name}; name the file .mkv, or another codec"
    if shallow is not None:
        return shallow
    raise VideoError(f"{target}: {reason}")


def _is_deep(codec: Any) -> bool:
    """Whether an encoder has more than 8 bits."""
    return any(component.bits > 8 for form in codec.video_formats for component in form.components)


def choose_pixel_format(codec: Any, asked: str, source: Layout) -> tuple[str, Layout]:
    """The encoder's pixel format, and the layout in which frames are made for it.

    Raises:
        VideoError: the encoder does not have the one that is asked for.
    """
    names = [form.name for form in codec.video_formats if not form.name.startswith("yuvj")]
    if asked == "auto":
        asked = min(names, key=lambda name: _loss(name, source))
    if asked not in names:
        raise VideoError(f"{codec.name} has no pixel format {asked!r}; it has {', '.join(names)}")
    layout = layout_for(asked, source)
    if layout.depth < source.depth:
        warnings.warn(f"{codec.name} keeps {layout.depth} of {source.depth} bits in {asked}", stacklevel=4)
    return asked, layout


def _loss(name: str, source: Layout) -> tuple[float, ...]:
    """What a pixel format loses of a source, most important first; what it wastes comes last."""
    try:
        made = layout_for(name, source)
    except (VideoError, ValueError):  # of a GPU's memory, or none that is written here
        return (math.inf,)
    cells, kept = made.across * made.down, 4 if source.kind == "gray" else source.across * source.down
    kind = 0 if made.kind == source.kind else 2 if made.kind == "gray" else 1
    lost = (max(0, source.depth - made.depth), max(0, cells - kept))
    return kind, *lost, abs(cells - kept), abs(made.depth - source.depth), name != source.pixel_format


def make_plan(
    encoding: Encoding,
    codec: Any,
    source: Layout,
    size: tuple[int, int],
    stream: Any,
    frame: Any,
    *,
    header: bool,
    matrix: list[int] | None,
) -> tuple[Plan, Layout]:
    """What the encoder of a film is opened with, and the layout of its frames.

    Args:
        encoding: what is asked for.
        codec: the encoder.
        source: the layout of the source's frames.
        size: height and width of the restored frames.
        stream: the source's.
        frame: its first frame.
        header: whether the file's header holds the encoder's parameters.
        matrix: how the film is turned when it is shown.

    Raises:
        VideoError: the encoder lacks the pixel format.
    """
    pixel_format, layout = choose_pixel_format(codec, encoding.pixel_format, source)
    height, width = size
    if codec.name in _EVEN or codec.name.partition("_")[2] in ("nvenc", "qsv", "amf", "vaapi", "videotoolbox", "mf"):
        even = (height + height % layout.down, width + width % layout.across)
        if even != size:
            warnings.warn(
                f"{codec.name} takes no odd sides in {pixel_format}: {width} x {height} becomes {even[1]} x {even[0]} by a "
                "repeated line or column; pixel_format='yuv444p' or codec='ffv1' keeps the size",
                stacklevel=3,
            )
            height, width = even
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    options = dict(_QUALITY.get(codec.name, {"b": str(round(_BITS * height * width * float(rate)))}))
    options.update(encoding.options)
    space = int(frame.colorspace)
    context = stream.codec_context  # frames tell these from PyAV 17 on
    primaries, transfer = (int(getattr(frame, name, getattr(context, name))) for name in ("color_primaries", "color_trc"))
    if layout.kind != source.kind or (source.kind == "rgb" and layout.kind == "rgb"):
        space = layout.space if layout.kind != "gray" else 2
    given = int(frame.color_range) if layout.kind == source.kind else 0
    spread = 2 if layout.full and layout.kind != "gray" else given or (1 if layout.kind != source.kind else 0)
    aspect = stream.sample_aspect_ratio
    plan = Plan(
        codec=codec.name,
        pixel_format=pixel_format,
        options={name: str(value) for name, value in options.items()},
        width=width,
        height=height,
        time_base=(stream.time_base.numerator, stream.time_base.denominator),
        rate=(rate.numerator, rate.denominator),
        color=(spread, space, primaries, transfer),
        aspect=(aspect.numerator, aspect.denominator) if aspect else None,
        header=header,
        matrix=matrix,
    )
    return plan, layout


@dataclass(frozen=True)
class Encoded:
    """A packet of an encoder.

    Args:
        data: its bytes.
        pts: when its frame is shown, in units of the time base.
        keyframe: whether decoding can begin here.
    """

    data: bytes
    pts: int
    keyframe: bool


class Encoder:
    """Encodes the frames of a piece of a film, which can be decoded by itself.

    Args:
        plan: what the encoder is opened with.
        layout: of the planes that it is given.

    Raises:
        VideoError: the encoder refuses them.
    """

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self.plan = plan
        self.layout = layout
        self.context = plan.open()
        self.packets: list[Encoded] = []

    def add(self, planes: list[np.ndarray[Any, Any]], pts: int) -> None:
        """Encode the next frame."""
        height, width = planes[0].shape
        rest = (self.plan.height - height, self.plan.width - width)
        if any(rest):
            # Chroma is there for the repeated line and column already: its planes were rounded up.
            planes = [np.pad(planes[0], [(0, rest[0]), (0, rest[1])], mode="edge"), *planes[1:]]
        frame = pack(planes, self.layout, self.plan.pixel_format)
        frame.pts, frame.time_base = pts, Fraction(*self.plan.time_base)
        range_, space, primaries, transfer = self.plan.color
        frame.color_range, frame.colorspace = range_, space
        if hasattr(frame, "color_trc"):
            frame.color_primaries, frame.color_trc = primaries, transfer
        self._take(frame)

    def finish(self) -> list[Encoded]:
        """All packets, in the order of decoding."""
        self._take(None)
        return self.packets

    def _take(self, frame: Any) -> None:
        av = import_av()
        try:
            for packet in self.context.encode(frame):
                self.packets.append(Encoded(bytes(packet), packet.pts, packet.is_keyframe))
        except (av.FFmpegError, ValueError) as error:
            size = f"{self.plan.width} x {self.plan.height} {self.plan.pixel_format}"
            raise VideoError(
                f"{self.plan.codec} does not encode {size} at a time base of {Fraction(*self.plan.time_base)} with "
                f"{self.plan.options} ({error}); choose another codec or other options"
            ) from error


def _global_header() -> int:
    return 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER
