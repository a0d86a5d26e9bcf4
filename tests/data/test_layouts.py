"""Every variant of every layout: pairs find each other, carry the names that papers use, and what is missing is told."""

from __future__ import annotations

import pytest
import torch

from restoralib.data import LAYOUTS, DatasetError, open_benchmark
from restoralib.data.finding import Request
from restoralib.metrics import PROTOCOLS

# layout, options, degraded files, clean files, names. `scale` makes the clean files so much larger.
PAIRED = [
    ("pairs", {}, ["lq/a.png", "lq/b.jpg"], ["gt/a.png", "gt/b.png"], ["a", "b"]),
    ("pairs", {}, ["input/a.png"], ["target/a.png"], ["a"]),
    ("pairs", {}, ["degraded/a.png"], ["clean/a.png"], ["a"]),
    ("pairs", {}, ["low/a.png"], ["high/a.png"], ["a"]),
    ("pairs", {}, ["blur/a.png"], ["sharp/a.png"], ["a"]),
    ("pairs", {"scale": 2}, ["LR/ax2.png"], ["HR/a.png"], ["a"]),
    ("pairs", {"scale": 2}, ["LR/a.png"], ["HR/a.png"], ["a"]),
    ("set5", {"scale": 4}, ["LR_bicubic/X4/babyx4.png"], ["HR/baby.png"], ["baby"]),
    ("set5", {"scale": 3}, ["lr_bicubic/x3/baby.png"], ["hr/baby.png"], ["baby"]),
    ("set14", {"scale": 4}, ["LRbicx4/zebra.png"], ["GTmod12/zebra.png"], ["zebra"]),
    ("set14", {"scale": 2}, ["LRbicx2/zebra.png"], ["original/zebra.png"], ["zebra"]),
    ("bsd100", {"scale": 4}, ["LR_bicubic/X4/101085x4.png"], ["HR/101085.png"], ["101085"]),
    (
        "urban100",
        {"scale": 4},
        ["image_SRF_4/img_001_SRF_4_LR.png"],
        ["image_SRF_4/img_001_SRF_4_HR.png"],
        ["img_001"],
    ),
    ("manga109", {"scale": 2}, ["LRbicx2/ARMS.png"], ["GTmod12/ARMS.png"], ["ARMS"]),
    ("div2k", {"scale": 4}, ["DIV2K_valid_LR_bicubic/X4/0801x4.png"], ["DIV2K_valid_HR/0801.png"], ["0801"]),
    (
        "div2k",
        {"scale": 2, "split": "train"},
        ["DIV2K_train_LR_bicubic/X2/0001x2.png"],
        ["DIV2K_train_HR/0001.png"],
        ["0001"],
    ),
    ("flickr2k", {"scale": 3}, ["Flickr2K_LR_bicubic/X3/000001x3.png"], ["Flickr2K_HR/000001.png"], ["000001"]),
    (
        "gopro",
        {},
        ["test/GOPR0384_11_00/blur_gamma/000001.png", "test/GOPR0385_11_01/blur_gamma/000001.png"],
        ["test/GOPR0384_11_00/sharp/000001.png", "test/GOPR0385_11_01/sharp/000001.png"],
        ["GOPR0384_11_00-000001", "GOPR0385_11_01-000001"],
    ),
    (
        "gopro_linear",
        {"split": "train"},
        ["GOPRO_Large/train/GOPR0372_07_00/blur/000047.png"],
        ["GOPRO_Large/train/GOPR0372_07_00/sharp/000047.png"],
        ["GOPR0372_07_00-000047"],
    ),
    ("gopro", {}, ["input/GOPR0384_11_00-000001.png"], ["target/GOPR0384_11_00-000001.png"], ["GOPR0384_11_00-000001"]),
    ("gopro", {}, ["test/input/S-1.png"], ["test/target/S-1.png"], ["S-1"]),
    ("hide", {}, ["test/test-close-ups/1.png", "test/test-long-shot/2.png"], ["GT/1.png", "GT/2.png"], ["1", "2"]),
    ("hide", {"split": "train"}, ["train/1.png"], ["GT/1.png"], ["1"]),
    ("hide", {}, ["test/input/1.png"], ["test/target/1.png"], ["1"]),
    ("realblur_j", {}, ["test/input/scene230-1.png"], ["test/target/scene230-1.png"], ["scene230-1"]),
    ("dpdd", {}, ["test_c/source/1P0A1217.png"], ["test_c/target/1P0A1218.png"], ["1P0A1217"]),
    ("dpdd", {"split": "validation"}, ["val_c/source/1.png"], ["val_c/target/2.png"], ["1"]),
    ("dpdd", {}, ["inputC/1.png"], ["target/1.png"], ["1"]),
    (
        "sidd",
        {"split": "train"},
        ["Data/0001_S6/0001_NOISY_SRGB_010.PNG"],
        ["Data/0001_S6/0001_GT_SRGB_010.PNG"],
        ["0001_S6-010"],
    ),
    ("rain100l", {}, ["input/1.png"], ["target/1.png"], ["1"]),
    ("rain100h", {}, ["rain-001.png"], ["norain-001.png"], ["001"]),
    ("rain100h", {}, ["rainy/rain-001.png"], ["norain-001.png"], ["001"]),
    ("rain100l", {}, ["rain/rain-001.png"], ["norain/norain-001.png"], ["001"]),
    ("rain100l", {}, ["rain/norain-1.png"], ["norain/norain-1.png"], ["1"]),
    ("rain100h", {}, ["rain/X2/norain-1x2.png"], ["norain/norain-1.png"], ["1"]),
    (
        "test100",
        {},
        ["input/1.png", "input/10.png", "input/2.png"],
        ["target/1.png", "target/2.png", "target/10.png"],
        ["1", "2", "10"],
    ),
    ("test1200", {}, ["test/input/1.jpg"], ["test/target/1.jpg"], ["1"]),
    ("test2800", {}, ["rainy_image/901_1.jpg", "rainy_image/901_2.jpg"], ["ground_truth/901.jpg"], ["901_1", "901_2"]),
    (
        "sots_indoor",
        {},
        ["hazy/1400_1.png", "hazy/1400_10.png", "hazy/1400_2.png"],
        ["gt/1400.png"],
        ["1400_1", "1400_2", "1400_10"],
    ),
    ("sots_indoor", {}, ["indoor/hazy/1400_1.png"], ["indoor/clear/1400.png"], ["1400_1"]),
    ("sots_indoor", {}, ["nyuhaze500/hazy/1400_1.png"], ["nyuhaze500/gt/1400.png"], ["1400_1"]),
    ("sots_indoor", {}, ["test/hazy/1400_1.png"], ["test/GT/1400_1.png"], ["1400_1"]),
    ("sots_outdoor", {}, ["outdoor/hazy/0001_0.8_0.2.jpg"], ["outdoor/gt/0001.png"], ["0001_0.8_0.2"]),
    ("sots_outdoor", {}, ["hazy/0001_0.8_0.2.png"], ["GT/0001_0.8_0.2.png"], ["0001_0.8_0.2"]),
    ("lol", {}, ["eval15/low/1.png"], ["eval15/high/1.png"], ["1"]),
    ("lol", {"split": "train"}, ["our485/low/2.png"], ["our485/high/2.png"], ["2"]),
    ("lol", {}, ["low/1.png"], ["high/1.png"], ["1"]),
    ("lol_v2_real", {}, ["Real_captured/Test/Low/low00690.png"], ["Real_captured/Test/Normal/normal00690.png"], ["00690"]),
    ("lol_v2_real", {}, ["Real_captured/Test/Low/00690.png"], ["Real_captured/Test/Normal/00690.png"], ["00690"]),
    ("lol_v2_synthetic", {"split": "train"}, ["Synthetic/Train/Low/r0.png"], ["Synthetic/Train/Normal/r0.png"], ["r0"]),
    ("tip2018", {}, ["testData/source/i1_source.png"], ["testData/target/i1_target.png"], ["i1"]),
    ("tip2018", {"split": "train"}, ["train/source/i1_source.png"], ["train/target/i1_target.png"], ["i1"]),
    ("tip2018", {}, ["source/i1_source.png"], ["target/i1_target.png"], ["i1"]),
]

