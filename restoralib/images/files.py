"""Image files: PNG, JPEG, WebP, TIFF and BMP, with 16 bits and floating point where the format has them.

Pillow reads 16-bit colour as 8-bit without a word, so such files go through imagecodecs (PNG) and tifffile (TIFF).
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from restoralib.images.metadata import (
    XMP_TAG,
    add_tiff_tags,
    metadata_of_pil,
    metadata_of_tiff,
    png_chunks,
    sized_exif,
    with_metadata,
)
from restoralib.images.picture import ImageError, Picture, array_to_picture, check_pixels, picture_to_array
from restoralib.images.pil import picture_to_pil, pil_to_picture

MAX_PIXELS = 2**27
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
_NAMES = "PNG, JPEG, WebP, TIFF or BMP"


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read an image file, upright and with its metadata. The content tells the format, not the name.

    Args:
        path: a PNG, JPEG, WebP, TIFF or BMP file with one image; of a phone's MPO the first is taken.
        max_pixels: an image that declares more is refused before it is decoded. Pillow's own limit stays in force.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: there is no such file that can be read.
        ImageError: it is empty, damaged, too large, of another format, holds several images, or is a pipe or a device.
        ImportError: the extra `io` is not installed.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; pass an image file, or restore a folder with `restoralib restore`")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; the current directory is {Path.cwd()}")
    if not path.is_file():  # To open a pipe would wait for its writer, and a device may never end.
        raise ImageError(f"{path} is a pipe, a socket or a device; write its content to a file")
    with path.open("rb") as file, _reasons(path):
        return _read(file, max_pixels)


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read the bytes of an image file, as `read_image` reads a file.

    Raises:
        ImageError: they are none, damaged, too large, of another format, or hold several images.
        ImportError: the extra `io` is not installed.
    """
    with _reasons("the data"):
        return _read(io.BytesIO(data), max_pixels)


def encode_image(picture: Picture, kind: str | None = None, *, keep_metadata: bool = True, quality: int = 95) -> bytes:
    """The bytes of an image file, as `write_image` writes one.

    Args:
        picture: what to write.
        kind: "PNG", "JPEG", "WEBP", "TIFF" or "BMP"; None for the format that the picture came from, PNG where it had none.
        keep_metadata: write EXIF, XMP, colour profile and resolution.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        ImageError: the format is unknown, or has no alpha channel and the picture has.
    """
    kind = (kind or picture.format or "PNG").upper()
    kind = {"JPG": "JPEG", "TIF": "TIFF", "MPO": "JPEG"}.get(kind, kind)
    if kind not in FORMATS.values():
        raise ImageError(f"unknown format {kind!r}; choose {', '.join(sorted(set(FORMATS.values())))}")
    _check_transparency("the data", kind, picture.alpha is not None)
    file = io.BytesIO()
    _write(file, picture, kind, "the data", keep_metadata=keep_metadata, quality=quality)
    return file.getvalue()


def write_image(path: str | os.PathLike[str], picture: Picture, *, keep_metadata: bool = True, quality: int = 95) -> None:
    """Write an image file in the format of its suffix. The file is there whole or not at all; an existing one is replaced.

    PNG and TIFF keep 16 bits, TIFF floating point too; other formats take 8 bits, with a warning where that loses some. JPEG is
    written without chroma subsampling. Size tags of EXIF follow the picture.

    Args:
        path: ends in .png, .jpg, .jpeg, .webp, .tif, .tiff or .bmp.
        picture: what to write.
        keep_metadata: write EXIF, XMP, colour profile and resolution, where the format has them; BMP has only the last.
            Without the profile, colours of a wide-gamut picture are shown wrong.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        ImageError: the suffix is unknown, or the format has no alpha channel and the picture has.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    kind = check_target(path, transparent=picture.alpha is not None)
    # By way of memory, for Pillow's encoders do not tell why a file takes nothing.
    data = io.BytesIO()
    _write(data, picture, kind, str(path), keep_metadata=keep_metadata, quality=quality)
    with _replaced(path) as file:
        file.write(data.getbuffer())


def check_target(path: str | os.PathLike[str], *, transparent: bool = False) -> str:
    """The format, by Pillow's names, that a file of this name gets.

    Args:
        path: the file to write.
        transparent: whether the picture has an alpha channel.

    Raises:
        ImageError: the suffix is unknown, the format has no alpha channel, or a pipe or a device has this name.
        FileNotFoundError: the folder does not exist.
        IsADirectoryError: the target is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; name a file in it")
    if path.exists() and not path.is_file():
        raise ImageError(f"{path} is a pipe, a socket or a device, which a picture does not replace; name another file")
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ImageError(f"{path}: unknown suffix {suffix!r}; name the file {', '.join(FORMATS)}")
    kind = FORMATS[suffix]
    _check_transparency(str(path), kind, transparent)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist; create it first")
    return kind


