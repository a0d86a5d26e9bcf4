"""DiffIR's prior as a process and a sampler, against the chain of its network; and the losses of both stages."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.archs import DiffIRS1, DiffIRS2
from restoralib.archs.diffir import reverse_chain
from restoralib.diffusion import (
    Denoised,
    diffusion_loss,
    prior_denoiser,
    prior_losses,
    prior_process,
    sample_prior,
    stage1_loss,
    stage2_loss,
)

TINY = {"n_encoder_res": 1, "dim": 4, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "heads": (1, 1, 2, 2)}


def tiny(cls, **config):
    torch.manual_seed(0)
    net = cls(**TINY | config)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


def weights(process):
    one = torch.ones(1, 1, dtype=torch.float64)
    clean = [process.posterior(0 * one, one, t, t - 1).mean for t in range(len(process))]
    noisy = [process.posterior(one, 0 * one, t, t - 1).mean for t in range(len(process))]
    return torch.cat(clean)[:, 0], torch.cat(noisy)[:, 0]


def test_the_schedule_is_the_authors():
    """The table of the published checkpoints."""
    process = prior_process()
    clean, noisy = weights(process)
    betas = torch.tensor([0.1, 0.29428563, 0.59095228, 0.99])
    torch.testing.assert_close(process.betas.float(), betas)
    torch.testing.assert_close(clean.float(), torch.tensor([1.0, 0.76518691, 0.63626975, 0.50592679]))
    torch.testing.assert_close(noisy.float(), torch.tensor([0.0, 0.23024580, 0.31525564, 0.07421243]))


@pytest.mark.parametrize("timesteps", [1, 4, 7])
def test_the_sampler_is_the_chain_of_the_network(timesteps):
    process, start = prior_process(timesteps), torch.randn(3, 256, dtype=torch.float64)
    matrix = torch.randn(256, 256, dtype=torch.float64) / 16

    def predict(x, time):
        return (x @ matrix + time).tanh()

    steps = reverse_chain(predict, start, *weights(process))
    seen = []
    ours = sample_prior(
        lambda x, t: Denoised(predict(x, int(t))),
        process,
        start,
        callback=lambda x, denoised, t, r: seen.append((denoised.x0, r)),
    )
    for found, expected in zip(seen, steps, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(ours, steps[-1][1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("trained", [False, True], ids=["from noise", "from a prior"])
@pytest.mark.parametrize("config", [{}, {"variant": "sr", "scale": 2}, {"timesteps": 6, "linear_start": 0.05}])
def test_the_sampler_gives_what_stage_2_gives(config, trained):
    net = tiny(DiffIRS2, **config).double().eval()
    own = prior_process(**{name: value for name, value in config.items() if name in ("timesteps", "linear_start")})
    exact = {
        "posterior_mean_coef1": weights(own)[0],
        "posterior_mean_coef2": weights(own)[1],
        "sqrt_alphas_cumprod": own.alphas_cumprod.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - own.alphas_cumprod).sqrt(),
    }
    for name, values in exact.items():  # the checkpoints' are rounded to float32
        torch.testing.assert_close(getattr(net.diffusion, name), values, rtol=1e-6, atol=1e-7)
        getattr(net.diffusion, name).copy_(values)
    image, noise = torch.rand(2, 3, 11, 13).double(), torch.randn(2, 256).double()
    prior = torch.randn(2, 256).double() if trained else None
    with torch.inference_mode():
        expected = net.diffusion(image, noise, prior).steps[-1][1]
        start = own.marginal(prior, len(own) - 1, noise) if trained else noise
        found = sample_prior(prior_denoiser(net, image), own, start)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_gradients_pass_through_the_sampler():
    net, image = tiny(DiffIRS2), torch.rand(1, 3, 8, 8)
    prior = sample_prior(prior_denoiser(net, image), prior_process(), torch.randn(1, 256))
    prior.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in (*net.denoise.parameters(), *net.condition.parameters()))


def step(net, loss, parameters=None):
    """One step of training; the parts of the network that it moved."""
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters() if parameters is None else parameters, 1e-2)
    loss.backward()
    optimizer.step()
    return {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("config", [{}, {"variant": "sr", "scale": 2}])
def test_a_step_of_each_stage_trains_its_parts(config):
    scale = config.get("scale", 1)
    image, target = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16 * scale, 16 * scale)
    stage1 = tiny(DiffIRS1, **config).train()
    loss = stage1_loss(stage1, image, target)
    torch.testing.assert_close(loss, F.l1_loss(stage1(image, target), target))
    assert step(stage1, loss) == {"G", "E"}

    stage2, noise = tiny(DiffIRS2, **config).train(), torch.randn(2, 256)
    stage1.zero_grad()
    prior = stage1.prior(image, target)
    assert step(stage2, diffusion_loss(stage2, image, prior, noise)) == {"condition", "denoise", "diffusion"}
    assert all(p.grad is None for p in stage2.G.parameters())
    stage2.zero_grad()
    loss = stage2_loss(stage2, image, target, prior, noise)
    restored, priors = stage2(image, noise, prior.detach())
    torch.testing.assert_close(loss, F.l1_loss(restored, target) + F.l1_loss(priors[-1], prior))
    assert step(stage2, loss) == {"G", "condition", "denoise", "diffusion"}
    for name, parameter in stage2.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    assert all(p.grad is None for p in stage1.parameters()), "stage 1 is not trained any more"


def test_both_distances_of_priors():
    estimate, prior = torch.randn(3, 8, dtype=torch.float64, requires_grad=True), torch.randn(3, 8, dtype=torch.float64)
    l1, kl = prior_losses(estimate, prior)
    torch.testing.assert_close(l1, (estimate - prior).abs().mean())
    p, q = (prior / 0.15).softmax(1), (estimate / 0.15).softmax(1)
    torch.testing.assert_close(kl, (p * (p / q).log()).sum(1).mean())
    assert all(float(loss) == 0 for loss in prior_losses(prior, prior))
    with pytest.raises(ValueError, match=r"two priors of one shape, got \(3, 8\) and \(1, 8\)"):
        prior_losses(estimate, prior[:1])


def test_the_joint_loss_needs_training_mode():
    net, image = tiny(DiffIRS2).eval(), torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"gives in training mode; call train\(\)"):
        stage2_loss(net, image, image, torch.zeros(1, 256))
