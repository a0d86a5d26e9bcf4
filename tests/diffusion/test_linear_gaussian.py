"""Every method on a problem of which the exact posterior is known (see linear_gaussian.py)."""

from __future__ import annotations

import pytest
import torch
from linear_gaussian import N, closed_form, drawn, methods

FEW, MANY = methods(20), methods(100)
AFFINE = [name for name, (_, _, affine) in FEW.items() if affine]

# Wasserstein-2 distance to what each aims at, as measured with 100 steps, and a tenth on top
AT_MOST = {
    "SR3 / Palette (ancestral)": 0.056,
    "SR3 / Palette (DDIM)": 0.028,
    "DPM-Solver++(2M)": 0.020,
    "VP-SDE (Euler-Maruyama)": 0.0034,
    "EDM (Heun)": 0.005,
    "flow matching (Heun)": 0.0025,
    "IR-SDE (posterior)": 0.026,
    "IR-SDE (SDE)": 0.012,
    "GOUB (SDE)": 0.012,
    "I2SB": 0.025,
    "BBDM": 0.102,
    "DDBM (VE)": 0.009,
    "DDBM (VP)": 0.015,
    "ResShift": 0.059,
    "classifier guidance, exact": 0.056,
    "PiGDM": 0.138,
    "DDRM": 0.116,
    "DDNM": 0.072,
    "DDNM+": 0.116,
    "DiffPIR": 0.149,
    "ILVR": 0.160,
    "score-SDE inpainting": 0.128,
    "RePaint": 0.122,
    "DDNM (inpainting)": 0.074,
    "DPS": 0.183,
    "MCG": 0.17,
    "RED-diff": 0.43,
}
EXACT = ["SR3 / Palette (ancestral)", "SR3 / Palette (DDIM)", "DPM-Solver++(2M)", "VP-SDE (Euler-Maruyama)", "EDM (Heun)"]
EXACT += ["flow matching (Heun)", "IR-SDE (posterior)", "IR-SDE (SDE)", "GOUB (SDE)", "BBDM", "DDBM (VE)", "DDBM (VP)"]
EXACT += ["ResShift", "classifier guidance, exact"]


@pytest.mark.parametrize("name", AFFINE)
def test_samples_have_the_mean_and_the_covariance_of_the_closed_form(name):
    run, _, _ = FEW[name]
    expected, count = closed_form(run), 20_000
    found, _ = drawn(run, count)
    spread = expected.covariance.diagonal()
    assert bool(((found.mean - expected.mean).abs() <= 5 * (spread / count).sqrt() + 1e-9).all())
    error = (expected.covariance**2 + spread[:, None] * spread) / count  # variance of a sample covariance's entries
    assert bool(((found.covariance - expected.covariance).abs() <= 5 * error.sqrt() + 1e-9).all())


@pytest.mark.parametrize("name", MANY)
def test_distance_to_the_posterior(name):
    run, goal, affine = MANY[name]
    found = closed_form(run) if affine else drawn(run, 1000)[0]
    assert found.distance(goal) <= AT_MOST[name]


@pytest.mark.parametrize("name", EXACT)
def test_more_steps_come_nearer_to_the_posterior(name):
    (few, goal, _), (many, _, _) = FEW[name], MANY[name]
    assert closed_form(many).distance(goal) < 0.8 * closed_form(few).distance(goal)


def test_a_classifier_that_is_exact_is_the_same_as_a_conditional_network():
    guided, conditional = closed_form(FEW["classifier guidance, exact"][0]), closed_form(FEW["SR3 / Palette (ancestral)"][0])
    torch.testing.assert_close(guided.mean, conditional.mean)
    torch.testing.assert_close(guided.covariance, conditional.covariance)


def test_ddrm_is_ddnm_plus_where_both_say_the_same():
    """With eta_b = 1 their steps agree, but for the start."""
    ddrm, plus = closed_form(MANY["DDRM"][0]), closed_form(MANY["DDNM+"][0])
    assert ddrm.distance(plus) < 1e-3 and ddrm.covariance.shape == (N, N)
