"""What a benchmark gives, what papers do to pairs first, and how missing and broken files are told."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from restoralib.data import LAYOUTS, DatasetError, Problem, get_layout, open_benchmark
from restoralib.data.reading import fault
from restoralib.metrics import PROTOCOLS


def pixels(path):
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255


# What it gives


def test_pairs_hold_what_the_files_hold(make):
    root = make("lq/a.png", "lq/b.png", "gt/a.png", "gt/b.png", size=(9, 7))
    benchmark = open_benchmark("pairs", root)
    assert len(benchmark) == 2
    for name in "ab":
        assert torch.equal(benchmark[name].degraded, pixels(root / "lq" / f"{name}.png"))
        assert torch.equal(benchmark[name].clean, pixels(root / "gt" / f"{name}.png"))
    assert [pair.name for pair in benchmark] == ["a", "b"]
    assert benchmark[-1].name == "b"
    part = benchmark[1:]
    assert part.names == ("b",) and part.protocol == benchmark.protocol


def test_clean_images_may_lie_elsewhere(make):
    root = make("here/a.png", "there/a.png", "there/b.png")
    benchmark = open_benchmark("pairs", root / "here", clean=root / "there")
    assert benchmark.names == ("a", "b")
    assert torch.equal(benchmark["a"].clean, pixels(root / "there" / "a.png"))
    assert [problem.file for problem in benchmark.problems] == [root / "here" / "b.png"]
    with pytest.raises(ValueError, match="clean= is for the layout pairs"):
        open_benchmark("set5", root, clean=root)


def test_benchmark_can_be_pickled(make):
    benchmark = open_benchmark("sots_indoor", make("hazy/1400_1.png", "gt/1400.png"))
    copy = pickle.loads(pickle.dumps(benchmark))
    assert torch.equal(copy[0].clean, benchmark[0].clean)


def test_pair_of_another_name_is_not_there(make):
    benchmark = open_benchmark("folder", make("baboon.png"))
    with pytest.raises(KeyError, match="did you mean baboon"):
        benchmark["babon"]
    with pytest.raises(IndexError):
        benchmark[1]


def test_tasks_and_protocols(make):
    root = make("a.png")
    assert open_benchmark("folder", root).protocol == "rgb"
    assert open_benchmark("folder", root, scale=2).protocol == "classic-luma"
    assert open_benchmark("folder", root, scale=2).tasks == ("sr2",)
    assert open_benchmark("cbsd68", root).tasks == ("denoise",)
    for layout in LAYOUTS.values():
        for protocol in (layout.protocol, layout.plain_protocol, *layout.others):
            assert protocol is None or protocol in PROTOCOLS


def test_gray_stays_gray_where_tables_score_it(make):
    root = make("01.png", mode="L")
    for layout, channels in (("set12", 1), ("set14", 1), ("classic5", 1), ("cbsd68", 3), ("folder", 3)):
        assert open_benchmark(layout, root)[0].clean.shape[0] == channels
    assert open_benchmark("folder", root, scale=2)[0].clean.shape[0] == 1, "the classic protocol scores raw grey"
    assert open_benchmark("folder", root, keep_gray=True)[0].clean.shape[0] == 1
    assert open_benchmark("set14", root, keep_gray=False)[0].clean.shape[0] == 3


def test_a_gray_side_meets_a_colour_side(make):
    make("lq/a.png")
    pair = open_benchmark("pairs", make("gt/a.png", mode="L"), keep_gray=True)[0]
    assert pair.degraded.shape == pair.clean.shape == (3, 16, 16)


# What papers do first


def test_clean_images_are_cut_to_the_scale(make):
    root = make("a.png", size=(23, 17))
    assert open_benchmark("folder", root, scale=4)[0].clean.shape == (3, 16, 20)
    assert torch.equal(open_benchmark("folder", root, scale=3)[0].clean, pixels(root / "a.png")[:, :15, :21])
    assert open_benchmark("folder", root)[0].clean.shape == (3, 17, 23)


def test_reduced_images_of_a_cut_to_12_cut_the_original_alike(make):
    make("original/baby.png", size=(47, 35))
    root = make("LRbicx4/baby.png", size=(9, 6))
    pair = open_benchmark("set5", root, scale=4)[0]
    assert pair.clean.shape == (3, 24, 36)
    assert torch.equal(pair.clean, pixels(root / "original" / "baby.png")[:, :24, :36])


def test_sots_truth_loses_ten_pixels_on_each_side(make):
    make("gt/1400.png", size=(40, 36))
    root = make("hazy/1400_1.png", size=(20, 16))
    pair = open_benchmark("sots_indoor", root)[0]
    assert torch.equal(pair.clean, pixels(root / "gt" / "1400.png")[:, 10:-10, 10:-10])
    # A truth that is cut already stays.
    root = make("gt/1400.png", size=(20, 16))
    assert open_benchmark("sots_indoor", root)[0].clean.shape == (3, 16, 20)


def test_tip2018_takes_the_central_box_as_pillow_resizes_it(make):
    size = (600, 402)
    root = make("source/a_source.png", "target/a_target.png", size=size)
    pair = open_benchmark("tip2018", root)[0]
    for image, side in ((pair.degraded, "source"), (pair.clean, "target")):
        box = Image.open(root / side / f"a_{side}.png").crop((100, 67, 500, 335))
        wanted = np.array(box.resize((256, 256), Image.Resampling.BILINEAR))
        found = (image * 255).round().permute(1, 2, 0).numpy()
        assert np.abs(found - wanted).max() <= 1


# What is missing or broken


def test_a_missing_partner_is_told_and_stays_a_pair(make):
    root = make("lq/a.png", "lq/b.png", "gt/a.png", "gt/c.png")
    benchmark = open_benchmark("pairs", root)
    assert benchmark.names == ("a", "b", "c")
    assert set(benchmark.problems) == {Problem(root / "gt/b.png", "is missing"), Problem(root / "lq/c.png", "is missing")}
    assert benchmark["a"].clean is not None
    with pytest.raises(DatasetError, match=r"gt/b\.png is missing"):
        benchmark["b"]
    with pytest.raises(DatasetError, match="pairs has 2 problems") as error:
        open_benchmark("pairs", root, strict=True)
    assert str(root / "gt/b.png") in str(error.value) and len(error.value.problems) == 2


def test_a_missing_partner_is_named_as_its_neighbours_are(make):
    root = make("test/S1/blur_gamma/000001.png", "test/S1/sharp/000001.png", "test/S2/blur_gamma/000002.png")
    first, *_ = open_benchmark("gopro", root).problems
    assert first.file == root / "test/S2/sharp/000002.png"
    root = make("LR_bicubic/X4/babyx4.png", "HR/baby.png", "HR/bird.png", size=(4, 4))
    assert root / "LR_bicubic/X4/birdx4.png" in {problem.file for problem in open_benchmark("set5", root, scale=4).problems}


def test_known_names_are_missed_one_by_one(make):
    root = make("HR/baby.png", "HR/bird.png", "HR/butterfly.png", "HR/head.png")
    problems = open_benchmark("set5", root).problems
    assert problems[0] == Problem(root / "HR/woman.png", "is missing")
    assert str(problems[1]) == f"{root} holds 4 pairs of set5 (test), papers count 5"


def test_known_names_are_missed_where_most_of_them_are(make):
    root = make("HR/baby.png", "HR/head.png")
    *missing, count = open_benchmark("set5", root).problems
    assert [problem.file for problem in missing] == [root / f"HR/{name}.png" for name in ("bird", "butterfly", "woman")]
    assert str(count) == f"{root} holds 2 pairs of set5 (test), papers count 5"
    root = make("all/baby.png", "all/mine.png", "all/yours.png")
    assert [problem.file for problem in open_benchmark("set5", root / "all").problems] == [root / "all"]


def test_an_image_below_the_scale_is_named(make):
    root = make("small.png", size=(1, 3))
    with pytest.raises(DatasetError, match=r"small\.png has \(3, 1\) pixels, less than the scale 2"):
        open_benchmark("folder", root, scale=2)["small"]


def test_known_names_are_let_be_where_files_have_others(make):
    root = make(*(f"image_SRF_2/img_00{number}_SRF_2_{side}.png" for number in range(1, 6) for side in ("HR", "LR")))
    assert open_benchmark("set5", root, scale=2).problems == ()


def test_hazy_images_are_missed_one_by_one(make):
    names = [f"{image}_{haze}" for image in range(1400, 1450) for haze in range(1, 11)]
    root = make("hazy/1400_4.png", "gt/1400.png")
    image = (root / "gt/1400.png").read_bytes()
    for name in (*(f"gt/{image}" for image in range(1400, 1450)), *(f"hazy/{name}" for name in names[3:])):
        (root / f"{name}.png").write_bytes(image)
    problems = open_benchmark("sots_indoor", root).problems
    assert [problem.file.name for problem in problems[:3]] == ["1400_1.png", "1400_2.png", "1400_3.png"]
    assert problems[3].reason == "holds 497 pairs of sots_indoor (test), papers count 500"


def test_clear_image_without_haze_is_told(make):
    root = make("gt/1400.png", "gt/1401.png", "hazy/1400_1.png")
    assert Problem(root / "gt/1401.png", "has no degraded image") in open_benchmark("sots_indoor", root).problems


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_half_copied_files_are_told_without_reading_them(make, suffix):
    root = make(f"a.{suffix}", f"b.{suffix}", f"c.{suffix}", size=(64, 64))
    data = (root / f"b.{suffix}").read_bytes()
    (root / f"b.{suffix}").write_bytes(data[: len(data) * 2 // 3])
    (root / f"c.{suffix}").write_bytes(b"")
    benchmark = open_benchmark("folder", root)
    reasons = {problem.file.stem: problem.reason for problem in benchmark.problems}
    assert reasons == {"b": f"is cut short ({len(data) * 2 // 3} bytes)", "c": "is empty (0 bytes)"}
    assert benchmark["a"].clean is not None
    for name in "bc":
        with pytest.raises(DatasetError, match=rf"{name}\.{suffix}"):
            benchmark[name]


def test_other_files_under_an_images_name_are_told(make):
    root = make("a.png")
    (root / "b.png").write_text("<html>404</html>")
    (root / "c.png").mkdir()
    (root / "d.png").symlink_to(root / "nowhere")
    reasons = {problem.file.stem: problem.reason for problem in open_benchmark("folder", root).problems}
    assert reasons == {
        "b": "is no PNG, JPEG, WebP, BMP or TIFF file",
        "c": "is not a file",
        "d": "is missing",
    }


def test_damage_inside_shows_when_everything_is_read(make):
    root = make("a.png", "b.png", "c.tif", size=(64, 64))
    data = bytearray((root / "b.png").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    (root / "b.png").write_bytes(data)
    data = (root / "c.tif").read_bytes()
    (root / "c.tif").write_bytes(data[: len(data) // 2])
    benchmark = open_benchmark("folder", root)
    assert benchmark.problems == ()
    assert [problem.file.name for problem in benchmark.verify()] == ["b.png", "c.tif"]
    with pytest.raises(DatasetError, match=r"b\.png is damaged or not whole"):
        benchmark["b"]


def test_a_phones_jpeg_with_a_trailer_is_whole(make):
    path = make("a.jpg") / "a.jpg"
    path.write_bytes(path.read_bytes() + b"trailer" * 100)
    assert fault(path) is None


def test_sides_that_do_not_belong_together_are_told(make):
    make("lq/a.png", size=(16, 16))
    root = make("gt/a.png", size=(16, 18))
    with pytest.raises(DatasetError, match=r"pairs a: the degraded image is \(16, 16\) and the clean one \(18, 16\)"):
        open_benchmark("pairs", root)[0]


def test_one_name_for_two_files_is_told(make):
    root = make("gt/a.png", "gt/a.jpg", "lq/a.png")
    (problem,) = open_benchmark("pairs", root).problems
    assert str(problem) == f"{root / 'gt/a.png'} has the same name as a.jpg, which is used"


def test_one_name_for_two_hazy_files_is_told(make):
    root = make("gt/1400.png", "hazy/1400_1.png", "hazy/1400_1.jpg")
    benchmark = open_benchmark("sots_indoor", root)
    assert benchmark.names == ("1400_1",)
    assert "has the same name as 1400_1.jpg" in benchmark.problems[0].reason


def test_a_table_that_gives_two_pairs_one_name_is_refused(make):
    root = make("a.png")
    (root / "t.csv").write_text("name,clean\none,a.png\none,a.png\n")
    with pytest.raises(DatasetError, match="the name 'one' stands for several pairs"):
        open_benchmark("csv", root)


def test_sides_paired_by_order_need_equal_numbers(make):
    root = make("test_c/source/1.png", "test_c/source/2.png", "test_c/target/3.png")
    with pytest.raises(DatasetError, match=r"holds 2 images and .*target 1; they are paired in alphabetical order"):
        open_benchmark("dpdd", root)


def test_what_was_looked_for_is_told(make, tmp_path):
    make("other/a.png")
    with pytest.raises(DatasetError, match=r"holds none of the layouts(.|\n)*eval15/low/\{name\} \+ eval15/high/\{name\}"):
        open_benchmark("lol", tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        open_benchmark("lol", tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="is no folder"):
        open_benchmark("lol", make("a.png") / "a.png")


def test_requests_that_a_layout_cannot_serve(make):
    root = make("a.png")
    with pytest.raises(ValueError, match="unknown layout 'set41'; did you mean set14"):
        open_benchmark("set41", root)
    with pytest.raises(ValueError, match="gopro has the splits test, train, not 'validation'"):
        open_benchmark("gopro", root, split="validation")
    with pytest.raises(ValueError, match=r"whole number from 1, got 1\.5"):
        open_benchmark("set5", root, scale=1.5)
    with pytest.raises(ValueError, match="gopro is no set for super-resolution"):
        open_benchmark("gopro", root, scale=4)
    with pytest.raises(ValueError, match="set5 has no columns"):
        open_benchmark("set5", root, image_column="image")


def test_names_of_layouts_are_taken_as_people_write_them():
    assert get_layout("B100") is get_layout("bsd-100") is LAYOUTS["bsd100"]
    assert get_layout("RealBlur-J") is LAYOUTS["realblur_j"]


# The real ones


@pytest.mark.parametrize(
    ("layout", "folder", "scale", "count"),
    [("set5", "Set5", 2, 5), ("set5", "Set5", 4, 5), ("set14", "Set14", 4, 14), ("cbsd68", "CBSD68", None, 12)]
    + [("pairs", name, None, None) for name in ("noise", "blur", "rain", "haze", "lowlight", "moire")],
)
def test_real_sets(real, layout, folder, scale, count):
    benchmark = open_benchmark(layout, real / folder, scale=scale)
    assert count in (None, len(benchmark))
    assert len(benchmark.verify()) == (layout == "cbsd68"), "the folder holds 12 of CBSD68"
    for pair in benchmark:
        assert (pair.degraded is None) == (layout == "cbsd68")
    if layout == "set14":
        assert benchmark["bridge"].clean.shape == (1, 512, 512)
