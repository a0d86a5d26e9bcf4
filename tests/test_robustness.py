"""Samples of the robustness campaign (benchmarks/campaign), and the faults that it found."""

from __future__ import annotations

import io
import json
import logging
import os
import runpy
import struct
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from restoralib import restore
from restoralib.batch import restore_folder
from restoralib.images import ImageError, from_picture, read_image, to_picture, write_image

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from campaign import checkpoints, disturbed, folders, inputs, judge, models, names, together

BLUR = models.Blur().eval()
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="has links, pipes and /proc, and forks")


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


def test_a_profile_that_is_none_leaves_cmyk_to_the_plain_formula():
    image = Image.new("CMYK", (4, 4), (10, 20, 30, 40))
    image.info["icc_profile"] = 7
    with pytest.warns(UserWarning, match="colour profile should be bytes"):
        assert to_picture(image).color.shape == (3, 4, 4)


def test_a_file_that_asks_for_all_memory_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.tif").write_bytes(tiff(257, 5))

    def decode(page):
        raise MemoryError

    monkeypatch.setattr(tifffile.TiffPage, "asarray", decode)
    with pytest.raises(ImageError, match=r"a\.tif asks for more memory than there is"):
        read_image(tmp_path / "a.tif")


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


def test_a_palette_keeps_its_transparency_in_tiff(tmp_path):
    image = Image.fromarray(noise(6, 9, 4), "RGBA").quantize(16)
    write_image(tmp_path / "a.tif", to_picture(image))
    back = Image.open(tmp_path / "a.tif")
    assert back.mode == "PA"
    np.testing.assert_array_equal(np.asarray(back.convert("RGBA")), np.asarray(image.convert("RGBA")))


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


@LINUX
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


@pytest.mark.parametrize("tag", [257, 258, 262])
def test_a_tiff_of_words_for_numbers_is_refused(tmp_path, tag):
    data = bytearray(tiff(tag, 0))
    place = (
        data.index(struct.pack("<HH", tag, 3)) if struct.pack("<HH", tag, 3) in data else data.index(struct.pack("<HH", tag, 4))
    )
    data[place + 2 : place + 8] = struct.pack("<HI", 2, 4)  # four letters
    data[place + 8 : place + 12] = b"abc\0"
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.tif"):
        read_image(tmp_path / "a.tif")


def test_colours_that_no_tiff_has_are_named(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(262, 12345))
    with pytest.raises(ImageError, match="TIFF with 16 bits and photometric interpretation 12345 is not read"):
        read_image(tmp_path / "a.tif")


@LINUX
def test_links_of_a_folder_lead_nowhere(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir(), out.mkdir()
    write_image(folder / "a.png", to_picture(noise(4, 6)))
    (folder / "circle.png").symlink_to("circle.png")
    (out / "a.png").symlink_to("a.png")
    (tmp_path / "others.txt").write_text("others")
    (out / ".restoralib.jsonl").symlink_to(tmp_path / "others.txt")
    report = restore_folder(folder, out, BLUR)
    assert (report.restored, len(report.failures)) == (1, 1)
    assert "circle.png" in str(report.failures[0])
    assert (out / "a.png").is_file() and not (out / "a.png").is_symlink()
    assert (tmp_path / "others.txt").read_text() == "others"


@pytest.mark.parametrize("suffix", [":stream", "a\0", "..\\a", "/a"])
def test_suffixes_that_are_no_part_of_a_name_are_refused(tmp_path, suffix):
    write_image(tmp_path / "a.png", to_picture(noise(4, 6)))
    with pytest.raises(ValueError, match="a suffix is a part of a file name"):
        restore_folder(tmp_path / "a.png", tmp_path / "out", BLUR, suffix=suffix)
    assert not (tmp_path / "out").exists()


# Samples of the campaign


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return inputs.Bench(tmp_path_factory.mktemp("campaign"))


@LINUX
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "count"), [("file", 120), ("pillow", 60), ("place", 24)])
def test_hostile_inputs_are_restored_or_refused_in_words(bench, kind, count):
    faults, outcomes = [], set()
    for number in range(count):
        source, verdict = inputs.CASES[kind](bench, Random(f"tests {kind} {number}"), number)
        outcomes.add(verdict.kind)
        faults += [(number, source, verdict.words)] if verdict.kind == "fault" else []
    assert faults == []
    assert "refused" in outcomes and (kind == "place" or "restored" in outcomes)


