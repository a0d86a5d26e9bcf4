"""Random pairs: cut and turned alike, reproducible by seed and number, and rebuilt from their records."""

from __future__ import annotations

import json
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from restoralib.data import (
    CleanPairs,
    DatasetError,
    Pair,
    StoredPairs,
    draw_pair,
    open_benchmark,
    pair_generator,
    random_patch_pair,
    read_photographs,
    write_csv,
)
from restoralib.data.patches import mirrored_to, random_patch
from restoralib.degradations import GaussianNoise, PairedDegradation, RealESRGANDegradation, rebuild
from restoralib.ops import resize

DEGRADE = {
    "class": GaussianNoise.draw,
    "record": GaussianNoise(25.0, seed=3),
    "reduction": 2,
    "paired": partial(PairedDegradation.draw, tasks=("denoise", "jpeg", "derain", "dehaze")),
}


@pytest.fixture
def folder(make):
    return make("a.png", "b.png", "c.png", size=(40, 30))


# Patches


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", [3, 4, 7])
def test_pairs_are_cut_and_turned_alike(scale, size):
    low = torch.arange(20.0).view(1, 4, 5)  # Smaller than the largest patch: it is mirrored.
    high = functional.interpolate(low[None], scale_factor=scale, mode="nearest")[0]
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(40):
        small, large = random_patch_pair(low, high, size, generator)
        assert small.shape == (1, size, size)
        assert torch.equal(functional.interpolate(small[None], scale_factor=scale, mode="nearest")[0], large)
        seen.add(tuple(small.flatten().tolist()))
    assert len(seen) > 7, "places and turns are drawn"


def test_patches_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"multiple of the degraded one's, got \(9, 8\) for \(4, 4\)"):
        random_patch_pair(torch.zeros(3, 4, 4), torch.zeros(3, 9, 8), 2, torch.Generator())
    with pytest.raises(ValueError, match="check that they belong together"):
        random_patch_pair(torch.zeros(3, 4, 4), torch.zeros(3, 2, 2), 2, torch.Generator())


def test_small_images_are_mirrored():
    image = torch.tensor([[[1.0, 2.0]]])
    assert mirrored_to(image, 2, 7).tolist() == [[[1, 2, 2, 1, 1, 2, 2]] * 2]
    assert mirrored_to(image, 1, 1) is image
    assert random_patch(image, 5, torch.Generator()).shape == (1, 5, 5)


def test_seeds_of_pairs_differ_by_seed_and_item():
    items = [(seed, item) for seed in range(30) for item in range(30)]
    draws = {float(torch.rand((), generator=pair_generator(*item), dtype=torch.float64)) for item in items}
    assert len(draws) == 900
    first, again = (torch.rand(3, generator=pair_generator(1, "a")) for _ in range(2))
    assert torch.equal(first, again)


# From clean photographs


@pytest.mark.parametrize("degrade", DEGRADE.values(), ids=DEGRADE)
def test_records_rebuild_the_pairs(folder, degrade):
    pairs = CleanPairs(folder, degrade, size=24, length=6)
    for item in pairs:
        again = rebuild(json.loads(item["record"]))(item["clean"][None])[0]
        assert torch.equal(again, item["degraded"])
        assert item["clean"].shape == (3, 24, 24)
    assert [item["name"] for item in pairs] == ["a", "b", "c", "a", "b", "c"]


def test_reduction_is_matlabs_rounded_to_8_bits(folder):
    item = CleanPairs(folder, 3, size=24)[0]
    small = resize(item["clean"][None], 1 / 3)[0].clamp(0, 1)
    assert item["degraded"].shape == (3, 8, 8)
    assert (item["degraded"] - small).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal((item["degraded"] * 255).round() / 255, item["degraded"])
    with pytest.raises(ValueError, match=r"sides of \(25, 25\) are no multiple of 3"):
        CleanPairs(folder, 3, size=25)[0]


def test_real_esrgan_compares_with_its_own_target(folder):
    item = CleanPairs(folder, partial(RealESRGANDegradation.draw, scale=4), size=32)[1]
    assert item["degraded"].shape == (3, 8, 8) and item["clean"].shape == (3, 32, 32)


def test_pairs_depend_on_seed_and_number_alone(folder):
    first, again = (CleanPairs(folder, GaussianNoise.draw, size=16, length=9, seed=4) for _ in range(2))
    order = [5, 0, 8, 5]
    for number in order:
        one, two = first[number], again[number]
        assert torch.equal(one["degraded"], two["degraded"]) and one["record"] == two["record"]
    assert first[0]["record"] != first[3]["record"], "the same photograph is spoiled anew"
    assert first[0]["record"] != CleanPairs(folder, GaussianNoise.draw, size=16, seed=5)[0]["record"]


def test_whole_images_and_grey_ones(make):
    root = make("a.png", size=(10, 6), mode="L")
    item = CleanPairs(root, GaussianNoise.draw, size=None, turned=False)[0]
    assert item["clean"].shape == item["degraded"].shape == (3, 6, 10)
    assert CleanPairs(root, GaussianNoise.draw, size=None, keep_gray=True, turned=False)[0]["clean"].shape == (1, 6, 10)


