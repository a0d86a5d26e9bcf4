"""Scores of a data set, gathered image by image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Summary:
    """What is known of one metric's scores.

    Args:
        count: number of scores.
        infinite: how many of them are infinite: PSNR of equal images.
        undefined: how many are NaN, or minus infinity.
        finite_mean: mean of the others, 0 where there are none.
        scatter: sum of the squared deviations of the finite ones from their mean.
        low: smallest finite score, 0 where there is none.
        high: largest finite score, 0 where there is none.
    """

    count: int = 0
    infinite: int = 0
    undefined: int = 0
    finite_mean: float = 0.0
    scatter: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @property
    def finite(self) -> int:
        """How many scores are finite."""
        return self.count - self.infinite - self.undefined

    @property
    def mean(self) -> float:
        """Mean of all scores, as papers print it: infinite where one is, NaN where one is undefined or where there are none."""
        if self.undefined or not self.count:
            return math.nan
        return math.inf if self.infinite else self.finite_mean

    @property
    def std(self) -> float:
        """Standard deviation of the finite scores, with divisor n - 1; NaN below two."""
        return math.sqrt(self.scatter / (self.finite - 1)) if self.finite > 1 else math.nan

    def merge(self, other: Summary) -> Summary:
        """The summary of both sets of scores together."""
        counts = Summary(self.count + other.count, self.infinite + other.infinite, self.undefined + other.undefined)
        if not (self.finite and other.finite):
            one = self if self.finite else other
            return replace(one, count=counts.count, infinite=counts.infinite, undefined=counts.undefined)
        share = other.finite / counts.finite
        step = other.finite_mean - self.finite_mean
        return replace(
            counts,
            finite_mean=self.finite_mean + step * share,
            scatter=self.scatter + other.scatter + step**2 * self.finite * share,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
        )


def _summarize(scores: Tensor) -> Summary:
    finite = scores[scores.isfinite()]
    counts = Summary(len(scores), int((scores == math.inf).sum()), int((scores.isnan() | (scores == -math.inf)).sum()))
    if not len(finite):
        return counts
    mean = finite.mean()
    return replace(
        counts,
        finite_mean=mean.item(),
        scatter=(finite - mean).square().sum().item(),
        low=finite.min().item(),
        high=finite.max().item(),
    )


class Accumulator:
    """Means of named scores over a data set; its memory does not grow with the number of images.

    Several processes each keep one, and exchange `state()`, a dictionary of plain numbers that JSON and
    `torch.distributed.all_gather_object` take; merged in any order they give the figures of one process.
    """

    def __init__(self) -> None:
        self._summaries: dict[str, Summary] = {}

    def update(self, **scores: Tensor | float) -> None:
        """Take in the scores of some images, by the metrics' names.

        Args:
            **scores: a vector (b,), as metrics return it, or one number.

        Raises:
            ValueError: scores are of another shape.
        """
        # To the CPU first: not every device has float64.
        moved = {name: values.detach().cpu() if isinstance(values, Tensor) else values for name, values in scores.items()}
        vectors = {name: torch.as_tensor(values, dtype=torch.float64) for name, values in moved.items()}
        for name, values in vectors.items():
            if values.ndim > 1:
                raise ValueError(f"{name} should be one score an image, (b,), got {tuple(values.shape)}")
        for name, values in vectors.items():
            self._add(name, _summarize(values.reshape(-1)))

    def merge(self, other: Accumulator) -> None:
        """Take in the scores of another accumulator."""
        for name, summary in other._summaries.items():
            self._add(name, summary)

    def _add(self, name: str, summary: Summary) -> None:
        self._summaries[name] = self._summaries.get(name, Summary()).merge(summary)

    def summaries(self) -> dict[str, Summary]:
        """Count, mean, deviation and extremes of each metric."""
        return dict(self._summaries)

    def means(self) -> dict[str, float]:
        """The mean of each metric."""
        return {name: summary.mean for name, summary in self._summaries.items()}

    def state(self) -> dict[str, dict[str, float]]:
        """All that is gathered, as plain numbers."""
        return {name: asdict(summary) for name, summary in self._summaries.items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Mapping[str, float]]) -> Accumulator:
        """The accumulator whose `state()` this is."""
        gathered = cls()
        for name, numbers in state.items():
            counts = {key: int(numbers[key]) for key in ("count", "infinite", "undefined")}
            rest = {key: float(numbers[key]) for key in ("finite_mean", "scatter", "low", "high")}
            gathered._summaries[name] = Summary(**counts, **rest)  # type: ignore[arg-type]
        return gathered
