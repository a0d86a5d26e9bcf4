"""Everything that a person holds comes in as one `Picture` and goes out as what it was."""

import io
import struct
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin

from restoralib.images import ImageError, Picture, from_picture, read_image, to_picture, write_image

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def noise(*shape, dtype=np.uint8):
    if dtype == np.bool_:
        return RNG.random(shape) < 0.5
    if np.issubdtype(dtype, np.floating):
        return RNG.random(shape).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def pil(mode, height=6, width=9):
    if mode.startswith("P"):
        return Image.fromarray(noise(height, width, 4 if "A" in mode else 3)).quantize(16)
    if mode == "1":
        return Image.fromarray(noise(height, width)).convert("1")
    if mode in ("I;16", "I;16B", "I"):
        array = noise(height, width, dtype=np.uint16)
        return Image.fromarray(array.astype(np.int32) if mode == "I" else array.astype(">u2" if mode.endswith("B") else "<u2"))
    if mode == "F":
        return Image.fromarray(noise(height, width, dtype=np.float32))
    if mode in ("La", "RGBa"):
        return pil(mode.upper()).convert(mode)
    channels = len(mode)
    return Image.fromarray(noise(height, width, channels) if channels > 1 else noise(height, width), mode=None)


def pixels(image):
    """Comparable pixels: those of a palette image through its palette."""
    return np.asarray(image.convert("RGBA") if image.mode == "P" else image)


