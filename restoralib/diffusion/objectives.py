"""What networks are trained on: times, targets, weights and losses of all processes in one form.

A batch of clean images x0, times t and noise eps makes the states of the process, and a network is compared with what it should
give there. Everything random is drawn by the caller:

    t = draw_times(process, len(x0), generator)
    loss = prediction_loss(net, process, "eps", x0, t, torch.randn_like(x0), y=y)

IR-SDE's own loss is `IRSDE.matching_loss`, that of SR3 and Palette `conditional_loss`, those of DiffIR are in `compact_prior`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from restoralib.diffusion.bbdm import BBDM
from restoralib.diffusion.ddbm import VEBridge, VPBridge
from restoralib.diffusion.ddpm import DDPM
from restoralib.diffusion.denoiser import PREDICTIONS, Denoiser, Prediction, call_network
from restoralib.diffusion.edm import EDM
from restoralib.diffusion.flow import Flow, optimal_pairs
from restoralib.diffusion.goub import GOUB
from restoralib.diffusion.i2sb import I2SB
from restoralib.diffusion.irsde import IRSDE
from restoralib.diffusion.preconditioning import BridgeForm, preconditioned
from restoralib.diffusion.process import SDE, Process, beside, snr
from restoralib.diffusion.resshift import ResShift
from restoralib.diffusion.score_sde import VESDE, VPSDE
from restoralib.ops.precision import at_least_float32

Network = Callable[[Tensor, Tensor], Tensor]
Target = Prediction | Literal["label"]
"""What a network may be trained to give: a prediction of `denoiser`, or I2SB's label."""
Weight = Callable[[Process, Tensor], Tensor]
"""The weight of the squared error of the clean image at a time, (b,) -> (b,)."""