CLEAN = [
    ("folder", ["a.png", "b.webp", "c.jpg", "d.bmp", "e.tif"], ["a", "b", "c", "d", "e"]),
    ("set5", ["baby.png"], ["baby"]),
    ("set14", ["HR/zebra.png"], ["zebra"]),
    ("bsd100", ["original/101085.png"], ["101085"]),
    ("urban100", ["GTmod12/img_001.png"], ["img_001"]),
    ("div2k", ["DIV2K_valid_HR/0801.png"], ["0801"]),
    ("flickr2k", ["Flickr2K_HR/000001.png"], ["000001"]),
    ("cbsd68", ["original_png/0000.png", "noisy25/0000.png"], ["0000"]),
    ("cbsd68", ["102061.png"], ["102061"]),
    ("bsd68", ["test001.png"], ["test001"]),
    ("kodak24", ["kodim01.png", "kodim02.png"], ["kodim01", "kodim02"]),
    ("mcmaster", ["1.tif", "10.tif", "2.tif"], ["1", "2", "10"]),
    ("set12", ["01.png"], ["01"]),
    ("classic5", ["barbara.bmp"], ["barbara"]),
    ("live1", ["bikes.bmp"], ["bikes"]),
]


@pytest.mark.parametrize(("layout", "options", "degraded", "clean", "names"), PAIRED, ids=lambda value: str(value)[:40])
def test_pairs_find_each_other(make, layout, options, degraded, clean, names):
    scale = options.get("scale", 1)
    make(*degraded, size=(12, 18))
    root = make(*clean, size=(12 * scale, 18 * scale))
    benchmark = open_benchmark(layout, root, **options)
    assert list(benchmark.names) == names
    assert benchmark.scale == scale
    side = 256 if layout == "tip2018" else None
    for pair in benchmark:
        assert pair.degraded.shape == (3, side or 18, side or 12)
        assert pair.clean.shape == (3, side or 18 * scale, side or 12 * scale)
        assert pair.degraded.dtype == pair.clean.dtype == torch.float32
        assert pair.degraded.min() >= 0 and pair.clean.max() <= 1
    split = options.get("split", next(iter(LAYOUTS[layout].splits)))
    count = LAYOUTS[layout].splits[split]
    wanted = [] if count is None else [f"holds {len(names)} pairs of {layout} ({split}), papers count {count}"]
    missing = {problem.file.stem for problem in benchmark.problems if problem.reason == "is missing"}
    assert [problem.reason for problem in benchmark.problems if problem.reason != "is missing"] == wanted
    whole = set(LAYOUTS[layout].names(split)) if LAYOUTS[layout].names else set()
    assert len(missing) == len(whole - set(names)) * bool(whole & set(names))


