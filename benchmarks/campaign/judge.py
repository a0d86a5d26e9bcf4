"""What came of a hostile input: the right thing, a refusal in the library's own words, or a fault."""

from __future__ import annotations

import os
import traceback
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image, UnidentifiedImageError

import restoralib
from restoralib.images import FORMATS
from restoralib.restoration.errors import OutOfMemory

DOCUMENTED = (ValueError, TypeError, OSError, OutOfMemory, FloatingPointError)
# Of these, one that begins in the library itself is a fault of it, also where a message of ours is put around it.
INTERNAL = (IndexError, KeyError, AttributeError, NameError, AssertionError, UnboundLocalError, ZeroDivisionError)
INTERNAL_WORDS = (
    *("object has no attribute", "object is not", "not subscriptable", "unsupported operand", "list index", "out of range for"),
    *(
        "positional argument",
        "einops",
        "not implemented for",
        "The size of tensor",
        "mat1 and mat2",
        "Traceback",
        "invalid literal",
    ),
)
LIBRARY = os.path.dirname(restoralib.__file__) + os.sep
# Modes that come back as RGB, and those that a transparent colour turns into one with alpha.
SHOWN_AS_RGB = {"CMYK", "YCbCr", "LAB", "HSV", "RGBX"}
WITH_ALPHA = {"1": "LA", "L": "LA", "RGB": "RGBA"}


@dataclass(frozen=True)
class Verdict:
    """`kind` is restored, refused or fault; `words` tell the error, or what is wrong."""

    kind: str
    words: str = ""


def place_of(error):
    """The file and the function in which an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].filename, frames[-1].name) if frames else ("", "")


def judge_error(error):
    """A refusal where the error is documented and its words are ours, else a fault."""
    words = f"{type(error).__name__}: {error}"
    file, function = place_of(error)
    if not isinstance(error, DOCUMENTED) or isinstance(error, INTERNAL):
        return Verdict("fault", f"{words} [{file}:{function}]")
    # What the operating system says of a file is documented; all else has to be raised by the library.
    if LIBRARY not in file and not (isinstance(error, OSError) and error.errno):
        return Verdict("fault", f"{words} [{file}:{function}]")
    found = next((text for text in INTERNAL_WORDS if text in str(error).partition("(")[0]), None)
    if found or not str(error):
        return Verdict("fault", f"{words} [internal words]")
    cause = error.__cause__
    if isinstance(cause, (*INTERNAL, TypeError)) and LIBRARY in place_of(cause)[0] and not str(error).endswith(str(cause)):
        return Verdict("fault", f"{words} [hides {type(cause).__name__} of {place_of(cause)}]")
    return Verdict("refused", words)


@dataclass(frozen=True)
class Expected:
    """What Pillow, asked by itself, says of a source: size as shown and mode, None where it does not know.

    Where it cannot read an EXIF block that is there, the orientation is open, and with it which side is which.
    """

    size: tuple[int, int] | None = None
    mode: str | None = None
    alpha: bool = False
    turned: bool = False

    def fits(self, size, scale):
        """Whether a result has the size of the source times a scale; True where nothing is known."""
        if self.size is None:
            return True
        wanted = tuple(scale * side for side in self.size)
        return size == wanted or (self.turned and size == wanted[::-1])


def expected_of_file(path):
    """Ask Pillow alone; unknown where it cannot open the file, or where tifffile reads it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=tuple(set(FORMATS.values()))) as image:
                wide = image.format == "PNG" and Path(path).read_bytes()[24] == 16  # which Pillow shows in modes of 8 bits
                expected = expected_of_image(image)
                return replace(expected, mode=None) if wide else expected
    except Exception:  # no image, by Pillow
        return Expected()


