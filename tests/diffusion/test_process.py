"""What all processes have in common, on every one of them."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
from gaussian import normal

from restoralib.diffusion import (
    BBDM,
    DDPM,
    EDM,
    GOUB,
    I2SB,
    IRSDE,
    SDE,
    VESDE,
    VPSDE,
    Denoised,
    Flow,
    InterpolatedDDPM,
    ResShift,
    SubVPSDE,
    VEBridge,
    VPBridge,
    from_x0,
    renoised,
    resshift_etas,
    snr,
    to_x0,
)
from restoralib.ops.schedules import (
    cosine_betas,
    cosine_thetas,
    linear_betas,
    linear_thetas,
    mirrored_betas,
    sigmoid_betas,
    sqrt_linear_betas,
    zero_terminal_snr,
)

# process, and times from the noisy to the clean end
CASES = {
    "ddpm_linear": (DDPM(linear_betas(1000)), [999, 700, 400, 20, 0]),
    "ddpm_cosine": (DDPM(cosine_betas(100)), [98, 50, 3, 0]),
    "ddpm_sigmoid": (DDPM(sigmoid_betas(50)), [48, 20, 1]),
    "ddpm_sqrt": (DDPM(sqrt_linear_betas(4, 0.1, 0.9)), [3, 2, 1, 0]),
    "interpolated": (InterpolatedDDPM(DDPM(linear_betas(1000))), [1.0, 0.5555, 0.1, 0.001]),
    "vp": (VPSDE(), [1.0, 0.6, 0.2, 0.01]),
    "subvp": (SubVPSDE(), [1.0, 0.6, 0.2, 0.01]),
    "ve": (VESDE(), [1.0, 0.6, 0.2, 0.01]),
    "edm": (EDM(), [80.0, 5.0, 0.3, 0.002]),
    "flow": (Flow(), [0.99, 0.6, 0.2, 0.01]),
    "irsde": (IRSDE(cosine_thetas(100), 0.2), [100, 60, 30, 1]),
    "irsde_linear": (IRSDE(linear_thetas(20), 10 / 255), [20, 12, 1]),
    "goub": (GOUB(cosine_thetas(100), 0.2), [99, 60, 30, 1]),
    "i2sb": (I2SB(mirrored_betas(1000, 1e-4, 3e-4)), [999, 500, 100, 1]),
    "bbdm": (BBDM(), [999, 500, 100, 1]),
    "ddbm_ve": (VEBridge(), [79.0, 20.0, 1.0, 0.01]),
    "ddbm_vp": (VPBridge(), [0.99, 0.6, 0.2, 0.01]),
    "resshift": (ResShift(resshift_etas()), [15, 9, 3, 1]),
}
every = pytest.mark.parametrize("name", CASES)


@every
def test_clean_image_and_noise_come_back_from_the_state(name):
    process, times = CASES[name]
    x0, eps, y = normal(2, 3, 5, 4), normal(2, 3, 5, 4, seed=1), normal(2, 3, 5, 4, seed=2)
    for t in times:
        x_t = process.marginal(x0, t, eps, y)
        torch.testing.assert_close(process.noise(x_t, x0, t, y), eps)
        torch.testing.assert_close(process.clean(x_t, eps, t, y), x0, atol=1e-5, rtol=1e-5)


@every
@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "score", "velocity"])
def test_every_prediction_means_the_same_image(name, prediction):
    process, times = CASES[name]
    x0, eps, y = normal(2, 3, 5, 4), normal(2, 3, 5, 4, seed=1), normal(2, 3, 5, 4, seed=2)
    for t in times:
        x_t = process.marginal(x0, t, eps, y)
        value = from_x0(prediction, x0, process, x_t, t, y)
        torch.testing.assert_close(to_x0(prediction, value, process, x_t, t, y), x0, atol=1e-5, rtol=1e-5)


@every
def test_each_image_may_have_its_own_time(name):
    process, times = CASES[name]
    x0, eps, y = normal(2, 3, 5, 4).float(), normal(2, 3, 5, 4, seed=1).float(), normal(2, 3, 5, 4, seed=2).float()
    both = process.marginal(x0, torch.tensor(times[:2]), eps, y)
    assert both.dtype == torch.float32
    for image, t in enumerate(times[:2]):
        alone = process.marginal(x0[image : image + 1], t, eps[image : image + 1], y[image : image + 1])
        torch.testing.assert_close(both[image : image + 1], alone)
    with pytest.raises(ValueError, match="3 times for 2 images"):
        process.marginal(x0, torch.tensor([times[0]] * 3), eps, y)


@every
def test_reverse_steps_keep_the_marginals(name):
    """Where x_t is distributed as (M) says, so is the x_r that the posterior draws, and any member of DDIM's family."""
    process, times = CASES[name]
    x0, y = normal(1, 1, 2, 2), normal(1, 1, 2, 2, seed=2)
    for t, r in pairwise(times):
        now, past = process.coefficients(t), process.coefficients(r)
        centre = now.a * x0 + (now.b * y if process.uses_target else 0)
        expected = past.a * x0 + (past.b * y if process.uses_target else 0)
        for step in (process.posterior, partial(process.same_marginals, std=0.6 * past.s)):
            if isinstance(process, I2SB) and step == process.posterior:
                continue  # its soft ends: see test_bridges
            mean, std = step(centre, x0, t, r, y=y)
            slope = step(centre + 1, x0, t, r, y=y)[0] - mean
            torch.testing.assert_close(mean, expected)
            spread = (slope**2 * now.s**2 + std**2).mean()
            torch.testing.assert_close(spread, past.s**2, rtol=1e-6, atol=1e-12)


