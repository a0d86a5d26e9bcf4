"""Methods that are told what a set knows of each pair, beside the image: a noise level, a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

from restoralib.data import Pair


@runtime_checkable
class Informed(Protocol):
    """What `evaluate` asks of a method for each pair before it restores the image."""

    def for_pair(self, pair: Pair) -> Callable[[Tensor], Tensor]:
        """The method for this pair: images (b, c, h, w) to the same.

        Raises:
            ValueError: the set does not know what the method has to be told.
        """