def expected_of_image(image):
    """Of a PIL image."""
    clear = image.mode in ("1", "L", "P", "RGB") and image.has_transparency_data  # before getexif reads behind the pixels
    try:
        exif = image.getexif()
        orientation, damaged = exif.get(274), not exif and bool(image.info.get("exif"))
    except Exception:  # damaged metadata
        orientation, damaged = None, True
    if image.format == "TIFF":
        orientation = None  # Pillow turns these when it opens them.
    size = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
    mode = "RGB" if image.mode in SHOWN_AS_RGB else WITH_ALPHA.get(image.mode, image.mode) if clear else image.mode
    return Expected(size, mode, clear or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"), damaged)


def judge_result(result, source, expected, scale, dropped=False):
    """Compare type, size, mode and numbers of what came back with the source.

    Args:
        result: what `restore` gave.
        source: a path, a PIL image, an array or a tensor.
        expected: of a path or a PIL image, by `expected_of_file` or `expected_of_image`.
        scale: of the model.
        dropped: whether alpha was asked to be left out.
    """
    if isinstance(source, torch.Tensor):
        return _judge_numbers(
            result, source, (-2, -1), scale, dropped, result.isfinite().all() if isinstance(result, torch.Tensor) else False
        )
    if isinstance(source, np.ndarray):
        finite = np.isfinite(result).all() if isinstance(result, np.ndarray) else False
        return _judge_numbers(result, source, (0, 1), scale, dropped, finite)
    if isinstance(result, np.ndarray):
        if result.dtype not in (np.uint16, np.float32) or isinstance(source, Image.Image):
            return Verdict("fault", f"an array of {result.dtype} for {source!r}")
        size = result.shape[1::-1]
    elif isinstance(result, Image.Image):
        size = result.size
        mode = expected.mode
        if dropped and mode:
            mode = {"LA": "L", "RGBA": "RGB", "La": "L", "RGBa": "RGB", "PA": "P"}.get(mode, mode)
        # The order of bytes is a matter of the file.
        if mode and result.mode != mode and not (isinstance(source, str | os.PathLike) and result.mode == mode[:4] == "I;16"):
            return Verdict("fault", f"mode {result.mode} for {expected.mode}")
    else:
        return Verdict("fault", f"{type(result).__name__} for {source!r}")
    if not expected.fits(size, scale):
        return Verdict("fault", f"{size} for {scale} times {expected.size}")
    return Verdict("restored", "" if expected.size else "nothing to compare the size with")


def _judge_numbers(result, source, axes, scale, dropped, finite):
    if type(result) not in (torch.Tensor, np.ndarray) or isinstance(result, torch.Tensor) != isinstance(source, torch.Tensor):
        return Verdict("fault", f"{type(result).__name__} for {type(source).__name__}")
    if result.dtype != source.dtype:
        return Verdict("fault", f"{result.dtype} for {source.dtype}")
    shape = list(source.shape)
    for axis in axes:
        shape[axis] *= scale
    channels = -3 if isinstance(source, torch.Tensor) else -1
    if dropped and len(shape) > 2 and shape[channels] in (2, 4):
        shape[channels] -= 1
    if tuple(result.shape) != tuple(shape):
        return Verdict("fault", f"{tuple(result.shape)} for {tuple(shape)}")
    if not finite:
        return Verdict("fault", "NaN or Inf in the result")
    return Verdict("restored")


def judge_written(target: Path, expected, scale):
    """Compare a file that the command line wrote with what is known of its source."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(target) as image:
                image.load()
                size, mode, orientation = image.size, image.mode, image.getexif().get(274, 1)
                alpha = mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in image.info
        except UnidentifiedImageError:  # wide TIFFs
            with tifffile.TiffFile(target) as tiff:
                page = tiff.pages.first
                page.asarray()
                size, mode, orientation = (page.imagewidth, page.imagelength), str(page.dtype), page.tags.valueof(274) or 1
                alpha = bool(page.extrasamples)
    if not expected.fits(size, scale):
        return Verdict("fault", f"wrote {size} for {scale} times {expected.size}")
    if orientation != 1:
        return Verdict("fault", f"wrote orientation {orientation}")
    if expected.alpha and not alpha and target.suffix != ".webp":  # Its writer leaves out an alpha that hides nothing.
        return Verdict("fault", f"wrote {mode} for {expected.mode}")
    return Verdict("restored", "" if expected.size else "nothing to compare the size with")
