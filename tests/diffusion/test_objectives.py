"""Training: what a perfect network costs, that all predictions cost the same, and where gradients go."""

from __future__ import annotations

import math

import pytest
import torch
from gaussian import GaussianData, normal
from torch import nn

from restoralib.diffusion import (
    BBDM,
    DDPM,
    EDM,
    GOUB,
    I2SB,
    IRSDE,
    VESDE,
    VPSDE,
    BridgeForm,
    Flow,
    InterpolatedDDPM,
    ResShift,
    SubVPSDE,
    VEBridge,
    VPBridge,
    bound_terms,
    bridge_loss,
    constant_weight,
    denoised_loss,
    denoiser,
    discretized_nll,
    draw_log_normal,
    draw_logit_normal,
    draw_times,
    edm_loss,
    edm_weight,
    flow_matching_loss,
    from_x0,
    hybrid_loss,
    likelihood_weight,
    min_snr_weight,
    normal_kl,
    optimal_pairs,
    preconditioned,
    prediction_loss,
    resshift_etas,
    score_matching_loss,
    slope_of,
    snr,
    snr_weight,
    target,
)
from restoralib.ops.schedules import cosine_thetas, linear_betas, mirrored_betas, zero_terminal_snr

PROCESSES = {
    "ddpm": DDPM(linear_betas(100, 1e-3, 0.2)),
    "vp": VPSDE(),
    "subvp": SubVPSDE(),
    "ve": VESDE(),
    "edm": EDM(),
    "flow": Flow(),
    "irsde": IRSDE(cosine_thetas(100), 0.2),
    "goub": GOUB(cosine_thetas(100), 0.2),
    "i2sb": I2SB(mirrored_betas(100, 1e-4, 3e-3)),
    "bbdm": BBDM(),
    "ve_bridge": VEBridge(),
    "vp_bridge": VPBridge(),
    "resshift": ResShift(resshift_etas()),
}
KINDS = ["eps", "x0", "v", "score", "velocity"]
every = pytest.mark.parametrize("name", PROCESSES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def kinds_of(process):
    return [*KINDS, "label"] if isinstance(process, I2SB) else KINDS


def as_network(data, process, kind, t, y):
    """A network that predicts what a denoiser says; it must be given the times of the batch."""

    def net(x, label):
        assert torch.equal(label, t.to(x))
        x0 = data(x, t).x0
        return process.label(x, x0, t) if kind == "label" else from_x0(kind, x0, process, x, t, y)

    return net


def batch(process, count=4, side=6):
    t = draw_times(process, count, generator())
    x0, eps, y = (normal(count, 1, side, side, seed=seed) for seed in range(3))
    return 0.2 + 0.3 * x0, t, eps, y


@every
def test_times_are_those_of_the_process(name):
    process = PROCESSES[name]
    times = draw_times(process, 2000, generator())
    assert times.shape == (2000,) and torch.equal(times, draw_times(process, 2000, generator()))
    process.coefficients(times)  # refuses what is outside
    a, _, s = process.coefficients(times)
    assert (bool((s > 0).all()) and bool((a > 0).all())) or name == "resshift"


def test_all_whole_times_are_drawn():
    for process, first, last in [
        (DDPM(linear_betas(5)), 0, 4),
        (I2SB(mirrored_betas(5, 1e-4, 0.1)), 0, 4),
        (IRSDE(cosine_thetas(5), 0.1), 1, 5),
        (GOUB(cosine_thetas(5), 0.1), 1, 4),
        (ResShift(resshift_etas(5)), 1, 5),
        (BBDM(5), 1, 4),
    ]:
        times = draw_times(process, 5000, generator())
        counts = times.bincount()[first:]
        assert times.min() == first and times.max() == last
        assert bool(((counts / 5000 - 1 / len(counts)).abs() < 0.03).all())
    with pytest.raises(TypeError, match="no training times are known for InterpolatedDDPM"):
        draw_times(InterpolatedDDPM(DDPM(linear_betas(5))), 3)


def test_random_levels_have_their_distribution():
    logs = draw_log_normal(50_000, generator()).log()
    assert float(logs.mean()) == pytest.approx(-1.2, abs=0.02) and float(logs.std()) == pytest.approx(1.2, abs=0.02)
    logits = draw_logit_normal(50_000, generator(), mean=0.5, std=2.0).logit()
    assert float(logits.mean()) == pytest.approx(0.5, abs=0.04) and float(logits.std()) == pytest.approx(2.0, abs=0.04)


@every
def test_targets_are_what_the_clean_image_means(name):
    process = PROCESSES[name]
    x0, t, eps, y = batch(process)
    x_t = process.marginal(x0, t, eps, y)
    for kind in KINDS:
        value = target(kind, process, x0, t, eps, y)
        torch.testing.assert_close(value, from_x0(kind, x0, process, x_t, t, y), rtol=1e-5, atol=1e-5)
    if name == "i2sb":
        torch.testing.assert_close(target("label", process, x0, t, eps, y), process.label(x_t, x0, t))


@every
def test_all_predictions_of_a_denoiser_cost_the_same(name):
    """Weighted alike, and for each weight as much as its clean image."""
    process = PROCESSES[name]
    x0, t, eps, y = batch(process)
    data = GaussianData(process, y=y)
    for weight in (constant_weight, snr_weight, min_snr_weight(5.0), edm_weight(0.3)):
        expected = denoised_loss(data, process, x0, t, eps, y=y, weight=weight)
        for kind in kinds_of(process):
            loss = prediction_loss(as_network(data, process, kind, t, y), process, kind, x0, t, eps, y=y, weight=weight)
            torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


@every
def test_the_true_answer_costs_nothing(name):
    process = PROCESSES[name]
    x0, t, eps, y = batch(process)
    for kind in kinds_of(process):
        answer = target(kind, process, x0, t, eps, y)
        for power in (1, 2):
            assert float(prediction_loss(lambda x, t, value=answer: value, process, kind, x0, t, eps, y=y, power=power)) == 0


@every
def test_a_perfect_network_costs_the_variance_that_is_left(name):
    """E |x0 - E[x0 | x_t]|^2 = d^2 s^2 / (a^2 d^2 + s^2) for Gaussian data of deviation d, times the slope of the target."""
    process = PROCESSES[name]
    x0, t, eps, y = batch(process, side=150)
    data = GaussianData(process, y=y)
    a, _, s = process.coefficients(t)
    left = data.std**2 * s**2 / (a**2 * data.std**2 + s**2)
    for kind in kinds_of(process):
        loss = prediction_loss(as_network(data, process, kind, t, y), process, kind, x0, t, eps, y=y)
        minimum = float((left * slope_of(kind, process, t) ** 2).mean())
        assert float(loss) == pytest.approx(minimum, rel=0.04)


def test_weights_are_those_of_the_papers():
    process, t = DDPM(linear_betas(100)), torch.tensor([0, 40, 99])
    bar = process.alphas_cumprod[t]
    ratio = bar / (1 - bar)
    torch.testing.assert_close(snr_weight(process, t), ratio)
    eps = min_snr_weight(5.0)(process, t) / slope_of("eps", process, t) ** 2
    torch.testing.assert_close(eps, (5 / ratio).clamp(max=1))
    v = min_snr_weight(5.0)(process, t) / slope_of("v", process, t) ** 2
    torch.testing.assert_close(v, ratio.clamp(max=5) / (ratio + 1))
    sigma = torch.tensor([0.1, 3.0]).double()
    torch.testing.assert_close(edm_weight(0.5)(EDM(), sigma), (sigma**2 + 0.25) / (sigma * 0.5) ** 2)
    time = torch.tensor([0.1, 0.9]).double()
    g, s = VPSDE().diffusion(time), VPSDE().coefficients(time).s
    torch.testing.assert_close(likelihood_weight(VPSDE(), time) / slope_of("score", VPSDE(), time) ** 2, g**2)
    torch.testing.assert_close(snr_weight(VPSDE(), time) / slope_of("score", VPSDE(), time) ** 2, s**2)


def test_score_matching_is_the_error_of_the_noise():
    process = VPSDE()
    x0, t, eps, _ = batch(process)

    def net(x, time):
        return 0.3 * x

    s, g = process.coefficients(t).s[:, None, None, None], process.diffusion(t)[:, None, None, None]
    error = 0.3 * process.marginal(x0, t, eps) + eps / s
    torch.testing.assert_close(score_matching_loss(net, process, x0, t, eps), (s * error).square().mean())
    torch.testing.assert_close(score_matching_loss(net, process, x0, t, eps, likelihood=True), (g * error).square().mean())


def test_flow_matching_may_choose_the_noise():
    x0, t, eps, _ = batch(Flow())

    def net(x, time):
        return x.tanh()

    pairs = eps[optimal_pairs(x0, eps)]
    sigma = t[:, None, None, None]
    for noise, optimal in ((eps, False), (pairs, True)):
        expected = (((1 - sigma) * x0 + sigma * noise).tanh() - (noise - x0)).square().mean()
        torch.testing.assert_close(flow_matching_loss(net, x0, t, eps, optimal=optimal), expected)
    assert not torch.equal(pairs, eps)


def test_the_label_of_the_network_is_the_samplers():
    """A network that is trained with a label for the time is called with it by `denoiser`, too."""
    process, seen = I2SB(mirrored_betas(100, 1e-4, 3e-3)), []
    x0, t, eps, y = batch(process)

    def net(x, label):
        seen.append(label)
        return x

    prediction_loss(net, process, "label", x0, t, eps, y=y, time=process.network_time)
    denoiser(net, process, "x0", y=y, time=process.network_time)(x0, t[0])
    torch.testing.assert_close(seen[0], process.network_time(t))
    torch.testing.assert_close(seen[1], process.network_time(t[0]).expand(4))


def test_an_edm_network_is_compared_with_a_target_of_unit_variance():
    x0, sigma, eps = 0.5 * normal(64, 1, 40, 40), draw_log_normal(64, generator()), normal(64, 1, 40, 40, seed=1)
    assert float(edm_loss(lambda x, t: torch.zeros_like(x), x0, sigma, eps)) == pytest.approx(1, abs=0.01)
    ours, theirs = BridgeForm(EDM()), preconditioned(lambda x, t: x.sin() + t.view(-1, 1, 1, 1))
    x = EDM().marginal(x0, sigma, eps)
    torch.testing.assert_close(ours.denoiser(lambda x, t: x.sin() + t.view(-1, 1, 1, 1))(x, sigma), theirs(x, sigma))
    torch.testing.assert_close(ours.weight(EDM(), sigma), edm_weight(0.5)(EDM(), sigma))


@pytest.mark.parametrize("name", ["ve_bridge", "vp_bridge", "bbdm", "irsde"])
def test_a_bridges_form_has_unit_variance(name):
    """For correlated clean and degraded images; and its skip is the best linear guess, so that no linear part is left."""
    process, shape = PROCESSES[name], (8, 1, 150, 150)
    x0 = 0.4 * normal(*shape)
    y = 0.5 * (0.8 * x0 / 0.4 + 0.6 * normal(*shape, seed=1))
    form = BridgeForm(process, sigma_data=0.4, sigma_target=0.5, covariance=0.8 * 0.4 * 0.5)
    t, eps = draw_times(process, 8, generator()), normal(*shape, seed=2)
    inputs, x_t = [], process.marginal(x0, t, eps, y)

    def net(x, label):
        inputs.append(x)
        torch.testing.assert_close(label, t.double().log() / 4)
        return torch.zeros_like(x)

    assert float(bridge_loss(form, net, x0, t, eps, y)) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(inputs[0].flatten(1).std(1), torch.ones(8).double(), atol=0.02, rtol=0)
    left = (x0 - form.denoiser(net)(x_t, t).x0) * x_t
    assert float((left.flatten(1).mean(1) / x_t.flatten(1).std(1)).abs().max()) < 0.01


def test_the_divergence_of_normals_is_torchs():
    means, logs = normal(2, 50), normal(2, 50, seed=1)
    first, second = (torch.distributions.Normal(mean, (log / 2).exp()) for mean, log in zip(means, logs, strict=True))
    expected = torch.distributions.kl_divergence(first, second)
    torch.testing.assert_close(normal_kl(means[0], logs[0], means[1], logs[1]), expected)


@pytest.mark.parametrize("log_variance", [-14.0, -9.0, -3.0, 1.0])
@pytest.mark.parametrize("mean", [-1.3, -0.2, 0.5, 1.0])
def test_the_256_values_of_a_pixel_exhaust_the_probability(mean, log_variance):
    values = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    cost = discretized_nll(values, torch.tensor(mean).double(), torch.tensor(log_variance).double())
    assert bool(cost.isfinite().all()) and float(cost.neg().exp().sum()) == pytest.approx(1, abs=1e-9)
    single = discretized_nll(values.float(), torch.tensor(mean), torch.tensor(log_variance))
    torch.testing.assert_close(single.double(), cost, rtol=1e-3, atol=1e-4)


def test_the_bound_is_the_divergence_of_the_network_from_the_posterior():
    process = DDPM(linear_betas(10, 0.01, 0.3))
    x0 = (normal(4, 1, 3, 3).tanh() * 127.5).round() / 127.5
    t, eps = torch.tensor([1, 4, 9, 0]), normal(4, 1, 3, 3, seed=1)
    x_t = process.marginal(x0, t, eps)
    perfect = bound_terms(process, x0, x_t, t, x0, -torch.ones_like(x0))
    torch.testing.assert_close(perfect[:3], torch.zeros(3).double(), atol=1e-12, rtol=0)
    assert float(perfect[3]) > 0  # eight bits cannot be told for nothing

    predicted, variance = x0 + 0.1 * eps, normal(4, 1, 3, 3, seed=2)
    terms = bound_terms(process, x0, x_t, t, predicted, variance)
    for image, time in enumerate([1, 4, 9]):
        one = slice(image, image + 1)
        true = process.posterior(x_t[one], x0[one], time, time - 1)
        guess = process.posterior(x_t[one], predicted[one], time, time - 1)
        share, beta = (variance[one] + 1) / 2, process.betas[time]
        std = (share * beta.log() / 2 + (1 - share) * true.std.log()).exp()
        expected = torch.distributions.kl_divergence(
            torch.distributions.Normal(true.mean, true.std), torch.distributions.Normal(guess.mean, std)
        )
        torch.testing.assert_close(terms[image], expected.mean() / math.log(2))
    first = process.coefficients(0).s ** 2 / process.coefficients(1).s ** 2 * process.betas[1]
    log_variance = (variance[3] + 1) / 2 * process.betas[0].log() + (1 - variance[3]) / 2 * first.log()
    torch.testing.assert_close(terms[3], discretized_nll(x0[3], predicted[3], log_variance).mean() / math.log(2))


def test_the_bound_trains_the_variance_alone():
    process = DDPM(linear_betas(10, 0.01, 0.3))
    x0, t, eps = normal(4, 1, 3, 3).tanh(), torch.tensor([0, 3, 6, 9]), normal(4, 1, 3, 3, seed=1)
    value = normal(4, 2, 3, 3, seed=2).requires_grad_()
    hybrid_loss(lambda x, t: value, process, x0, t, eps).backward()
    noise = value.detach()[:, :1].requires_grad_()
    prediction_loss(lambda x, t: noise, process, "eps", x0, t, eps).backward()
    torch.testing.assert_close(value.grad[:, :1], noise.grad)
    assert bool((value.grad[:, 1:] != 0).all())
    plain = hybrid_loss(lambda x, t: value, process, x0, t, eps, bound_weight=0.0)
    torch.testing.assert_close(plain, (value[:, :1] - eps).square().mean())
    with pytest.raises(ValueError, match=r"the network gives \(4, 1, 3, 3\); noise and variance need twice the channels"):
        hybrid_loss(lambda x, t: x, process, x0, t, eps)


def test_the_bound_is_least_for_the_right_variance():
    """With the clean image known to a deviation d, the best variance is that of q and of the guess together."""
    process, d = DDPM(linear_betas(10, 0.01, 0.3)), 0.5
    t, eps, x0 = torch.full((16,), 5), normal(16, 1, 32, 32), normal(16, 1, 32, 32, seed=1)
    x_t, guess = process.marginal(x0, t, eps), x0 + d * normal(16, 1, 32, 32, seed=2)
    shares = torch.linspace(-1, 1, 101, dtype=torch.float64)
    costs = [bound_terms(process, x0, x_t, t, guess, share.expand_as(x0)).mean() for share in shares]
    best = shares[int(torch.stack(costs).argmin())]
    now, past, beta = process.coefficients(5), process.coefficients(4), process.betas[5]
    lower = past.s**2 / now.s**2 * beta
    wanted = (lower + (past.a * beta / now.s**2 * d) ** 2).log()
    assert -1 < best < 1
    assert float((best + 1) / 2 * beta.log() + (1 - best) / 2 * lower.log()) == pytest.approx(float(wanted), abs=0.02)


@every
@pytest.mark.parametrize("power", [1, 2])
def test_gradients_reach_the_network(name, power):
    process = PROCESSES[name]
    torch.manual_seed(0)
    net = nn.Conv2d(1, 1, 3, padding=1)
    x0, t, eps, y = (x.float() if x.is_floating_point() and x.ndim > 1 else x for x in batch(process))
    for kind in kinds_of(process):
        net.zero_grad()
        prediction_loss(lambda x, t: net(x), process, kind, x0, t, eps, y=y, weight=snr_weight, power=power).backward()
        assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


def test_errors():
    process = DDPM(zero_terminal_snr(linear_betas(10)))
    x0, eps, t = normal(2, 1, 2, 2), normal(2, 1, 2, 2, seed=1), torch.tensor([3, 9])
    with pytest.raises(ValueError, match="a weight of 'eps' has no bound where no noise or no image is left"):
        prediction_loss(lambda x, t: x, process, "eps", x0, t, eps, weight=min_snr_weight())
    assert float(snr(process, 9)) == 0
    assert prediction_loss(lambda x, t: x, process, "v", x0, t, eps, weight=min_snr_weight()).isfinite()
    with pytest.raises(ValueError, match="power 1 or 2, got 3"):
        prediction_loss(lambda x, t: x, process, "eps", x0, t, eps, power=3)
    with pytest.raises(ValueError, match=r"the network gives \(2, 1, 1, 2\), its target is \(2, 1, 2, 2\)"):
        prediction_loss(lambda x, t: x[:, :, :1], process, "eps", x0, t, eps)
    for function in (lambda: target("noise", process, x0, t, eps), lambda: slope_of("noise", process, t)):
        with pytest.raises(ValueError, match="unknown target 'noise'; choose one of eps, x0, v, score, velocity, label"):
            function()
    with pytest.raises(TypeError, match="the label is a target of I2SB, not of DDPM"):
        target("label", process, x0, t, eps)
    with pytest.raises(TypeError, match="likelihood_weight needs a process with diffusion, which DDPM is not"):
        likelihood_weight(process, t)
    with pytest.raises(ValueError, match="expected gamma > 0"):
        min_snr_weight(0.0)
    with pytest.raises(ValueError, match="no larger covariance"):
        BridgeForm(VPBridge(), covariance=0.3)
