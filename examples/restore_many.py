"""Restore a folder of images, look at what was done, and go on where a run was stopped.

    python examples/restore_many.py [FOLDER] [--out restored] [--model denoise] [--shard 1/4]

Without a folder, pieces of the photographs beside this file get noise and are restored. With --shard, only a part is done:
start as many processes as there are parts, on one machine or on many.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from restoralib.batch import parse_shard, read_entries, restore_folder
from restoralib.images import Picture, read_image, write_image
from restoralib.metrics import to_8_bits


def make_pieces(folder: Path, side: int = 64, count: int = 6) -> None:
    """Noisy pieces of the photographs beside this file."""
    generator = torch.Generator().manual_seed(0)
    for photograph in sorted(Path(__file__).parent.glob("*.png")):
        color = read_image(photograph).color
        for number in range(count):
            top, left = (int(torch.randint(length - side, (), generator=generator)) for length in color.shape[1:])
            piece = color[:, top : top + side, left : left + side]
            noise = torch.randn(piece.shape, generator=generator)
            write_image(folder / f"{photograph.stem}-{number}.png", Picture(to_8_bits(piece + 25 / 255 * noise)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("restored"))
    parser.add_argument("--model", default="denoise")
    parser.add_argument("--shard", default="1/1")
    options = parser.parse_args()
    rank, world = parse_shard(options.shard)

    with tempfile.TemporaryDirectory() as made:
        if options.folder is None:
            make_pieces(Path(made))
        report = restore_folder(options.folder or made, options.out, options.model, rank=rank, world=world)
        print(f"{report.restored} restored in {report.seconds:.1f} s, {report.skipped} there already")
        for failure in report.failures:
            print(f"failed: {failure}")

        again = restore_folder(options.folder or made, options.out, options.model, rank=rank, world=world)
        print(f"the same again: {again.restored} restored, {again.skipped} there already")

    entries = [entry for entry in read_entries(options.out) if entry.status == "restored"]
    if entries:
        slowest = max(entries, key=lambda entry: entry.seconds)
        print(f"{len(entries)} lines in the manifest; {slowest.output} took longest, {slowest.seconds:.2f} s")


if __name__ == "__main__":
    main()
