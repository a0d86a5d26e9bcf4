"""Handlers of training-free conditioning."""

from __future__ import annotations

import torch
from goldens.trajectory import Golden, Outputs, Trace, numbers
from torch import Tensor

from restoralib.degradations.operators import (
    AveragePoolOperator,
    CircularBlurOperator,
    DenseOperator,
    IdentityOperator,
    LinearOperator,
    SeparableOperator,
)
from restoralib.diffusion import (
    DPS,
    ILVR,
    MCG,
    Measurement,
    PiGDM,
    ancestral,
    ddim,
    ddnm,
    ddnm_plus,
    ddrm,
    ddrm_start,
    diffpir,
    given,
    noised_measurement,
    pinv_start,
    sample,
    sample_with_travel,
    travel_schedule,
)
from restoralib.diffusion.diffpir import rho

VARIANCES = {"fixed_small": "small", "fixed_large": "large", "learned_range": "learned"}


def dps(golden: Golden) -> Outputs:
    config, process, steps = golden.config, golden.ddpm(), golden.steps()
    x, y = golden["in.x_T"], golden["in.y"]
    assert config["operator"]["name"] == "average_pool"
    measurement = Measurement(AveragePoolOperator(x.shape[1:], config["operator"]["factor"]), y)
    step = (
        ddim(process, eta=config["eta"])
        if config["sampler"] == "ddim"
        else ancestral(process, variance=VARIANCES[config["variance"]])
    )
    draws = golden.draws()
    if golden.method == "mcg":
        guidance = MCG(measurement, scale=config["scale"], batch=True, process=process)
        if config["sampler"] == "ddim" and not config["eta"]:
            draws = draws[1::2]
    else:
        guidance, draws = DPS(measurement, scale=config["scale"], batch=True), draws[::2]
    distances = []

    def told(before, denoised, t, after):
        trace(before, denoised, t, after)
        distances.append(guidance.misfit(denoised.x0).detach())

    trace = Trace(x)
    sample(golden.denoiser(process), x, [*steps, -1], step, noise=given(draws), guidance=guidance, callback=told)
    return {
        "spaced_alphas_cumprod": process.alphas_cumprod[steps[::-1]],
        "timesteps": numbers(steps[::-1]),
        "distance": torch.stack(distances),
        "states": torch.stack([state.detach() for state in trace.states]),
    }


def ilvr(golden: Golden) -> Outputs:
    config, process, steps = golden.config, golden.ddpm(), golden.steps()
    x, matrix = golden["in.x_T"], golden[config["operator"]["matrix"]]
    low_pass = SeparableOperator(x.shape[1:], matrix)
    guidance = ILVR(process, low_pass, golden["in.ref"], until=steps[::-1][config["range_t"]])
    trace = Trace(x)
    step = ancestral(process, variance=VARIANCES[config["variance"]])
    sample(golden.denoiser(process), x, [*steps, -1], step, noise=given(golden.draws()), guidance=guidance, callback=trace)
    return {
        config["operator"]["matrix"]: matrix,
        "spaced_alphas_cumprod": process.alphas_cumprod[steps[::-1]],
        "timesteps": numbers(steps[::-1]),
        "states": torch.stack(trace.states),
    }


def measured(golden: Golden) -> tuple[Measurement, Outputs]:
    """The measurement of in.x_true, by the operator's matrix in the file and in its singular vectors where it tells them."""
    config = golden.config
    operator, truth = config["operator"], golden["in.x_true"]
    told = {name: golden[name] for key in ("matrix", "pinv", "right_vectors", "singulars") if (name := operator.get(key))}
    if operator["name"] == "identity":
        linear: LinearOperator = IdentityOperator(truth.shape[1:])
        clean = truth.flatten(1)
    else:
        matrix = golden[operator["matrix"]]
        svd = None
        if "right_vectors" in operator:
            values, vectors = golden[operator["singulars"]], golden[operator["right_vectors"]]
            left = matrix @ vectors[:, : len(values)] / values
            svd = (left, values, vectors)
        linear = DenseOperator(truth.shape[1:], matrix, svd=svd)
        clean = linear(truth)
    count = clean.shape[1]
    noise = golden["in.meas_noise"].flatten(1)[:, :count] if config["sigma_y"] else 0.0
    y = clean + config["sigma_y"] * noise
    return Measurement(linear, y.view(len(y), *linear.out_shape), config["sigma_y"]), {**told, "y": y}


def ddrm_trajectory(golden: Golden) -> Outputs:
    config, process, steps = golden.config, golden.ddpm(), golden.steps()
    measurement, outputs = measured(golden)
    operator, x = measurement.operator, golden["in.x_T"]
    n = x[0].numel()
    vectors = golden["V"] if "V" in golden.tensors else torch.eye(n, dtype=torch.float64)
    singular = torch.zeros(n, dtype=torch.float64)
    singular[: len(golden["singulars"])] = golden["singulars"]

    def image_of(coefficients: Tensor) -> Tensor:
        return (coefficients @ vectors.T).view_as(x)

    draws, images = golden.draws(), []
    for number, r in enumerate([*steps[1:], -1]):
        every, less, block = draws[3 * number : 3 * number + 3]
        _, _, s = process.coefficients(r)
        sig = s / process.coefficients(r).a
        z = every.clone().view(1, -1)
        seen = singular > 0
        z[:, seen & (sig * singular < config["sigma_y"])] = less.view(1, -1)
        clearer = (sig * singular > config["sigma_y"])[: block.shape[1]]
        z[:, : block.shape[1]][:, clearer] = block[:, clearer]
        images.append(image_of(z))
    start = ddrm_start(process, measurement, steps[0], image_of(x.flatten(1)))
    trace = Trace(start)
    step = ddrm(process, measurement, eta=config["eta"], eta_b=config["etaB"])
    sample(golden.denoiser(process, clip=None), start, [*steps, -1], step, noise=given(images), callback=trace)
    assert operator.in_shape == x.shape[1:]
    return outputs | {
        "alphas_cumprod_at_timesteps": process.alphas_cumprod[steps[::-1]],
        "timesteps": numbers(steps[::-1]),
        "pred_x0": torch.stack(trace.pred_x0),
        "states": torch.stack(trace.states),
    }