@LINUX
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_drawn_arrays_and_tensors_are_restored_or_refused_in_words(bench, kind, monkeypatch):
    facts = []
    monkeypatch.setattr(inputs, "say", lambda **fact: facts.append(fact))
    inputs.run_drawn(bench, kind, 0, 60, 0, inputs.Watch())
    assert [fact for fact in facts if fact.get("kind") == "fault"] == []
    assert sum("kind" in fact for fact in facts) == 60


@LINUX
@pytest.mark.filterwarnings("ignore")
def test_hostile_files_of_a_command_are_written_or_listed(bench, monkeypatch):
    facts = []
    monkeypatch.setattr(inputs, "say", lambda **fact: facts.append(fact))
    inputs.run_commands(bench, 0, 30, 0, inputs.Watch())
    assert [fact for fact in facts if fact.get("kind") == "fault"] == []
    assert {fact["kind"] for fact in facts if "kind" in fact} == {"restored", "refused"}


def test_a_fault_is_seen():
    """The judge itself: errors from within, masked ones, and wrong results are faults."""

    def verdict(error):
        try:
            raise error
        except Exception as caught:
            return judge.judge_error(caught).kind

    assert verdict(IndexError("list index out of range")) == verdict(RuntimeError("CUDA error")) == "fault"
    assert verdict(ValueError("raised by this test, not by the library")) == "fault"
    with pytest.raises(ImageError) as caught:
        to_picture(np.zeros((0, 4, 3), np.uint8))
    assert judge.judge_error(caught.value).kind == "refused"
    image, expected = torch.zeros(3, 4, 5), judge.Expected()
    for wrong in (torch.zeros(3, 5, 4), torch.zeros(3, 4, 5, dtype=torch.float64), np.zeros((4, 5, 3)), image + torch.nan):
        assert judge.judge_result(wrong, image, expected, 1).kind == "fault"
    assert judge.judge_result(image, image, expected, 1).kind == "restored"
    source = Image.new("L", (5, 4))
    for wrong in (source.convert("RGB"), Image.new("L", (4, 5))):
        assert judge.judge_result(wrong, source, judge.expected_of_image(source), 1).kind == "fault"


@LINUX
def test_evil_and_broken_checkpoints_are_refused_without_a_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "BOMB", 10**6)
    cases = checkpoints.write_all(tmp_path / "evil")
    assert len(cases) > 80
    # More of them are in test_checkpoints.
    chosen = [
        case for number, case in enumerate(cases) if number % 9 == 0 or case[2] != "refused" or case[0].startswith("link")
    ]
    found = [(case[0], *checkpoints.judge(*case)) for case in chosen]
    assert [one for one in found if one[1] == "fault"] == []
    assert [one[1] for one in found] == [case[2] for case in chosen]


def test_memory_that_fails_and_nan_at_any_tile_change_nothing():
    figures = disturbed.run(side=(70, 90))
    assert disturbed.faults(figures) == []
    assert all(found["runs"] > 3 for found in figures.values())


def test_threads_that_restore_at_once_give_what_one_gives(monkeypatch):
    monkeypatch.setattr(together, "IMAGES", 24)
    assert together.by_threads() == together.alone()


@LINUX
def test_killed_runs_lose_nothing_and_are_finished_by_the_same_command(tmp_path):
    runs = folders.Runs(tmp_path)
    figures = runs.kill(2, Random(0))
    assert (figures["kills"], figures["troubles"]) == (2, [])
    assert runs.no_large_files()["troubles"] == []


@LINUX
def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    figures = folders.Runs(tmp_path).full_disk()
    if not figures["mounted"]:
        pytest.skip("no right to mount a small disk")
    assert figures["troubles"] == []
    assert 0 < figures["results that fitted"] < figures["of"]


@LINUX
def test_results_stay_in_their_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "NAMES", names.NAMES[:: len(names.NAMES) // 6])
    figures = names.run(tmp_path)
    assert figures["troubles"] == []
    assert figures["attempts"] > 20


def test_the_figures_of_the_documentation_are_those_of_a_campaign_without_faults():
    docs = Path(__file__).parents[1] / "docs"
    found = json.loads((docs / "robustness.json").read_text(encoding="utf-8"))
    assert found["inputs"]["inputs"] == sum(inputs.COUNTS.values()) == 10_000
    assert found["inputs"]["faults"] == 0
    troubles = [found["checkpoints"]["faults"], found["disturbed"]["faults"], found["names"]["troubles"]]
    assert troubles + [part["troubles"] for part in found["folders"].values() if isinstance(part, dict)] == [[]] * 6
    table = runpy.run_path(str(docs / "tables.py"))["robustness_tables"]()
    assert "| all | 10000 |" in table
