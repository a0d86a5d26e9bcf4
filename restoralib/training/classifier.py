"""The degradation classifier: which of the nine degradations a photograph shows.

    python -m restoralib.training.classifier PHOTOGRAPHS --out classifier.safetensors
    python -m restoralib.training.classifier PHOTOGRAPHS --out classifier.safetensors --measure OTHER_PHOTOGRAPHS

Pieces at their own resolution, or somewhat enlarged, get no degradation, one or two, in the order in which a scene meets
them: air, lens, light, sensor, file. Two that can hardly be told apart (noise and a camera's noise, blur of motion and of
focus) do not come together. Files that were saved as JPEG of quality 88 and more, and noise of two levels or less, count as
clean. What the network measures of a piece is not learned, so it is measured once for all steps, and kept in the file of
`--evidence`, from which a run that was stopped goes on. At the end the logits are shifted so that 0 is where the held-out
photographs are told best. With `--measure`, other photographs are judged; a run whose file is there is not trained again.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.archs.degradation_classifier import VARIANTS, DegradationClassifier
from restoralib.blocks.degradation_prompt import DEGRADATIONS
from restoralib.checkpoints import load_model
from restoralib.data.photographs import random_corner, random_integer, read_photographs, split
from restoralib.degradations import JPEG, GaussianNoise, draw_task
from restoralib.degradations.degradation import uniform
from restoralib.metrics.psnr import psnr
from restoralib.ops.levels import nearest_levels, round_to_levels
from restoralib.ops.resize import resize
from restoralib.restoration.auto import Auto, tell
from restoralib.restoration.door import restore
from restoralib.training.export import export_weights
from restoralib.training.loop import Schedule, save_atomically
from restoralib.training.options import large_photographs, parse_recipe, recipe_parser, train_recipe

logger = logging.getLogger(__name__)

ORDER = ("dehaze", "derain", "deblur", "defocus", "low_light", "demoire", "denoise_real", "denoise", "jpeg")
"""The degradations in the order in which they befall a photograph."""

_SIBLINGS = ({"denoise", "denoise_real"}, {"deblur", "defocus"})
_HARD = ("deblur", "defocus", "dehaze", "demoire")
_MARGIN, _WIDE = 16, 96  # a piece is cut from one that is spoilt and larger by this: at any place of the blocks of 8x8
_SEEN = 40.0  # dB; "auto" must leave clean photographs at as much
_CHUNK = 250  # pieces between two writings of the evidence


def draw_tasks(count: int, generator: torch.Generator, hard: float = 1.0) -> tuple[str, ...]:
    """Draw degradations that may come together, in the order in which they befall a photograph.

    Args:
        count: how many.
        generator: source of all randomness.
        hard: how many times as likely as the others those are that are hardest to tell.
    """
    chances = torch.tensor([hard if name in _HARD else 1.0 for name in DEGRADATIONS])
    while True:
        places = torch.multinomial(chances, max(count, 1), generator=generator)[:count]
        drawn = {DEGRADATIONS[place] for place in places.tolist()}
        if not any(siblings <= drawn for siblings in _SIBLINGS):
            return tuple(task for task in ORDER if task in drawn)


def spoil(clean: Tensor, tasks: Iterable[str], generator: torch.Generator) -> Tensor:
    """Spoil clean images (b, 3, h, w) by degradations that are drawn for these tasks, and round them to 8 bits."""
    for task in tasks:
        clean = draw_task(task, generator)(clean)
    return round_to_levels(clean.clamp(0, 1))


def labels(tasks: Iterable[str]) -> Tensor:
    """(9,) of ones where a degradation is among the tasks."""
    return torch.tensor([float(name in set(tasks)) for name in DEGRADATIONS])


def draw_piece(
    photographs: Sequence[Tensor], side: int, generator: torch.Generator, hard: float = 1.0
) -> tuple[Tensor, Tensor]:
    """A spoilt piece (3, side, side) of a photograph, uint8, and its labels (9,).

    Half of the photographs are enlarged first, by up to 1.8: those of the recipe are reduced ones, sharper than a camera's.
    Small ones are enlarged until they hold a piece. Some have been saved as JPEG before, or have a little noise.

    Args:
        photographs: clean ones (3, h, w), uint8.
        side: of the piece.
        generator: source of all randomness.
        hard: as in `draw_tasks`.
    """
    weights = torch.tensor([float(photograph[0].numel()) for photograph in photographs]).sqrt()
    photograph = photographs[int(torch.multinomial(weights, 1, generator=generator))]
    whole = side + (_WIDE if _happens(0.3, generator) else _MARGIN)
    zoom = uniform(1.0, 1.8, generator) if _happens(0.5, generator) else 1.0
    zoom = max(zoom, whole / min(photograph.shape[1:]))
    small = min(math.ceil(whole / zoom), *photograph.shape[1:])
    top, left = random_corner(photograph, small, generator)
    clean = photograph[None, :, top : top + small, left : left + small].float() / 255
    if _happens(0.5, generator):
        clean = clean.flip(-1)  # not upside down: haze is far, and far is up
    if zoom > 1:
        sharp = _happens(0.5, generator)
        size = (whole, whole)
        clean = (resize(clean, size=size) if sharp else F.interpolate(clean, size, mode="bilinear")).clamp(0, 1)
    if _happens(0.05, generator):
        clean = clean.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    if _happens(0.3, generator):
        clean = GaussianNoise.draw(generator, sigma=(0.0, 2.0))(clean).clamp(0, 1)
    if _happens(0.3, generator):
        clean = JPEG(88 + random_integer(11, generator))(clean)
    clean = round_to_levels(clean)
    many = int(torch.multinomial(torch.tensor([0.2, 0.45, 0.35]), 1, generator=generator))
    tasks = draw_tasks(many, generator, hard)
    spoilt = spoil(clean, tasks, generator)
    if "jpeg" not in tasks and _happens(0.25, generator):
        spoilt = JPEG(90 + random_integer(10, generator))(spoilt)
    top, left = random_corner(spoilt[0], side, generator)
    return nearest_levels(spoilt[0, :, top : top + side, left : left + side]).to(torch.uint8), labels(tasks)


def _happens(chance: float, generator: torch.Generator) -> bool:
    return uniform(0.0, 1.0, generator) < chance


@torch.inference_mode()
def gather_evidence(
    net: DegradationClassifier,
    photographs: Sequence[Tensor],
    count: int,
    side: int,
    seed: int,
    file: Path | None = None,
    hard: float = 1.0,
) -> list[Tensor]:
    """What the network measures of spoilt pieces, and their labels: tensors of `count` items each, in half precision.

    Args:
        net: its `evidence` is taken.
        photographs: as for `draw_piece`.
        count: pieces.
        side: of a piece.
        seed: piece n depends on the seed and n alone.
        file: where what is measured is kept; read where it exists.
        hard: as in `draw_tasks`.

    Raises:
        ValueError: the file is of another run.
    """
    made = {"side": side, "seed": seed, "hard": hard, "photographs": len(photographs)}
    rows: list[tuple[Tensor, ...]] = []
    if file is not None and file.exists():
        kept = torch.load(file, weights_only=True)
        if kept["made"] != made:
            raise ValueError(f"{file} has evidence of a run with {kept['made']}, this one has {made}; name another file")
        rows.append(kept["rows"])
    done = sum(len(chunk[0]) for chunk in rows)
    while done < count:
        chunk = []
        for number in range(done, min(done + _CHUNK, count)):
            piece, label = draw_piece(photographs, side, torch.Generator().manual_seed(seed * 1_000_003 + number), hard)
            chunk.append((*(part.half() for part in net.evidence(piece[None].float() / 255)), label[None].half()))
        rows = [tuple(torch.cat(parts) for parts in zip(*rows, *chunk, strict=True))]
        done = len(rows[0][0])
        if file is not None:
            save_atomically({"made": made, "rows": rows[0]}, file)
        logger.info("measured %d of %d pieces", done, count)
    return [part[:count] for part in rows[0]]


Example = tuple[Tensor, tuple[str, ...], tuple[float, ...]]
"""A spoilt image (1, 3, h, w), its tasks, and for each of them the PSNR in dB that is left by that degradation alone."""


def judged(photographs: Iterable[Tensor], seed: int, *, pairs: int = 9) -> Iterator[Example]:
    """Each photograph clean, with each degradation alone and with pairs of them."""
    for number, photograph in enumerate(photographs):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        drawn = [(), *((task,) for task in DEGRADATIONS), *(draw_tasks(2, generator) for _ in range(pairs))]
        for tasks in drawn:
            image, strengths = photograph[None].float() / 255, []
            for task in tasks:
                before, image = image, draw_task(task, generator)(image)
                strengths.append(psnr(image.clamp(0, 1), before.clamp(0, 1)).item())
            yield round_to_levels(image.clamp(0, 1)), tasks, tuple(strengths)


def f1_scores(logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
    """F1 of each class, 2 TP / (2 TP + FP + FN), where a logit above 0 says yes: (n, k) twice -> (k,).

    `counted`, of the same shape, is false where an answer is not judged.
    """
    said, true = logits > 0, targets > 0.5
    counted = torch.ones_like(said) if counted is None else counted
    hits = 2 * (said & true & counted).sum(0)
    return hits / (hits + ((said ^ true) & counted).sum(0)).clamp_min(1)


def best_shift(logits: Tensor, targets: Tensor) -> Tensor:
    """What to add to the logits (n, k) so that the F1 of each class is the largest that these examples allow: (k,)."""
    shifts = torch.linspace(-4, 4, 81)
    scores = torch.stack([f1_scores(logits + shift, targets) for shift in shifts])
    # Of shifts that do equally well, the one in the middle.
    best = scores >= scores.amax(0) - 1e-9
    return (shifts[:, None] * best).sum(0) / best.sum(0)


def standardise(net: DegradationClassifier, *evidence: Tensor) -> None:
    """Let the network take its evidence less the means and over the spreads of these examples."""
    standards = (net.judge.spectral_standard, net.judge.cellular_standard, net.judge.numbers_standard)
    for standard, part in zip(standards, evidence, strict=True):
        axes = (0, 2, 3) if standard is net.judge.cellular_standard else (0,)
        spread, mean = torch.std_mean(part.float(), axes, keepdim=True)
        standard.mean.copy_(mean[0])
        standard.spread.copy_(spread[0].clamp_min(1e-3))


def mirrored(spectra: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """The spectra and cells of mirrored images: frequencies down change their sign against those across."""
    below = spectra[:, :, 1:].flip(2)  # -16 is its own opposite
    return torch.cat([spectra[:, :, :1], below], 2), cells.flip(-1)


def sure_levels(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """The chance above which "auto" acts: that of the surer half of what is rightly seen, and 0.95 at least.

    Args:
        logits: (n, 9) of held-out examples.
        targets: their labels.
    """
    levels = {}
    for task, said, true in zip(DEGRADATIONS, logits.T, targets.T > 0.5, strict=True):
        right = said[true & (said > 0)]
        level = right.quantile(0.5).sigmoid().item() if len(right) else 0.0
        levels[task] = max(round(level, 4), 0.95)
    return levels


@torch.no_grad()
def settle_norms(net: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Take the statistics of the norms anew from batches, for averaged weights have none of their own."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for batch in batches:
        net(*batch)
    net.eval()


@torch.inference_mode()
def judge(net: nn.Module, examples: Iterable[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, as "auto" takes them, labels, and PSNRs of the degradations that are there, of examples, each (n, 9)."""
    place = next(net.parameters()).device
    rows = []
    for image, tasks, strengths in examples:
        left = dict(zip(tasks, strengths, strict=True))
        row = (tell(net, image, place)[0].cpu(), labels(tasks), torch.tensor([left.get(task, 0.0) for task in DEGRADATIONS]))
        rows.append(row)
    logits, targets, psnrs = (torch.stack(column) for column in zip(*rows, strict=True))
    return logits, targets, psnrs


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=1_500, batch=64, patch=224)
    parser.add_argument("--pieces", type=int, default=5_000, help="spoilt pieces to learn from, --patch high and wide")
    parser.add_argument("--evidence", type=Path, help="file that keeps what was measured of them (default: beside --out)")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--hard", type=float, default=1.5, help="how many times as often the hardest degradations come")
    parser.add_argument("--measure", nargs="*", type=Path, default=[], help="folders of other photographs, to measure on")
    parser.add_argument(
        "--figures", type=Path, help="file for what was measured (.json), which restoralib.training.bundle reads"
    )
    options = parse_recipe(parser, arguments)
    options.evidence = options.evidence or options.out.with_suffix(".evidence.pt")
    if not options.out.exists():
        _train(options)
    if options.measure:
        photographs = [photograph for folder in options.measure for photograph in read_photographs(folder).values()]
        figures = measure(load_model(options.out), photographs, options.seed + 7)
        for name, value in figures.items():
            logger.info("%s: %s", name, value)
        if options.figures:
            dataset = f"{len(photographs)} photographs ({', '.join(_called(folder) for folder in options.measure)})"
            report = {"degradation_classifier": {f"{dataset}, seed {options.seed + 7}": figures}}
            options.figures.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _called(folder: Path) -> str:
    return folder.parent.name if folder.name in ("HR", "gt") else folder.name


