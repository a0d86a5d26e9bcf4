"""One call that restores an image: plan, run, blend, give back what came in."""

from restoralib.restoration.auto import estimate
from restoralib.restoration.diffusers_adapter import DiffusersModel
from restoralib.restoration.door import MAX_OUTPUT_PIXELS, restore, restore_file
from restoralib.restoration.errors import Cancelled, OutOfMemory
from restoralib.restoration.prompts import Understood, understand

__all__ = [
    "MAX_OUTPUT_PIXELS",
    "Cancelled",
    "DiffusersModel",
    "OutOfMemory",
    "Understood",
    "estimate",
    "restore",
    "restore_file",
    "understand",
]
