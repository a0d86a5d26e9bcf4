"""The degradation classifier: which of the nine degradations a photograph shows.

    python -m restoralib.training.classifier PHOTOGRAPHS --out classifier.safetensors
    python -m restoralib.training.classifier PHOTOGRAPHS --out classifier.safetensors --measure OTHER_PHOTOGRAPHS

Patches at their own resolution get no degradation, one or two, in the order in which a scene meets them: air, lens, light,
sensor, file. Two that can hardly be told apart (noise and a camera's noise, blur of motion and of focus) do not come together.
Files that were saved as JPEG of quality 90 and more, and noise of a level or so, count as clean. At the end the logits are
shifted so that 0 is where the held-out photographs are told best. With `--measure`, other photographs are judged; a run whose
file is there is not trained again.
"""

from __future__ import annotations

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
from restoralib.data.photographs import random_corner, random_integer, random_patches, read_photographs, split
from restoralib.degradations import JPEG, GaussianNoise, draw_task
from restoralib.degradations.degradation import uniform
from restoralib.metrics.psnr import psnr
from restoralib.ops.levels import nearest_levels, round_to_levels
from restoralib.ops.resize import resize
from restoralib.restoration.auto import Auto, tell
from restoralib.restoration.door import restore
from restoralib.training.export import export_weights
from restoralib.training.loop import Schedule
from restoralib.training.options import large_photographs, parse_recipe, recipe_parser, train_recipe

logger = logging.getLogger(__name__)

ORDER = ("dehaze", "derain", "deblur", "defocus", "low_light", "demoire", "denoise_real", "denoise", "jpeg")
"""The degradations in the order in which they befall a photograph."""

_SIBLINGS = ({"denoise", "denoise_real"}, {"deblur", "defocus"})
_HARD = ("deblur", "defocus", "dehaze", "demoire")
_GROUP = 2  # patches with the same degradation, which is cheaper than one each
_WIDE = 208  # side of a region that is spoilt as a whole and then cut
_MARGIN = 16  # a patch is cut at any place of the blocks of 8x8


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