def measure(net: nn.Module, photographs: Sequence[Tensor], seed: int) -> dict[str, float]:
    """How well degradations of photographs are told, and what `restore(…, "auto")` makes of clean ones.

    Every photograph, at most 320x320 of its middle, is judged clean, with each degradation alone and with six pairs. How
    many of each degradation are told, by the PSNR that it leaves, goes to the log.

    Returns:
        "macro-F1" of all, of those that leave less than 40 dB, for more can hardly be seen, of the single ones (the clean among
        them) and of the pairs, "F1 of" each degradation, the share of clean photographs that come back as they were, and the
        least PSNR of those that do not (100 where there are none).
    """
    middles = [middle(photograph, 320) for photograph in photographs]
    logits, targets, psnrs = judge(net, judged(middles, seed, pairs=6))
    pairs = targets.sum(1) == 2
    for task, said, true, left in zip(DEGRADATIONS, logits.T > 0, targets.T > 0.5, psnrs.T, strict=True):
        told = []
        for low, high in itertools.pairwise((-math.inf, 20, 25, 30, math.inf)):
            there = true & (left >= low) & (left < high)
            told.append(f"{int((said & there).sum())}/{int(there.sum())}")
        wrong = f"{int((said & ~true).sum())}/{int((~true).sum())}"
        logger.info("%s: told of PSNR below 20, 25, 30 and above: %s; said of others: %s", task, ", ".join(told), wrong)
    figures = {
        "macro-F1": f1_scores(logits, targets).mean().item(),
        "macro-F1 below 40 dB": f1_scores(logits, targets, psnrs < _SEEN).mean().item(),
        "macro-F1 of single degradations": f1_scores(logits[~pairs], targets[~pairs]).mean().item(),
        "macro-F1 of pairs": f1_scores(logits[pairs], targets[pairs]).mean().item(),
    }
    figures |= {f"F1 of {task}": f1 for task, f1 in zip(DEGRADATIONS, f1_scores(logits, targets).tolist(), strict=True)}
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is seen and has no weights
        for photograph in photographs:
            clean = photograph.float() / 255
            losses.append(psnr(restore(clean, Auto(classifier=net))[None], clean[None]).item())
    changed = [loss for loss in losses if loss < 100]
    figures["share of clean photographs left as they were"] = 1 - len(changed) / len(losses)
    figures["least PSNR of the other clean ones"] = min(changed, default=100.0)
    return {name: round(value, 3) for name, value in figures.items()}


