"""restore(image, "auto"): what is seen is undone where there are weights, what is not seen is left alone, at any size."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from test_bundled import photograph
from torch import nn

from restoralib import restore, zoo
from restoralib.archs import NetSpec
from restoralib.blocks.degradation_prompt import DEGRADATIONS
from restoralib.degradations import JPEG, GaussianNoise
from restoralib.metrics import psnr
from restoralib.restoration import Cancelled, estimate
from restoralib.restoration.auto import Auto, cut


class Says(nn.Module):
    """A classifier that sees the degradations that it is told, and counts the pixels that it is shown."""

    def __init__(self, *tasks):
        super().__init__()
        self.tasks, self.pixels = tasks, 0

    def forward(self, image):
        self.pixels += image.numel() // 3
        logits = torch.tensor([4.0 if name in self.tasks else -4.0 for name in DEGRADATIONS])
        return logits.expand(len(image), -1)


class Shift(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by, self.spec = by, NetSpec()

    def forward(self, image):
        return image + self.by


def test_nothing_seen_leaves_every_kind_of_image_as_it_was(tmp_path):
    calm = Auto(classifier=Says())
    for image in (
        torch.rand(3, 1, 1),
        torch.rand(2, 4, 5, 7),
        torch.rand(9, 8),
        (torch.rand(1, 6, 6) * 255).to(torch.uint8),
        torch.rand(3, 6, 6, dtype=torch.float64),
    ):
        assert torch.equal(restore(image, calm), image)
    levels = np.arange(60, dtype=np.uint16).reshape(5, 4, 3) * 1000
    assert np.array_equal(restore(levels, calm), levels)
    Image.fromarray(np.full((5, 4, 4), 77, np.uint8)).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(restore(tmp_path / "a.png", calm)), np.full((5, 4, 4), 77))
    assert restore(torch.rand(4, 5, 5), calm, alpha="drop").shape == (3, 5, 5)


def test_what_is_seen_is_undone_one_after_the_other_and_what_has_no_weights_is_named(caplog, monkeypatch):
    monkeypatch.setitem(zoo.TASKS, "derain", None)
    image = torch.rand(3, 9, 9) / 2
    auto = Auto({"denoise": Shift(0.1), "dehaze": lambda x: x * 2}, Says("dehaze", "denoise", "derain"))
    with caplog.at_level(logging.INFO, "restoralib.restoration"), pytest.warns(UserWarning, match=r"auto sees derain \(98%\)"):
        restored = restore(image, auto)
    torch.testing.assert_close(restored, ((image + 0.1) * 2).clamp(max=1))  # noise first, haze last
    assert any("auto sees denoise (98%), dehaze (98%)" in record.message for record in caplog.records)
    with pytest.warns(
        UserWarning,
        match=r"derain \(98%\), which is left: no weights for 'derain' are bundled; .* --models derain=PATH",
    ):
        assert torch.equal(restore(image, Auto(classifier=Says("derain"))), image)
    assert torch.equal(restore(image, Auto(classifier=Says("derain")), models={"derain": Shift(0)}), image)


def test_each_image_of_a_batch_is_judged_by_itself():
    class Dark(nn.Module):
        def forward(self, image):
            dark = (image.mean((1, 2, 3)) < 0.3).float()[:, None]
            return torch.where(torch.tensor([name == "low_light" for name in DEGRADATIONS]), 8 * dark - 4, -4.0)

    batch = torch.stack([torch.full((4, 6, 6), 0.1), torch.full((4, 6, 6), 0.5)])
    restored = restore(batch, Auto({"low_light": Shift(0.25)}, Dark()))
    torch.testing.assert_close(restored[0, :3], torch.full((3, 6, 6), 0.35))
    assert torch.equal(restored[1], batch[1]) and torch.equal(restored[:, 3], batch[:, 3])


def test_words_that_name_nothing_go_by_the_image_less_what_is_to_stay():
    image, models = torch.rand(3, 9, 9) / 2, {"denoise": Shift(0.1), "dehaze": Shift(0.2)}
    auto = Auto(models, Says("dehaze", "denoise"))
    torch.testing.assert_close(restore(image, auto, prompt="improve this photo"), image + 0.3)
    torch.testing.assert_close(restore(image, auto, prompt="improve this photo but keep the grain"), image + 0.2)
    torch.testing.assert_close(restore(image, auto, prompt="denoise"), image + 0.1)


@pytest.mark.parametrize("size", [(1, 1), (511, 512), (3000, 200), (1, 300_000), (2000, 3001)])
def test_of_large_images_nine_pieces_are_looked_at(size):
    says = Says()
    pieces = list(cut(torch.zeros(1, 1, 1, 1).expand(1, 3, *size)))
    assert len(pieces) <= 9 and all(piece.shape[-1] <= max(512, 256) or size[0] == 1 for piece in pieces)
    estimate(torch.zeros(1, 1, 1).expand(3, *size), says)
    seen = says.pixels / 2  # each piece is mirrored, too
    assert seen <= max(512 * 512, 9 * 256 * 256) and seen <= size[0] * size[1]
    if size == (2000, 3001):  # the corners are seen
        assert pieces[0].storage_offset() == 0 and len(pieces) == 9


def test_progress_is_told_and_can_end_the_work():
    seen = []
    image, auto = torch.rand(3, 9, 9), Auto({"denoise": Shift(0), "dehaze": Shift(0)}, Says("denoise", "dehaze"))
    restore(image, auto, progress=lambda *news: seen.append(news))
    assert seen == [
        (0, 1, "denoise: restore"),
        (1, 1, "denoise: restore"),
        (0, 1, "dehaze: restore"),
        (1, 1, "dehaze: restore"),
    ]
    seen.clear()
    restore(image, Auto(classifier=Says()), progress=lambda *news: seen.append(news))
    assert seen == [(0, 1, "restore"), (1, 1, "restore")]
    with pytest.raises(Cancelled):
        restore(image, Auto(classifier=Says()), progress=lambda *news: False)


def test_wrong_arguments_are_refused_where_nothing_has_to_be_done():
    calm, image = Auto(classifier=Says()), torch.rand(3, 9, 9)
    with pytest.raises(ValueError, match="unknown device 'toaster'"):
        restore(image, calm, device="toaster")
    with pytest.raises(ValueError, match="unknown dtype float31"):
        restore(image, calm, dtype="float31")
    with pytest.raises(ValueError, match="tile should be"):
        restore(image, calm, tile=(1, 2, 3))
    with pytest.raises(ValueError, match="auto tells the degradations of grey and RGB images, got the shape"):
        restore(torch.rand(5, 9, 9), calm)
    with pytest.raises(TypeError, match=r"pass it to restore\(\)"):
        calm(image)


# The bundled classifier


def test_auto_is_the_bundled_classifiers_task():
    assert zoo.TASKS["auto"] == "degradation_classifier" and zoo.model_info("degradation_classifier").role == "classifier"
    assert zoo.BUNDLED["degradation_classifier"].file.stat().st_size <= 300_000
    with pytest.raises(ValueError, match=r"DegradationClassifier restores no image by itself: it tells which degradations"):
        restore(torch.rand(3, 9, 9), "degradation_classifier")


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png"])
def test_a_clean_photograph_comes_back_and_a_noisy_one_gains(name):
    clean = photograph(name)[..., :256, :256]
    assert psnr(restore(clean, "auto"), clean) > 40
    noisy = GaussianNoise(25.0, rounds=True)(clean)
    assert psnr(restore(noisy), clean) > psnr(noisy, clean) + 8


@pytest.mark.parametrize(
    ("task", "degradation"), [("denoise", GaussianNoise(15.0)), ("jpeg", JPEG(15)), (None, lambda clean: clean)]
)
def test_degradations_of_a_photograph_are_told(task, degradation):
    chances = estimate(degradation(photograph("chelsea.png")[..., :256, :256]))
    assert tuple(chances) == DEGRADATIONS
    assert {name for name, chance in chances.items() if chance > 0.5} == ({task} if task else set())


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (33, 17), (700, 900)])
def test_any_size_is_estimated(size):
    chances = estimate(torch.full((1, *size), 0.5))
    assert all(0 < chance < 1 for chance in chances.values())


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (33, 7)])
def test_of_what_is_too_small_to_tell_nothing_is_claimed(size):
    image = torch.rand(3, *size)
    assert estimate(image) == dict.fromkeys(DEGRADATIONS, 0.0)
    assert torch.equal(restore(image), image)
    assert estimate(image, Says("jpeg"))["jpeg"] > 0.9  # another classifier may know better
