"""Models on sets of images, with figures as the papers print them.

    python -m restoralib.evaluation EVAL_FOLDER [--bm3d]

measures the bundled weights on the folders Set5/HR, Set14/HR and CBSD68 of EVAL_FOLDER, beside bicubic enlargement and, with
the package bm3d, CBM3D.
"""

from restoralib.evaluation.bars import TRIALS, Row, Standing, Trial, lay_out_bars, measure_bars, told_bars, write_bars
from restoralib.evaluation.bundled import Figures, cbm3d, evaluate_bundled
from restoralib.evaluation.classical import CLASSICAL
from restoralib.evaluation.generators import GENERATORS
from restoralib.evaluation.inputs import add_table_noise
from restoralib.evaluation.measures import MEASURES, Measure
from restoralib.evaluation.plug_and_play import DiffPIRDeblur
from restoralib.evaluation.report import write_report
from restoralib.evaluation.restoravision import evaluate_restoravision, lay_out
from restoralib.evaluation.results import Evaluation, Failure, ImageFigures, read_evaluations, write_evaluations
from restoralib.evaluation.run import evaluate
from restoralib.evaluation.synthetic import SyntheticPair, SyntheticPairs

__all__ = [
    "CLASSICAL",
    "GENERATORS",
    "MEASURES",
    "TRIALS",
    "DiffPIRDeblur",
    "Evaluation",
    "Failure",
    "Figures",
    "ImageFigures",
    "Measure",
    "Row",
    "Standing",
    "SyntheticPair",
    "SyntheticPairs",
    "Trial",
    "add_table_noise",
    "cbm3d",
    "evaluate",
    "evaluate_bundled",
    "evaluate_restoravision",
    "lay_out",
    "lay_out_bars",
    "measure_bars",
    "read_evaluations",
    "told_bars",
    "write_bars",
    "write_evaluations",
    "write_report",
]
