"""What is particular about bridges."""

from __future__ import annotations

import pytest
import torch
from gaussian import GaussianData, normal

from restoralib.diffusion import (
    BBDM,
    GOUB,
    I2SB,
    VEBridge,
    VPBridge,
    ancestral,
    ddbm_heun,
    ddim,
    euler_maruyama,
    karras,
    sample,
)
from restoralib.ops.schedules import cosine_thetas, mirrored_betas


def test_i2sb_ends_are_soft_and_close_to_the_marginals():
    process = I2SB(mirrored_betas(1000, 1e-4, 3e-4))
    x0, y = normal(1, 1, 2, 2), normal(1, 1, 2, 2, seed=1)
    _, b, s = process.coefficients(999)
    assert float(b) == pytest.approx(1, abs=1e-3) and 0 < float(s) < 0.02
    assert float(process.posterior(y, x0, 1, 0, y).std) == 0
    for t, r in [(999, 700), (700, 300), (300, 10)]:
        now, past = process.coefficients(t), process.coefficients(r)
        mean, _ = process.posterior(now.a * x0 + now.b * y, x0, t, r, y)
        torch.testing.assert_close(mean, past.a * x0 + past.b * y, atol=1e-3, rtol=0)


def test_i2sb_label_and_clean_image():
    process = I2SB(mirrored_betas(100, 1e-4, 3e-3))
    x_t, x0 = normal(2, 1, 2, 2), normal(2, 1, 2, 2, seed=1)
    for t in (40, torch.tensor([40, 7])):
        torch.testing.assert_close(process.clean_from_label(x_t, process.label(x_t, x0, t), t), x0)
    assert process.network_time(99) == 100 and process.network_time(0) == pytest.approx(0.01)


def goub(process, denoise, y, generator):
    start = process.leave(y, normal(*y.shape, seed=9))
    return sample(denoise, start, range(99, -1, -1), euler_maruyama(process, y=y), noise=generator)


def down(grid, step, **options):
    return lambda process, denoise, y, generator: sample(denoise, y, grid, step(process, y=y, **options), noise=generator)


def heun(grid):
    return lambda process, denoise, y, generator: ddbm_heun(denoise, process, y, grid, noise=generator)


BRIDGES = {
    "goub": (GOUB(cosine_thetas(100), 0.3), goub),
    "goub_posterior": (GOUB(cosine_thetas(100), 0.3), down(range(100, -1, -1), ancestral)),
    "bbdm": (BBDM(1000), down(range(1000, -1, -1), ancestral)),
    "bbdm_ddim": (BBDM(1000), down(range(1000, -1, -1), ddim, eta=0.5)),
    "ddbm_ve": (VEBridge(10.0), heun(karras(30, 10 - 1e-4, 0.002))),
    "ddbm_vp": (VPBridge(), heun(karras(80, 1 - 1e-4, 1e-4))),
    "i2sb": (I2SB(mirrored_betas(1000, 1e-4, 3e-4)), down(range(999, -1, -3), ancestral)),
}


@pytest.mark.parametrize("name", BRIDGES)
def test_bridges_take_the_degraded_image_to_the_data(name):
    """From y, wherever it is, samples have the mean and the spread of the clean images (8,000 pixels)."""
    process, run = BRIDGES[name]
    y = torch.full((8000, 1, 1, 1), -0.9, dtype=torch.float64)
    data = GaussianData(process, mean=0.4, std=0.2, y=y)
    with torch.inference_mode():
        x = run(process, data, y, torch.Generator().manual_seed(3))
    assert float(x.mean()) == pytest.approx(0.4, abs=0.015)
    assert float(x.std()) == pytest.approx(0.2, rel=0.06)


def test_ddbm_refuses_the_very_end_of_the_bridge():
    y = normal(1, 1, 2, 2)
    with pytest.raises(ValueError, match="start a little below 80"):
        ddbm_heun(GaussianData(VEBridge(), y=y), VEBridge(), y, [80.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="churn"):
        ddbm_heun(GaussianData(VEBridge(), y=y), VEBridge(), y, [79.0, 1.0, 0.0], churn=1.0)
