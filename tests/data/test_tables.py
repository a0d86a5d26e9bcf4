"""CSV tables of pairs, and RealIR-Bench as parquet, arrow or a folder."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from restoralib.data import DatasetError, open_benchmark, write_csv
from restoralib.data.tables import degradation_of

# CSV


def test_csv_lists_pairs_relative_to_itself(make):
    root = make("a/x.png", "b/x.png", "b/y.png")
    (root / "pairs.csv").write_text(
        'degraded,clean,caption\na/x.png,b/x.png,"a cat, in fog"\n,b/y.png,\n', encoding="utf-8-sig"
    )
    benchmark = open_benchmark("csv", root / "pairs.csv")
    assert benchmark.names == ("x", "y") and not benchmark.problems
    assert benchmark["x"].facts == {"caption": "a cat, in fog"}
    assert benchmark["y"].degraded is None and benchmark["y"].facts == {}
    assert open_benchmark("csv", root).names == ("x", "y"), "a folder with one table stands for it"


def test_csv_can_be_written(make):
    root = make("a/x.png", "b/x.png")
    (root / "tables").mkdir()
    pairs = [{"degraded": root / "a/x.png", "clean": root / "b/x.png", "caption": "rain", "task": "derain"}]
    write_csv(root / "tables" / "t.csv", pairs)
    assert "../a/x.png,../b/x.png,rain,derain" in (root / "tables" / "t.csv").read_text()
    benchmark = open_benchmark("csv", root / "tables" / "t.csv")
    assert benchmark[0].clean is not None and benchmark.tasks == ("derain",)
    assert benchmark[0].facts == {"caption": "rain", "task": "derain"}


def test_csv_names_stay_unique(make):
    root = make("a/x.png", "b/x.png", "c/1.png", "c/2.png")
    (root / "t.csv").write_text("degraded,clean\nc/1.png,a/x.png\nc/2.png,b/x.png\n")
    assert open_benchmark("csv", root / "t.csv").names == ("a/x", "b/x")
    (root / "t.csv").write_text("degraded,clean\nc/1.png,a/x.png\nc/2.png,a/x.png\n")
    assert open_benchmark("csv", root / "t.csv").names == ("c/1", "c/2")
    (root / "t.csv").write_text("name,degraded,clean\none,c/1.png,a/x.png\ntwo,c/2.png,a/x.png\n")
    assert open_benchmark("csv", root / "t.csv").names == ("one", "two")


def test_csv_that_is_wrong_is_told_row_by_row(make):
    root = make("a/x.png")
    (root / "t.csv").write_text("degraded,clean,caption\na/x.png,a/gone.png,ok\n,,nothing\na/x.png\n")
    reasons = {(problem.file.name, problem.reason) for problem in open_benchmark("csv", root / "t.csv").problems}
    assert reasons == {
        ("gone.png", "is missing"),
        ("t.csv", "names no image in row 3"),
        ("t.csv", "has another number of fields in row 4 than columns"),
    }
    (root / "t.csv").write_text("left,right\na,b\n")
    with pytest.raises(DatasetError, match="has the columns left, right; its first line should name degraded, clean"):
        open_benchmark("csv", root / "t.csv")
    (root / "t.csv").write_bytes("degraded,clean\nä.png,\n".encode("latin1"))
    with pytest.raises(DatasetError, match="cannot be read as CSV in UTF-8"):
        open_benchmark("csv", root / "t.csv")
    make("other/a.png")
    with pytest.raises(DatasetError, match="holds 0 CSV files"):
        open_benchmark("csv", root / "other")


# RealIR-Bench


def encoded(number):
    file = io.BytesIO()
    Image.fromarray(np.full((6, 5, 3), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


def images(*paths):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": encoded(number), "path": path} for number, path in enumerate(paths)], kind)


@pytest.mark.parametrize("form", ["parquet", "arrow", "arrow file"])
def test_image_column_is_found_by_its_type(tmp_path, form):
    table = pa.table({"id": [7, 8, 9], "picture": images("1.png", "2.png", "3.png"), "kind": ["rain", "Low-Light", "moiré"]})
    file = tmp_path / f"0000.{form.split()[0]}"
    if form == "parquet":
        pq.write_table(table, file, row_group_size=2)
    else:
        with (pa.ipc.new_stream if form == "arrow" else pa.ipc.new_file)(file, table.schema) as writer:
            writer.write_table(table)
    benchmark = open_benchmark("realir_bench", tmp_path)
    assert benchmark.names == ("1", "2", "3")
    assert [pair.facts["task"] for pair in benchmark] == ["derain", "low_light", "demoire"]
    assert benchmark.tasks == ("demoire", "derain", "low_light") and benchmark.protocol is None
    assert benchmark[2].facts == {"id": 9, "kind": "moiré", "degradation": "moire", "task": "demoire"}
    for number, pair in enumerate(benchmark):
        assert pair.clean is None
        assert torch.equal(pair.degraded, torch.full((3, 6, 5), number / 255))
    assert benchmark.problems[0].reason == "holds 3 pairs of realir_bench (test), papers count 464"


def test_task_comes_from_names_where_no_column_tells_it(tmp_path):
    pq.write_table(pa.table({"image": images("blur/1.png", "haze_1.png"), "prompt": ["x", "y"]}), tmp_path / "a.parquet")
    benchmark = open_benchmark("realir_bench", tmp_path / "a.parquet")
    assert [pair.facts["degradation"] for pair in benchmark] == ["blur", "haze"]
    assert benchmark.names == ("blur/1", "haze_1")


def test_task_comes_from_sentences_last(tmp_path):
    texts = ["Please remove the lens flare.", "Take the reflection away"]
    pq.write_table(pa.table({"image": images("1.png", "1.png"), "prompt": texts}), tmp_path / "a.parquet")
    benchmark = open_benchmark("realir_bench", tmp_path)
    assert [pair.facts["task"] for pair in benchmark] == ["deflare", "dereflect"]
    assert benchmark.names == ("1", "1-2")


def test_class_labels_of_the_hub_are_read(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["noise", "compression"]}}
    table = pa.table({"image": images("1.png", "2.png"), "label": [1, 0]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "a.parquet")
    benchmark = open_benchmark("realir_bench", tmp_path)
    assert [pair.facts["task"] for pair in benchmark] == ["jpeg", "denoise_real"]


def test_columns_can_be_named(tmp_path):
    pixels = images("1.png", "2.png")
    table = pa.table({"image": pixels, "second": pixels, "a": ["rain", "rain"], "b": ["haze", "something else"]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"several columns of images, image, second; name one of .* by image_column"):
        open_benchmark("realir_bench", tmp_path)
    benchmark = open_benchmark("realir_bench", tmp_path, image_column="second", task_column="b")
    assert benchmark[0].facts["task"] == "dehaze"
    assert benchmark[1].facts["degradation"] == "something else" and "task" not in benchmark[1].facts
    with pytest.raises(DatasetError, match="has no column 'third', but image, second, a, b"):
        open_benchmark("realir_bench", tmp_path, image_column="third")
    with pytest.raises(DatasetError, match="no text column 'c', but a, b"):
        open_benchmark("realir_bench", tmp_path, image_column="image", task_column="c")


def test_plain_bytes_are_images_too(tmp_path):
    pq.write_table(pa.table({"data": pa.array([encoded(3)], pa.binary()), "type": ["noise"]}), tmp_path / "a.parquet")
    pair = open_benchmark("realir_bench", tmp_path)[0]
    assert pair.name == "0000" and pair.degraded[0, 0, 0] == 3 / 255


def test_a_table_may_name_files_beside_it(make, tmp_path):
    root = make("inside/rain.png")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": "rain.png"}, {"bytes": None, "path": "../../rain.png"}, None]
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), root / "inside" / "a.parquet")
    benchmark = open_benchmark("realir_bench", root / "inside" / "a.parquet")
    assert benchmark[0].degraded.shape == (3, 16, 16)
    with pytest.raises(DatasetError, match="outside of the table's folder"):
        benchmark[1]
    with pytest.raises(DatasetError, match="row 2 of group 0 holds no image"):
        benchmark[2]


def test_a_broken_table_is_told_and_the_others_are_read(tmp_path):
    table = pa.table({"image": images("rain_1.png")})
    pq.write_table(table, tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(data[:-20])
    (tmp_path / "c.parquet").write_bytes(b"")
    benchmark = open_benchmark("realir_bench", tmp_path)
    assert len(benchmark) == 1
    assert [problem.file.name for problem in benchmark.problems[:2]] == ["b.parquet", "c.parquet"]
    assert benchmark.problems[1].reason == "cannot be read as a table (is empty (0 bytes))"
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(DatasetError, match="holds no table with images"):
        open_benchmark("realir_bench", tmp_path)
    pq.write_table(pa.table({"text": ["rain"]}), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match="no column of images; name one of text"):
        open_benchmark("realir_bench", tmp_path / "a.parquet")


def test_photographs_in_folders(make):
    root = make("rain/1.png", "low_light/1.png", "x.png")
    benchmark = open_benchmark("realir_bench", root)
    assert benchmark.names == ("low_light/1", "rain/1", "x")
    assert benchmark["low_light/1"].facts == {"degradation": "low light", "task": "low_light"}
    assert benchmark["x"].facts == {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("blur", "blur"),
        ("motion_blur", "blur"),
        ("Deblurring", "blur"),
        ("JPEG compression", "compression"),
        ("lens flare", "flare"),
        ("Moire", "moire"),
        ("dehaze_012", "haze"),
        ("low-light", "low light"),
        ("lowlight", "low light"),
        ("denoise", "noise"),
        ("rainy", "rain"),
        ("reflection", "reflection"),
        ("train", None),
        ("0001.png", None),
        ("rain and haze", None),
    ],
)
def test_words_of_the_nine_degradations(text, wanted):
    assert degradation_of(text) == wanted


def test_pyarrow_is_named_where_it_is_missing(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.parquet").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"restoralib\[data\]"):
        open_benchmark("realir_bench", tmp_path)
