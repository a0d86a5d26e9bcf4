"""Runners of the goldens of formation models: one a value of `operator`; goldens/degradation.py says what a runner is."""

from __future__ import annotations

from goldens.degradation import Check, Runner

OPERATORS: dict[str, Runner] = {}
CHECKS: dict[str, Check] = {}  # where the comparison is another than 1e-5 of the largest value
