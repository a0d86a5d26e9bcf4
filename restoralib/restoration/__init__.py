"""One call that restores an image: plan, run, blend, give back what came in."""

from restoralib.restoration.door import MAX_OUTPUT_PIXELS, restore, restore_file
from restoralib.restoration.errors import Cancelled, OutOfMemory

__all__ = ["MAX_OUTPUT_PIXELS", "Cancelled", "OutOfMemory", "restore", "restore_file"]