@pytest.mark.parametrize(("layout", "files", "names"), CLEAN, ids=lambda value: str(value)[:40])
def test_clean_images_alone(make, layout, files, names):
    benchmark = open_benchmark(layout, make(*files))
    assert list(benchmark.names) == names
    assert all(pair.degraded is None and pair.clean.shape == (3, 16, 16) for pair in benchmark)


VARIANTS = [
    (layout.name, split, place)
    for layout in LAYOUTS.values()
    for split in layout.splits
    for place in range(len(layout.variants))
]


@pytest.mark.parametrize(("name", "split", "place"), VARIANTS)
def test_every_variant_is_found_by_its_own_description(make, tmp_path, name, split, place):
    variant = LAYOUTS[name].variants[place]
    scale = 2 if LAYOUTS[name].scaled else 1
    places = variant.filled(Request(tmp_path, split, scale))

    def file(folder, stem, key):
        return f"{folder}/{stem}.png".replace("{name}", key).replace("*", "scene")

    if places.degraded is not None:
        make(file(places.degraded, places.degraded_stem, "001"))
    root = make(file(places.clean, places.clean_stem, "001"), size=(16 * scale, 16 * scale))
    benchmark = open_benchmark(name, root, split=split, scale=scale if scale > 1 else None)
    assert benchmark.variant == str(places)
    (pair,) = benchmark
    assert pair.name.endswith("001" if not places.many else "001_scene")
    assert (pair.degraded is None) == (places.degraded is None)


def test_every_layout_is_tested():
    special = {"csv", "sidd", "dnd", "realblur_r", "realir_bench"}  # These have tests of their own.
    assert {case[0] for case in [*PAIRED, *CLEAN]} | special == set(LAYOUTS)


def test_realblur_by_the_authors_list(make):
    scene = "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref/scene230"
    root = make(f"{scene}/gt/gt_1.png", f"{scene}/blur/blur_1.png", f"{scene}/gt/gt_2.png", f"{scene}/blur/blur_2.png")
    listed = root / "RealBlur_R_test_list.txt"
    listed.write_text(f"{scene}/gt/gt_2.png {scene}/blur/blur_2.png\n{scene}/gt/gt_9.png {scene}/blur/blur_9.png \n\n")
    benchmark = open_benchmark("realblur_r", root)
    assert benchmark.names == ("scene230-2", "scene230-9")
    assert benchmark[0].facts == {"scene": "scene230"}
    assert [problem.file.name for problem in benchmark.problems] == ["blur_9.png", "gt_9.png", root.name]
    assert benchmark.protocol is None, "its tables align the images first"
    listed.write_text("one\n")
    with pytest.raises(DatasetError, match="line 1 is 'one'"):
        open_benchmark("realblur_r", root)


def test_protocols_are_those_of_the_metrics():
    for layout in LAYOUTS.values():
        for protocol in (layout.protocol, layout.plain_protocol, *layout.others):
            assert protocol is None or protocol in PROTOCOLS
