"""Pipelines that draw whole chains of degradations, as the papers train with them."""

from restoralib.degradations.pipelines.bsrgan import BSRGANDegradation
from restoralib.degradations.pipelines.paired import (
    FIXED_GRID,
    PAIRED_TASKS,
    DegradedPair,
    PairedDegradation,
    degraded_pair,
    draw_task,
)
from restoralib.degradations.pipelines.real_esrgan import FIRST_STAGE, SECOND_STAGE, RealESRGANDegradation, StageRanges

__all__ = [
    "FIRST_STAGE",
    "FIXED_GRID",
    "PAIRED_TASKS",
    "SECOND_STAGE",
    "BSRGANDegradation",
    "DegradedPair",
    "PairedDegradation",
    "RealESRGANDegradation",
    "StageRanges",
    "degraded_pair",
    "draw_task",
]
