"""What travels with an image: EXIF, XMP, colour profile, resolution. Damaged metadata is left out with a warning."""

from __future__ import annotations

import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from torch import Tensor

from restoralib.images.picture import Picture

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION, EXIF_IFD, XMP_TAG, ICC_TAG = 274, 34665, 700, 34675
# Tags of TIFF that describe how the pixels of the source lay in its file, or that have a place of their own here.
_LAYOUT = frozenset(
    (*range(254, 270), 273, *range(277, 298), 301, *range(317, 350), *range(512, 533), XMP_TAG, 33723, 34377, ICC_TAG)
)
# After a transposition from orientation 5 on, the axes to flip, of (..., h, w).
_FLIPS = {2: (-1,), 3: (-2, -1), 4: (-2,), 6: (-1,), 7: (-2, -1), 8: (-2,)}


@dataclass(frozen=True)
class Metadata:
    """Metadata of a file as it is stored, but for EXIF and XMP, where the orientation is reset and layout tags are left out."""

    orientation: int = 1
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


def metadata_of_pil(image: Image.Image) -> Metadata:
    """Metadata of an open PIL image, which is not changed."""
    info = image.info
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or tags.get(XMP_TAG)

    def read() -> Image.Exif:
        exif = image.getexif()
        if not exif and info.get("exif"):
            exif = type(exif)()
            exif.load(info["exif"])  # Pillow tried that when it opened the file, and passed over the error.
        return exif

    return _metadata(read, info.get("icc_profile"), xmp, info.get("dpi"))


def metadata_of_tiff(file: IO[bytes], icc: Any, xmp: Any, dpi: Any, orientation: Any = None) -> Metadata:
    """Metadata of a TIFF that Pillow cannot open; EXIF is read from the file, of a BigTIFF the orientation alone is taken."""
    from PIL import Image

    def read() -> Image.Exif:
        exif = Image.Exif()
        file.seek(0)
        if file.read(4) not in (b"II+\0", b"MM\0+"):  # Pillow reads no EXIF of a BigTIFF.
            file.seek(0)
            exif.load_from_fp(file)
        elif orientation:
            exif[274] = orientation
        return exif

    return _metadata(read, icc, xmp, dpi)


def with_metadata(picture: Picture, metadata: Metadata) -> Picture:
    """The picture turned upright, with its metadata."""
    picture.color = upright(picture.color, metadata.orientation)
    picture.alpha = None if picture.alpha is None else upright(picture.alpha, metadata.orientation)
    picture.icc, picture.exif, picture.xmp, picture.dpi = metadata.icc, metadata.exif, metadata.xmp, metadata.dpi
    return picture


def upright(x: Tensor, orientation: int) -> Tensor:
    """Turn (..., h, w) as EXIF's orientation asks."""
    if orientation >= 5:
        x = x.transpose(-2, -1)
    return x.flip(_FLIPS[orientation]) if orientation in _FLIPS else x


def sized_exif(picture: Picture) -> bytes | None:
    """The picture's EXIF block, where its tags of the size say the picture's own."""
    block = _block_of_size(picture)
    return block.tobytes() if block else None


def png_chunks(picture: Picture) -> bytes:
    """The PNG chunks iCCP, pHYs, eXIf and iTXt that hold a picture's metadata."""
    chunks = []
    if picture.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc)))
    if picture.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in picture.dpi), 1)))
    if exif := sized_exif(picture):
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if picture.xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + picture.xmp))
    return b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def add_tiff_tags(file: IO[bytes], picture: Picture) -> None:
    """Add a picture's metadata to a little-endian TIFF with one image.

    The encoders write none, or not all, of it. The tags and their directories go to the end of the file, then a new main
    directory that holds them beside the old entries, and the header is pointed there.
    """
    tags = _block_of_size(picture)
    tags.endian = "<"
    tags.update({tag: value for tag, value in ((XMP_TAG, picture.xmp), (ICC_TAG, picture.icc)) if value})
    if picture.dpi:
        tags.update({282: picture.dpi[0], 283: picture.dpi[1], 296: 2})
    if not tags:
        return
    file.seek(0)
    magic, main = struct.unpack("<4sI", file.read(8))
    if magic != b"II*\0":
        warnings.warn("the file is a BigTIFF, which gets no metadata", stacklevel=2)
        return
    added = file.seek(0, os.SEEK_END)
    added += added % 2
    file.seek(added)
    file.write(tags.tobytes(added).removeprefix(b"Exif\0\0")[8:])
    entries = {**_tiff_entries(file, main), **_tiff_entries(file, added)}
    place = file.seek(0, os.SEEK_END)
    place += place % 2
    file.seek(place)
    file.write(struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4))
    file.seek(4)
    file.write(struct.pack("<I", place))


def _tiff_entries(file: IO[bytes], place: int) -> dict[int, bytes]:
    file.seek(place)
    (count,) = struct.unpack("<H", file.read(2))
    entries = [file.read(12) for _ in range(count)]
    return {struct.unpack("<H", entry[:2])[0]: entry for entry in entries}


def _block_of_size(picture: Picture) -> Image.Exif:
    from PIL import Image

    block = Image.Exif()
    if picture.exif:
        block.load(picture.exif)
        details = block.get_ifd(EXIF_IFD)
        height, width = picture.color.shape[-2:]
        for tag, length in ((40962, width), (40963, height)):
            if tag in details:
                details[tag] = length
    return block


def _metadata(read_exif: Callable[[], Image.Exif], icc: Any, xmp: Any, dpi: Any) -> Metadata:
    orientation, block = 1, None
    try:
        exif = read_exif()
        if exif.get(ORIENTATION) in range(1, 9):
            orientation = exif[ORIENTATION]
        block = _upright_exif(exif)
    except Exception as error:  # Pillow's parser of EXIF raises nearly anything on damaged blocks.
        warnings.warn(f"the EXIF block is damaged and left out ({error})", stacklevel=2)
    xmp = _bytes("XMP packet", xmp)
    if xmp is not None:
        xmp = re.sub(rb'(tiff:Orientation(?:="|>))[2-8]', rb"\g<1>1", xmp)
    return Metadata(orientation, _bytes("colour profile", icc), block, xmp, _resolution(dpi, orientation))


def _bytes(name: str, value: Any) -> bytes | None:
    """What an image's `info` or a tag holds, as bytes; anyone may put anything there."""
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value) or None
    if value is not None:
        warnings.warn(f"the {name} should be bytes, got {type(value).__name__}, and is left out", stacklevel=2)
    return None


def _upright_exif(exif: Image.Exif) -> bytes | None:
    """The block without tags of layout, its orientation reset; the given one belongs to the caller's image."""
    from PIL import Image

    if not exif:
        return None
    copy = Image.Exif()
    copy.load(exif.tobytes())
    for tag in _LAYOUT.intersection(copy):
        del copy[tag]
    if ORIENTATION in copy:
        copy[ORIENTATION] = 1
    return copy.tobytes() if copy else None


def _resolution(dpi: Any, orientation: int) -> tuple[float, float] | None:
    try:
        horizontal, vertical = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (1 < horizontal < 1e6 and 1 < vertical < 1e6):
        return None  # One is what Pillow says of a TIFF without a resolution.
    return (vertical, horizontal) if orientation >= 5 else (horizontal, vertical)
