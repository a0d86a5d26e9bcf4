"""Smaller tiles where larger ones do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from restoralib.restoration.errors import OutOfMemory, is_out_of_memory
from restoralib.restoration.plan import SMALLEST

Result = TypeVar("Result")


def by_smaller_tiles(
    attempt: Callable[[tuple[int, int]], Result],
    tile: tuple[int, int],
    device: torch.device,
    give_up: Callable[[tuple[int, int], str], OutOfMemory],
    *,
    shrink: bool = True,
) -> Result:
    """What an attempt gives by the first tile that fits into memory, halved from one attempt to the next.

    Args:
        attempt: computes the whole result by tiles of (height, width).
        tile: the first.
        device: whose cache is emptied between attempts.
        give_up: the error for a tile that does not fit, and the allocator's words.
        shrink: whether there may be more than one attempt.

    Raises:
        OutOfMemory: what `give_up` gives: the smallest tile does not fit, or a smaller one is refused by a ValueError.
    """
    reason = None
    while True:
        try:
            return attempt(tile)
        except ValueError as error:
            if reason is None:
                raise
            raise give_up(tile, reason) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        # Not in the handler: there the error keeps the tensors of the failed call alive.
        if device.type in ("cuda", "mps"):
            getattr(torch, device.type).empty_cache()
        if max(tile) <= SMALLEST or not shrink:
            raise give_up(tile, reason)
        tile = (max(tile[0] // 2, min(tile[0], SMALLEST)), max(tile[1] // 2, min(tile[1], SMALLEST)))
