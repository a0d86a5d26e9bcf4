"""PIL images, in every mode that has a meaning for photographs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from restoralib.images.metadata import metadata_of_pil, with_metadata
from restoralib.images.picture import ImageError, Picture, array_to_picture, picture_to_array

if TYPE_CHECKING:
    from PIL import Image

_WIDE_GRAY = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I;16N": "=u2", "I": "<i4"}


def pil_to_picture(image: Image.Image) -> Picture:
    """Take a PIL image with its metadata; its EXIF orientation is applied.

    Raises:
        ImageError: the image is empty, or its 32-bit numbers are not 16-bit values or lie outside [0, 1].
    """
    if 0 in image.size:
        raise ImageError(f"the image is empty, its size is {image.width} x {image.height}")
    picture = with_metadata(_pixels(image), metadata_of_pil(image))
    picture.mode, picture.format = image.mode, image.format
    if image.mode == "CMYK":
        picture.icc = None  # It describes the inks.
    return picture


def fits_pil(picture: Picture) -> bool:
    """Whether Pillow has such an image: it has no 16-bit and no floating-point colour."""
    return picture.depth <= 8 or (picture.color.shape[-3] == 1 and picture.alpha is None)


def picture_to_pil(picture: Picture) -> Image.Image:
    """Give a PIL image of the picture's mode, with its metadata in `info`.

    A palette image has a palette of its own colours, exact where there are at most 256. Modes that Pillow shows through RGB
    (CMYK, YCbCr, LAB, HSV) come back as RGB.

    Raises:
        ImageError: Pillow has no such image.
    """
    from PIL import Image

    if not fits_pil(picture):
        raise ImageError(f"Pillow has no {picture.depth}-bit colour; take an array, or write the picture to PNG or TIFF")
    mode = picture.mode or ""
    array = picture_to_array(picture, np.dtype(np.uint8) if picture.depth == 1 else None)
    gray = array[..., 0] if array.shape[2] == 1 else array
    if picture.depth == 16 and mode in _WIDE_GRAY:
        image = Image.frombytes(mode, gray.shape[::-1], gray.astype(_WIDE_GRAY[mode]).tobytes())
    elif picture.depth == 1 and picture.alpha is None and picture.color.shape[0] == 1:
        image = Image.fromarray(gray).convert("1", dither=Image.Dither.NONE)
    else:
        image = Image.fromarray(gray)
        if mode == "P" or (mode == "PA" and picture.alpha is None):
            image = _to_palette(image)
        elif mode == "PA" and image.mode == "RGBA":
            alpha = image.getchannel("A")
            image = _to_palette(image.convert("RGB")).convert("PA")
            image.putalpha(alpha)
        elif mode in ("La", "RGBa") and picture.alpha is not None:
            image = image.convert(mode)
    metadata = {"icc_profile": picture.icc, "exif": picture.exif, "xmp": picture.xmp, "dpi": picture.dpi}
    image.info.update({name: value for name, value in metadata.items() if value})
    return image


def _pixels(image: Image.Image) -> Picture:
    mode = image.mode
    if mode in _WIDE_GRAY:
        array = np.array(image)
        if array.min() < 0 or array.max() > 65535:
            raise ImageError(f"numbers of mode {mode} span {array.min()} to {array.max()}; convert them to 16 bits, 0 to 65535")
        return array_to_picture(array.astype(np.uint16), "image")
    if mode == "CMYK":
        image = _cmyk_to_rgb(image)
    else:
        keyed = mode in ("1", "L", "P", "RGB") and image.has_transparency_data  # of other modes Pillow knows no clear colour
        if keyed or mode not in ("F", "L", "LA", "RGB", "RGBA"):
            gray, alpha = mode in ("1", "L", "La"), keyed or mode in ("La", "PA", "RGBa")
            image = image.convert(("L" if gray else "RGB") + ("A" if alpha else ""))
    picture = array_to_picture(np.array(image), "image")
    if mode == "1" and picture.alpha is None:
        picture.depth = 1
    return picture


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """Through the image's own profile where it has a sound one, for the plain formula shifts colours."""
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (KeyError, TypeError, OSError, ImageCms.PyCMSError):  # none, or something that is no profile
        converted = None
    return converted or image.convert("RGB")


def _to_palette(image: Image.Image) -> Image.Image:
    from PIL import Image

    transparent = image.mode in ("LA", "RGBA")
    pixels = np.asarray(image.convert("RGBA"))
    colors, indices = np.unique(pixels.view(np.uint32), return_inverse=True)
    if len(colors) > 256:
        # Of Pillow's methods, only the octree knows transparency.
        method = Image.Quantize.FASTOCTREE if transparent else Image.Quantize.MEDIANCUT
        return image.convert("RGBA" if transparent else "RGB").quantize(256, method)
    palette = Image.frombytes("P", image.size, indices.astype(np.uint8).tobytes())
    palette.putpalette(colors.tobytes(), "RGBA")
    return palette
