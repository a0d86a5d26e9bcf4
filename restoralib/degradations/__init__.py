"""Models of what spoils photographs: linear operators, degradations with their parameters, and pipelines that draw them."""

from restoralib.degradations.chain import Chain, rebuild, record
from restoralib.degradations.degradation import Degradation

DEGRADATIONS: dict[str, type[Degradation]] = {
    kind.__name__: kind
    for kind in (
        Chain,
        # One line a class keeps edits apart.
    )
}

__all__ = [
    "DEGRADATIONS",
    "Chain",
    "Degradation",
    "rebuild",
    "record",
]
