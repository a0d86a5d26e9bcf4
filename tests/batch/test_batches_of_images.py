"""Many images in memory: as one by one, whatever shares their calls, with failures as data."""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from test_folder import Identity
from torch import nn

from restoralib import restore
from restoralib.archs import NetSpec, SwinIR
from restoralib.batch import Restorer, item_seed, restore_iter, restore_many
from restoralib.images import ImageError, to_picture
from restoralib.restoration import Cancelled


class Counting(Identity):
    """Halves the distance to grey; fails on images whose first pixel is black."""

    def forward(self, image):
        super().forward(image)
        if (image[:, :, 0, 0] == 0).all(1).any():
            raise RuntimeError("black corner")
        return (image + 0.5) / 2


def images(count=5, height=20, width=24):
    draw = np.random.default_rng(1)
    return [draw.integers(1, 256, (height, width, 3), np.uint8) for _ in range(count)]


def test_small_images_share_calls_and_large_ones_do_not():
    net = Counting()
    restore_many(images(20, 20, 24), net)
    assert net.calls == [9, 9, 9]  # 64x64 pixels; the last call is filled up
    net.calls.clear()
    restore_many(images(3, 70, 80), net)
    assert net.calls == [1, 1, 1]
    net.calls.clear()
    restore_many(images(5, 70, 80), net, batch=2)
    assert net.calls == [2, 2, 2]