def _check_transparency(name: str, kind: str, transparent: bool) -> None:
    if transparent and kind in ("JPEG", "BMP"):
        raise ImageError(f"{name}: {kind} has no transparency; write PNG, WebP or TIFF, or leave alpha out with alpha='drop'")


@contextmanager
def _extra_io() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("PIL", "tifffile", "imagecodecs"):
            raise ImportError(f'image files need {error.name}; pip install "restoralib[io]"') from error
        raise


@contextmanager
def _reasons(path: Path | str) -> Iterator[None]:
    """Errors of the decoders as ImageError with the file's name."""
    try:
        with _extra_io():
            yield
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error.__cause__
    except ImportError:
        raise
    except MemoryError as error:  # A damaged directory may ask for any number of bytes.
        raise ImageError(f"{path} asks for more memory than there is; it is damaged, or too large for this machine") from error
    except Exception as error:  # Decoders raise nearly anything on damaged files.
        raise ImageError(f"{path} is damaged or not whole ({error}); fetch or export it again") from error


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path`, or of what a link there names, once it is written; permissions stay."""
    path = Path(os.path.realpath(path))  # Path.resolve refuses links in a circle
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("x+b") as file:
            yield file
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(file: IO[bytes], max_pixels: int) -> Picture:
    from PIL import Image, UnidentifiedImageError

    head = file.read(26)
    if not head:
        raise ImageError("the file is empty")
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and (picture := _read_wide_tiff(file, max_pixels)):
        return picture
    file.seek(0)
    try:
        image = Image.open(file, formats=tuple(set(FORMATS.values())))
    except UnidentifiedImageError:
        raise ImageError(f"this is no {_NAMES} file; convert it to one of these") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{error} Pillow refuses it; if you trust the file, decode it yourself and pass an array") from None
    check_pixels(image.height, image.width, max_pixels)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageError(f"the file holds {frames} images; extract the one to restore")
    if image.format == "PNG" and head[24] == 16:
        import imagecodecs

        file.seek(0)
        picture = with_metadata(array_to_picture(imagecodecs.png_decode(file.read())), metadata_of_pil(image))
        picture.mode, picture.format = image.mode, "PNG"
        return picture
    return pil_to_picture(image)


def _read_wide_tiff(file: IO[bytes], max_pixels: int) -> Picture | None:
    """A TIFF of more than 8 bits; None for others, which Pillow reads."""
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        if page.dtype is None or page.dtype.itemsize == 1:
            return None
        if not all(
            isinstance(value, int) for value in (page.imagelength, page.imagewidth, page.photometric, page.bitspersample)
        ):
            raise ImageError("its directory says nothing sound of size, depth and colours; fetch or export it again")
        check_pixels(page.imagelength, page.imagewidth, max_pixels)
        if len(tiff.pages) > 1:
            raise ImageError(f"the file holds {len(tiff.pages)} images; extract the one to restore")
        if page.photometric > 2 or page.bitspersample != 8 * page.dtype.itemsize:
            colors = getattr(page.photometric, "name", f"photometric interpretation {page.photometric}")
            raise ImageError(f"TIFF with {page.bitspersample} bits and {colors} is not read; convert it to RGB")
        pixels = page.asarray().reshape(page.shape)
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        try:
            picture = array_to_picture(pixels, "file")
        except TypeError as error:  # Numbers of a kind that images do not have.
            raise ImageError(str(error)) from error
        if page.photometric == 0:  # White is zero.
            picture.color = 1 - picture.color
        if picture.alpha is not None and page.extrasamples[:1] == (1,):  # Colour multiplied by alpha.
            picture.color = (picture.color / picture.alpha.clamp(min=1e-6)).clamp(max=1)
        dpi = page.get_resolution(unit=2) if page.tags.valueof(296) in (2, 3) else None
        metadata = metadata_of_tiff(file, page.iccprofile, page.tags.valueof(XMP_TAG), dpi, page.tags.valueof(274))
    picture = with_metadata(picture, metadata)
    picture.format = "TIFF"
    return picture


def _write(file: IO[bytes], picture: Picture, kind: str, name: str, *, keep_metadata: bool, quality: int) -> None:
    """Write a picture in a format, at most in the depth that this has."""
    if not keep_metadata:
        picture = replace(picture, icc=None, exif=None, xmp=None, dpi=None)
    depth = min(picture.depth, {"PNG": 16, "TIFF": 32}.get(kind, 8))
    if depth < picture.depth:
        warnings.warn(
            f"{name}: {kind} holds {depth} bits a channel, the picture has {picture.depth}; TIFF keeps them", stacklevel=3
        )
        picture = replace(picture, depth=depth)
    with _extra_io():
        if depth > 8:
            (_write_wide_png if kind == "PNG" else _write_wide_tiff)(file, picture)
        else:
            _write_with_pillow(file, picture, kind, quality)


def _write_with_pillow(file: IO[bytes], picture: Picture, kind: str, quality: int) -> None:
    from PIL import PngImagePlugin

    if picture.mode == "P" and picture.alpha is not None and kind == "TIFF":
        picture = replace(picture, mode="PA")  # whose palettes have no alpha
    if (picture.mode == "P" and kind in ("JPEG", "WEBP")) or (picture.mode == "PA" and kind != "TIFF"):
        picture = replace(picture, mode=None)
    image = picture_to_pil(picture)
    image.info.clear()  # Some formats write what stands there, others do not.
    if kind == "TIFF":
        image.save(file, kind, compression="tiff_adobe_deflate")
        return add_tiff_tags(file, picture)
    options: dict[str, Any] = {"icc_profile": picture.icc, "dpi": picture.dpi, "exif": sized_exif(picture)}
    if kind == "PNG" and picture.xmp:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", picture.xmp.decode("utf-8", "replace"))
    elif kind == "JPEG":
        options |= {"quality": quality, "subsampling": 0, "xmp": picture.xmp}
    elif kind == "WEBP":
        options |= {"quality": quality, "exact": True, "xmp": picture.xmp}
    image.save(file, kind, **{name: value for name, value in options.items() if value is not None})


def _write_wide_png(file: IO[bytes], picture: Picture) -> None:
    import imagecodecs

    pixels = picture_to_array(picture)
    data = imagecodecs.png_encode(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    header = 33  # Bytes of the signature and of IHDR, which the metadata follows.
    file.write(data[:header] + png_chunks(picture) + data[header:])


def _write_wide_tiff(file: IO[bytes], picture: Picture) -> None:
    import tifffile

    pixels = picture_to_array(picture)
    tifffile.imwrite(
        file,
        pixels[..., 0] if pixels.shape[2] == 1 else pixels,
        byteorder="<",
        photometric="rgb" if picture.color.shape[0] == 3 else "minisblack",
        extrasamples=["unassalpha"] if picture.alpha is not None else None,
        compression="zlib",
        predictor=True,
        metadata=None,
        software=False,
    )
    add_tiff_tags(file, picture)
