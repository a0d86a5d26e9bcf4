"""The simple levels: tiles that do not see each other."""

import pytest
import torch
from torch import nn

from restoralib.archs.sana import SanaTransformer
from restoralib.diffusion import Denoised, Flow, ddim, sample
from restoralib.latent import GlobalGuide, overlap_denoiser, plan_latent, reduced_noise, sample_apart, whole_denoiser
from restoralib.ops import resize

STEP, LEVELS = ddim(Flow()), [1.0, 0.6, 0.0]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = SanaTransformer(
        4,
        4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=12,
        sample_size=8,
    )
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5 if parameter.ndim < 2 else parameter[0].numel() ** -0.5)
    return net.double().eval().requires_grad_(False)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TEXT, X = normal(1, 5, 12, seed=2), normal(1, 4, 8, 12)


def test_the_whole_denoiser_is_the_network(net):
    t = torch.tensor(0.6, dtype=torch.float64)
    velocity = net(X, TEXT, 1000 * t)
    torch.testing.assert_close(whole_denoiser(net, TEXT)(X, t).x0, X - 0.6 * velocity)


def test_averaging_shows_the_network_tiles_alone(net):
    t = torch.tensor(0.5, dtype=torch.float64)
    said = overlap_denoiser(net, TEXT, (8, 6), 0)(X, t).x0
    for columns in (slice(0, 6), slice(6, 12)):
        torch.testing.assert_close(said[..., columns], whole_denoiser(net, TEXT)(X[..., columns], t).x0)
    soft = overlap_denoiser(net, TEXT, (8, 7), 2)(X, t).x0
    left, right = (whole_denoiser(net, TEXT)(X[..., columns], t).x0 for columns in (slice(0, 7), slice(5, 12)))
    torch.testing.assert_close(soft[..., :5], left[..., :5])
    between = torch.minimum(left[..., 5:], right[..., :2]), torch.maximum(left[..., 5:], right[..., :2])
    assert ((soft[..., 5:7] >= between[0] - 1e-6) & (soft[..., 5:7] <= between[1] + 1e-6)).all()
    torch.testing.assert_close(overlap_denoiser(net, TEXT, 20, 4)(X, t).x0, whole_denoiser(net, TEXT)(X, t).x0)


def test_tiles_apart_share_the_noise_of_the_whole_or_of_a_tile(net):
    plan = plan_latent(8, 12, (8, 6))
    apart = sample_apart(lambda rows, columns: whole_denoiser(net, TEXT), X, plan, LEVELS, STEP)
    for tile in plan:
        alone = sample(whole_denoiser(net, TEXT), X[tile.place], LEVELS, STEP)
        torch.testing.assert_close(apart[tile.place], alone)
    same = sample_apart(lambda rows, columns: whole_denoiser(net, TEXT), X[..., :6], plan, LEVELS, STEP)
    torch.testing.assert_close(same[..., :6], same[..., 6:])
    with pytest.raises(ValueError, match=r"of the plan's size \(8, 12\), or of that of every tile, got \(8, 5\)"):
        sample_apart(lambda rows, columns: whole_denoiser(net, TEXT), X[..., :5], plan, LEVELS, STEP)


def test_tiles_are_told_where_they_are_and_blend_along_straight_lines():
    plan, seen = plan_latent(1, 8, (1, 6), 4), []

    def at(rows, columns):
        seen.append((rows, columns))
        return lambda x, t: Denoised(torch.full_like(x, float(columns.start)))

    out = sample_apart(at, torch.zeros(1, 1, 1, 8), plan, [1.0, 0.0], STEP)
    assert seen == [(slice(0, 1), slice(0, 6)), (slice(0, 1), slice(2, 8))]
    torch.testing.assert_close(out.flatten(), torch.tensor([0, 0, 0.25, 0.75, 1.25, 1.75, 2, 2]))


def test_the_guide_gives_low_frequencies_and_leaves_details(net):
    small, t = normal(1, 4, 4, 6, seed=3), torch.tensor(0.8)
    guided = GlobalGuide(small).on_x0(X, X, t)
    flat = GlobalGuide(torch.zeros_like(small)).on_x0(torch.zeros_like(X), X, t)
    assert torch.equal(flat, torch.zeros_like(X))
    before, after = ((resize(x, size=(4, 6)) - small).square().mean() for x in (X, guided))
    assert after < 0.2 * before
    details = X - resize(resize(X, size=(4, 6)), size=(8, 12))
    torch.testing.assert_close(guided, details + resize(small, size=(8, 12)))
    assert torch.equal(GlobalGuide(small, until=0.8).on_x0(X, X, t), X)
    assert torch.equal(GlobalGuide(small, strength=0.0).on_x0(X, X, t), X)
    free, led = (
        sample(overlap_denoiser(net, TEXT, 6, 2), X, LEVELS, STEP, guidance=guidance) for guidance in (None, GlobalGuide(small))
    )
    assert (resize(led, size=(4, 6)) - small).square().mean() < (resize(free, size=(4, 6)) - small).square().mean()
    with pytest.raises(ValueError, match=r"strength should be in \[0, 1\], got 2"):
        GlobalGuide(small, strength=2)


def test_reduced_noise_is_noise_that_agrees_with_the_large():
    noise = normal(1, 1, 256, 256)
    small = reduced_noise(noise, 4)
    assert small.shape == (1, 1, 64, 64) and abs(float(small.std()) - 1) < 0.05
    torch.testing.assert_close(small[0, 0, 0, 0], noise[..., :4, :4].sum() / 4)
    with pytest.raises(ValueError, match="divide both sides"):
        reduced_noise(noise, 3)
