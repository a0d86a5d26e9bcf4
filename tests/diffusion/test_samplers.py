"""Samplers on Gaussian data, whose flow is known; their noise, their hooks and their refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from gaussian import GaussianData, normal

from restoralib.degradations.operators import BlurOperator, MaskOperator
from restoralib.diffusion import (
    BBDM,
    DDPM,
    DPS,
    EDM,
    IRSDE,
    VPSDE,
    ClassifierGuidance,
    Denoised,
    Flow,
    InterpolatedDDPM,
    Measurement,
    PiGDM,
    VPBridge,
    ancestral,
    ancestral_sampling,
    annealed_langevin,
    annealed_langevin_dynamics,
    blind_denoiser,
    classifier_free,
    come_closer,
    concatenated,
    conditional_loss,
    ddbm_heun,
    ddim,
    ddnm_plus,
    ddrm,
    denoiser,
    diffpir,
    dpm_solver_2m,
    draw_noise_level,
    edm_heun,
    euler,
    euler_maruyama,
    even,
    flow_heun,
    given,
    karras,
    langevin,
    level_denoiser,
    level_steps,
    noised_measurement,
    optimal_pairs,
    preconditioned,
    predictor_corrector,
    probability_flow,
    red_diff,
    reflow_pairs,
    reverse_diffusion,
    rk45,
    sample,
    sample_with_travel,
    shifted,
    training_steps,
    travel_schedule,
)
from restoralib.ops.schedules import cosine_thetas, linear_betas, zero_terminal_snr

X = normal(1, 3, 4, 4)
LEAST = 0.05  # where the ODEs end, so that their last step has no special form


def vp_euler(steps):
    process = VPSDE(0.1, 6.0)
    return process, (1.0, LEAST), lambda data: sample(data, X, even(steps, 1.0, LEAST), euler(process))


def flow_euler(steps):
    process = Flow()
    return process, (0.95, LEAST), lambda data: sample(data, X, even(steps, 0.95, LEAST), ddim(process))


def flow_second(steps):
    return Flow(), (0.95, LEAST), lambda data: flow_heun(data, X, even(steps, 0.95, LEAST))


def edm_second(steps):
    levels = karras(steps + 1, 5.0, 0.05)[:-1]
    return EDM(), (5.0, 0.05), lambda data: edm_heun(data, X, levels)


def solver_second(steps):
    process = InterpolatedDDPM(DDPM(linear_betas(1000, 1e-4, 0.006)))
    times = process.even_in_log_snr(steps, 1.0, 0.1)
    return process, (1.0, 0.1), lambda data: dpm_solver_2m(data, process, X, times, lower_order_final=False)


@pytest.mark.parametrize(
    ("method", "order"), [(vp_euler, 1), (flow_euler, 1), (flow_second, 2), (edm_second, 2), (solver_second, 2)]
)
def test_order_of_convergence(method, order):
    """Twice the steps divide the error by 2 to the order."""
    errors = []
    for steps in (20, 40, 80):
        process, (start, end), run = method(steps)
        data = GaussianData(process)
        errors.append(float((run(data) - data.flow(X, start, end)).abs().max()))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_adaptive_solver_keeps_its_tolerance(tolerance):
    process = VPSDE()
    data = GaussianData(process)
    found = probability_flow(data, process, X, 1.0, 1e-3, rtol=tolerance, atol=tolerance)
    assert float((found.x - data.flow(X, 1.0, 1e-3)).abs().max()) < 20 * tolerance
    assert found.calls < {1e-3: 80, 1e-6: 200, 1e-9: 700}[tolerance]
    back = probability_flow(data, process, found.x, 1e-3, 1.0, rtol=tolerance, atol=tolerance)
    assert float((back.x - X).abs().max()) < 300 * tolerance


def test_adaptive_solver_says_why_it_gives_up():
    with pytest.raises(RuntimeError, match="not finite"):
        rk45(lambda x, t: x * math.nan, X, 0.0, 1.0)
    with pytest.raises(RuntimeError, match="more than 50 calls"):
        rk45(lambda x, t: torch.sin(1000 * x * t), X, 0.0, 100.0, max_calls=50)
    assert rk45(lambda x, t: x, X, 1.0, 1.0).calls == 0


def test_langevin_corrections_keep_the_distribution():
    """Where the state has the right distribution, small steps of either corrector leave it so."""
    process = VPSDE()
    data, t = GaussianData(process), 0.3
    a, _, _ = process.coefficients(t)
    start = a * data.mean + data.spread(t) * normal(40, 1, 20, 20)
    for corrector in (langevin(0.05), langevin(0.05, batch=True), annealed_langevin(process, 0.1)):
        generator = torch.Generator().manual_seed(1)
        x = predictor_corrector(data, start, [t, 0.0], process, lambda x, *_: x, corrector, corrections=30, noise=generator)
        assert float(x.mean()) == pytest.approx(float(a * data.mean), abs=0.02)
        assert float(x.std()) == pytest.approx(float(data.spread(t)), rel=0.03)


def test_langevin_does_not_couple_images_unless_told():
    process = VPSDE()
    data, draws = GaussianData(process), [normal(2, 3, 4, 4, seed=3)]
    pair = torch.cat([X, 5 * X])
    for batch, same in ((False, True), (True, False)):
        together = predictor_corrector(
            data, pair, [0.5, 0.0], process, lambda x, *_: x, langevin(0.2, batch=batch), noise=draws
        )
        alone = predictor_corrector(
            data, pair[:1], [0.5, 0.0], process, lambda x, *_: x, langevin(0.2, batch=batch), noise=[draws[0][:1]]
        )
        assert torch.allclose(together[:1], alone) == same


def test_annealed_langevin_dynamics_reaches_the_data():
    process = EDM()
    data = GaussianData(process)
    levels = torch.logspace(0, -2, 12)
    x = annealed_langevin_dynamics(
        data, normal(3000, 1, 1, 1), levels, process, step_size=2e-5, steps=40, noise=torch.Generator().manual_seed(1)
    )
    assert float(x.mean()) == pytest.approx(data.mean, abs=0.03) and float(x.std()) == pytest.approx(data.std, rel=0.08)


def test_edm_preconditioning_is_exact_for_gaussian_data():
    """A network that gives what table 1 makes its target, for data of standard deviation sigma_data."""
    data = GaussianData(EDM(), mean=0.0, std=0.5)
    for sigma in (0.01, 0.5, 20.0):
        denoise = preconditioned(lambda x, label: torch.zeros_like(x), 0.5)
        found = denoise(X, torch.tensor(sigma)).x0
        torch.testing.assert_close(found, data(X, sigma).x0)


# noise, hooks, gradients


def test_noise_may_be_a_generator_draws_or_a_source():
    process = DDPM(linear_betas(10))
    data, grid = GaussianData(process), range(9, -2, -1)
    by_seed = sample(data, X, grid, ancestral(process), noise=torch.Generator().manual_seed(4))
    generator = torch.Generator().manual_seed(4)
    draws = [torch.randn(X.shape, generator=generator, dtype=X.dtype) for _ in range(10)]
    torch.testing.assert_close(sample(data, X, grid, ancestral(process), noise=draws), by_seed)
    torch.testing.assert_close(sample(data, X, grid, ancestral(process), noise=given(draws)), by_seed)
    with pytest.raises(ValueError, match="more noise than the 9 draws"):
        sample(data, X, grid, ancestral(process), noise=draws[:9])
    with pytest.raises(ValueError, match=r"draw 1 of the given noise has shape \(1, 3, 2, 4\)"):
        sample(data, X, grid, ancestral(process), noise=[draws[0][..., :2, :]])


def test_callback_sees_every_step():
    process, seen = DDPM(linear_betas(10)), []
    data = GaussianData(process)
    end = sample(data, X, [9, 4, -1], ddim(process), callback=lambda x, d, t, r: seen.append((x, float(t), r)))
    assert [t for _, t, _ in seen] == [9, 4]
    torch.testing.assert_close(seen[0][2], seen[1][0])
    torch.testing.assert_close(seen[1][2], end)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_samplers_leave_gradients_to_the_caller(mode):
    process = DDPM(linear_betas(10))
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    denoise = denoiser(lambda x, t: weight * x, process)
    with mode():
        end = sample(denoise, X, [9, 4, -1], ddim(process))
    assert end.requires_grad == (mode is torch.enable_grad)
    if mode is torch.enable_grad:
        end.sum().backward()
        assert weight.grad.abs() > 0


def test_gradient_guidance_refuses_inference_mode_and_a_denoiser_without_gradient():
    process = DDPM(linear_betas(10))
    data = GaussianData(process)
    measurement = Measurement(MaskOperator((3, 4, 4), torch.ones(4, 4)), X)
    for guidance in (DPS(measurement), PiGDM(measurement, process)):
        with torch.inference_mode(), pytest.raises(RuntimeError, match=r"use torch\.no_grad\(\)"):
            sample(data, X, [9, -1], ddim(process), guidance=guidance)
        with torch.no_grad():
            end = sample(data, X, [9, 4, -1], ddim(process), guidance=guidance)
        assert not end.requires_grad and end.isfinite().all()
        with pytest.raises(RuntimeError, match="let gradients pass"):
            sample(lambda x, t: Denoised(data(x, t).x0.detach()), X, [9, -1], ddim(process), guidance=guidance)
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"use torch\.no_grad\(\)"):
        red_diff(data, process, measurement, [9, -1])


def test_dps_does_not_couple_images_unless_told():
    process = DDPM(linear_betas(10))
    data = GaussianData(process)
    pair = torch.cat([X, 2 * X])
    operator = MaskOperator((3, 4, 4), torch.ones(4, 4))
    for batch, same in ((False, True), (True, False)):
        together = sample(data, pair, [9, 4], ddim(process), guidance=DPS(Measurement(operator, pair), batch=batch))
        alone = sample(data, X, [9, 4], ddim(process), guidance=DPS(Measurement(operator, X), batch=batch))
        assert torch.allclose(together[:1], alone) == same


DISCRETE, CONTINUOUS, BRIDGE = DDPM(linear_betas(100)), VPSDE(), VPBridge()
GRID = [1.0, 0.7, 0.4, 0.1]
SAMPLERS = {
    "ancestral": (DISCRETE, lambda d, x, z: sample(d, x, [99, 50, 10, -1], ancestral(DISCRETE), noise=z)),
    "ddim": (DISCRETE, lambda d, x, z: sample(d, x, [99, 50, -1], ddim(DISCRETE, eta=0.5), noise=z)),
    "euler": (CONTINUOUS, lambda d, x, z: sample(d, x, GRID, euler(CONTINUOUS))),
    "euler_maruyama": (CONTINUOUS, lambda d, x, z: sample(d, x, GRID, euler_maruyama(CONTINUOUS), noise=z)),
    "predictor_corrector": (
        CONTINUOUS,
        lambda d, x, z: predictor_corrector(
            d, x, GRID, CONTINUOUS, reverse_diffusion(CONTINUOUS, 50), annealed_langevin(CONTINUOUS, 0.1), noise=z
        ),
    ),
    "edm_heun": (EDM(), lambda d, x, z: edm_heun(d, 5 * x, [5.0, 1.0, 0.0], churn=1.0, noise=z)),
    "flow_heun": (Flow(), lambda d, x, z: flow_heun(d, x, [1.0, 0.5, 0.0])),
    "dpm_solver_2m": (DISCRETE, lambda d, x, z: dpm_solver_2m(d, DISCRETE, x, [99, 60, 20, -1])),
    "ddbm_heun": (BRIDGE, lambda d, x, z: ddbm_heun(d, BRIDGE, x, [0.9, 0.4, 0.0], noise=z)),
    "travel": (
        DISCRETE,
        lambda d, x, z: sample_with_travel(d, DISCRETE, x, [99, 50, 70, 20, -1], ancestral(DISCRETE), noise=z),
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_compiles_in_one_graph(name):
    torch.compiler.reset()  # each is the same function to the compiler, which counts how often it compiles that
    process, run = SAMPLERS[name]
    net = torch.nn.Conv2d(3, 3, 3, padding=1).double()

    def whole(x, draws):
        draw = iter(draws)
        y = x if process.uses_target else None
        return run(denoiser(lambda z, t: net(z), process, "x0", y=y), x, lambda like: next(draw))

    draws = [normal(1, 3, 4, 4, seed=s) for s in range(8)]
    with torch.no_grad():
        expected = whole(X, draws)
        torch.testing.assert_close(torch.compile(whole, backend="eager", fullgraph=True)(X, draws), expected)


def test_classifier_guidance_runs_under_inference_mode():
    process = DDPM(linear_betas(10))
    guidance = ClassifierGuidance(process, lambda x, t: -x.flatten(1).square().sum(1))
    ends = []
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            ends.append(sample(GaussianData(process), X, [9, 4, -1], ddim(process), guidance=guidance))
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_keep_their_type(dtype):
    process = DDPM(linear_betas(100))
    x = X.to(dtype)
    for step in (ancestral(process), ddim(process, eta=0.5)):
        assert sample(GaussianData(process), x, [99, 50, -1], step).dtype == dtype


# refusals


def test_grids_that_do_not_fall_are_refused():
    process = DDPM(linear_betas(10))
    for grid in ([4, 4, -1], [3, 5, -1]):
        with pytest.raises(ValueError, match="must fall"):
            sample(GaussianData(process), X, grid, ddim(process))
    with pytest.raises(ValueError, match="at least two times"):
        sample(GaussianData(process), X, [4], ddim(process))


@pytest.mark.parametrize("count", [0, 1001, [], [500, 501]])
def test_numbers_of_steps_that_a_schedule_does_not_have_are_refused(count):
    with pytest.raises(ValueError, match="from 1 to 1000 steps"):
        training_steps(1000, count)


def test_spacings():
    assert training_steps(10, 10) == list(range(9, -1, -1))
    assert training_steps(1000, 1) == [0]
    assert training_steps(1000, 4, "leading") == [750, 500, 250, 0]
    assert training_steps(1000, 4, "trailing") == [999, 749, 499, 249]
    assert training_steps(1000, 4, "linspace") == [999, 749, 500, 250]
    assert training_steps(1000, 4, "floor_stride") == training_steps(1000, 4, "ceil_stride") == [750, 500, 250, 0]
    with pytest.raises(ValueError, match="no whole stride gives 7"):
        training_steps(10, 7, "ceil_stride")
    with pytest.raises(ValueError, match="only spacing 'fractional' has sections"):
        training_steps(10, [2, 2], "leading")
    with pytest.raises(ValueError, match="unknown spacing"):
        training_steps(10, 2, "log")


def test_methods_name_what_does_not_fit():
    ddpm, image = DDPM(linear_betas(10)), normal(1, 3, 8, 8)
    blurred = Measurement(BlurOperator((3, 8, 8), torch.ones(3, 3) / 9), image)
    for method in (ddrm, ddnm_plus):
        with pytest.raises(ValueError, match="singular vectors, which BlurOperator does not have"):
            method(ddpm, blurred)
    for method in (euler, euler_maruyama):
        with pytest.raises(TypeError, match="which DDPM is not"):
            method(ddpm)
    for method in (reverse_diffusion, ancestral_sampling):
        with pytest.raises(TypeError, match=f"{method.__name__}.* is for VPSDE, SubVPSDE and VESDE, not for DDPM"):
            method(ddpm, 10)
    with pytest.raises(TypeError, match="is for VEBridge and VPBridge, not for IRSDE"):
        ddbm_heun(GaussianData(ddpm), IRSDE(cosine_thetas(10), 0.1), X, [9, 0])
    with pytest.raises(ValueError, match="IRSDE goes to a degraded image and cannot travel"):
        irsde = IRSDE(cosine_thetas(10), 0.1)
        sample_with_travel(GaussianData(ddpm), irsde, X, [9, 5, 6, 0], ancestral(irsde, y=X))
    for churn in (-1.0, math.nan):
        with pytest.raises(ValueError, match="churn >= 0"):
            edm_heun(GaussianData(EDM()), X, karras(3, 80.0, 0.002), churn=churn)
    with pytest.raises(ValueError, match="finite 0 < smallest"):
        karras(3, math.inf, 0.1)
    for eta in (-0.1, 1.5):
        with pytest.raises(ValueError, match="zeta and eta in"):
            diffpir(ddpm, blurred, eta=eta)
    with pytest.raises(TypeError, match="which EDM does not have"):
        diffpir(EDM(), blurred)
    with pytest.raises(ValueError, match="no form for IRSDE"):
        dpm_solver_2m(GaussianData(ddpm), IRSDE(cosine_thetas(10), 0.1), X, [9, 0])
    with pytest.raises(ValueError, match="expected a measurement"):
        Measurement(MaskOperator((3, 4, 4), torch.ones(4, 4)), image)
    for sigma in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="sigma >= 0"):
            Measurement(MaskOperator((3, 4, 4), torch.ones(4, 4)), X, sigma)
    for wrong in ({"eta": 1.5}, {"eta": -0.1}):
        with pytest.raises(ValueError, match="eta"):
            ddim(ddpm, **wrong)
    with pytest.raises(ValueError, match="learned_variance"):
        sample(GaussianData(ddpm), X, [9, -1], ancestral(ddpm, variance="learned"))
    with pytest.raises(ValueError, match="unknown variance 'huge'"):
        ancestral(ddpm, variance="huge")
    with pytest.raises(ValueError, match="unknown prediction 'noise'"):
        denoiser(lambda x, t: x, ddpm, "noise")


def test_a_network_of_another_shape_or_with_nan_is_named():
    process = DDPM(linear_betas(10))
    with pytest.raises(ValueError, match=r"gives \(1, 1, 4, 4\) for a state \(1, 3, 4, 4\)"):
        sample(denoiser(lambda x, t: x[:, :1], process), X, [9, -1], ddim(process))
    with pytest.raises(RuntimeError, match="not finite at time 9"):
        sample(denoiser(lambda x, t: x * math.nan, process), X, [9, -1], ddim(process))
    with pytest.raises(ValueError, match="enlarge the degraded image"):
        concatenated(lambda x, t: x, X[..., :2])(X, torch.zeros(1))


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda net: preconditioned(lambda x, label: net(x)),
        lambda net: level_denoiser(lambda x, condition, level: net(x), EDM()),
        lambda net: blind_denoiser(net, EDM(), largest=1.0),
    ],
)
def test_networks_of_every_form_are_checked(wrapped):
    with pytest.raises(RuntimeError, match=r"not finite at time 0\.5"):
        wrapped(lambda x: x * math.nan)(X, torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"gives \(1, 1, 4, 4\) for a state \(1, 3, 4, 4\)"):
        wrapped(lambda x: x[:, :1])(X, torch.tensor(0.5))


@pytest.mark.parametrize("prediction", ["eps", "score", "v", "velocity", "x0"])
def test_a_prediction_that_tells_nothing_of_the_image_is_named(prediction):
    ends = [(DDPM(zero_terminal_snr(linear_betas(10))), 9, ("eps", "score")), (BBDM(10), 10, ("eps", "score", "v", "velocity"))]
    for process, end, silent in ends:
        denoise = denoiser(lambda x, t: x, process, prediction, y=X, clip=(-1, 1))
        denoise(X, torch.tensor(end - 1))
        if prediction in silent:
            with pytest.raises(ValueError, match=f"'{prediction}' does not tell the clean image at time {end}, where"):
                denoise(X, torch.tensor(end))
        else:
            assert denoise(X, torch.tensor(end)).x0.isfinite().all()


def test_measurement_of_images_changes_the_range_in_one_place():
    operator = BlurOperator((3, 4, 4), torch.ones(3, 3) / 5, padding="zeros")  # constants are not kept
    image = normal(1, 3, 4, 4).sigmoid()
    changed = Measurement.of_images(operator, operator(image), 0.05)
    torch.testing.assert_close(changed.y, operator(2 * image - 1))
    assert changed.sigma == 0.1


# travel, starts, conditions, flows


def test_travel_schedule():
    assert travel_schedule(4, 1, 1) == [3, 2, 1, 0, -1]
    assert travel_schedule(4, 1, 2) == [3, 2, 3, 2, 1, 2, 1, 0, 1, 0, -1]
    with pytest.raises(ValueError, match="at least 1"):
        travel_schedule(4, 0, 1)


@pytest.mark.parametrize("up", ["x0", "state"])
def test_travel_keeps_the_data(up):
    process = DDPM(linear_betas(200))
    data = GaussianData(process)
    x = sample_with_travel(
        data,
        process,
        normal(4000, 1, 1, 1),
        travel_schedule(200, 10, 2),
        ancestral(process),
        up=up,
        noise=torch.Generator().manual_seed(0),
    )
    assert float(x.mean()) == pytest.approx(data.mean, abs=0.02)
    # Going up from the network's x0, as DDNM does, forgets what noise the state had: the spread suffers.
    assert float(x.std()) == pytest.approx(data.std, rel=0.05 if up == "state" else 0.4)
    with pytest.raises(ValueError, match="begin by falling"):
        sample_with_travel(data, process, X, [0, 5, -1], ancestral(process))


def test_coming_closer_starts_in_the_middle():
    process, grid = DDPM(linear_betas(100)), torch.arange(99, -2, -1)
    state, rest = come_closer(process, X, grid, 0.2, normal(1, 3, 4, 4, seed=1))
    assert rest.tolist() == list(range(19, -2, -1))
    torch.testing.assert_close(state, process.marginal(X, 19, normal(1, 3, 4, 4, seed=1)))
    with pytest.raises(ValueError, match="share in"):
        come_closer(process, X, grid, 0.0, X)
    with pytest.raises(ValueError, match="leaves no step"):
        come_closer(process, X, grid, 0.001, X)


def test_levels_become_training_steps():
    process = DDPM(linear_betas(1000))
    steps = level_steps(process, karras(8, 1.0, 0.03))
    assert len(steps) == 9 and steps[-1] == -1 and all(t > r for t, r in pairwise(steps))
    for step, level in zip(steps, karras(8, 1.0, 0.03).tolist(), strict=True):
        a, _, s = process.coefficients(step)
        assert float(s / a) == pytest.approx(level, rel=0.05)
    assert level_steps(process, [1e-4, 1e-5, 1e-6]) == [2, 1, 0, -1]  # all nearest to the first step
    for levels in ([], [0.0], [0.1, 0.2], [0.1, 0.0, 0.05]):
        with pytest.raises(ValueError, match="falling"):
            level_steps(process, levels)
    with pytest.raises(ValueError, match="do not fit"):
        level_steps(DDPM(linear_betas(3)), torch.linspace(0.1, 0.01, 4))
    with pytest.raises(ValueError, match=r"ends at a level of 157\.\d, below 200"):
        level_steps(process, [200.0, 5.0])


def test_a_measurement_is_brought_from_its_own_noise_to_a_later_time():
    process, sigma, t = DDPM(linear_betas(1000)), 0.3, torch.tensor(700)
    noisy, draw = X + sigma * normal(1, 3, 4, 4, seed=1), torch.ones_like(X)
    a, _, s = process.coefficients(t)
    found = noised_measurement(process, noisy, sigma, t, draw)
    own, added = float(a) * sigma, float((found - a * noisy)[0, 0, 0, 0])
    assert own**2 + added**2 == pytest.approx(float(s) ** 2, rel=1e-3)  # up to the schedule's nearest level
    with pytest.raises(ValueError, match="start at a later time"):
        noised_measurement(process, noisy, sigma, torch.tensor(20), draw)


def test_a_blind_denoiser_refuses_more_noise_than_it_knows():
    process, clean, seen = DDPM(linear_betas(1000)), torch.rand(2, 3, 4, 4), []

    def net(image):
        seen.append(image)
        return clean

    denoise = blind_denoiser(net, process, largest=0.2)
    t = torch.tensor(process.nearest(0.3))
    x0 = denoise(process.marginal(2 * clean - 1, t, torch.full_like(clean, 0.5)), t).x0
    torch.testing.assert_close(x0, 2 * clean - 1)
    a, _, s = process.coefficients(t)
    torch.testing.assert_close(seen[0], (clean + 0.25 * s / a).float())
    with pytest.raises(ValueError, match="start at a lower level"):
        denoise(X, torch.tensor(process.nearest(0.5)))
    with pytest.raises(ValueError, match="degraded image"):
        blind_denoiser(net, IRSDE(cosine_thetas(10), 0.1), largest=0.2)


def test_classifier_free_guidance_goes_away_from_the_unconditional():
    process = DDPM(linear_betas(10))
    near, far = GaussianData(process, mean=0.5), GaussianData(process, mean=-0.5)
    for scale, expected in ((0.0, far), (1.0, near)):
        torch.testing.assert_close(classifier_free(near, far, scale)(X, 4).x0, expected(X, 4).x0)
    beyond = classifier_free(near, far, 3.0)(X, 4).x0
    torch.testing.assert_close(beyond - far(X, 4).x0, 3 * (near(X, 4).x0 - far(X, 4).x0))


def test_conditional_losses_and_levels():
    process = DDPM(linear_betas(1000))
    for root in (True, False):
        levels = draw_noise_level(process, 500, torch.Generator().manual_seed(0), root=root)
        assert levels.shape == (500,) and float(levels.min()) >= 0 and float(levels.max()) <= 1
        alpha_bar = levels**2 if root else levels
        assert float(alpha_bar.max()) <= (1 if root else float(process.alphas_cumprod[0]))
    eps, level = normal(2, 3, 4, 4, seed=1), torch.tensor([0.9, 0.2]).double()
    x0 = normal(2, 3, 4, 4)
    assert float(conditional_loss(lambda x, t: eps, x0, level, eps)) == 0
    assert float(conditional_loss(lambda x, t: 0 * x, x0, level, eps, power=2)) == pytest.approx(float(eps.square().mean()))
    mask = torch.zeros(2, 1, 4, 4).double()
    assert float(conditional_loss(lambda x, t: 0 * x, x0, level, eps, mask=mask)) == 0
    with pytest.raises(ValueError, match="alpha_bar in"):
        conditional_loss(lambda x, t: x, x0, level + 1, eps)


def test_shift_and_grids():
    torch.testing.assert_close(shifted(torch.tensor([0.0, 0.5, 1.0]), 3.0), torch.tensor([0.0, 0.75, 1.0]))
    levels = karras(5, 80.0, 0.002)
    assert levels.shape == (6,) and float(levels[0]) == pytest.approx(80) and float(levels[-1]) == 0
    for wrong in (lambda: shifted(torch.ones(1), 0.0), lambda: karras(0, 80, 1), lambda: karras(4, 1, 2), lambda: even(0)):
        with pytest.raises(ValueError, match="expected"):
            wrong()


def test_optimal_pairs_are_the_shortest():
    x0, x1 = normal(6, 1, 2, 2), normal(6, 1, 2, 2, seed=1)
    order = optimal_pairs(x0, x1)
    assert sorted(order.tolist()) == list(range(6))
    best = float((x0 - x1[order]).square().sum())
    for seed in range(50):
        other = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
        assert best <= float((x0 - x1[other]).square().sum()) + 1e-12
    with pytest.raises(ValueError, match="as much noise"):
        optimal_pairs(x0, x1[:3])


def test_reflowed_pairs_lie_on_the_flow():
    data = GaussianData(Flow())
    ((x0, eps),) = reflow_pairs(data, [X], even(200))
    torch.testing.assert_close(x0, data.mean + data.std * eps, atol=2e-3, rtol=0)


def test_reverse_diffusion_flow_draws_nothing_that_counts():
    process = VPSDE(0.1, 8.0)
    data = GaussianData(process)
    ends = [
        predictor_corrector(
            data, X, torch.linspace(1, 1e-3, 50), process, reverse_diffusion(process, 50, flow=True), noise=noise
        )
        for noise in (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2))
    ]
    assert torch.equal(*ends)
