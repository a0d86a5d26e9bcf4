"""Data sets: benchmarks in the layouts in which they are published, and pairs for training."""

from restoralib.data.alignment import Alignment, align, find_alignment
from restoralib.data.benchmark import LAYOUTS, Benchmark, DatasetError, Layout, Pair, Problem, get_layout, open_benchmark
from restoralib.data.cutblur import cut_blur
from restoralib.data.matlab import write_dnd_submission, write_sidd_submission
from restoralib.data.patches import pair_generator, random_patch_pair
from restoralib.data.photographs import Photographs, open_photographs, random_patches, read_photographs
from restoralib.data.procedural import procedural_image
from restoralib.data.shards import read_shards, write_shards
from restoralib.data.tables import write_csv
from restoralib.data.training_pairs import CleanPairs, DrawnPair, StoredPairs, draw_pair

__all__ = [
    "LAYOUTS",
    "Alignment",
    "Benchmark",
    "CleanPairs",
    "DatasetError",
    "DrawnPair",
    "Layout",
    "Pair",
    "Photographs",
    "Problem",
    "StoredPairs",
    "align",
    "cut_blur",
    "draw_pair",
    "find_alignment",
    "get_layout",
    "open_benchmark",
    "open_photographs",
    "pair_generator",
    "procedural_image",
    "random_patch_pair",
    "random_patches",
    "read_photographs",
    "read_shards",
    "write_csv",
    "write_dnd_submission",
    "write_shards",
    "write_sidd_submission",
]
