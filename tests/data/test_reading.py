"""Pixels of files: depth, channels and orientation."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from restoralib.data import DatasetError, open_benchmark, read_photographs
from restoralib.data.reading import decode, read_pixels, to_image

DEEP = np.arange(5 * 4 * 3, dtype=np.uint16).reshape(5, 4, 3) * 1000 + 7


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_stay(tmp_path, channels, suffix):
    array = np.concatenate([DEEP, DEEP[..., :1]], 2)[..., :channels]
    array = np.ascontiguousarray(array[..., 0] if channels == 1 else array)
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        path.write_bytes(imagecodecs.png_encode(array))
    else:
        tifffile.imwrite(path, array, photometric="minisblack" if channels == 1 else "rgb")
    pixels = read_pixels(path)
    assert pixels.dtype == torch.uint16
    assert np.array_equal(pixels.numpy(), array[None] if channels == 1 else DEEP.transpose(2, 0, 1))
    image = open_benchmark("folder", tmp_path)[0].clean
    assert image.shape == (3, 5, 4)
    assert torch.equal(image[0], torch.from_numpy(DEEP[..., 0].astype(np.float32)) / 65535)


def test_floating_point_stays(tmp_path):
    array = np.linspace(0, 1, 20, dtype=np.float32).reshape(5, 4)
    tifffile.imwrite(tmp_path / "a.tif", array)
    assert torch.equal(to_image(read_pixels(tmp_path / "a.tif"))[1], torch.from_numpy(array))


def test_odd_tiffs_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.int32))
    with pytest.raises(DatasetError, match=r"a\.tif is a TIFF of int32; convert it"):
        read_pixels(tmp_path / "a.tif")


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("CMYK", 3)])
def test_modes(tmp_path, mode, channels):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.effect_noise((4, 5), 90).convert("RGB").convert(mode).save(tmp_path / f"a.{suffix}")
    assert read_pixels(tmp_path / f"a.{suffix}").shape == (channels, 5, 4)


def test_images_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.effect_noise((4, 6), 90).save(tmp_path / "a.png", exif=exif)
    turned = np.rot90(np.array(Image.open(tmp_path / "a.png")), -1)
    assert np.array_equal(read_pixels(tmp_path / "a.png")[0].numpy(), turned)


def test_bytes_that_are_no_image_are_told_with_their_name():
    with pytest.raises(DatasetError, match="row 3 is no PNG"):
        decode(b"GIF89a" + bytes(50), "row 3")


def test_photographs_lose_depth_only_with_a_warning(tmp_path):
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(DEEP))
    with pytest.warns(UserWarning, match=r"a\.png has more than 8 bits a channel, which are rounded to 8"):
        photograph = read_photographs(tmp_path)["a"]
    assert photograph.dtype == torch.uint8
    assert np.array_equal(photograph.permute(1, 2, 0).numpy(), np.rint(DEEP / 257.0))


def test_pillow_is_named_where_it_is_missing(make, monkeypatch):
    import sys

    path = make("a.png") / "a.png"
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"restoralib\[io\]"):
        read_pixels(path)