def test_photographs_come_from_folders_files_memory_and_benchmarks(folder):
    wanted = CleanPairs(folder, GaussianNoise.draw, size=16)
    for photographs in (str(folder), sorted(folder.iterdir()), read_photographs(folder), open_benchmark("folder", folder)):
        pairs = CleanPairs(photographs, GaussianNoise.draw, size=16)
        assert len(pairs) == 3
        for item, other in zip(wanted, pairs, strict=True):
            assert item["name"] == other["name"] and torch.equal(item["degraded"], other["degraded"])


@pytest.mark.parametrize("degrade", [0, -2])
def test_reductions_below_one_are_named_at_once(folder, degrade):
    words = f"scale of a reduction should be at least 1, got {degrade}"
    with pytest.raises(ValueError, match=words):
        CleanPairs(folder, degrade)
    with pytest.raises(ValueError, match=words):
        draw_pair(torch.rand(3, 8, 8), degrade, torch.Generator())


@pytest.mark.parametrize("size", [0, -8])
def test_sizes_below_one_are_named_at_once(folder, size):
    pairs = [Pair("a", torch.rand(3, 8, 8), torch.rand(3, 8, 8))]
    for build in (lambda: CleanPairs(folder, 2, size=size), lambda: StoredPairs(pairs, size=size)):
        with pytest.raises(ValueError, match=f"side of a patch, should be at least 1, or None for whole images, got {size}"):
            build()


def test_sources_without_photographs_are_refused(tmp_path, make):
    with pytest.raises(DatasetError, match="holds no image"):
        CleanPairs(tmp_path, 2)
    with pytest.raises(DatasetError, match="is no folder"):
        CleanPairs(tmp_path / "nowhere", 2)
    with pytest.raises(DatasetError, match="there are no photographs"):
        CleanPairs({}, 2)
    pairs = CleanPairs(make("a.png"), 2, size=8)
    with pytest.raises(IndexError, match="there are 1 pairs, not one of number 1"):
        pairs[1]
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"a\.png is empty"):
        pairs[0]


# Of stored pairs


def test_patches_of_stored_pairs(make):
    make("LR/ax2.png", "LR/bx2.png", size=(9, 8))
    benchmark = open_benchmark("pairs", make("HR/a.png", "HR/b.png", size=(18, 16)), scale=2)
    patches = StoredPairs(benchmark, size=4, length=5)
    whole = StoredPairs(benchmark, size=None, turned=False)
    assert len(patches) == 5 and [item["name"] for item in patches] == ["a", "b", "a", "b", "a"]
    assert patches[0]["degraded"].shape == (3, 4, 4) and patches[0]["clean"].shape == (3, 8, 8)
    assert not torch.equal(patches[0]["degraded"], patches[2]["degraded"])
    assert torch.equal(whole[1]["clean"], benchmark[1].clean)
    assert StoredPairs(benchmark, size=None)[0]["clean"].numel() == benchmark[0].clean.numel()


def test_captions_come_along(make):
    root = make("lq.png", "gt.png")
    write_csv(
        root / "t.csv", [{"degraded": root / "lq.png", "clean": root / "gt.png", "caption": "a wet street", "task": "derain"}]
    )
    item = StoredPairs(open_benchmark("csv", root / "t.csv"), size=8)[0]
    assert item["caption"] == "a wet street"
    assert json.loads(item["record"]) == {"caption": "a wet street", "task": "derain"}


def test_stored_pairs_need_both_sides(make):
    benchmark = open_benchmark("folder", make("a.png"))
    with pytest.raises(DatasetError, match="a has no degraded image; CleanPairs makes"):
        StoredPairs(benchmark)[0]
    with pytest.raises(DatasetError, match="no pairs"):
        StoredPairs([])


# In a DataLoader


def test_workers_give_what_one_process_gives(folder):
    pairs = CleanPairs(folder, GaussianNoise.draw, size=16, length=8)
    alone = list(DataLoader(pairs, batch_size=2))
    together = list(DataLoader(pairs, batch_size=2, num_workers=2))
    assert alone[0]["degraded"].shape == (2, 3, 16, 16)
    for one, two in zip(alone, together, strict=True):
        assert one["record"] == two["record"] and one["name"] == two["name"]
        assert torch.equal(one["degraded"], two["degraded"])
    records = [record for batch in together for record in batch["record"]]
    assert len(set(records)) == 8, "no two workers draw the same"


@pytest.mark.parametrize("degrade", DEGRADE.values(), ids=DEGRADE)
def test_pairs_can_be_pickled(folder, degrade):
    pairs = CleanPairs(folder, degrade, size=16)
    copy = pickle.loads(pickle.dumps(pairs))
    assert torch.equal(copy[2]["degraded"], pairs[2]["degraded"])


def test_draw_pair_leaves_the_image_alone():
    image = torch.from_numpy(np.random.default_rng(0).random((3, 20, 20), dtype=np.float32))
    before = image.clone()
    pair = draw_pair(image, GaussianNoise.draw, torch.Generator().manual_seed(1), size=8)
    assert torch.equal(image, before)
    assert torch.equal(pair.degradation(pair.clean[None])[0], pair.degraded)
    unturned = draw_pair(image, GaussianNoise(0.0), torch.Generator(), turned=False)
    assert torch.equal(unturned.clean, image)
