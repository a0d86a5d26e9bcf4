"""Bytes and columns, as Spark and Ray hand them to a function."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from restoralib import restore
from restoralib.batch import RestoreBytes, RestoreRows, make_predict_fn, map_in_pandas
from restoralib.images import ImageError, decode_image, encode_image


def picture(number: int, size=(14, 11)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)


def encoded(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_bytes_come_back_in_their_format(kind, net):
    data = encoded(picture(0), kind)
    restored = pickle.loads(pickle.dumps(RestoreBytes(net)))(data)
    assert Image.open(io.BytesIO(restored)).format == kind
    expected = restore(decode_image(data), net)
    assert np.abs(decoded(restored).astype(int) - decoded(encode_image(expected, kind))).mean() < 1e-3
    assert Image.open(io.BytesIO(RestoreBytes(net, kind="png")(data))).format == "PNG"


def test_images_are_decoded_and_encoded_as_files_are():
    deep = np.arange(6 * 7 * 3, dtype=np.uint16).reshape(6, 7, 3) * 500
    for kind in ("PNG", "TIFF"):
        from restoralib.images import to_picture

        back = decode_image(encode_image(to_picture(deep), kind))
        assert back.depth == 16 and np.array_equal((back.color.permute(1, 2, 0) * 65535).round().numpy(), deep)
    marked = decode_image(encoded(picture(0), icc_profile=b"profile"))
    assert decode_image(encode_image(marked)).icc == b"profile"
    assert decode_image(encode_image(marked, keep_metadata=False)).icc is None
    with pytest.raises(ImageError, match="the data: this is no PNG"):
        decode_image(b"no image")
    with pytest.raises(ImageError, match="the data: the file is empty"):
        decode_image(b"")
    with pytest.raises(ImageError, match="max_pixels=154"):
        decode_image(encoded(picture(0)), max_pixels=10)
    with pytest.raises(ImageError, match="unknown format 'GIF'"):
        encode_image(marked, "gif")
    clear = decode_image(encoded(np.dstack([picture(0), picture(1)[..., 0]])))
    with pytest.raises(ImageError, match="JPEG has no transparency"):
        encode_image(clear, "jpg")


def test_a_failure_among_bytes_is_data(net):
    images = [encoded(picture(0)), b"no image", encoded(picture(1, (9, 9)))]
    results = RestoreBytes(net).many(images)
    assert isinstance(results[1], ImageError)
    assert [decoded(results[number]).shape for number in (0, 2)] == [(11, 14, 3), (9, 9, 3)]
    with pytest.raises(ImageError):
        RestoreBytes(net)(b"no image")


def test_spark_maps_frames_with_a_column_of_errors(net):
    pandas = pytest.importorskip("pandas")
    frames = [
        pandas.DataFrame({"path": ["a", "b", "c"], "content": [encoded(picture(0)), b"no image", encoded(picture(1))]}),
        pandas.DataFrame({"path": ["d"], "content": [encoded(picture(2, (5, 6)))]}),
    ]
    # Spark sends the function to its workers by cloudpickle.
    mapped = pandas.concat(map_in_pandas(net, rows=2)(iter(frames)))
    assert list(mapped.columns) == ["path", "content", "restored", "error"] and list(mapped["path"]) == list("abcd")
    assert mapped["restored"].isna().tolist() == [False, True, False, False]
    assert "this is no PNG" in mapped["error"].iloc[1] and mapped["error"].isna().tolist() == [True, False, True, True]
    assert decoded(mapped["restored"].iloc[3]).shape == (6, 5, 3)


def test_a_predict_function_takes_images_of_one_size(net):
    images = np.stack([picture(number) for number in range(4)])
    predict = make_predict_fn(net)()
    restored = predict(images)
    assert restored.shape == images.shape and restored.dtype == np.uint8
    assert np.abs(restored[2].astype(int) - restore(images[2], net)).max() <= 1
    floats = predict(images.astype(np.float32) / 255)
    assert floats.dtype == np.float32 and floats.shape == images.shape
    with pytest.raises(ImageError, match="NaN or Inf"):
        predict(np.full((1, 4, 4, 3), np.nan, np.float32))


def test_rows_of_one_size_stay_an_array_and_others_become_objects(net):
    rows = {"image": np.stack([picture(0), picture(1)]), "id": np.array([3, 4])}
    done = RestoreRows(net)(rows)
    assert done.keys() == {"image", "id", "restored", "error"} and done["restored"].shape == (2, 11, 14, 3)
    assert list(done["error"]) == ["", ""]
    ragged = np.empty(3, dtype=object)
    ragged[:] = [picture(0), picture(1, (6, 5)), np.full((3, 4, 3), np.nan, np.float32)]
    done = RestoreRows(net)({"image": ragged})
    assert [image.shape for image in done["restored"]] == [(11, 14, 3), (5, 6, 3), (0, 0, 3)]
    assert "NaN" in done["error"][2] and not done["error"][0]
    files = np.empty(2, dtype=object)
    files[:] = [encoded(picture(0)), b"no image"]
    done = RestoreRows(net, column="bytes", output="bytes", error="reason")({"bytes": files})
    assert decoded(done["bytes"][0]).shape == (11, 14, 3) and done["bytes"][1] == b"" and "no PNG" in done["reason"][1]
    with pytest.raises(KeyError, match="no column 'image' of images; the table has 'bytes'"):
        RestoreRows(net)({"bytes": files})


def test_seeds_of_rows_come_from_their_key_or_from_what_they_show():
    def noisy(image):
        return image / 2 + torch.rand(image.shape) / 2

    from restoralib.archs import NetSpec

    images = np.stack([picture(0), picture(1), picture(0)])
    restored = RestoreRows(noisy, seed=1, spec=NetSpec())({"image": images})["restored"]
    assert np.array_equal(restored[0], restored[2])
    named = RestoreRows(noisy, seed=1, spec=NetSpec(), key="id")
    one = named({"image": images, "id": np.array(["a", "b", "c"])})["restored"]
    other = named({"image": images[::-1], "id": np.array(["c", "b", "a"])})["restored"]
    assert np.array_equal(one, other[::-1]) and not np.array_equal(one[0], one[2])
