"""Noise schedules against their formulas."""

import pytest
import torch

from restoralib.ops import sqrt_linear_betas


@pytest.mark.parametrize("steps", [2, 4, 1000])
def test_square_roots_are_evenly_spaced(steps):
    betas = sqrt_linear_betas(steps, 0.1, 0.99)
    assert betas.shape == (steps,) and betas.dtype == torch.float64
    torch.testing.assert_close(betas[[0, -1]], torch.tensor([0.1, 0.99], dtype=torch.float64))
    gaps = betas.sqrt().diff()
    torch.testing.assert_close(gaps, gaps.mean().expand(steps - 1))


@pytest.mark.parametrize(("steps", "start", "end"), [(0, 0.1, 0.9), (4, 0.0, 0.9), (4, 0.5, 0.4), (4, 0.1, 1.1)])
def test_impossible_schedules_are_refused(steps, start, end):
    with pytest.raises(ValueError, match=f"got {steps} steps from {start} to {end}"):
        sqrt_linear_betas(steps, start, end)
