"""The classifier's recipe: what it draws, how it counts, and that it learns."""

import json

import pytest
import torch
from PIL import Image

from restoralib.archs import DegradationClassifier
from restoralib.blocks.degradation_prompt import DEGRADATIONS
from restoralib.training import classifier
from restoralib.training.classifier import ORDER, best_shift, draw_batch, draw_tasks, f1_scores, judged, labels, settle_norms


def photographs(count=3, side=64):
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(3, side, side + 5, generator=generator) * 255).to(torch.uint8) for _ in range(count)]


def test_tasks_come_in_the_order_of_a_photographs_making_and_no_siblings_together():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_tasks(2, generator) for _ in range(300)]
    assert all(ORDER.index(first) < ORDER.index(second) for first, second in drawn)
    assert not {("denoise_real", "denoise"), ("deblur", "defocus")} & set(drawn) and len(set(drawn)) == 34
    assert sorted(ORDER) == sorted(DEGRADATIONS)


def test_batches_are_patches_with_labels_and_the_same_for_the_same_generator():
    images = photographs()
    patches, targets = draw_batch(images, 32, 8, torch.Generator().manual_seed(5))
    assert patches.shape == (8, 3, 32, 32) and targets.shape == (8, 9) and set(targets.flatten().tolist()) <= {0.0, 1.0}
    assert patches.isfinite().all() and patches.min() >= 0 and patches.max() <= 1
    again, _ = draw_batch(images, 32, 8, torch.Generator().manual_seed(5))
    assert torch.equal(patches, again)
    assert targets.sum(1).max() <= 2


def test_f1_counts_hits_and_misses():
    logits = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(f1_scores(logits, targets), torch.tensor([0.8, 0.0, 0.0]))


def test_the_shift_finds_the_threshold():
    logits = torch.tensor([[-2.0], [-1.6], [-3.0], [-4.0]])
    targets = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    shift = best_shift(logits, targets)
    assert 2.0 < shift < 3.0 and f1_scores(logits + shift, targets) == 1


def test_photographs_are_judged_clean_with_each_degradation_and_with_pairs():
    examples = list(judged(photographs(1), seed=0, pairs=2))
    assert [len(tasks) for _, tasks in examples] == [0] + [1] * 9 + [2] * 2
    assert torch.equal(examples[0][0][0], photographs(1)[0].float() / 255)
    assert labels(("jpeg",)).nonzero().item() == DEGRADATIONS.index("jpeg")


def test_norms_are_settled_on_batches():
    net = DegradationClassifier(widths=(3, 4)).eval()
    settle_norms(net, [torch.rand(4, 3, 16, 16) for _ in range(3)])
    assert not net.training and net.norm.num_batches_tracked == 3 and net.norm.running_mean.abs().sum() > 0


@pytest.mark.slow
def test_the_recipe_writes_weights_and_measures_them(tmp_path, monkeypatch):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, image in enumerate(photographs(3, 120)):
        Image.fromarray(image.movedim(0, -1).numpy()).save(folder / f"{number}.png")
    out, figures = tmp_path / "net.safetensors", tmp_path / "figures.json"
    arguments = [folder, "--out", out, "--steps", 2, "--batch", 4, "--patch", 48, "--every", 1, "--device", "cpu"]
    classifier.main([str(argument) for argument in [*arguments, "--measure", folder, "--figures", figures]])
    assert out.stat().st_size < 300_000
    (measured,) = json.loads(figures.read_text())["degradation_classifier"].values()
    assert {f"F1 of {name}" for name in DEGRADATIONS} < measured.keys()
