"""The robustness campaign's commands: `python -m campaign --help`, in the folder benchmarks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    inputs = commands.add_parser("inputs")
    inputs.add_argument("--log", type=Path, default=Path("/tmp/campaign/inputs.jsonl"))
    inputs.add_argument("--seed", type=int, default=0)
    inputs.add_argument("--scale", type=float, default=1.0)
    inputs.add_argument("--only", nargs="*")
    hidden = commands.add_parser("inputs-worker")
    hidden.add_argument("kind")
    for name in ("start", "stop", "seed"):
        hidden.add_argument(name, type=int)
    given = parser.parse_args()
    if given.command == "inputs-worker":
        from campaign.inputs import run

        run(given.kind, given.start, given.stop, given.seed)
    elif given.command == "inputs":
        from campaign.inputs import COUNTS, campaign, summary

        campaign({kind: round(count * given.scale) for kind, count in COUNTS.items()}, given.seed, given.log, given.only)
        print(json.dumps(summary(given.log), indent=2))


if __name__ == "__main__":
    main()
