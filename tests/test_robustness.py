"""Samples of the robustness campaign (benchmarks/campaign), and the faults that it found."""

from __future__ import annotations

import io
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from restoralib import restore
from restoralib.images import ImageError, from_picture, read_image, to_picture, write_image

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from campaign import models

BLUR = models.Blur().eval()


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# Faults that were found


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.ones(3, 4, 5).to_sparse(), "one that is torch.sparse_coo"),
        (lambda: torch.ones(3, 4, 5).to_mkldnn(), "one that is torch._mkldnn"),
        (lambda: torch.ones(3, 4, 5, device="meta"), "one that is meta"),
        (lambda: torch.nested.nested_tensor([torch.ones(3, 4, 5)]), "one that is nested"),
        (lambda: torch.ones(3, 4, 5).to(torch.float8_e4m3fn), "got torch.float8_e4m3fn"),
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_tensors_that_hold_no_plain_pixels_are_refused(make, words):
    with pytest.raises(TypeError, match=words):
        restore(make(), BLUR)


def cut_short():
    file = io.BytesIO()
    Image.fromarray(noise(40, 40, 3)).save(file, "PNG")
    return Image.open(io.BytesIO(file.getvalue()[:2000]))


def closed():
    image = Image.new("RGB", (4, 4))
    image.close()
    return image


def beyond_the_palette():
    image = Image.new("P", (4, 4))
    image.info["transparency"] = 256
    return image


@pytest.mark.parametrize("make", [cut_short, closed, beyond_the_palette])
def test_pil_images_without_pixels_are_refused(make):
    with pytest.raises(ImageError, match=r"Pillow cannot give the pixels of this image \(.*open or make it again"):
        restore(make(), BLUR)


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBX", "HSV"])
@pytest.mark.parametrize("transparency", [None, 5])
def test_modes_stay_whatever_else_the_image_says(mode, transparency):
    image = Image.fromarray(noise(6, 9, 3)).quantize(16).convert("PA") if mode == "PA" else Image.new(mode, (9, 6))
    if mode == "PA":
        image.putalpha(Image.fromarray(noise(6, 9)))
    if transparency:
        image.info["transparency"] = transparency
    back = from_picture(to_picture(image), image)
    assert back.mode == (mode if mode.endswith("A") else "RGB")
    np.testing.assert_array_equal(
        np.asarray(back.convert("RGBA")), np.asarray(image.convert("RGB" if mode == "HSV" else "RGBA").convert("RGBA"))
    )
    assert restore(image, BLUR, alpha="drop").mode == {"LA": "L", "PA": "P"}.get(mode, "RGB")


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_palettes_with_alpha_are_written(tmp_path, suffix):
    image = Image.fromarray(noise(6, 9, 3)).quantize(16).convert("PA")
    image.putalpha(Image.fromarray(noise(6, 9)))
    write_image(tmp_path / f"a.{suffix}", to_picture(image))
    assert Image.open(tmp_path / f"a.{suffix}").mode == ("PA" if suffix == "tif" else "RGBA")


def test_metadata_that_is_no_metadata_is_left_out():
    image = Image.new("RGB", (9, 6))
    image.info |= {"xmp": (1, 2), "icc_profile": 7, "dpi": "text"}
    with pytest.warns(UserWarning) as caught:
        picture = to_picture(image)
    assert [str(warning.message) for warning in caught][-2:] == [
        "the XMP packet should be bytes, got tuple, and is left out",
        "the colour profile should be bytes, got int, and is left out",
    ]
    assert (picture.xmp, picture.icc, picture.dpi) == (None, None, None)


def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "zeros.png"):
        with pytest.raises(ImageError, match=rf"{name} is a pipe, a socket or a device"):
            read_image(tmp_path / name)
        with pytest.raises(ImageError, match="does not replace"):
            write_image(tmp_path / name, to_picture(noise(4, 4)))
    assert Path("/dev/zero").is_char_device()


def tiff(tag, value, dtype=np.uint16):
    """A TIFF of an array with one entry of its directory changed."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((5, 7, 3), dtype), photometric="rgb", byteorder="<", metadata=None)
    data = bytearray(file.getvalue())
    (place,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[place : place + 2])
    entry = next(place + 2 + 12 * n for n in range(count) if data[place + 2 + 12 * n :][:2] == struct.pack("<H", tag))
    data[entry + 8 : entry + 10] = struct.pack("<H", value)
    return bytes(data)


def test_colours_that_no_tiff_has_are_named(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(262, 12345))
    with pytest.raises(ImageError, match="TIFF with 16 bits and photometric interpretation 12345 is not read"):
        read_image(tmp_path / "a.tif")
