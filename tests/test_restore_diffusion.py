"""restore() with a network that is one step of a diffusion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from restoralib import restore
from restoralib.archs import ConditionalUNet, GuidedUNet, SR3UNet
from restoralib.diffusion import METHODS, ancestral, denoiser, diffusion_model, sample
from restoralib.diffusion.restorer import blurring, inpainting
from restoralib.restoration.errors import Cancelled


def conditional():
    torch.manual_seed(0)
    return ConditionalUNet(nf=8, depth=2).eval()


def prior():
    torch.manual_seed(0)
    net = GuidedUNet(32, 3, 32, 6, 1, (), channel_mult=(1, 2)).eval()
    with torch.no_grad():
        net.out[-1].weight.normal_(std=0.05)  # zero at the start, so that the noise it tells would be none
    return net


IMAGE = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(1))


def test_a_conditional_network_is_sampled_by_its_authors_process():
    net = conditional()
    found = restore(IMAGE, net, seed=3, steps=None, tile=None)
    model = diffusion_model(net)
    y, draws = IMAGE[None], torch.Generator().manual_seed(3)
    denoise = denoiser(lambda x, t: net(x, y, t), model.process, "eps", y=y, clip=None)
    with torch.no_grad():
        start = model.process.start(y, torch.randn(y.shape, generator=draws))
        expected = sample(denoise, start, range(len(model.process), -1, -1), ancestral(model.process, y=y), noise=draws)
    assert found.shape == IMAGE.shape
    torch.testing.assert_close(found, expected[0].clamp(0, 1), atol=2e-3, rtol=0)


@pytest.mark.parametrize("sampler", ["posterior", "sde", "ode"])
def test_samplers_by_name_and_seed(sampler):
    net, state = conditional(), torch.random.get_rng_state()
    first, again, other = (restore(IMAGE, net, sampler=sampler, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and first.isfinite().all()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_tiles_share_the_state():
    """The network here looks no further than a few pixels, so that tiles give the picture of the whole."""
    torch.manual_seed(0)

    class Short(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.spec = torch.nn.Conv2d(6, 3, 3, padding=1), conditional().spec

        def forward(self, image, condition, time):
            return self.conv(torch.cat((image - condition, condition), 1))

    image = torch.rand(3, 80, 48)
    model = diffusion_model(conditional())
    model = replace(model, net=Short())
    whole, tiled = (restore(image, model, seed=0, tile=tile, overlap=16) for tile in (None, 32))
    torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=0)  # a hundred steps of float32


@pytest.mark.parametrize("size", [(1, 1), (7, 5)])
def test_any_size_and_kind(size):
    net = conditional()
    rgba = (np.random.default_rng(0).random((*size, 4)) * 255).astype("uint8")
    found = restore(rgba, net, seed=0)
    assert found.shape == rgba.shape and found.dtype == np.uint8
    assert np.array_equal(found[..., 3], rgba[..., 3])
    grey = (np.random.default_rng(0).random(size) * 65535).astype("uint16")
    assert restore(grey, net, seed=0).dtype == np.uint16


def test_sr3_enlarges_first():
    torch.manual_seed(0)
    net = SR3UNet(6, 3, inner_channel=8, norm_groups=4, channel_mults=(1, 2), attn_res=(), res_blocks=1, image_size=32).eval()
    assert restore(IMAGE, net, scale=2, steps=2, seed=0).shape == (3, 32, 40)


@pytest.mark.parametrize("guidance", sorted(METHODS))
def test_training_free_methods_by_name(guidance):
    net, small = prior(), torch.rand(3, 8, 8)
    mask = (torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    if guidance == "repaint":
        found = restore(torch.rand(3, 16, 16), net, guidance=guidance, operator=inpainting(mask), steps=12, seed=0)
    else:
        sigma = 0.0 if guidance == "ddnm" else 0.05
        found = restore(small, net, guidance=guidance, operator="sr2", steps=4, seed=0, sigma=sigma)
    assert found.shape == (3, 16, 16) and found.isfinite().all()


def test_ddnm_keeps_what_is_known():
    image = torch.rand(3, 16, 16)
    mask = (torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    found = restore(image * mask, prior(), guidance="ddnm", operator=inpainting(mask), steps=5, seed=0)
    torch.testing.assert_close(found * mask, image * mask, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guidance": "ddrm"}, "needs the operator"),
        ({"guidance": "ddrn", "operator": "sr2"}, "ddrm"),
        ({"guidance": "ddrm", "operator": "blurr"}, "sr4"),
        ({}, "name a guidance"),
        ({"guidance": "ddnm", "operator": "sr2", "steps": 0}, "steps"),
        ({"guidance": "ddnm", "operator": "sr2", "steps": 1001}, "1000"),
        ({"guidance": "dps", "operator": "sr2", "tile": 8, "steps": 3}, "whole"),
        ({"guidance": "ddrm", "operator": blurring(torch.rand(3, 3), "reflect"), "steps": 3}, "singular"),
    ],
)
def test_what_does_not_fit_a_prior_is_named(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        restore(torch.rand(3, 16, 16), prior(), seed=0, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "postreior"}, "posterior"),
        ({"guidance": "ddrm", "operator": "sr2"}, "learned its degradation"),
        ({"ensemble": True}, "only for models that restore in one call"),
        ({"steps": 0}, "steps"),
    ],
)
def test_what_does_not_fit_a_conditional_network_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        restore(IMAGE, conditional(), seed=0, **options)


def test_a_plain_network_takes_no_sampler():
    with pytest.raises(ValueError, match="only for diffusion models"):
        restore(IMAGE, torch.nn.Identity(), sampler="ddim")


def test_progress_counts_calls_and_cancels():
    seen = []
    restore(IMAGE, conditional(), seed=0, progress=lambda done, total, stage: seen.append((done, total)))
    assert seen[0] == (0, 100) and seen[-1] == (100, 100)
    with pytest.raises(Cancelled):
        restore(IMAGE, conditional(), seed=0, progress=lambda done, total, stage: done < 5)
