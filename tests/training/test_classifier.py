"""The classifier's recipe: what it draws, how it counts, and that it learns."""

import json

import pytest
import torch
from PIL import Image

from restoralib.archs import DegradationClassifier
from restoralib.blocks.degradation_prompt import DEGRADATIONS
from restoralib.metrics import psnr
from restoralib.training import classifier
from restoralib.training.classifier import (
    ORDER,
    best_shift,
    draw_piece,
    draw_tasks,
    f1_scores,
    gather_evidence,
    judged,
    labels,
    mirrored,
    settle_norms,
    standardise,
    sure_levels,
)

SMALL = {"spectral": (2, 3), "cellular": (3, 2), "numbers": 4, "hidden": 5}


def photographs(count=3, side=64):
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(3, side, side + 5, generator=generator) * 255).to(torch.uint8) for _ in range(count)]


def test_tasks_come_in_the_order_of_a_photographs_making_and_no_siblings_together():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_tasks(2, generator) for _ in range(300)]
    assert all(ORDER.index(first) < ORDER.index(second) for first, second in drawn)
    assert not {("denoise_real", "denoise"), ("deblur", "defocus")} & set(drawn) and len(set(drawn)) == 34
    assert sorted(ORDER) == sorted(DEGRADATIONS)


def test_pieces_are_spoilt_and_labelled_and_the_same_for_the_same_generator():
    images, seen = photographs(), set()
    for seed in range(12):
        piece, label = draw_piece(images, 40, torch.Generator().manual_seed(seed))
        assert piece.shape == (3, 40, 40) and piece.dtype == torch.uint8 and label.shape == (9,)
        assert set(label.tolist()) <= {0.0, 1.0}
        again, _ = draw_piece(images, 40, torch.Generator().manual_seed(seed))
        assert torch.equal(piece, again)
        seen.add(int(label.sum()))
    assert seen == {0, 1, 2}


def test_evidence_is_gathered_and_gone_on_with(tmp_path, monkeypatch):
    net, images, file = DegradationClassifier(**SMALL), photographs(), tmp_path / "evidence.pt"
    monkeypatch.setattr(classifier, "_CHUNK", 2)
    whole = gather_evidence(net, images, 5, 40, 3)
    assert [part.shape[1:] for part in whole] == [(7, 32, 17), (9, 5, 5), (416,), (9,)]
    assert {len(part) for part in whole} == {5} and {part.dtype for part in whole} == {torch.float16}
    piece, label = draw_piece(images, 40, torch.Generator().manual_seed(3 * 1_000_003 + 4))
    torch.testing.assert_close(whole[2][4], net.evidence(piece[None].float() / 255)[2][0].half())
    assert torch.equal(whole[3][4], label.half())
    gather_evidence(net, images, 3, 40, 3, file)
    with monkeypatch.context() as patch:
        drawn = []
        patch.setattr(classifier, "draw_piece", lambda *given: drawn.append(1) or draw_piece(*given))
        again = gather_evidence(net, images, 5, 40, 3, file)
    assert len(drawn) == 2 and all(torch.equal(*both) for both in zip(whole, again, strict=True))
    with pytest.raises(ValueError, match=r"has evidence of a run with .*'seed': 3.*; name another file"):
        gather_evidence(net, images, 5, 40, 4, file)


def test_evidence_of_mirrored_images_needs_no_measuring():
    net, image = DegradationClassifier(**SMALL), torch.rand(2, 3, 56, 80, dtype=torch.float64)
    spectra, cells, _ = net.evidence(image)
    expected = net.evidence(image.flip(-1))
    for got, mirror in zip(mirrored(spectra, cells), expected, strict=False):
        torch.testing.assert_close(got, mirror)


