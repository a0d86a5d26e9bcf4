"""What all recipes share: their command-line options, and what is done with these."""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from restoralib.archs import ARCHITECTURES
from restoralib.data.photographs import Photographs, open_photographs, read_photographs
from restoralib.training.batches import Batches, Draw, Stage
from restoralib.training.export import export_weights
from restoralib.training.loop import Loss, Nets, Schedule, Source, Turn, Validate, train, train_together
from restoralib.training.progress import progress_bar
from restoralib.zoo import create_model, model_info


class RecipeParser(argparse.ArgumentParser):
    """A parser that names the neighbours of an option which it does not know."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with code 2."""
        _, colon, unknown = message.partition("unrecognized arguments: ")
        if colon:
            known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
            for word in unknown.split():
                near = difflib.get_close_matches(word.partition("=")[0], known, n=3, cutoff=0.5)
                if word.startswith("--"):
                    message += f"; did you mean {' or '.join(near)}?" if near else f"; options are {', '.join(known)}"
        super().error(message)


def recipe_parser(description: str | None, *, steps: int | None, batch: int | None, patch: int | None) -> RecipeParser:
    """Options of a recipe: photographs in, weights out, length, batch, seed, device, and how the run is told of."""
    parser = RecipeParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="folder of clean photographs")
    parser.add_argument("--out", type=Path, required=True, help="file of the trained weights (.safetensors)")
    parser.add_argument("--state", type=Path, help="file of the run's state, to go on from (default: beside --out)")
    parser.add_argument("--exclude", nargs="*", default=[], help="patterns of file names to leave out")
    parser.add_argument("--steps", type=int, default=steps, help="steps of the optimizer in all")
    parser.add_argument("--batch", type=int, default=batch, help="images that a process takes at once")
    parser.add_argument("--patch", type=int, default=patch, help="side of the network's input in training")
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints and log lines")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of all that is drawn")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1, mps …")
    parser.add_argument("--accumulate", type=int, default=1, help="batches whose gradients make a step")
    kinds = ("float32", "bfloat16", "float16")
    parser.add_argument("--precision", choices=kinds, default="float32", help="of the loss; weights stay float32")
    parser.add_argument("--shard", action="store_true", help="cut weights and moments up among the processes, by FSDP2")
    parser.add_argument("--workers", type=int, default=0, help="processes that read and degrade, where the recipe has them")
    parser.add_argument("--log", type=Path, help="folder for log.csv and pictures of the validation")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard's files into --log, too")
    return parser


def network_options(parser: argparse.ArgumentParser, arch: str) -> None:
    """Add the options that `build` reads, with the network that is trained by default."""
    parser.add_argument("--arch", default=arch, help="a name of `restoralib models`")
    parser.add_argument("--config", nargs="*", default=[], help="arguments of the network in place of the published, key=value")


def parse_recipe(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """Parse, and log to the terminal from here on; under torchrun, only what the first process has to say."""
    options = parser.parse_args(arguments)
    options.state = options.state or options.out.with_suffix(".state.pt")
    if not options.out.parent.is_dir():  # before hours of training, not after
        parser.error(f"there is no folder {options.out.parent} for --out; make it first")
    if options.tensorboard and not options.log:
        parser.error("--tensorboard writes into --log; name a folder")
    if options.device == "cuda" and "LOCAL_RANK" in os.environ:
        options.device = f"cuda:{os.environ['LOCAL_RANK']}"
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    return options


def large_photographs(options: argparse.Namespace, side: int) -> list[Tensor]:
    """The photographs of a recipe whose height and width are `side` pixels or more, each (3, h, w), uint8; all in memory.

    Files that cannot be read are reported and left out.

    Raises:
        FileNotFoundError: there is no photograph, or none is large enough.
    """
    photographs = read_photographs(options.photographs, exclude=options.exclude, skip_damaged=True)
    large = [photograph for photograph in photographs.values() if min(photograph.shape[1:]) >= side]
    if not large:
        raise FileNotFoundError(f"{options.photographs} holds no photograph of {side} pixels and more; lower --patch")
    return large


def recipe_photographs(options: argparse.Namespace) -> tuple[Photographs, Photographs]:
    """The photographs of a recipe, held out and to train on; read when wanted, and damaged ones left out."""
    return open_photographs(options.photographs, exclude=options.exclude)


def run_options(options: argparse.Namespace, validate: Validate | None, title: str = "") -> dict[str, Any]:
    """The keyword arguments of `train_together` that options of the command line tell; `title` names a stage of several."""
    log = options.log / title if options.log and title else options.log
    return {
        "checkpoint": stage_state(options.state, title),
        "seed": options.seed,
        "every": options.every,
        "accumulate": options.accumulate,
        "precision": options.precision,
        "validate": validate,
        "pictures": getattr(validate, "pictures", None),
        "log": log,
        "tensorboard": options.tensorboard,
        "shard": options.shard,
    }


def stage_state(path: Path, title: str) -> Path:
    """The file of the state of a stage."""
    return path.with_name(f"{path.stem}.{title}{path.suffix}") if title else path


def train_recipe(net: nn.Module, loss: Loss, schedule: Schedule, options: argparse.Namespace, validate: Validate) -> nn.Module:
    """`train` with the seed, the state and the log of the options."""
    with progress_bar("train") as progress:
        return train(net, loss, schedule, progress=progress, **run_options(options, validate))


def train_stage(
    nets: Nets,
    turns: Mapping[str, Turn],
    draw: Draw,
    options: argparse.Namespace,
    validate: Validate | None,
    *,
    title: str = "",
    stages: Sequence[Stage] | None = None,
) -> dict[str, nn.Module]:
    """`train_together` on drawn items with the options' batch, patch, workers, seed, state and log.

    Args:
        nets: on the options' device.
        turns: as for `train_together`.
        draw: makes an item.
        options: of the command line.
        validate: figure of the first network.
        title: name of the stage, where a recipe has several: each has a state and a log of its own.
        stages: patches and batches that change in the course of the training; None for the options'.
    """
    plan = tuple(stages or (Stage(0, options.patch, options.batch),))
    source: Source = Batches(draw, plan, options.device, options.workers)
    with progress_bar(title or "train") as progress:
        return train_together(nets, turns, source, progress=progress, **run_options(options, validate, title))


def build(options: argparse.Namespace) -> tuple[nn.Module, dict[str, Any]]:
    """The network of `--arch` and `--config` with seeded weights on the device, and the arguments that made it.

    Raises:
        ValueError: the name is unknown; the error lists its neighbours.
    """
    overrides = parse_config(options.config)
    config = {**model_info(options.arch).config, **overrides}
    torch.manual_seed(options.seed)
    return create_model(options.arch, **overrides).to(options.device), config


def export_recipe(net: nn.Module, config: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Write a network of `restoralib.archs` with its arguments; under torchrun, by the first process."""
    if os.environ.get("RANK", "0") == "0":
        arch = next(name for name, entry in ARCHITECTURES.items() if type(net) in entry.classes)
        export_weights(net, options.out, arch=arch, config=config)


def parse_config(texts: Sequence[str]) -> dict[str, Any]:
    """Constructor arguments from `key=value`, the values being JSON or else text.

    Raises:
        ValueError: there is no "=".
    """
    config: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"expected key=value, got {text!r}")
        try:
            config[key] = json.loads(value)
        except json.JSONDecodeError:
            config[key] = value
    return config