@every
def test_renoising_goes_to_the_marginal_of_the_clean_image(name):
    process, times = CASES[name]
    x, x0, y, eps = (normal(2, 3, 4, 5, seed=seed) for seed in range(4))
    for t, r in pairwise(times):
        found = renoised(process, y=y)(x, Denoised(x0), t, r, lambda like: eps)
        torch.testing.assert_close(found, process.marginal(x0, r, eps, y))


@every
def test_noise_rises_in_time(name):
    process, times = CASES[name]
    ratios = [float(snr(process, t)) for t in times]
    if name in ("goub", "i2sb", "bbdm", "ddbm_ve", "ddbm_vp"):  # a bridge has no noise at its end, but less and less of x0
        ratios = [float(process.coefficients(t).a) for t in times]
    assert ratios == sorted(ratios)


@pytest.mark.parametrize("name", [name for name, (process, _) in CASES.items() if isinstance(process, SDE)])
def test_drift_and_diffusion_belong_to_the_marginals(name):
    """a' = f a, b' = f b + g_y and (s^2)' = 2 f s^2 + g^2, where the drift is f x + g_y y."""
    process, times = CASES[name]
    if isinstance(process, VEBridge | VPBridge):
        pytest.skip("drift and diffusion are those before the bridge is bent")
    zero, one = torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    discrete = isinstance(process, IRSDE)
    for t in times[1:-1]:
        of_x = float(process.drift(one, t, zero))
        of_y = float(process.drift(zero, t, one))
        g2 = float(process.diffusion(t)) ** 2
        if discrete:  # rates are those of the step that ends at t: exact for the logarithm, so compare increments
            last, now = process.coefficients(t - 1), process.coefficients(t)
            if isinstance(process, GOUB):
                continue  # see test_bridges: its drift is exact at points, not over steps
            assert float((now.a / last.a).log()) == pytest.approx(of_x, rel=1e-9)
            assert float(now.b - last.b) == pytest.approx((1 - float(last.b)) * -(torch.tensor(of_x).expm1().item()), rel=1e-5)
            assert of_x == -of_y and g2 == pytest.approx(-2 * of_x * process.lam**2)
            continue
        h = 1e-5 * t
        before, now, after = (process.coefficients(u) for u in (t - h, t, t + h))
        assert float(after.a - before.a) / (2 * h) == pytest.approx(of_x * float(now.a), rel=1e-5, abs=1e-9)
        assert float(after.s**2 - before.s**2) / (2 * h) == pytest.approx(2 * of_x * float(now.s) ** 2 + g2, rel=1e-5)
        assert of_y == 0


@pytest.mark.parametrize(
    ("process", "clean"),
    [
        (DDPM(linear_betas(10)), -1),
        (IRSDE(cosine_thetas(10), 0.1), 0),
        (GOUB(cosine_thetas(10), 0.1), 0),
        (Flow(), 0.0),
        (EDM(), 0.0),
        (BBDM(10), 0),
        (VEBridge(), 0.0),
        (VPBridge(), 0.0),
        (ResShift(resshift_etas(5)), 0),
    ],
)
def test_the_clean_end_is_the_clean_image(process, clean):
    assert [float(value) for value in process.coefficients(clean)] == [1, 0, 0]