def exif(orientation=1):
    block = Image.Exif()
    block[274], block[271] = orientation, "maker"
    details = block.get_ifd(34665)
    details[40962], details[40963], details[36867], details[33434] = 9, 6, "2020:01:01", TiffImagePlugin.IFDRational(1, 50)
    return block.tobytes()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def declared_png(width, height):
    """A small file that declares a large image."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


# Kinds of objects


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from((None, 1, 2, 3, 4)),
    st.sampled_from((np.bool_, np.uint8, np.uint16, np.float16, np.float32, np.float64)),
)
def test_arrays_come_back_as_they_were(height, width, channels, dtype):
    array = noise(height, width, *([channels] if channels else []), dtype=dtype)
    back = from_picture(to_picture(array), array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(((5, 7), (1, 5, 7), (3, 1, 1), (4, 5, 7), (2, 3, 5, 7), (2, 4, 5, 7), (6, 5, 7))),
    st.sampled_from((np.bool_, np.uint8, np.uint16, np.float16, np.float32, np.float64)),
)
def test_tensors_come_back_as_they_were(shape, dtype):
    tensor = torch.from_numpy(noise(*shape, dtype=dtype))
    back = from_picture(to_picture(tensor), tensor)
    assert back.dtype == tensor.dtype
    assert back.numpy().tobytes() == tensor.numpy().tobytes()


def test_bfloat16_tensors_and_odd_memory_are_taken():
    tensor = torch.rand(3, 4, 5).to(torch.bfloat16)
    torch.testing.assert_close(from_picture(to_picture(tensor), tensor), tensor, rtol=0, atol=0)
    array = noise(5, 7, 3, dtype=np.uint16).astype(">u2")[::-1, ::2]
    np.testing.assert_array_equal(from_picture(to_picture(array), array), array)
    assert not to_picture(torch.rand(3, 4, 4, requires_grad=True)).color.requires_grad


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "I;16", "I;16B", "I", "F"])
def test_pil_modes_come_back_with_their_pixels(mode):
    image = pil(mode)
    back = from_picture(to_picture(image), image)
    assert back.mode == image.mode
    if mode in ("La", "RGBa"):  # Multiplication by alpha in 8 bits is Pillow's, and rounds.
        assert np.abs(np.asarray(back, dtype=int) - np.asarray(image)).max() <= 1
    else:
        np.testing.assert_array_equal(pixels(back), pixels(image))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_modes_shown_through_rgb_come_back_as_rgb(mode):
    image = pil("RGB").convert(mode) if mode != "LAB" else Image.new("LAB", (4, 4), (50, 128, 128))
    back = from_picture(to_picture(image), image)
    assert back.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(back), np.asarray(image.convert("RGB")))


def test_color_key_becomes_alpha():
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(file, "PNG", transparency=(7, 7, 7))
    picture = to_picture(Image.open(file))
    assert picture.alpha is not None
    assert picture.alpha.max() == 0


def test_palette_of_many_colors_is_reduced():
    picture = to_picture(pil("P", 40, 40))
    picture.color = torch.rand_like(picture.color)
    assert from_picture(picture, "file.png").mode == "P"


def test_rounding_is_half_to_even_after_the_clamp():
    values = torch.tensor([[-1.0, 0.5 / 255, 1.5 / 255, 2.5 / 255, 0.999, 3.0]], dtype=torch.float64)
    assert from_picture(Picture(values[None]), np.empty((1, 1), np.uint8)).tolist() == [[0, 0, 2, 2, 255, 255]]


def test_callers_image_is_not_changed():
    image = pil("RGB")
    image.getexif()[274] = 6
    array = noise(4, 5, 3, dtype=np.float32)
    before = array.copy()
    to_picture(image).color.zero_()
    to_picture(array).color.zero_()
    np.testing.assert_array_equal(array, before)
    assert image.getexif()[274] == 6


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (np.full((4, 4, 3), np.nan, np.float32), ImageError, "NaN or Inf.*nan_to_num"),
        (torch.full((3, 4, 4), torch.inf), ImageError, "NaN or Inf"),
        (np.zeros((0, 4, 3), np.uint8), ImageError, "empty"),
        (torch.zeros(3, 4, 0), ImageError, "empty"),
        (np.zeros((4, 4, 5), np.uint8), ImageError, "1 to 4 channels"),
        (np.zeros((2, 4, 4, 3), np.uint8), ImageError, r"\(h, w\) or \(h, w, c\)"),
        (torch.zeros(2, 2, 3, 4, 4), ImageError, "shape"),
        (np.zeros((4, 4), np.int32), TypeError, "uint8, uint16, bool or floating point, got .*int32"),
        (np.zeros((4, 4), np.complex64), TypeError, "got .*complex64"),
        (np.array([["a"]]), TypeError, "uint8"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), TypeError, "got torch.int64"),
        (np.full((4, 4), 200.0, np.float32), ImageError, r"lie in \[0, 1\].*200.*divide"),
        (b"\x89PNG", TypeError, "BytesIO"),
        (None, TypeError, "got NoneType"),
        ([[1, 2]], TypeError, "got list"),
        (Image.fromarray(np.full((2, 2), 70000, np.int32)), ImageError, "70000.*16 bits"),
    ],
)
def test_what_is_no_image_is_refused_in_words(image, error, words):
    with pytest.raises(error, match=words):
        to_picture(image)


# Files


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16"])
def test_lossless_files_keep_mode_and_pixels(tmp_path, mode, suffix):
    if suffix == "bmp" and mode in ("LA", "PA", "RGBA", "I;16"):
        pytest.skip("BMP has no such mode")
    if suffix == "tif" and mode == "PA":
        pytest.skip("TIFF has no transparent palette")
    source, result = tmp_path / f"source.{suffix}", tmp_path / f"result.{suffix}"
    pil(mode).save(source)
    write_image(result, read_image(source))
    with Image.open(source) as before, Image.open(result) as after:
        assert after.mode == before.mode
        np.testing.assert_array_equal(pixels(after), pixels(before))
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize("top", [65535, 255])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_files_keep_every_bit(tmp_path, suffix, channels, top):
    source, result = tmp_path / f"source.{suffix}", tmp_path / f"result.{suffix}"
    array = np.squeeze(RNG.integers(0, top, (5, 7, channels), dtype=np.uint16, endpoint=True))
    if suffix == "png":
        source.write_bytes(imagecodecs.png_encode(array))
    else:
        photometric = "rgb" if channels >= 3 else "minisblack"
        tifffile.imwrite(source, array, photometric=photometric, extrasamples=["unassalpha"] if channels in (2, 4) else None)
    picture = read_image(source)
    assert picture.depth == 16
    write_image(result, picture)
    back = imagecodecs.png_decode(result.read_bytes()) if suffix == "png" else tifffile.imread(result)
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, array)
    given = from_picture(picture, source)  # Pillow has no 16-bit colour: an array then.
    np.testing.assert_array_equal(np.squeeze(np.asarray(given)), array)


@pytest.mark.parametrize(("dtype", "channels"), [(np.float32, 1), (np.float32, 3), (np.float16, 3), (np.float64, 1)])
def test_floating_point_tiff(tmp_path, dtype, channels):
    array = np.squeeze(noise(5, 7, channels, dtype=dtype))
    tifffile.imwrite(tmp_path / "source.tif", array, photometric="rgb" if channels == 3 else "minisblack")
    write_image(tmp_path / "result.tif", read_image(tmp_path / "source.tif"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "result.tif"), array.astype(np.float32))


def test_tiff_of_white_zero_planes_and_multiplied_alpha(tmp_path):
    gray, planes = noise(5, 7, dtype=np.uint16), noise(3, 5, 7, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "white.tif", gray, photometric="miniswhite")
    np.testing.assert_array_equal(from_picture(read_image(tmp_path / "white.tif"), gray), 65535 - gray)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(
        from_picture(read_image(tmp_path / "planes.tif"), torch.zeros(3, 1, 1, dtype=torch.uint16)), planes
    )
    half = np.full((4, 4, 4), 0.5, np.float32)
    half[..., :3] = 0.25
    tifffile.imwrite(tmp_path / "alpha.tif", half, photometric="rgb", extrasamples=["assocalpha"])
    assert (read_image(tmp_path / "alpha.tif").color == 0.5).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "png16", "tif16", "pil"])
def test_orientation_is_applied_and_reset(tmp_path, kind, orientation):
    upright = noise(6, 9, 3)
    # The stored image is the one that the orientation turns upright.
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = Image.fromarray(upright)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(inverse[orientation]))
    wide = np.asarray(stored).astype(np.uint16) * 257
    path = tmp_path / f"image.{kind.removesuffix('16')}"
    if kind == "png16":
        data = imagecodecs.png_encode(wide)
        path.write_bytes(data[:33] + chunk(b"eXIf", exif(orientation)[6:]) + data[33:])
    elif kind == "tif16":
        tifffile.imwrite(path, wide, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    elif kind == "pil":
        stored.getexif()[274] = orientation
    else:
        stored.save(path, exif=exif(orientation), quality=100, subsampling=0)
    picture = to_picture(stored) if kind == "pil" else read_image(path)
    result = from_picture(picture, np.empty((1, 1, 1), np.uint8))
    assert result.shape == upright.shape
    assert np.abs(result.astype(int) - upright).max() <= (40 if kind == "jpg" else 0)
    block = Image.Exif()
    block.load(picture.exif)
    assert block.get(274, 1) == 1


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.filterwarnings("ignore:.*bits a channel")
def test_metadata_stays_and_follows_the_size(tmp_path, suffix, depth):
    source, result = tmp_path / "source.jpg", tmp_path / f"result.{suffix}"
    pil("RGB").save(source, exif=exif(6), icc_profile=SRGB, xmp=XMP, dpi=(300, 200))
    picture = read_image(source)
    picture.depth = depth
    picture.color = picture.color.repeat(1, 2, 2)
    for keep in (True, False):
        write_image(result, picture, keep_metadata=keep)
        back = read_image(result)
        if not keep:
            assert (back.icc, back.xmp, (back.exif and b"maker" in back.exif) or None, back.dpi) == (None, None, None, None)
            continue
        assert back.icc == SRGB
        assert back.xmp == XMP.replace(b'"6"', b'"1"')
        assert suffix == "webp" or back.dpi == pytest.approx((200, 300), abs=0.01)
        block = Image.Exif()
        block.load(back.exif)
        assert (block[271], block[274]) == ("maker", 1)
        details = block.get_ifd(34665)
        assert (details[40962], details[40963], details[36867], details[33434]) == (12, 18, "2020:01:01", 0.02)


def test_pil_images_carry_their_metadata():
    file = io.BytesIO()
    pil("RGB").save(file, "JPEG", exif=exif(6), icc_profile=SRGB, xmp=XMP)
    image = Image.open(file)
    back = from_picture(to_picture(image), image)
    assert back.info["icc_profile"] == SRGB
    again = Image.Exif()
    again.load(back.info["exif"])
    assert again[274] == 1
    assert from_picture(to_picture(back), back).size == back.size


def test_damaged_exif_warns_and_goes_on(tmp_path):
    pil("RGB").save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage that is no TIFF")
    with pytest.warns(UserWarning, match="EXIF"):
        picture = read_image(tmp_path / "a.jpg")
    assert picture.color.shape == (3, 6, 9)
    assert picture.exif is None


def test_cmyk_file_comes_out_as_rgb_without_its_profile(tmp_path):
    pil("RGB").convert("CMYK").save(tmp_path / "a.jpg", icc_profile=b"no profile")
    picture = read_image(tmp_path / "a.jpg")
    assert (picture.color.shape[0], picture.icc) == (3, None)
    write_image(tmp_path / "b.jpg", picture)
    assert Image.open(tmp_path / "b.jpg").mode == "RGB"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a.png: the file is empty"),
        (b"hello", "no PNG, JPEG, WebP, TIFF or BMP"),
        (declared_png(100_000, 100_000), "Pillow refuses"),
        (declared_png(12_000, 12_000), r"12000 x 12000 pixels.*max_pixels=144000000"),
        (declared_png(100, 100), "damaged or not whole"),
        (b"II*\0garbage", "damaged or not whole|no PNG"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_refused_by_name_and_reason(tmp_path, content, words):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=words):
        read_image(tmp_path / "a.png")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["jpg", "png", "webp", "tif", "bmp", "png16", "tif16"]),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=8),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_a_picture_or_an_image_error(tmp_path, kind, place, damage):
    path = tmp_path / f"a.{kind.removesuffix('16')}"
    wide = np.full((9, 12, 3), 999, np.uint16)
    if kind == "png16":
        path.write_bytes(imagecodecs.png_encode(wide))
    elif kind == "tif16":
        tifffile.imwrite(path, wide, photometric="rgb")
    else:
        Image.new("RGB", (12, 9), "teal").save(path, exif=exif(3), icc_profile=SRGB)
    data = bytearray(path.read_bytes())
    place %= len(data)
    data[place : place + len(damage)] = damage
    path.write_bytes(data)
    try:
        assert read_image(path, max_pixels=10**6).color.isfinite().all()
    except ImageError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "bmp", "png16", "tif16"])
def test_truncated_files_are_refused(tmp_path, kind):
    path = tmp_path / f"a.{kind.removesuffix('16')}"
    wide = noise(40, 40, 3, dtype=np.uint16)
    if kind == "png16":
        path.write_bytes(imagecodecs.png_encode(wide))
    elif kind == "tif16":
        tifffile.imwrite(path, wide, photometric="rgb")
    else:
        Image.fromarray(noise(40, 40, 3)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(ImageError, match=r"a\.\w+ is damaged or not whole|a\.\w+: this is no"):
        read_image(path)


def test_no_file_a_folder_and_several_images_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        read_image(tmp_path)
    first, second = pil("RGB"), pil("RGB")
    for suffix in ("tif", "webp", "png"):
        first.save(tmp_path / f"two.{suffix}", save_all=True, append_images=[second])
        with pytest.raises(ImageError, match="2 images"):
            read_image(tmp_path / f"two.{suffix}")
    first.save(tmp_path / "a.gif")
    with pytest.raises(ImageError, match=r"a\.gif: this is no PNG"):
        read_image(tmp_path / "a.gif")


def test_pillows_limit_is_left_alone(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    pil("RGB").save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="max_pixels=54"):
        read_image(tmp_path / "a.png", max_pixels=53)
    assert before == Image.MAX_IMAGE_PIXELS


def test_impossible_targets_are_refused_and_leave_nothing(tmp_path):
    transparent = to_picture(pil("RGBA"))
    for name in ("a.jpg", "a.bmp"):
        with pytest.raises(ImageError, match=r"no transparency.*alpha='drop'"):
            write_image(tmp_path / name, transparent)
    with pytest.raises(ImageError, match=r"unknown suffix '\.gif'"):
        write_image(tmp_path / "a.gif", transparent)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_image(tmp_path / "none" / "a.png", transparent)
    broken = Picture(torch.rand(5, 4, 4))
    with pytest.raises(Exception):  # noqa: B017
        write_image(tmp_path / "a.png", broken)
    assert list(tmp_path.iterdir()) == []


def test_fewer_bits_are_announced(tmp_path):
    with pytest.warns(UserWarning, match="JPEG holds 8 bits a channel, the picture has 16"):
        write_image(tmp_path / "a.jpg", to_picture(noise(4, 4, 3, dtype=np.uint16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_image(tmp_path / "a.png", to_picture(noise(4, 4, 3, dtype=np.uint16)))


def test_phone_picture_with_a_second_frame_is_its_first(tmp_path):
    first = Image.new("RGB", (8, 8), "red")
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    assert read_image(tmp_path / "a.jpg").color[0].mean() > 0.9


def test_a_range_that_is_probably_not_zero_to_one_is_pointed_out():
    with pytest.warns(UserWarning, match=r"spans -1 to 1"):
        to_picture(torch.linspace(-1, 1, 64).view(1, 8, 8))
    with pytest.raises(ImageError, match="divide it by its range"):
        to_picture(torch.linspace(0, 5, 64).view(1, 8, 8))


SMALL = Picture(torch.rand(3, 4, 5))


def test_a_link_is_written_through_and_permissions_stay(tmp_path):
    target, link = tmp_path / "picture.png", tmp_path / "link.png"
    write_image(target, SMALL)
    target.chmod(0o640)
    link.symlink_to(target)
    write_image(link, to_picture(torch.zeros(3, 6, 7, dtype=torch.uint8)))
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert read_image(target).color.shape == (3, 6, 7)


def test_long_names_and_folders_as_targets(tmp_path):
    write_image(tmp_path / ("n" * 240 + ".png"), SMALL)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(IsADirectoryError, match="name a file in it"):
        write_image(tmp_path / "folder.png", SMALL)


def test_numbers_that_images_do_not_have_are_named(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "counts.tif", np.arange(64, dtype=np.uint32).reshape(8, 8))
    with pytest.raises(ImageError, match=r"counts\.tif.*uint32"):
        read_image(tmp_path / "counts.tif")


def test_big_tiff_is_read_without_a_false_alarm(tmp_path):
    pixels = np.arange(96, dtype=np.uint16).reshape(4, 8, 3)
    tifffile.imwrite(tmp_path / "big.tif", pixels, bigtiff=True, photometric="rgb")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(from_picture(read_image(tmp_path / "big.tif"), pixels), pixels)


def test_channels_first_arrays_are_pointed_out():
    with pytest.raises(ImageError, match="puts channels last"):
        to_picture(np.zeros((3, 20, 30), np.uint8))