def draw_indices(first: int, last: int, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Whole times from first to last, both included, all equally likely: (count,), int64."""
    return torch.randint(first, last + 1, (count,), generator=generator)


def draw_uniform(first: float, last: float, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Times between first and last, all equally likely: (count,), float64."""
    return first + (last - first) * torch.rand(count, generator=generator, dtype=torch.float64)


def draw_log_normal(count: int, generator: torch.Generator | None = None, *, mean: float = -1.2, std: float = 1.2) -> Tensor:
    """Noise levels of which the logarithm is normal, as EDM draws them: (count,), float64. (arXiv:2206.00364, table 1.)"""
    return (mean + std * torch.randn(count, generator=generator, dtype=torch.float64)).exp()


def draw_logit_normal(count: int, generator: torch.Generator | None = None, *, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Times of a flow, rarer near its ends: (count,), float64. (Esser et al., arXiv:2403.03206, equation 19.)"""
    return (mean + std * torch.randn(count, generator=generator, dtype=torch.float64)).sigmoid()


def draw_times(process: Process, count: int, generator: torch.Generator | None = None) -> Tensor:
    """The times at which a process is trained, as its paper or its code draws them.

    All whole times of DDPM, I2SB, IR-SDE and ResShift; without the end, at which nothing is left to learn, for GOUB and BBDM;
    uniform for score-based SDEs (from 1e-5 on), flows and DDBM (from 0.002, or from 1e-4 for VP); log-normal for EDM.

    Args:
        process: the process.
        count: b.
        generator: source of randomness, on the CPU.

    Returns:
        (count,).

    Raises:
        TypeError: the process is none of them; draw its times by one of the functions beside.
    """
    match process:
        case GOUB() | BBDM():
            return draw_indices(1, len(process) - 1, count, generator)
        case IRSDE() | ResShift():
            return draw_indices(1, len(process), count, generator)
        case DDPM() | I2SB():
            return draw_indices(0, len(process) - 1, count, generator)
        case VPSDE() | VESDE():
            return draw_uniform(1e-5, 1.0, count, generator)
        case Flow():
            return draw_uniform(0.0, 1.0, count, generator)
        case EDM():
            return draw_log_normal(count, generator)
        case VEBridge():
            return draw_uniform(0.002, process.sigma_max, count, generator)
        case VPBridge():
            return draw_uniform(1e-4, process.t_max, count, generator)
    raise TypeError(f"no training times are known for {type(process).__name__}; draw them with draw_indices or draw_uniform")


def target(kind: Target, process: Process, x0: Tensor, t: Tensor, eps: Tensor, y: Tensor | None = None) -> Tensor:
    """What a network should give for the state that x0 and eps make.

    eps; x0; v = a eps - s x0; the score -eps / s; the velocity eps - x0; I2SB's label (x_t - x0) / sf_t.

    Args:
        kind: one of them: "eps", "x0", "v", "score", "velocity" or "label".
        process: tells a and s.
        x0: clean images, (b, ...).
        t: times, (b,).
        eps: standard normal noise.
        y: degraded images, for the label.

    Raises:
        ValueError: there is no such target.
        TypeError: the label is asked of another process than I2SB.
    """
    if kind == "eps":
        return eps
    if kind == "x0":
        return x0
    if kind == "velocity":
        return eps - x0
    if kind == "label":
        return _i2sb(process).label(process.marginal(x0, t, eps, y), x0, t)
    a, _, s = process.at(t, x0)
    if kind == "v":
        return a * eps - s * x0
    if kind == "score":
        return -eps / s
    raise ValueError(f"unknown target {kind!r}; choose one of {', '.join(PREDICTIONS)}, label")


def slope_of(kind: Target, process: Process, t: Tensor) -> Tensor:
    """How much a target changes with the clean image at a given state, float64, (b,).

    An error e of the clean image is one of slope * e of the target, so that with weights of 1 / slope^2 all targets have the
    same loss.
    """
    a, _, s = process.coefficients(t)
    if kind == "label":
        return 1 / torch.take(_i2sb(process).std_fwd, torch.as_tensor(t).long().cpu())
    slopes = {"x0": torch.ones_like(a), "eps": a / s, "v": (a**2 + s**2) / s, "score": a / s**2, "velocity": (a + s) / s}
    if kind not in slopes:
        raise ValueError(f"unknown target {kind!r}; choose one of {', '.join(PREDICTIONS)}, label")
    return slopes[kind]


def constant_weight(process: Process, t: Tensor) -> Tensor:
    """1: all errors of the clean image alike."""
    return torch.ones_like(process.coefficients(t).a)


def snr_weight(process: Process, t: Tensor) -> Tensor:
    """a^2 / s^2: all errors of the noise alike, DDPM's L_simple."""
    return snr(process, t)


def min_snr_weight(gamma: float = 5.0) -> Weight:
    """min(a^2 / s^2, gamma): times of little noise do not drown the others. (Hang et al., arXiv:2303.09556, section 3.4.)

    Raises:
        ValueError: gamma is not positive.
    """
    if not gamma > 0:
        raise ValueError(f"expected gamma > 0, got {gamma}")
    return lambda process, t: snr(process, t).clamp(max=gamma)


def edm_weight(sigma_data: float = 0.5) -> Weight:
    """1 / sigma^2 + 1 / sigma_data^2, sigma being s / a: a network of EDM's form has the loss 1 at first, at every level.

    (arXiv:2206.00364, table 1.)
    """
    return lambda process, t: snr(process, t) + 1 / sigma_data**2


def likelihood_weight(process: Process, t: Tensor) -> Tensor:
    """g^2 of the squared error of the score, which bounds the likelihood. (Song et al., arXiv:2101.09258, theorem 1.)

    Raises:
        TypeError: the process has no diffusion.
    """
    if not isinstance(process, SDE):
        raise TypeError(f"likelihood_weight needs a process with diffusion, which {type(process).__name__} is not")
    return (process.diffusion(t) * slope_of("score", process, t)) ** 2


def prediction_loss(
    net: Network,
    process: Process,
    kind: Target,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    *,
    y: Tensor | None = None,
    weight: Weight | None = None,
    power: int = 2,
    time: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """How far a network is from its target, in the mean over images and pixels.

    Args:
        net: `net(x_t, time(t))`, bound to its condition.
        process: any.
        kind: what it predicts: "eps", "x0", "v", "score", "velocity", or "label" for I2SB.
        x0: clean images, (b, ...), in the range that the network has.
        t: times, (b,); see `draw_times`.
        eps: standard normal noise.
        y: degraded images, for processes that go to them.
        weight: of the squared error of the clean image, whatever is predicted; None for the plain error of the prediction. The
            root of it is the weight of an absolute error.
        power: 2 for the mean square, 1 for the mean absolute difference.
        time: the number that the network is given for a time; None: the time itself. I2SB has `process.network_time`.

    Returns:
        A scalar.

    Raises:
        ValueError: there is no such target, the network gives another shape, power is neither 1 nor 2, or a weight has no
            bound at one of the times.
    """
    if power not in (1, 2):
        raise ValueError(f"expected power 1 or 2, got {power}")
    wanted = target(kind, process, x0, t, eps, y)
    value = call_network(net, process.marginal(x0, t, eps, y), t, time)
    if value.shape != wanted.shape:
        raise ValueError(f"the network gives {tuple(value.shape)}, its target is {tuple(wanted.shape)}")
    error = value - wanted
    if weight is not None:
        factor = (weight(process, t) / slope_of(kind, process, t) ** 2).sqrt()
        if not torch.compiler.is_compiling() and not bool(factor.isfinite().all()):
            raise ValueError(f"a weight of {kind!r} has no bound where no noise or no image is left, at one of {t.tolist()}")
        error = beside(factor, error) * error
    return error.abs().pow(power).mean()


def denoised_loss(
    denoise: Denoiser,
    process: Process,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    *,
    y: Tensor | None = None,
    weight: Weight = constant_weight,
) -> Tensor:
    """The weighted mean square error of the clean image, for any denoiser.

    Args:
        denoise: says what is under the noise, at times (b,).
        process: any.
        x0: clean images.
        t: times, (b,).
        eps: standard normal noise.
        y: degraded images, for processes that go to them.
        weight: of the squared error.

    Returns:
        A scalar.
    """
    error = denoise(process.marginal(x0, t, eps, y), t).x0 - x0
    return (beside(weight(process, t), error) * error.square()).mean()


def score_matching_loss(
    net: Network,
    process: Process,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    *,
    likelihood: bool = False,
    time: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Denoising score matching: the network gives the score, and errors are weighed by s^2, or by g^2.

    (Vincent 2011; Song et al., arXiv:2011.13456, equation 7.)

    Args:
        net: gives the score.
        process: any, an SDE for `likelihood`.
        x0: clean images.
        t: times, (b,).
        eps: standard normal noise.
        likelihood: weigh by g^2.
        time: as in `prediction_loss`.

    Returns:
        A scalar.
    """
    weight = likelihood_weight if likelihood else snr_weight
    return prediction_loss(net, process, "score", x0, t, eps, weight=weight, time=time)


def flow_matching_loss(
    net: Network,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    *,
    optimal: bool = False,
    time: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Conditional flow matching: the network gives the velocity eps - x0 of the straight path.

    (arXiv:2210.02747, equation 23; arXiv:2209.03003, equation 1.)

    Args:
        net: gives the velocity.
        x0: clean images.
        t: times from 0 to 1, (b,).
        eps: standard normal noise; for reflow, that from which x0 was made.
        optimal: give every image the noise of the batch that `optimal_pairs` finds.
        time: as in `prediction_loss`; diffusers' networks have `lambda t: 1000 * t`.

    Returns:
        A scalar.
    """
    if optimal:
        eps = eps[optimal_pairs(x0, eps)]
    return prediction_loss(net, Flow(), "velocity", x0, t, eps, time=time)


def edm_loss(net: Network, x0: Tensor, sigma: Tensor, eps: Tensor, *, sigma_data: float = 0.5) -> Tensor:
    """EDM's loss of a network in its form: (1 / sigma^2 + 1 / sigma_data^2) |D - x0|^2, which is |net - its target|^2.

    Args:
        net: `net(x, label)`, as `preconditioned` takes it.
        x0: clean images of standard deviation sigma_data.
        sigma: noise levels, (b,); see `draw_log_normal`.
        eps: standard normal noise.
        sigma_data: standard deviation of the clean images.

    Returns:
        A scalar.

    Source: arXiv:2206.00364, equation 8.
    """
    return denoised_loss(preconditioned(net, sigma_data), EDM(), x0, sigma, eps, weight=edm_weight(sigma_data))


def bridge_loss(form: BridgeForm, net: Network, x0: Tensor, t: Tensor, eps: Tensor, y: Tensor) -> Tensor:
    """DDBM's loss of a network in the form of a bridge: the squared error of the network's own output, at every time alike.

    Args:
        form: of the network.
        net: `net(x, label)`, bound to its condition.
        x0: clean images.
        t: times above 0, (b,).
        eps: standard normal noise.
        y: degraded images.

    Returns:
        A scalar.

    Source: arXiv:2309.16948, with the weights of its code.
    """
    return denoised_loss(form.denoiser(net), form.process, x0, t, eps, y=y, weight=form.weight)


def normal_kl(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL divergence of a normal distribution from another one, for every pixel, in nats."""
    difference = log_variance - other_log_variance
    distance = (mean - other_mean).square() * (-other_log_variance).exp()
    return (difference.exp() - 1 - difference + distance) / 2


def discretized_nll(x0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """What 8-bit images in [-1, 1] cost under a normal distribution cut into 256 bins, for every value, in nats.

    The outer bins reach to infinity. (Ho et al., arXiv:2006.11239, equation 13.)
    """
    dtype = at_least_float32(x0.dtype)
    distance, scale = (x0 - mean).to(dtype), (-log_variance / 2).to(dtype).exp()
    up_to = torch.special.log_ndtr(scale * (distance + 1 / 255))
    from_there = torch.special.log_ndtr(-scale * (distance - 1 / 255))
    # Between the two edges, taken in the tail where their probabilities are small and still tell them apart.
    inner = torch.special.log_ndtr(scale * (1 / 255 - distance.abs()))
    outer = torch.special.log_ndtr(-scale * (1 / 255 + distance.abs()))
    between = inner + (-torch.expm1(outer - inner)).log()
    return -torch.where(x0 < -0.999, up_to, torch.where(x0 > 0.999, from_there, between)).to(x0.dtype)


def bound_terms(process: DDPM, x0: Tensor, x_t: Tensor, t: Tensor, predicted_x0: Tensor, variance: Tensor) -> Tensor:
    """The term of the variational bound that belongs to each image's time, in bits per value.

    At times above 0 the divergence of the network's step from q(x_(t-1) | x_t, x0); at 0 what the 8-bit image costs.

    Args:
        process: with all its steps.
        x0: clean 8-bit images in [-1, 1].
        x_t: states.
        t: times from 0 on, (b,).
        predicted_x0: the network's.
        variance: the network's, -1 for the smallest and 1 for the largest, like x0.

    Returns:
        (b,).

    Source: arXiv:2102.09672, equations 4 to 7 and 15.
    """
    small, large = _log_variances(process, t)
    lower, upper = beside(small, x0), beside(large, x0)
    share = (variance + 1) / 2
    log_variance = share * upper + (1 - share) * lower
    mean = process.posterior(x_t, predicted_x0, t, t - 1).mean
    true_mean = process.posterior(x_t, x0, t, t - 1).mean
    divergence = normal_kl(true_mean, lower.expand_as(x0), mean, log_variance).flatten(1).mean(1)
    cost = discretized_nll(x0, mean, log_variance).flatten(1).mean(1)
    return torch.where((t == 0).to(x0.device), cost, divergence) / math.log(2)


def hybrid_loss(
    net: Network,
    process: DDPM,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    *,
    bound_weight: float = 0.001,
    time: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The loss of a network with learned variance: L_simple + 0.001 L_vlb.

    The bound trains the variance alone: the noise that the network predicts goes into it without a gradient. L_vlb is the sum
    over all steps, in bits per value, as in the authors' code.

    Args:
        net: gives twice the channels: the noise, and the variance between its bounds.
        process: with all its steps.
        x0: clean 8-bit images in [-1, 1].
        t: times, (b,), all equally likely.
        eps: standard normal noise.
        bound_weight: of L_vlb.
        time: as in `prediction_loss`.

    Returns:
        A scalar.

    Raises:
        ValueError: the network does not give twice the channels.

    Source: Nichol & Dhariwal, arXiv:2102.09672, equation 16.
    """
    x_t = process.marginal(x0, t, eps)
    value = call_network(net, x_t, t, time)
    if value.shape != (x0.shape[0], 2 * x0.shape[1], *x0.shape[2:]):
        raise ValueError(
            f"the network gives {tuple(value.shape)}; noise and variance need twice the channels of {tuple(x0.shape)}"
        )
    noise, variance = value.chunk(2, dim=1)
    terms = bound_terms(process, x0, x_t, t, process.clean(x_t, noise.detach(), t), variance)
    return (noise - eps).square().mean() + bound_weight * len(process) * terms.mean()


def _log_variances(process: DDPM, t: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the smallest and the largest variance of a step, (b,); the first step's smallest is the second's."""
    now, past = process.coefficients(t).s ** 2, process.coefficients(t - 1).s ** 2
    beta = torch.take(process.betas, t.long().cpu())
    first = process.coefficients(0).s ** 2 / process.coefficients(min(1, len(process) - 1)).s ** 2
    second_beta = process.betas[min(1, len(process) - 1)]
    small = torch.where(past > 0, past / now * beta, first * second_beta)
    return small.log(), beta.log()


def _i2sb(process: Process) -> I2SB:
    if not isinstance(process, I2SB):
        raise TypeError(f"the label is a target of I2SB, not of {type(process).__name__}; choose a prediction")
    return process
