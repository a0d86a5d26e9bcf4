"""The command-line options that all recipes share."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch


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