def test_evidence_is_brought_to_mean_0_and_spread_1():
    net = DegradationClassifier(**SMALL)
    evidence = net.evidence(torch.rand(6, 3, 60, 84) * torch.linspace(0.2, 1, 6)[:, None, None, None])
    standardise(net, *evidence)
    spectra, standard = net.judge.spectral_standard(evidence[0]), net.judge.cellular_standard
    cells = (evidence[1] - standard.mean) / standard.spread
    torch.testing.assert_close(spectra.mean(0), torch.zeros(7, 32, 17), atol=1e-3, rtol=0)
    torch.testing.assert_close(cells.std((0, 2, 3)), torch.ones(9), atol=1e-3, rtol=0)
    torch.testing.assert_close(spectra.std(0), torch.ones(7, 32, 17), atol=1e-3, rtol=0)


def test_f1_counts_hits_and_misses():
    logits = torch.tensor([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(f1_scores(logits, targets), torch.tensor([0.8, 0.0, 0.0]))
    counted = torch.tensor([[True] * 3, [True] * 3, [False] * 3])
    torch.testing.assert_close(f1_scores(logits, targets, counted), torch.tensor([1.0, 0.0, 0.0]))


def test_the_shift_finds_the_threshold():
    logits = torch.tensor([[-2.0], [-1.6], [-3.0], [-4.0]])
    targets = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    shift = best_shift(logits, targets)
    assert 2.0 < shift < 3.0 and f1_scores(logits + shift, targets) == 1


def test_photographs_are_judged_clean_with_each_degradation_and_with_pairs():
    examples = list(judged(photographs(1), seed=0, pairs=2))
    assert [len(tasks) for _, tasks, _ in examples] == [0] + [1] * 9 + [2] * 2
    image, tasks, (left,) = examples[1]
    assert tasks == ("denoise",) and left == pytest.approx(psnr(image, examples[0][0]).item(), abs=0.5)
    assert all(len(tasks) == len(strengths) for _, tasks, strengths in examples)
    assert torch.equal(examples[0][0][0], photographs(1)[0].float() / 255)
    assert labels(("jpeg",)).nonzero().item() == DEGRADATIONS.index("jpeg")


def test_sure_is_what_half_of_the_right_answers_are():
    logits, targets = torch.full((6, 9), -1.0), torch.zeros(6, 9)
    logits[:, 0] = torch.tensor([3.0, 4.0, 5.0, 6.0, 7.0, 9.0])
    targets[:5, 0] = 1
    levels = sure_levels(logits, targets)
    assert tuple(levels) == DEGRADATIONS and levels["denoise"] == pytest.approx(torch.tensor(5.0).sigmoid().item(), abs=1e-4)
    assert set(list(levels.values())[1:]) == {0.95}


def test_norms_are_settled_on_batches():
    judge = DegradationClassifier(**SMALL).eval().judge
    evidence = [DegradationClassifier(**SMALL).evidence(torch.rand(4, 3, 32, 40)) for _ in range(3)]
    settle_norms(judge, evidence)
    assert not any(module.training for module in judge.modules())
    assert judge.norm.num_batches_tracked == 3 and judge.norm.running_mean.abs().sum() > 0


@pytest.mark.slow
def test_the_recipe_writes_weights_and_measures_them(tmp_path, monkeypatch):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, image in enumerate(photographs(3, 120)):
        Image.fromarray(image.movedim(0, -1).numpy()).save(folder / f"{number}.png")
    out, figures = tmp_path / "net.safetensors", tmp_path / "figures.json"
    arguments = [
        folder,
        "--out",
        out,
        "--steps",
        2,
        "--batch",
        4,
        "--patch",
        48,
        "--pieces",
        6,
        "--every",
        1,
        "--device",
        "cpu",
    ]
    classifier.main([str(argument) for argument in [*arguments, "--measure", folder, "--figures", figures]])
    assert out.stat().st_size < 300_000
    (measured,) = json.loads(figures.read_text())["degradation_classifier"].values()
    assert {f"F1 of {name}" for name in DEGRADATIONS} < measured.keys()