def test_results_are_those_of_one_by_one_in_order_and_kind(net):
    mixed = [*images(3), Image.fromarray(images(1, 9, 9)[0]), torch.rand(3, 20, 24), images(1, 20, 24)[0][..., 0]]
    mixed += [np.concatenate([images(1)[0], np.full((20, 24, 1), 128, np.uint8)], 2), *images(2)]
    together = restore_many(mixed, net)
    for image, restored in zip(mixed, together, strict=True):
        expected = restore(image, net)
        assert type(restored) is type(expected)
        if isinstance(restored, torch.Tensor):
            torch.testing.assert_close(restored, expected, rtol=0, atol=1e-5)
        else:
            assert np.abs(np.asarray(restored).astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize("model", ["nafnet", "swinir", "sr2"])
def test_bytes_do_not_depend_on_the_images_beside_nor_on_their_order(model, net):
    chosen = {"nafnet": net, "swinir": SwinIR(img_size=16, window_size=4, depths=(1,), embed_dim=8, num_heads=(2,)).eval()}
    run = partial(restore_many, model=chosen.get(model, model))
    many = images(11, 17, 16)
    whole = run(many)
    order = torch.randperm(len(many), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = run([many[number] for number in order])
    parts = run(many[:4]) + run(many[4:])
    for number, place in enumerate(order):
        assert np.array_equal(whole[place], shuffled[number])
    assert all(map(np.array_equal, whole, parts))
    floats = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in many]
    for batch in (1, 2, 5):
        for one, other in zip(run(floats, batch=batch), run(floats), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_failure_is_told_with_its_number_and_harms_no_other():
    bad = images()
    bad[2][:] = 0
    bad[3] = np.zeros((0, 4, 3), np.uint8)
    kept = restore_many([*bad, "absent.png"], Counting(), errors="keep")
    assert [isinstance(result, Exception) for result in kept] == [False, False, True, True, False, True]
    assert "black corner" in str(kept[2]) and isinstance(kept[3], ImageError) and isinstance(kept[5], FileNotFoundError)
    assert np.array_equal(kept[4], restore(bad[4], Counting()))
    with pytest.raises(RuntimeError, match="black corner") as caught:
        restore_many(bad, Counting())
    if sys.version_info >= (3, 11):
        assert "image 2" in caught.value.__notes__[0]


def test_images_are_restored_as_they_come_and_few_are_held():
    taken = []

    def source():
        for number, image in enumerate([*images(1, 5, 5), *images(60)]):
            taken.append(number)
            yield image

    stream = restore_iter(source(), Counting(), window=8)
    next(stream)
    assert len(taken) <= 8  # the first waited no longer for one of its size
    assert sum(1 for _ in stream) == 60
    single = restore_iter(source(), Counting(), batch=1)
    taken.clear()
    next(single)
    assert len(taken) == 1


def test_progress_counts_images_and_can_end_the_work():
    seen = []
    restore_many(images(3, 70, 70), Counting(), progress=lambda *args: seen.append(args))
    assert seen == [(0, 3, "restore"), (1, 3, "restore"), (2, 3, "restore"), (3, 3, "restore")]
    with pytest.raises(Cancelled, match="cancelled after 2 of 5"):
        restore_many(images(5, 70, 70), Counting(), progress=lambda done, total, stage: done < 2)


class Noisy(nn.Module):
    """Adds random numbers."""

    spec = NetSpec()

    def forward(self, image):
        return image / 2 + torch.rand(image.shape, dtype=image.dtype) / 4


class Foreign(nn.Module):
    """Doubles, and tells nothing of itself."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[int, ...]] = []
        self.eval()

    def forward(self, image):
        self.calls.append(tuple(image.shape))
        return image.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_seeds_come_from_the_item_and_not_from_its_place():
    restorer = Restorer(lambda x: Noisy()(x), spec=NetSpec(), seed=7)
    first, second = (to_picture(image) for image in images(2))
    forth = {result.key: result.picture.color for result in restorer.stream([("a", first, "a"), ("b", second, "b")])}
    back = {result.key: result.picture.color for result in restorer.stream([("b", second, "b"), ("a", first, "a")])}
    assert torch.equal(forth["a"], back["a"]) and torch.equal(forth["b"], back["b"])
    expected = restore(first, Noisy(), seed=item_seed(7, "a")).color
    assert torch.equal(forth["a"], expected)
    assert torch.equal(restorer.restore(first).color, restore(first, Noisy(), seed=7).color)


def test_the_scale_of_a_foreign_network_is_found_once():
    net = Foreign()
    restored = restore_many(images(12), net)
    assert restored[0].shape == (40, 48, 3)
    assert net.calls == [(1, 3, 20, 24), (9, 3, 20, 24), (9, 3, 20, 24)]
    net.calls.clear()
    restore_many(images(3), net, seed=1)  # it might draw numbers
    assert [shape[0] for shape in net.calls] == [1, 1, 1, 1]


def test_auto_loads_each_model_once(monkeypatch):
    from restoralib.batch import restorer as module

    loaded = []
    find = module.find_model
    monkeypatch.setattr(module, "find_model", lambda model: loaded.append(model) or find(model))
    many = [image // 2 for image in images(3, 12, 12)]
    run = Restorer("auto", prompt="twice as large")
    results = list(run.stream([(number, to_picture(image), number) for number, image in enumerate(many)]))
    assert loaded == ["auto", "sr2"]
    assert all(result.picture.color.shape == (3, 24, 24) for result in results)


def test_models_brought_for_auto_are_loaded_once(checkpoint, monkeypatch):
    many = images(2, 12, 12)
    restored = restore_many(many, prompt="remove the rain", models={"derain": str(checkpoint)})
    expected = restore(many[0], str(checkpoint))
    assert np.array_equal(restored[0], expected)


def test_what_does_not_fit_is_not_tried_again():
    class Small(Counting):
        def forward(self, image):
            self.calls.append(len(image))
            if len(image) > 4:
                raise MemoryError
            return image

    net = Small()
    restore_many(images(18), net)
    assert net.calls == [9, 4, 4, 1, 4, 4, 4]


def test_it_is_pickled_without_what_it_loaded(checkpoint, tmp_path, net):
    restorer = Restorer(str(checkpoint), seed=3, tile=64)
    image = images(1)[0]
    expected = restorer.restore(to_picture(image)).color
    data = pickle.dumps(restorer)
    assert len(data) < 2000
    (tmp_path / "restorer.pickle").write_bytes(data)
    np.save(tmp_path / "image.npy", image)
    code = """
import pickle, sys, numpy as np, torch
torch.set_num_threads(1)
from restoralib.images import to_picture
restorer = pickle.loads(open(sys.argv[1] + "/restorer.pickle", "rb").read())
assert not torch.cuda.is_initialized()
image = np.load(sys.argv[1] + "/image.npy")
np.save(sys.argv[1] + "/restored.npy", restorer.restore(to_picture(image)).color.numpy())
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert np.array_equal(np.load(tmp_path / "restored.npy"), expected.numpy())
    again = pickle.loads(pickle.dumps(Restorer(net)))
    torch.testing.assert_close(again.restore(to_picture(image)).color, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Restorer("sr2", batch=0), "batch should be at least 1"),
        (lambda: Restorer("sr2", seed=0.5), "seed should be a whole number"),
        (lambda: restore_iter([], "sr2", errors="hide"), "'raise' or 'keep'"),
        (lambda: restore_iter([], "sr2", window=0), "window should be at least 1"),
        (lambda: restore_iter([], Restorer("sr2"), batch=2), "a Restorer has its options"),
        (lambda: restore_many([], "sr22"), "did you mean sr2"),
    ],
)
def test_wrong_arguments_are_told_at_once(call, words):
    with pytest.raises(ValueError, match=words):
        call()
