"""How long and how fast to train: steps, learning rates, momenta and the decay of the average, as one value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train, by AdamW, which without weight decay is Adam, or by Muon.

    Args:
        steps: optimizer steps in all.
        rate: learning rate of the plateau.
        warmup: steps of linear rise to it; 0 for none.
        decay: fraction of the steps, at the end, over which it falls along a cosine; 0 for none, 1 for a fall from the start.
            Until the decay begins, a run does not depend on `steps`, so that it can be resumed with fewer or more.
        betas: momenta of AdamW.
        weight_decay: of AdamW.
        ema: decay of the running average of the weights; 0 for the weights themselves.
        floor: learning rate at the end of the cosine.
        milestones: steps at which the rate is multiplied by gamma, as in multi-step schedules.
        gamma: what it is multiplied by.
        clip: largest length of the gradient of all weights; None to leave it alone.
        optimizer: "adamw" or "muon", which `restoralib.training.muon` describes; `rate` is that of Adam.

    Raises:
        ValueError: a value is out of its range.
    """

    steps: int
    rate: float = 1e-3
    warmup: int = 200
    decay: float = 0.4
    betas: tuple[float, float] = (0.9, 0.9)
    weight_decay: float = 0.0
    ema: float = 0.999
    floor: float = 0.0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.5
    clip: float | None = 1.0
    optimizer: Literal["adamw", "muon"] = "adamw"

    def __post_init__(self) -> None:
        if self.steps < 0 or self.warmup < 0 or not 0 <= self.decay <= 1 or not 0 <= self.ema < 1:
            raise ValueError(
                f"expected steps and warmup of 0 or more, decay from 0 to 1 and ema from 0 to below 1, got {self.steps}, "
                f"{self.warmup}, {self.decay} and {self.ema}"
            )
        if not self.rate > 0 or not 0 <= self.floor <= self.rate or (self.clip is not None and not self.clip > 0):
            raise ValueError(
                f"expected rate above 0, floor from 0 to rate and clip above 0, got {self.rate}, {self.floor} and {self.clip}"
            )

        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer should be adamw or muon, got {self.optimizer!r}")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        rate = self.rate * self.gamma ** sum(step >= milestone for milestone in self.milestones)
        remaining = (self.steps - step) / max(1.0, self.decay * self.steps) if self.decay else 1.0
        if remaining < 1:
            rate = self.floor + (rate - self.floor) * 0.5 * (1 - math.cos(math.pi * remaining))
        return rise * rate
