"""Measure bicubic enlargement and super-resolution on a folder of photographs, and write a page that compares them.

    python examples/evaluate_folder.py [FOLDER] [--scale 4] [--out comparison]

The photographs beside this file (CC0, see examples/README.md) were not in the training data.
"""

import argparse
from pathlib import Path

from restoralib.evaluation import evaluate, write_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent)
    parser.add_argument("--scale", type=int, choices=(2, 3, 4), default=4)
    parser.add_argument("--out", type=Path, default=Path("comparison"))
    options = parser.parse_args()

    results = []
    for model in ("bicubic", f"sr{options.scale}"):
        kept = options.out / "runs" / f"{model}-x{options.scale}"  # a second run finds the figures there
        found = evaluate(model, options.folder, scale=options.scale, output=kept, pictures=True)
        figures = ", ".join(f"{name} {value:.4f}" for name, value in found.mean.items())
        print(f"{model} on {len(found.images)} images by {found.protocol}: {figures}")
        for failure in found.failures:
            print(f"  failed: {failure.name}: {failure.reason}")
        results.append(found)
    print(f"wrote {write_report(results, options.out)}")


if __name__ == "__main__":
    main()
