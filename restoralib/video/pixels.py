"""Between the numbers of a video frame and RGB.

Planes are taken as they lie in the frame and mixed here in floating point, on the device where the network runs. A model that
changes nothing gives every luma value back that RGB can hold, and every chroma value where chroma is stored in full.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.video.errors import VideoError

Kind = Literal["yuv", "rgb", "gray"]
Planes = list[Any]

# Weights of red and blue in luma by the numbers of H.273; 2 is "unspecified".
_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
}
_BT709, _BT601, _UNSPECIFIED, _RGB = 1, 6, 2, 0
_FULL = 2  # of H.273's colour ranges in FFmpeg's numbers; 1 is limited, 0 unspecified
_NAMES = {"444": (1, 1), "422": (2, 1), "420": (2, 2), "440": (1, 2), "411": (4, 1), "410": (4, 4)}
# The sides of the planes of a small frame do not tell, so names do; the first that matches.
_SUBSAMPLING = {
    r"nv(12|21)|p0": (2, 2),
    r"nv(16|20)|p2|y2": (2, 1),
    r"nv(24|42)|p4|v30|xv|vuy|ayuv|uyva": (1, 1),
    **{rf"\D+{name}": steps for name, steps in _NAMES.items()},
}
_HD = 720  # lines from which players take BT.709 for granted


@dataclass(frozen=True)
class Layout:
    """How the numbers of a frame are to be understood.

    Args:
        kind: planes of luma and two of chroma; of red, green and blue; or of grey alone.
        depth: bits of a number.
        across: luma pixels for one of chroma, along a line.
        down: the same from line to line.
        space: matrix between RGB and luma with chroma, by its number in H.273.
        full: whether numbers span all levels, rather than 16 to 235 of 255.
    """

    kind: Kind
    depth: int = 8
    across: int = 1
    down: int = 1
    space: int = _BT709
    full: bool = False

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the planar format."""
        ending = "" if self.depth == 8 else f"{self.depth}le"
        if self.kind == "gray":
            return f"gray{ending}"
        if self.kind == "rgb":
            return f"gbrp{ending}"
        digits = next(name for name, steps in _NAMES.items() if steps == (self.across, self.down))
        return f"yuv{digits}p{ending}"

    @property
    def channels(self) -> int:
        """Of the images: 1 or 3."""
        return 1 if self.kind == "gray" else 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the planes."""
        return np.dtype(np.uint8 if self.depth == 8 else "<u2")


def layout_of(frame: Any) -> Layout:
    """The layout of a decoded frame.

    Where the file does not say, luma is that of BT.709 from 720 lines on and of BT.601 below, and spans 16 to 235; grey alone
    spans all levels.

    Raises:
        VideoError: its numbers are of a kind that is not read.
    """
    form = frame.format
    depth = max(component.bits for component in form.components)
    full = int(frame.color_range) == _FULL or form.name.startswith("yuvj")
    if form.name.startswith("gray") or form.name.startswith("ya") or form.name in ("monow", "monob"):
        unspecified = int(frame.color_range) == 0
        return Layout("gray", min(max(8, depth), 16), full=full or unspecified)
    if form.is_rgb or form.name.startswith(("pal", "bayer")):
        return Layout("rgb", min(max(8, depth), 16), space=_RGB, full=True)
    space = int(frame.colorspace)
    if space in (_UNSPECIFIED, _RGB):
        space = _BT709 if frame.height >= _HD else _BT601
    if space not in _WEIGHTS:
        raise VideoError(
            f"frames in the colour space {space} of H.273 are not read; convert the film to BT.709 or BT.2020 first"
        )
    if depth > 16 or form.name.startswith("xyz"):
        raise VideoError(f"frames in {form.name} are not read; convert the film to yuv420p or yuv420p10le first")
    across, down = _subsampling(form)
    return Layout("yuv", depth, across, down, space, full)


def _subsampling(form: Any) -> tuple[int, int]:
    """Luma pixels for one of chroma, across and down."""
    for name, steps in _SUBSAMPLING.items():
        if re.match(name, form.name):
            return steps
    luma, chroma = form.components[0], form.components[1]
    return round(luma.width / max(1, chroma.width)), round(luma.height / max(1, chroma.height))


def layout_for(pixel_format: str, like: Layout) -> Layout:
    """The layout in which frames are made for an encoder's pixel format.

    Args:
        pixel_format: FFmpeg's name.
        like: the layout of the source, whose matrix and range are kept; RGB that becomes luma and chroma does so by BT.709.
    """
    from restoralib.video.reading import import_av

    frame = import_av().VideoFrame(16, 16, pixel_format)
    if like.kind != "rgb":
        frame.colorspace = like.space
        frame.color_range = _FULL if like.full else 1
        return replace(layout_of(frame), full=like.full)
    made = layout_of(frame)
    return replace(made, space=_RGB if made.kind == "rgb" else _BT709, full=made.kind == "rgb")


def unpack(frame: Any, layout: Layout) -> list[np.ndarray[Any, Any]]:
    """The planes of a frame, each (h, w), as they are stored; packed formats are taken apart first."""
    if frame.format.name.replace("yuvj", "yuv") != layout.pixel_format:
        frame = frame.reformat(format=layout.pixel_format)
    planes = []
    for plane in frame.planes:
        lines = np.frombuffer(plane, layout.dtype).reshape(-1, plane.line_size // layout.dtype.itemsize)
        planes.append(lines[: plane.height, : plane.width].copy())
    return planes


def pack(planes: Sequence[np.ndarray[Any, Any]], layout: Layout, pixel_format: str) -> Any:
    """A frame of an encoder's pixel format from planes in its layout."""
    from restoralib.video.reading import import_av

    height, width = planes[0].shape
    frame = import_av().VideoFrame(width, height, layout.pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        lines = np.frombuffer(plane, layout.dtype).reshape(-1, plane.line_size // layout.dtype.itemsize)
        lines[: plane.height, : plane.width] = values
    return frame if pixel_format == layout.pixel_format else frame.reformat(format=pixel_format)


def to_images(frames: Sequence[Sequence[np.ndarray[Any, Any]]], layout: Layout, device: torch.device) -> Tensor:
    """Planes of frames as images.

    Returns:
        (b, c, h, w), float32, RGB or grey; a little outside [0, 1] where the film has such colours.
    """
    stacks = [torch.from_numpy(np.stack(planes)).to(device).float() for planes in zip(*frames, strict=True)]
    top = 2**layout.depth - 1
    if layout.kind == "rgb":
        green, blue, red = (stack / top for stack in stacks)
        return torch.stack((red, green, blue), 1)
    low, span, chroma_span = _ranges(layout)
    luma = (stacks[0] - low) / span
    if layout.kind == "gray":
        return luma[:, None]
    height, width = luma.shape[-2:]
    chroma = (torch.stack(stacks[1:], 1) - 2 ** (layout.depth - 1)) / chroma_span
    if (layout.across, layout.down) != (1, 1):
        size = (chroma.shape[-2] * layout.down, chroma.shape[-1] * layout.across)
        chroma = F.interpolate(chroma, size, mode="bicubic", align_corners=False)[..., :height, :width]
    of_red, of_blue = _WEIGHTS[layout.space]
    red = luma + 2 * (1 - of_red) * chroma[:, 1]
    blue = luma + 2 * (1 - of_blue) * chroma[:, 0]
    green = (luma - of_red * red - of_blue * blue) / (1 - of_red - of_blue)
    return torch.stack((red, green, blue), 1)


def to_planes(images: Tensor, layout: Layout) -> list[list[np.ndarray[Any, Any]]]:
    """Images (b, c, h, w) as the planes of frames, rounded half to even; grey and colour become each other where need be."""
    top = 2**layout.depth - 1
    if layout.kind == "rgb":
        red, green, blue = images.expand(-1, 3, -1, -1).unbind(1)
        return _as_frames([green * top, blue * top, red * top], layout)
    low, span, chroma_span = _ranges(layout)
    of_red, of_blue = _WEIGHTS.get(layout.space, _WEIGHTS[_BT709])
    if images.shape[1] == 1:
        luma, chroma = images[:, 0], torch.zeros_like(images).expand(-1, 2, -1, -1)
    else:
        red, green, blue = images.unbind(1)
        luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
        chroma = torch.stack(((blue - luma) / (2 * (1 - of_blue)), (red - luma) / (2 * (1 - of_red))), 1)
    if layout.kind == "gray":
        return _as_frames([luma * span + low], layout)
    height, width = luma.shape[-2:]
    cells = (layout.down, layout.across)
    if cells != (1, 1):
        rest = (0, -width % layout.across, 0, -height % layout.down)
        chroma = F.avg_pool2d(F.pad(chroma, rest, mode="replicate"), cells)
    chroma = chroma * chroma_span + 2 ** (layout.depth - 1)
    return _as_frames([luma * span + low, chroma[:, 0], chroma[:, 1]], layout)


def _ranges(layout: Layout) -> tuple[float, float, float]:
    """Black, the span from there to white, and the span of chroma."""
    if layout.full:
        top = 2.0**layout.depth - 1
        return 0.0, top, top
    unit = 2.0 ** (layout.depth - 8)
    return 16 * unit, 219 * unit, 224 * unit


def _as_frames(stacks: Sequence[Tensor], layout: Layout) -> list[list[np.ndarray[Any, Any]]]:
    top = 2**layout.depth - 1
    dtype = torch.uint8 if layout.depth == 8 else torch.uint16
    arrays = [stack.round().clamp_(0, top).to(dtype).cpu().numpy() for stack in stacks]
    return [list(planes) for planes in zip(*arrays, strict=True)]
