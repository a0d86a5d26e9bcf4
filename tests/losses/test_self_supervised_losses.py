"""Losses that need no clean image: what they measure in expectation, how they cut images, and bad input."""

import pytest
import torch
import torch.nn.functional as F

from restoralib.losses import (
    diagonal_halves,
    mse_loss,
    neighbor2neighbor_loss,
    neighbor_choice,
    noise2noise_loss,
    pick_neighbors,
    sure_loss,
    zs_n2n_loss,
)


def soft_image(size=96, channels=2):
    coarse = torch.rand(1, channels, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return F.interpolate(coarse, (size, size), mode="bicubic")


def noisy_of(clean, sigma, seed):
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed), dtype=clean.dtype)


def blur(image):
    return F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)


def test_noise2noise_is_the_error_of_the_clean_image_plus_the_variance_of_the_noise():
    clean = soft_image(256)
    restored = blur(noisy_of(clean, 0.1, 1))
    losses = [noise2noise_loss(restored, noisy_of(clean, 0.1, seed)) for seed in range(2, 12)]
    assert float(torch.stack(losses).mean() - 0.1**2) == pytest.approx(float(mse_loss(restored, clean)), abs=5e-5)


@pytest.mark.parametrize(("exponent", "expected"), [(2.0, 2.4), (1.0, 1.0), (0.1, 0.0)])
def test_the_exponent_chooses_mean_median_or_mode(exponent, expected):
    values = torch.tensor([0.0] * 4 + [1.0, 2.0, 3.0, 5.0, 12.0], dtype=torch.float64)
    candidates = torch.arange(-1, 13, 0.1, dtype=torch.float64)
    losses = torch.stack([noise2noise_loss(c.expand_as(values), values, exponent=exponent) for c in candidates])
    assert float(candidates[losses.argmin()]) == pytest.approx(float(values.mean()) if exponent == 2 else expected, abs=0.06)


def test_neighbours_lie_beside_each_other_in_every_cell_and_are_drawn_alike():
    numbers = torch.arange(2 * 40 * 42.0).view(1, 2, 40, 42).expand(3, -1, -1, -1)
    first, second = (pick_neighbors(numbers, places) for places in neighbor_choice(numbers, torch.Generator().manual_seed(0)))
    assert first.shape == (3, 2, 20, 21)
    assert set((first - second).abs().unique().tolist()) == {1.0, 42.0}
    assert torch.equal(first[:, 0] + 40 * 42, first[:, 1]), "one choice for all channels"
    rows = first[:, 0] // 42 // 2
    assert torch.equal(rows, torch.arange(20.0)[:, None].expand_as(rows))
    counts = torch.bincount(neighbor_choice(torch.zeros(1, 1, 400, 400), torch.Generator())[0].flatten())
    assert counts.min() > 9_500, "each of the 40,000 cells' four places is as likely"


def test_neighbor2neighbor_follows_its_formula_and_sends_no_gradient_through_the_whole_image():
    noisy = noisy_of(soft_image(16), 0.1, 0)
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    seen = []

    def net(image):
        seen.append((image.shape[-1], torch.is_grad_enabled()))
        return weight * image

    loss = neighbor2neighbor_loss(net, noisy, gamma=3.0, generator=torch.Generator().manual_seed(5))
    g1, g2 = (pick_neighbors(noisy, p) for p in neighbor_choice(noisy, torch.Generator().manual_seed(5)))
    expected = (0.7 * g1 - g2).square().mean() + 3 * (0.7 * g1 - g2 - 0.7 * (g1 - g2)).square().mean()
    torch.testing.assert_close(loss, expected)
    assert sorted(seen) == [(8, True), (16, False)]
    assert torch.autograd.grad(loss, weight)[0].isfinite()


@pytest.mark.parametrize("net", [blur, lambda y: 0.8 * y, lambda y: y, lambda y: y + 0.3 * torch.tanh(4 * (blur(y) - y))])
def test_sure_is_the_squared_error_in_expectation(net):
    clean, sigma = soft_image(), 0.1
    estimates, errors = [], []
    for seed in range(40):
        noisy = noisy_of(clean, sigma, seed)
        estimates.append(sure_loss(net, noisy, sigma, generator=torch.Generator().manual_seed(seed + 1000)))
        errors.append(mse_loss(net(noisy), clean))
    assert float(torch.stack(estimates).mean()) == pytest.approx(float(torch.stack(errors).mean()), abs=1.5e-4)


def test_sure_takes_one_sigma_for_each_image():
    noisy = torch.cat([noisy_of(soft_image(32), sigma, 3) for sigma in (0.05, 0.2)])
    both = sure_loss(blur, noisy, torch.tensor([0.05, 0.2]), generator=torch.Generator().manual_seed(0))
    direction = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(0)).double()
    divergence = (direction * blur(direction)).flatten(1).mean(1)
    variance = torch.tensor([0.05, 0.2], dtype=torch.float64) ** 2
    expected = (blur(noisy) - noisy).square().flatten(1).mean(1) - variance + 2 * variance * divergence
    torch.testing.assert_close(both, expected.mean(), rtol=1e-5, atol=1e-6)


def test_the_two_halves_are_the_means_of_the_diagonals():
    image = torch.tensor([[1.0, 2, 9], [3, 4, 9]]).view(1, 1, 2, 3)
    assert [half.item() for half in diagonal_halves(image)] == [2.5, 2.5]
    image = torch.tensor([[1.0, 2], [5, 4]]).view(1, 1, 2, 2)
    assert [half.item() for half in diagonal_halves(image)] == [3.5, 2.5]


def test_zs_n2n_follows_its_formula():
    noisy = noisy_of(soft_image(16), 0.1, 0)
    share = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    loss = zs_n2n_loss(lambda y: share * y, noisy)
    d1, d2 = diagonal_halves(noisy)
    residual = ((0.8 * d1 - d2).square().mean() + (0.8 * d2 - d1).square().mean()) / 2
    torch.testing.assert_close(loss, residual)  # a linear denoiser commutes with the halves, so nothing else is left
    assert torch.autograd.grad(loss, share)[0].isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    noisy = torch.rand(1, 3, 8, 8).to(dtype)
    losses = (
        noise2noise_loss(noisy, noisy.flip(-1), exponent=0.5),
        neighbor2neighbor_loss(lambda y: 0.9 * y, noisy),
        sure_loss(lambda y: 0.9 * y, noisy, 0.1, eps=0.1),
        zs_n2n_loss(lambda y: 0.1 * y, noisy),
    )
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses)


def test_bad_input_is_told():
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(ValueError, match="exponent should be above 0, got 0"):
        noise2noise_loss(image, image, exponent=0)
    with pytest.raises(ValueError, match="expected two images of one shape"):
        noise2noise_loss(image, image[..., 1:])
    with pytest.raises(ValueError, match="expects images of shape"):
        neighbor2neighbor_loss(blur, image[0])
    for loss in (neighbor2neighbor_loss, zs_n2n_loss):
        with pytest.raises(ValueError, match="at least 2x2"):
            loss(blur, image[..., :1])
    with pytest.raises(ValueError, match="eps should be above 0"):
        sure_loss(blur, image, 0.1, eps=0)
    with pytest.raises(ValueError, match="expected two images of one shape"):
        sure_loss(lambda y: y[..., 1:], image, 0.1)