def middle(photograph: Tensor, side: int) -> Tensor:
    """The middle of a photograph (3, h, w), at most `side` high and wide."""
    top, left = (max(0, (length - side) // 2) for length in photograph.shape[1:])
    return photograph[:, top : top + side, left : left + side]


def _train(options: Any) -> None:
    held_out, photographs = split(large_photographs(options, 1), 20)
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    config = dict(VARIANTS["degradation_classifier"].config)
    net = DegradationClassifier(**config)
    evidence = gather_evidence(net, photographs, options.pieces, options.patch, options.seed, options.evidence, options.hard)
    standardise(net, *evidence[:3])
    net = net.to(device)

    def pick(chosen: Tensor) -> tuple[Tensor, ...]:
        return tuple(part[chosen].to(device, torch.float32) for part in evidence)

    def loss(judge: nn.Module, generator: torch.Generator) -> Tensor:
        *seen, targets = pick(torch.randint(len(evidence[0]), (options.batch,), generator=generator))
        if random_integer(2, generator):
            seen[:2] = mirrored(*seen[:2])
        # Some are spoilt by next to nothing, and some that are called clean have a history.
        return F.binary_cross_entropy_with_logits(judge(*seen), 0.98 * targets + 0.01)

    # Held-out pieces have the histories of the others; the degradations are equally likely, as they are where it is measured.
    file = options.evidence.with_suffix(".held_out.pt")
    number = max(options.pieces // 10, 1)
    *measured, expected = gather_evidence(net, held_out, number, options.patch, options.seed + 1, file)
    measured = [part.to(device, torch.float32) for part in measured]
    batches = [torch.arange(start, min(start + 500, len(evidence[0]))) for start in range(0, len(evidence[0]), 500)]

    def judged_logits(judge: nn.Module) -> Tensor:
        settle_norms(judge, (pick(chosen)[:3] for chosen in batches))
        with torch.inference_mode():
            return judge(*measured).cpu()

    def validate(judge: nn.Module) -> float:
        """The best F1 that shifts of the logits allow, for they are shifted in the end."""
        logits = judged_logits(judge)
        return f1_scores(logits + best_shift(logits, expected), expected).mean().item()

    schedule = Schedule(options.steps, rate=options.rate, warmup=50, decay=0.6, betas=(0.9, 0.99), weight_decay=0.01, ema=0.99)
    average = train_recipe(net.judge, loss, schedule, options, validate)
    logits = judged_logits(average)
    shift = best_shift(logits, expected)
    with torch.no_grad():
        average.get_parameter("head.bias").add_(shift.to(device))
    logger.info("macro-F1 of held-out photographs %.3f", f1_scores(logits + shift, expected).mean().item())
    logger.info("levels of restoralib.restoration.auto: %s", sure_levels(logits + shift, expected))
    net.judge.load_state_dict(average.state_dict())
    export_weights(net.eval(), options.out, arch="degradation_classifier", config=config, half=True)


if __name__ == "__main__":
    main()
