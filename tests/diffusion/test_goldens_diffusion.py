"""Every stored trajectory, state by state in float64, with one handler a method."""

from __future__ import annotations

import goldens_bridges
import goldens_conditional
import goldens_ddpm
import goldens_guided
import goldens_irsde
import goldens_sde
import pytest
import torch
from goldens.trajectory import Golden

HANDLERS = {
    **goldens_bridges.HANDLERS,
    **goldens_conditional.HANDLERS,
    **goldens_ddpm.HANDLERS,
    **goldens_guided.HANDLERS,
    **goldens_irsde.HANDLERS,
    **goldens_sde.HANDLERS,
}
NOT_COMPARED = {"info.nfe"}  # a fact about the reference's adaptive solver


def worst_error(golden: Golden) -> float:
    """How far ours is from what was recorded: the largest error of any output, in parts of that output's largest value."""
    ours, worst = HANDLERS[golden.method](golden), 0.0
    assert set(ours) >= golden.outputs - NOT_COMPARED, f"not made: {golden.outputs - NOT_COMPARED - set(ours)}"
    for name in sorted(golden.outputs - NOT_COMPARED):
        reference, value = golden[name], ours[name].double()
        assert value.shape == reference.shape, f"{name}: {tuple(value.shape)}, expected {tuple(reference.shape)}"
        error = (value - reference).abs().max() / reference.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
        assert error <= golden.tolerance, f"{name}: off by {error:.1e} of the largest value, allowed {golden.tolerance:.0e}"
        worst = max(worst, float(error))
    return worst


def test_trajectory(diffusion_golden):
    golden = Golden.read(diffusion_golden)
    if golden.method not in HANDLERS:
        pytest.fail(f"no handler for the method {golden.method!r}")
    assert worst_error(golden) <= golden.tolerance