def ddnm_trajectory(golden: Golden) -> Outputs:
    config, process = golden.config, golden.ddpm()
    measurement, outputs = measured(golden)
    rising = golden.steps()[::-1]
    visited = travel_schedule(len(rising), config["travel_length"], config["travel_repeat"])
    if golden.method == "ddnm":
        step = ddnm(process, measurement, eta=config["eta"])
    else:
        kind = config["spectral_noise"]
        reorder = None if kind["name"] == "transpose" else lambda z: z.flatten(1)[:, kind["index"]]
        step = ddnm_plus(process, measurement, eta=config["eta"], coefficients_of=reorder)
    last = []
    x = golden["in.x_T"]
    output = sample_with_travel(
        golden.denoiser(process, clip=None),
        process,
        x,
        [rising[i] if i >= 0 else -1 for i in visited],
        step,
        up="x0",
        noise=given(golden.draws()),
        callback=lambda before, denoised, t, after: last.append(denoised.x0),
    )
    return outputs | {
        "alphas_cumprod_at_index": process.alphas_cumprod[rising],
        "schedule": numbers(visited),
        "model_inputs": torch.stack([state for state, _, _ in golden.calls]),
        "last_pred_x0": last[-1],
        "output": output,
    }


def pigdm(golden: Golden) -> Outputs:
    config, process, steps = golden.config, golden.ddpm(), golden.steps()
    measurement, outputs = measured(golden)
    first, *draws = golden.draws()
    start = pinv_start(measurement, process)(steps[0], first)
    guidance = PiGDM(measurement, process, weight=config["grad_term_weight"], adaptive=config["awd"], eta=config["eta"])
    trace = Trace(start)
    step = ddim(process, eta=config["eta"])
    sample(
        golden.denoiser(process, clip=None), start, [*steps, -1], step, noise=given(draws), guidance=guidance, callback=trace
    )
    return outputs | {
        "alphas_cumprod_at_timesteps": process.alphas_cumprod[steps[::-1]],
        "timesteps": numbers(steps[::-1]),
        "pred_x0": torch.stack([x0.detach() for x0 in trace.pred_x0]),
        "states": torch.stack([state.detach() for state in trace.states]),
    }


def diffpir_trajectory(golden: Golden) -> Outputs:
    config, process = golden.config, golden.ddpm()
    y, kernel, sigma = golden["in.y"], golden[config["operator"]["kernel"]], config["noise_level_img"]
    assert config["operator"]["name"] == "circular_blur"
    operator = CircularBlurOperator(y.shape[1:], kernel, convolve=True)
    measurement = Measurement.of_images(operator, y, sigma)
    total, count = len(process), config["respacing"][0]
    if config["respacing_mode"] == "quad":
        positions = torch.linspace(0, total**2, count, dtype=torch.float64).sqrt().long()
        positions[-1] -= 1
        positions = positions.tolist()
    else:
        stride = total // count
        positions = [i * stride for i in range(count)] + ([total - 1] if stride > 1 else [])
    steps = [total - 1 - position for position in positions]
    weights = {"lam": config["lambda_"] / 4, "floor": 2 * config["sigma_floor"]}  # of images in [0, 1] there
    step = diffpir(process, measurement, zeta=config["zeta"], eta=config["eta"], scale=config["guidance_scale"], **weights)
    first, *draws = golden.draws()
    used = [
        draw for number in range(len(steps) - 1) for draw in draws[3 * number + (1 if config["eta"] else 2) : 3 * number + 3]
    ]
    x = noised_measurement(process, 2 * y - 1, 2 * sigma, steps[0], first)
    denoise = golden.denoiser(process)
    trace = Trace(x)
    output = sample(denoise, x, steps, step, noise=given(used if config["zeta"] else used[::2]), callback=trace)
    last = denoise(output, numbers(steps)[-1]).x0
    return {
        "seq": numbers(positions),
        "timesteps": numbers(steps),
        "alphas_cumprod_at_timesteps": process.alphas_cumprod[steps],
        "rhos_at_timesteps": torch.stack([rho(process, t, 2 * sigma, **weights) for t in numbers(steps)]),
        "model_inputs": torch.stack([state for state, _, _ in golden.calls]),
        "pred_x0": torch.stack([*(x0 for x0 in clipped(golden)), last])[: len(steps)],
        "output_x0": last,
        "output": output,
    }


def clipped(golden: Golden) -> list[Tensor]:
    return [value.clamp(*golden.config["clip_x0"]) for _, _, value in golden.calls]


HANDLERS = {
    "dps": dps,
    "mcg": dps,
    "ilvr": ilvr,
    "ddrm": ddrm_trajectory,
    "ddnm": ddnm_trajectory,
    "ddnm_plus": ddnm_trajectory,
    "pigdm": pigdm,
    "diffpir": diffpir_trajectory,
}
