"""Data sets: benchmarks in the layouts in which they are published, and pairs for training."""

from restoralib.data.benchmark import LAYOUTS, Benchmark, DatasetError, Layout, Pair, Problem, get_layout, open_benchmark
from restoralib.data.matlab import write_dnd_submission, write_sidd_submission
from restoralib.data.photographs import random_patches, read_photographs
from restoralib.data.tables import write_csv

__all__ = [
    "LAYOUTS",
    "Benchmark",
    "DatasetError",
    "Layout",
    "Pair",
    "Problem",
    "get_layout",
    "open_benchmark",
    "random_patches",
    "read_photographs",
    "write_csv",
    "write_dnd_submission",
    "write_sidd_submission",
]
