"""Image files of data sets: pixels with their depth, and why a file cannot be used.

The door's `restoralib.images` keeps all that a file carries; here only colours count, and thousands of files have to be looked
over before a run begins.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_TAIL = 65536  # Bytes in which the end mark of a JPEG is looked for: some programs write more behind it.


class DatasetError(ValueError):
    """A data set, or a file of it, cannot be used; the message names the file and the reason.

    Args:
        message: what is wrong.
        problems: the files concerned, where there are several.
    """

    def __init__(self, message: str, problems: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


def named_as_image(path: Path) -> bool:
    """Whether a file is an image by its suffix, and not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder by their suffixes, sorted by name; hidden ones are left out."""
    return sorted(filter(named_as_image, folder.iterdir()))


def nothing_there(path: Path) -> str | None:
    """Why a file holds nothing, missing or empty; None where it holds something."""
    if not path.is_file():
        return "is missing"
    return "is empty (0 bytes)" if path.stat().st_size == 0 else None


def fault(path: Path) -> str | None:
    """What is visibly wrong with an image file, from its first and last bytes; None where nothing is.

    It sees files that are missing, empty, of another format or cut short, without decoding them. Damage inside shows only when
    the file is read.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            return "is not a file"
        if size == 0:
            return "is empty (0 bytes)"
        with path.open("rb") as file:
            head = file.read(16)
            file.seek(max(0, size - _TAIL if head[:3] == b"\xff\xd8\xff" else size - 12))
            tail = file.read()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        whole = b"IEND" in tail
    elif head[:3] == b"\xff\xd8\xff":
        whole = b"\xff\xd9" in tail
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        whole = size >= struct.unpack("<I", head[4:8])[0] + 8
    elif head[:2] == b"BM":
        whole = size >= struct.unpack("<I", head[2:6])[0]
    elif head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        whole = True
    else:
        return "is no PNG, JPEG, WebP, BMP or TIFF file"
    return None if whole else f"is cut short ({size} bytes)"


def read_pixels(path: Path) -> Tensor:
    """The pixels of an image file, upright, without alpha.

    Returns:
        (1, h, w) or (3, h, w), of uint8, uint16, or float32 where the file has floating point.

    Raises:
        DatasetError: the file is missing, damaged or of another kind.
        ImportError: the extra `io` is not installed.
    """
    if reason := fault(path):
        raise DatasetError(f"{path} {reason}")
    return decode(path.read_bytes(), str(path))


def decode(data: bytes, name: str) -> Tensor:
    """The pixels of an encoded image; `name` stands for it in the messages. Result and errors as of `read_pixels`."""
    try:
        pixels = _decode(data)
    except ModuleNotFoundError as error:
        raise ImportError(f'image files need {error.name}; pip install "restoralib[io]"') from error
    except DatasetError as error:
        raise DatasetError(f"{name} {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise nearly anything on damaged files.
        raise DatasetError(f"{name} is damaged or not whole ({error})") from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    colors = pixels[..., : 1 if pixels.shape[2] < 3 else 3]
    return torch.from_numpy(np.array(np.moveaxis(colors, 2, 0), dtype=colors.dtype.newbyteorder("="), order="C"))


def to_image(pixels: Tensor, *, keep_gray: bool = False) -> Tensor:
    """Pixels as float32 in [0, 1]; grey in three equal channels unless it is to stay one: (c, h, w)."""
    if not pixels.is_floating_point():
        pixels = pixels.to(torch.float32) / torch.iinfo(pixels.dtype).max
    return pixels if keep_gray or pixels.shape[0] == 3 else pixels.expand(3, -1, -1)


def _decode(data: bytes) -> np.ndarray[Any, Any]:
    """(h, w) or (h, w, c). Pillow turns 16-bit colour into 8-bit without a word, so other packages read such files."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        import tifffile

        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages.first
            if page.dtype is not None and page.dtype.itemsize > 1:
                if page.dtype not in (np.uint16, np.float32, np.float16):
                    raise DatasetError(f"is a TIFF of {page.dtype}; convert it to 8 or 16 bits")
                if page.photometric > 2 or page.photometric == 0 or page.axes not in ("YX", "YXS"):
                    raise DatasetError(f"is a TIFF of {page.photometric.name}, {page.axes}; convert it to RGB or grey")
                return np.asarray(page.asarray(), np.uint16 if page.dtype == np.uint16 else np.float32)
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16:
        import imagecodecs

        return np.asarray(imagecodecs.png_decode(data))
    try:
        opened = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise DatasetError("is no PNG, JPEG, WebP, BMP or TIFF image") from None
    image = ImageOps.exif_transpose(opened)
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