def draw_batch(
    images: Sequence[Tensor],
    patch: int,
    count: int,
    generator: torch.Generator,
    hard: float = 1.0,
    *,
    soften: bool = False,
) -> tuple[Tensor, Tensor]:
    """Spoilt patches (count, 3, patch, patch) and their labels (count, 9).

    Args:
        images: clean photographs (3, h, w), uint8, at least `patch` + 16 high and wide.
        patch: side of a patch.
        count: patches, an even number: two each have the same degradations.
        generator: source of all randomness.
        hard: as in `draw_tasks`.
        soften: enlarge half of the clean patches by up to 1.8 before they are spoilt, for the photographs of the recipe are
            reduced ones, sharper than a camera's.
    """
    patches, targets = [], []
    large = [image for image in images if min(image.shape[1:]) >= _WIDE]
    for _ in range(count // _GROUP):
        wide = bool(large) and patch <= _WIDE // 2 and random_integer(2, generator) == 0
        side, number = (_WIDE, 1) if wide else (patch + _MARGIN, _GROUP)
        zoom = uniform(1.0, 1.8, generator) if soften and random_integer(2, generator) == 0 else 1.0
        clean = random_patches(large if wide else images, math.ceil(side / zoom), number, generator).float() / 255
        if zoom > 1:
            clean = resize(clean, size=(side, side)).clamp(0, 1)
        if random_integer(20, generator) == 0:
            clean = clean.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        many = int(torch.multinomial(torch.tensor([0.15, 0.45, 0.4]), 1, generator=generator))
        tasks = draw_tasks(many, generator, hard)
        spoilt = spoil(clean, tasks, generator)
        if "jpeg" not in tasks and random_integer(4, generator) == 0:
            spoilt = JPEG(90 + random_integer(10, generator))(spoilt)
        if not tasks and random_integer(4, generator) == 0:
            spoilt = round_to_levels(GaussianNoise.draw(generator, sigma=(0.0, 1.5))(spoilt))
        for index in range(_GROUP):
            source = spoilt[0 if wide else index]
            top, left = random_corner(source, patch, generator)
            patches.append(source[:, top : top + patch, left : left + patch])
            targets.append(labels(tasks))
    return torch.stack(patches), torch.stack(targets)


def enlarged(photograph: Tensor) -> Tensor:
    """A photograph (3, h, w), uint8, half as large again, and so as soft as a camera's."""
    height, width = (side * 3 // 2 for side in photograph.shape[1:])
    return nearest_levels(resize(photograph[None].float() / 255, size=(height, width))[0]).to(torch.uint8)


def judged(photographs: Iterable[Tensor], seed: int, *, pairs: int = 9) -> Iterator[tuple[Tensor, tuple[str, ...]]]:
    """Each photograph clean, with each degradation alone and with pairs of them: images (1, 3, h, w) and their tasks."""
    for number, photograph in enumerate(photographs):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        drawn = [(), *((task,) for task in DEGRADATIONS), *(draw_tasks(2, generator) for _ in range(pairs))]
        for tasks in drawn:
            yield spoil(photograph[None].float() / 255, tasks, generator), tasks


def f1_scores(logits: Tensor, targets: Tensor) -> Tensor:
    """F1 of each class, 2 TP / (2 TP + FP + FN), where a logit above 0 says yes: (n, k) twice -> (k,)."""
    said, true = logits > 0, targets > 0.5
    hits = 2 * (said & true).sum(0)
    return hits / (hits + (said ^ true).sum(0)).clamp_min(1)


def best_shift(logits: Tensor, targets: Tensor) -> Tensor:
    """What to add to the logits (n, k) so that the F1 of each class is the largest that these examples allow: (k,)."""
    shifts = torch.linspace(-4, 4, 81)
    scores = torch.stack([f1_scores(logits + shift, targets) for shift in shifts])
    # Of shifts that do equally well, the one in the middle.
    best = scores >= scores.amax(0) - 1e-9
    return (shifts[:, None] * best).sum(0) / best.sum(0)


@torch.no_grad()
def settle_norms(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take the statistics of the norms anew from batches, for averaged weights have none of their own."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    net.train()
    for batch in batches:
        net(batch)
    net.eval()


@torch.inference_mode()
def judge(net: nn.Module, examples: Iterable[tuple[Tensor, tuple[str, ...]]]) -> tuple[Tensor, Tensor]:
    """Logits, as "auto" takes them, and labels of examples, each (n, 9)."""
    place = next(net.parameters()).device
    rows = [(tell(net, image, place)[0].cpu(), labels(tasks)) for image, tasks in examples]
    return torch.stack([logits for logits, _ in rows]), torch.stack([target for _, target in rows])


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe with command-line arguments."""
    parser = recipe_parser(__doc__, steps=1_300, batch=32, patch=96)
    parser.add_argument("--init", type=Path, help="weights to begin from")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--hard", type=float, default=1.0, help="how many times as often the hardest degradations come")
    parser.add_argument("--soften", action="store_true", help="make half of the clean patches as soft as a camera's")
    parser.add_argument("--measure", nargs="*", type=Path, default=[], help="folders of other photographs, to measure on")
    parser.add_argument(
        "--figures", type=Path, help="file for what was measured (.json), which restoralib.training.bundle reads"
    )
    options = parse_recipe(parser, arguments)
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

    Every photograph, at most 320x320 of its middle, is judged clean, with each degradation alone and with six pairs.

    Returns:
        "macro-F1" of all, of the single ones (the clean among them) and of the pairs, "F1 of" each degradation, the share of
        clean photographs that come back as they were, and the least PSNR of those that do not (100 where there are none).
    """
    middles = [_middle(photograph, 320) for photograph in photographs]
    logits, targets = judge(net, judged(middles, seed, pairs=6))
    pairs = targets.sum(1) == 2
    figures = {
        "macro-F1": f1_scores(logits, targets).mean().item(),
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


def _middle(photograph: Tensor, side: int) -> Tensor:
    top, left = (max(0, (length - side) // 2) for length in photograph.shape[1:])
    return photograph[:, top : top + side, left : left + side]


def _train(options: Any) -> None:
    held_out, images = split(large_photographs(options, options.patch + _MARGIN), 20)
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    config = dict(VARIANTS["degradation_classifier"].config)
    net = DegradationClassifier(**config).to(device).to(memory_format=torch.channels_last)

    if options.init:
        net.load_state_dict(load_model(options.init).state_dict())

    def loss(net: nn.Module, generator: torch.Generator) -> Tensor:
        patches, targets = draw_batch(images, options.patch, options.batch, generator, options.hard, soften=options.soften)
        logits = net(patches.to(device, memory_format=torch.channels_last))
        return F.binary_cross_entropy_with_logits(logits, targets.to(device))

    crops = [photograph[:, :192, :192] for photograph in held_out]
    if options.soften:
        crops += [enlarged(photograph[:, :128, :128]) for photograph in held_out]
    examples = list(judged(crops, options.seed + 1, pairs=5))

    def validate(net: nn.Module) -> float:
        settle_norms(
            net, [draw_batch(images, options.patch, options.batch, torch.Generator().manual_seed(n))[0] for n in range(8)]
        )
        logits, targets = judge(net, examples)
        return f1_scores(logits, targets).mean().item()

    schedule = Schedule(options.steps, rate=options.rate, warmup=50, decay=0.6, betas=(0.9, 0.99), weight_decay=1e-4, ema=0.99)
    average = train_recipe(net, loss, schedule, options, validate)
    logits, targets = judge(average, examples)
    with torch.no_grad():
        average.get_parameter("head.bias").add_(best_shift(logits, targets).to(device))
    logger.info("macro-F1 of held-out photographs %.3f", validate(average))
    export_weights(average, options.out, arch="degradation_classifier", config=config, half=True)


if __name__ == "__main__":
    main()
