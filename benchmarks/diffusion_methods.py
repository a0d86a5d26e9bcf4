"""The methods of restoralib.diffusion in a table: family, file, the worst golden error, the linear-Gaussian problem.

    python benchmarks/diffusion_methods.py [--goldens DIR] [--lines]

DIR holds the folder `diffusion` of recorded trajectories; without it those of the repository are taken, which are fewer. An
error is the largest of any output of any trajectory, in parts of that output's largest value, in float64. The last column is
the Wasserstein distance of a method's samples to what it aims at, for correlated Gaussian pixels of which the posterior is
known (tests/diffusion/linear_gaussian.py).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "diffusion")]

from goldens.trajectory import Golden  # noqa: E402
from linear_gaussian import closed_form, drawn, methods  # noqa: E402
from test_goldens_diffusion import worst_error  # noqa: E402


class Row(NamedTuple):
    """A method: its family, the file that it is in, and how goldens and the linear-Gaussian problem call it."""

    family: str
    file: str
    goldens: tuple[str, ...] = ()
    gaussian: tuple[str, ...] = ()


CONDITIONAL, PROJECTION, DECOMPOSITION = "conditional network", "training-free: projection", "training-free: decomposition"
POSTERIOR, TOWARDS, SAMPLER = "training-free: posterior", "towards the degraded image", "sampler"
METHODS = {
    "DDPM, ancestral": Row(SAMPLER, "sampling", ("ddpm", "DDPMScheduler"), ("SR3 / Palette (ancestral)",)),
    "DDIM": Row(SAMPLER, "sampling", ("ddim", "DDIMScheduler"), ("SR3 / Palette (DDIM)",)),
    "DPM-Solver++(2M)": Row(SAMPLER, "dpm_solver", ("dpmpp_2m", "DPMSolverMultistepScheduler"), ("DPM-Solver++(2M)",)),
    "EDM, Heun": Row(SAMPLER, "edm", ("edm_heun",), ("EDM (Heun)",)),
    "flow matching": Row(SAMPLER, "flow", ("FlowMatchEulerDiscreteScheduler",), ("flow matching (Heun)",)),
    "score SDEs, Euler-Maruyama": Row(SAMPLER, "sde", ("score_em",), ("VP-SDE (Euler-Maruyama)",)),
    "score SDEs, predictor-corrector": Row(SAMPLER, "predictor_corrector", ("score_pc",)),
    "probability-flow ODE": Row(SAMPLER, "ode", ("score_ode",)),
    "SR3, Palette": Row(CONDITIONAL, "conditional", ("sr3", "palette"), ("SR3 / Palette (ancestral)",)),
    "DiffIR's prior": Row(CONDITIONAL, "compact_prior", ("diffir_prior",)),
    "classifier guidance": Row(CONDITIONAL, "classifier", (), ("classifier guidance, exact",)),
    "ILVR": Row(PROJECTION, "ilvr", ("ilvr",), ("ILVR",)),
    "RePaint, score-SDE inpainting": Row(PROJECTION, "repaint", (), ("RePaint", "score-SDE inpainting")),
    "Come-Closer-Diffuse-Faster": Row(PROJECTION, "ccdf"),
    "MCG": Row(PROJECTION, "mcg", ("mcg",), ("MCG",)),
    "DDRM": Row(DECOMPOSITION, "ddrm", ("ddrm",), ("DDRM",)),
    "DDNM": Row(DECOMPOSITION, "ddnm", ("ddnm",), ("DDNM", "DDNM (inpainting)")),
    "DDNM+": Row(DECOMPOSITION, "ddnm", ("ddnm_plus",), ("DDNM+",)),
    "DPS": Row(POSTERIOR, "dps", ("dps",), ("DPS",)),
    "PiGDM": Row(POSTERIOR, "pigdm", ("pigdm",), ("PiGDM",)),
    "DiffPIR": Row(POSTERIOR, "diffpir", ("diffpir",), ("DiffPIR",)),
    "RED-diff": Row(POSTERIOR, "red_diff", (), ("RED-diff",)),
    "IR-SDE": Row(TOWARDS, "irsde", ("irsde",), ("IR-SDE (posterior)", "IR-SDE (SDE)")),
    "GOUB": Row(TOWARDS, "goub", ("goub",), ("GOUB (SDE)",)),
    "I2SB": Row(TOWARDS, "i2sb", ("i2sb",), ("I2SB",)),
    "DDBM": Row(TOWARDS, "ddbm", ("ddbm",), ("DDBM (VE)", "DDBM (VP)")),
    "BBDM": Row(TOWARDS, "bbdm", (), ("BBDM",)),
    "ResShift": Row(TOWARDS, "resshift", (), ("ResShift",)),
}


def golden_errors(folder: Path) -> dict[str, tuple[int, float]]:
    """For each method of the goldens the number of trajectories and the worst error."""
    found: dict[str, tuple[int, float]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        golden = Golden.read(path)
        count, worst = found.get(golden.method, (0, 0.0))
        found[golden.method] = count + 1, max(worst, worst_error(golden))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goldens", type=Path, default=ROOT / "tests" / "goldens")
    parser.add_argument("--lines", action="store_true", help="how long each file is, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    errors, problems = golden_errors(options.goldens / "diffusion"), methods()
    left = set(errors) - {name for row in METHODS.values() for name in row.goldens}
    if left or (missing := set(problems) - {name for row in METHODS.values() for name in row.gaussian}):
        raise SystemExit(f"no row for {', '.join(sorted(left or missing))}")
    head = ("method", "family", "file", *(["lines"] if options.lines else []), "trajectories", "worst error", "distance")
    print(f"| {' | '.join(head)} |\n{'| --- ' * len(head)}|")
    for method, row in METHODS.items():
        path = ROOT / "restoralib" / "diffusion" / f"{row.file}.py"
        lines = [len(path.read_text(encoding="utf-8").splitlines())] if options.lines else []
        known = [errors[name] for name in row.goldens if name in errors]
        error = f"{max(worst for _, worst in known):.1e}" if known else ""
        distances = []
        for name in row.gaussian:
            run, goal, affine = problems[name]
            distances.append(f"{(closed_form(run) if affine else drawn(run)[0]).distance(goal):.4f}")
        count = sum(number for number, _ in known) or ""
        cells = (method, row.family, f"`{row.file}.py`", *lines, count, error, ", ".join(distances))
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
