"""What all recipes share: their command-line options, and what is done with these."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from restoralib.data.photographs import read_photographs
from restoralib.training.loop import Loss, Schedule, Validate, train


def recipe_parser(description: str | None, *, steps: int, batch: int, patch: int) -> argparse.ArgumentParser:
    """Options of a recipe: photographs in, weights out, length, batch, seed and device."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="folder of clean photographs")
    parser.add_argument("--out", type=Path, required=True, help="file of the trained weights (.safetensors)")
    parser.add_argument("--state", type=Path, help="file of the run's state, to go on from (default: beside --out)")
    parser.add_argument("--exclude", nargs="*", default=[], help="patterns of file names to leave out")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--patch", type=int, default=patch, help="side of the network's input in training")
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints and log lines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def parse_recipe(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """Parse, and log to the terminal from here on."""
    options = parser.parse_args(arguments)
    options.state = options.state or options.out.with_suffix(".state.pt")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    return options


def large_photographs(options: argparse.Namespace, side: int) -> list[Tensor]:
    """The photographs of a recipe whose height and width are `side` pixels or more, each (3, h, w), uint8."""
    photographs = read_photographs(options.photographs, exclude=options.exclude)
    return [photograph for photograph in photographs.values() if min(photograph.shape[1:]) >= side]


def train_recipe(net: nn.Module, loss: Loss, schedule: Schedule, options: argparse.Namespace, validate: Validate) -> nn.Module:
    """`train` with the seed, the state and the log of the options."""
    return train(net, loss, schedule, checkpoint=options.state, seed=options.seed, every=options.every, validate=validate)