@pytest.mark.parametrize(
    ("process", "end"), [(GOUB(cosine_thetas(10), 0.1), 10), (BBDM(10), 10), (VEBridge(), 80.0), (VPBridge(), 1.0)]
)
def test_bridges_end_at_the_degraded_image(process, end):
    a, b, s = process.coefficients(end)
    assert float(a) == pytest.approx(0, abs=1e-12) and float(b) == pytest.approx(1) and float(s) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("process", "times"),
    [
        (DDPM(linear_betas(10)), [-2, 10, 0.5, -0.5, torch.tensor([1.0, 2.5]), float("nan")]),
        (IRSDE(cosine_thetas(10), 0.1), [-1, 11, 9.5]),
        (VPSDE(), [-0.1, 1.1]),
        (Flow(), [-0.1, 1.1]),
        (EDM(), [-1.0]),
        (I2SB(mirrored_betas(10, 1e-4, 0.03)), [-1, 10]),
        (BBDM(10), [-1, 11]),
        (VEBridge(), [81.0]),
        (VPBridge(), [1.5]),
        (ResShift(resshift_etas(5)), [6]),
        (InterpolatedDDPM(DDPM(linear_betas(10))), [0.05]),
    ],
)
def test_times_outside_of_a_process_are_refused(process, times):
    for t in times:
        with pytest.raises(ValueError, match="expected"):
            process.coefficients(t)


def test_a_process_that_goes_to_the_degraded_image_asks_for_it():
    x = normal(1, 3, 4, 4)
    with pytest.raises(ValueError, match="IRSDE goes to the degraded image: pass it as y"):
        IRSDE(cosine_thetas(10), 0.1).marginal(x, 5, x)


@pytest.mark.parametrize(
    "build",
    [
        lambda: DDPM(torch.tensor([0.1, 1.5])),
        lambda: DDPM(torch.empty(0)),
        lambda: IRSDE(torch.tensor([0.0, -1.0]), 0.1),
        lambda: IRSDE(cosine_thetas(10), 0.0),
        lambda: IRSDE(cosine_thetas(10), 0.1, eps=1.0),
        lambda: I2SB(torch.tensor([0.1])),
        lambda: VPSDE(2.0, 1.0),
        lambda: VESDE(0.0, 1.0),
        lambda: VEBridge(0.0),
        lambda: VPBridge(beta_min=0.0),
        lambda: BBDM(0),
        lambda: ResShift(torch.tensor([0.5, 0.4])),
        lambda: resshift_etas(1),
    ],
)
def test_impossible_parameters_are_refused(build):
    with pytest.raises(ValueError, match="expected"):
        build()


def test_posterior_agrees_with_ddpm_of_the_paper():
    """Equations 6 and 7 of arXiv:2006.11239, for a neighbouring step and for one that leaves steps out."""
    process = DDPM(linear_betas(1000))
    x_t, x0 = normal(1, 1, 3, 3), normal(1, 1, 3, 3, seed=1)
    for t, r in [(500, 499), (999, 700), (3, -1)]:
        bar, before = process.alphas_cumprod[t], process.alphas_cumprod[r] if r >= 0 else torch.tensor(1.0).double()
        beta = 1 - bar / before
        mean = before.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - before) / (1 - bar) * x_t
        ours = process.posterior(x_t, x0, t, r)
        torch.testing.assert_close(ours.mean, mean)
        torch.testing.assert_close(ours.std**2, (1 - before) / (1 - bar) * beta)


def test_zero_terminal_snr_leaves_nothing_of_the_image():
    process = DDPM(zero_terminal_snr(sqrt_linear_betas(1000, 0.00085, 0.012)))
    assert float(snr(process, 999)) == 0 and float(process.betas[0]) == pytest.approx(0.00085)
    x0, eps = normal(1, 3, 2, 2), normal(1, 3, 2, 2, seed=1)
    torch.testing.assert_close(process.marginal(x0, 999, eps), eps)
    value = from_x0("v", x0, process, eps, 999)
    torch.testing.assert_close(to_x0("v", value, process, eps, 999), x0)  # eps alone could not tell
