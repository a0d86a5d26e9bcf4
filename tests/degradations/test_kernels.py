"""Blur kernels: their figures, symmetries and draws; MATLAB's and the references' numbers are among the goldens."""

import math

import numpy as np
import pytest
import torch

from restoralib.degradations import (
    KERNEL_KINDS,
    BlurShape,
    anisotropic_gaussian_kernel,
    draw_kind,
    draw_shape,
    fspecial_average,
    fspecial_disk,
    fspecial_gaussian,
    fspecial_motion,
    gaussian_kernel,
    generalized_gaussian_kernel,
    plateau_kernel,
    pulse_kernel,
    random_kernel,
    roughen,
    shift_kernel,
    sinc_kernel,
)

MAKERS = {
    "gaussian": lambda size: gaussian_kernel(size, 1.3, 0.7, 0.4),
    "generalized": lambda size: generalized_gaussian_kernel(size, 1.3, 0.7, 0.4, beta=0.6),
    "plateau": lambda size: plateau_kernel(size, 1.3, 0.7, 0.4, beta=1.6),
    "sinc": lambda size: sinc_kernel(size, 2.0),
    "pulse": pulse_kernel,
    "by eigenvalues": lambda size: anisotropic_gaussian_kernel(size, 0.4, 2.0, 0.5),
    "fspecial gaussian": lambda size: fspecial_gaussian(size, 1.1),
    "average": fspecial_average,
    "disk": lambda size: fspecial_disk(size / 2),
    "motion": lambda size: fspecial_motion(size, 37),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("size", [1, 3, 9, 21])
def test_a_kernel_has_sum_one_and_is_its_own_half_turn(name, size):
    kernel = MAKERS[name](size)
    assert kernel.dtype == torch.float64 and kernel.isfinite().all()
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(kernel, kernel.flip(0, 1))


def test_a_turned_gaussian_has_the_covariance_that_was_asked_for():
    theta, along, across = 0.5, 3.0, 1.5
    kernel = gaussian_kernel(41, along, across, theta)
    line = torch.arange(41, dtype=torch.float64) - 20
    xx = (kernel * line[None] ** 2).sum()
    yy = (kernel * line[:, None] ** 2).sum()
    xy = (kernel * line[None] * line[:, None]).sum()
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    expected = turn @ np.diag([along**2, across**2]) @ turn.T
    np.testing.assert_allclose([[xx, xy], [xy, yy]], expected, rtol=1e-3)
    torch.testing.assert_close(kernel, anisotropic_gaussian_kernel(41, theta, along**2, across**2))


def test_beta_one_is_the_gaussian():
    torch.testing.assert_close(generalized_gaussian_kernel(9, 1.3, 0.7, 0.4, beta=1), gaussian_kernel(9, 1.3, 0.7, 0.4))
    torch.testing.assert_close(gaussian_kernel(9, 1.3), fspecial_gaussian(9, 1.3), atol=1e-15, rtol=1e-12)


def test_the_sinc_lets_low_frequencies_through_and_stops_high_ones():
    response = torch.fft.fft2(sinc_kernel(101, 1.5), (256, 256)).abs()
    frequency = torch.fft.fftfreq(256, dtype=torch.float64) * 2 * math.pi
    radius = torch.hypot(frequency[:, None], frequency[None])
    assert (response[radius < 1.3] - 1).abs().max() < 0.1
    assert response[radius > 1.7].max() < 0.1
    assert sinc_kernel(7, 2.0, pad_to=21)[7:14, 7:14].equal(sinc_kernel(7, 2.0))


def test_a_shift_moves_the_centre_of_mass_to_the_blocks_centre():
    kernel = fspecial_gaussian(25, 2.0)
    line = torch.arange(25, dtype=torch.float64) - 12
    for scale in (1, 2, 3, 4):
        shifted = shift_kernel(kernel, scale)
        assert (shifted * line[None]).sum() == pytest.approx(-(scale - 1) / 2, abs=2e-3)
        assert (shifted * line[:, None]).sum() == pytest.approx(-(scale - 1) / 2, abs=2e-3)
    assert torch.equal(shift_kernel(kernel, 1), kernel / kernel.sum())


def test_the_disk_has_matlabs_documented_values():
    expected = torch.tensor([[0.0251, 0.1453, 0.0251], [0.1453, 0.3183, 0.1453], [0.0251, 0.1453, 0.0251]]).double()
    torch.testing.assert_close(fspecial_disk(1), expected, atol=5e-5, rtol=0)


def test_no_radius_of_the_disk_loses_the_circle_to_rounding():
    assert all(fspecial_disk(radius).isfinite().all() for radius in (5.082175194236966, 1.345626837601526))


@pytest.mark.parametrize("radius", [0.3, 0.6, 1.4, 3.7, 5.5])
def test_the_disk_covers_what_counting_finds(radius):
    kernel = fspecial_disk(radius)
    side = kernel.shape[0]
    fine = (torch.arange(side * 200, dtype=torch.float64) + 0.5) / 200 - side / 2
    inside = (fine[:, None] ** 2 + fine[None] ** 2 <= radius**2).double()
    counted = inside.view(side, 200, side, 200).mean((1, 3))
    torch.testing.assert_close(kernel, counted / counted.sum(), atol=2e-3, rtol=0)


def test_motion_along_the_axes_is_a_line():
    torch.testing.assert_close(fspecial_motion(5, 0), torch.full((1, 5), 0.2).double())
    torch.testing.assert_close(fspecial_motion(5, 90), torch.full((5, 1), 0.2).double())
    assert torch.equal(fspecial_motion(7, 30), fspecial_motion(7, 210))
    assert fspecial_motion(9, 45)[0, -1] > 0.05 and fspecial_motion(9, 45)[0, 0] == 0  # up is to the top


@pytest.mark.parametrize("kind", KERNEL_KINDS)
def test_draws_stay_in_their_ranges_and_come_again_from_the_seed(kind):
    generator = torch.Generator().manual_seed(3)
    shapes = [draw_shape(kind, 9, generator, sigma=(0.5, 2), rotation=(0, 1)) for _ in range(200)]
    assert all(0.5 <= shape.sigma <= 2 for shape in shapes)
    if kind.endswith("aniso"):
        assert all(0.5 <= shape.sigma_y <= 2 and 0 <= shape.theta <= 1 for shape in shapes)
    low, high = {"g": (0.5, 4), "p": (1, 2)}.get(kind[0], (1, 1))
    assert all(low <= shape.beta <= high for shape in shapes)
    again = draw_shape(kind, 9, torch.Generator().manual_seed(3), sigma=(0.5, 2), rotation=(0, 1))
    assert again == shapes[0]
    first = random_kernel(kind, 9, torch.Generator().manual_seed(3), sigma=(0.5, 2), rotation=(0, 1))
    assert torch.equal(first, shapes[0].kernel())


def test_numpys_sources_are_taken_too():
    old = random_kernel("plateau_aniso", 7, np.random.RandomState(1), noise=(0.75, 1.25))
    assert torch.equal(old, random_kernel("plateau_aniso", 7, np.random.RandomState(1), noise=(0.75, 1.25)))
    new = random_kernel("plateau_aniso", 7, np.random.default_rng(1))
    assert new.sum() == pytest.approx(1) and not torch.equal(new, old)


def test_roughening_multiplies_within_the_range():
    kernel = gaussian_kernel(9, 2.0)
    factors = roughen(kernel, torch.Generator().manual_seed(0), (0.75, 1.25)) / kernel
    assert 1.5 < factors.max() / factors.min() <= 1.25 / 0.75


def test_kinds_come_with_their_chances():
    generator = torch.Generator().manual_seed(0)
    kinds = [draw_kind(generator) for _ in range(2000)]
    assert kinds.count("iso") / 2000 == pytest.approx(0.45, abs=0.04)
    assert kinds.count("plateau_aniso") / 2000 == pytest.approx(0.03, abs=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_kernel(4, 1.0), "odd"),
        (lambda: gaussian_kernel(5, 0.0), "sigma should be positive"),
        (lambda: gaussian_kernel(5, 1.0, -1.0), "sigma_y should be positive"),
        (lambda: plateau_kernel(5, 1.0, beta=0), "beta should be positive"),
        (lambda: sinc_kernel(5, 0), "cutoff should be positive"),
        (lambda: sinc_kernel(5, 1, pad_to=3), "at least the kernel's size"),
        (lambda: anisotropic_gaussian_kernel(5, 0, 0, 1), "l1 should be positive"),
        (lambda: fspecial_gaussian((3, 0), 1), "size of a kernel should be positive"),
        (lambda: fspecial_gaussian(3, 0), "sigma should be positive"),
        (lambda: fspecial_disk(0), "radius should be positive"),
        (lambda: fspecial_motion(-1), "length should be positive"),
        (lambda: BlurShape("round"), "choose one of iso, aniso"),
    ],
)
def test_bad_numbers_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
