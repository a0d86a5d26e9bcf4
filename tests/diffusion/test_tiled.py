"""A diffusion whose network sees tiles: the same picture, without seams."""

from __future__ import annotations

import pytest
import torch
from gaussian import GaussianData, normal

from restoralib.diffusion import DDPM, IRSDE, ancestral, ddim, denoiser, sample, tiled
from restoralib.ops.schedules import cosine_thetas, linear_betas


def test_a_denoiser_that_looks_at_single_pixels_gives_the_untiled_picture():
    process = DDPM(linear_betas(100))
    data, x = GaussianData(process), normal(2, 3, 50, 70)
    denoise = tiled(lambda rows, columns: data, 24, overlap=8)
    for step in (ddim(process), ancestral(process)):
        whole, in_tiles = (
            sample(d, x, range(99, -2, -20), step, noise=torch.Generator().manual_seed(1)) for d in (data, denoise)
        )
        torch.testing.assert_close(in_tiles, whole)


def test_a_network_of_short_reach_gives_the_untiled_picture():
    """Samples nearer than a quarter of the overlap to a cut are not used, so a reach of that leaves nothing to be seen."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(6, 8, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(8, 3, 3, padding=1)
    ).double()
    y, process = normal(1, 3, 60, 40, seed=3), IRSDE(cosine_thetas(20), 0.1)

    def at(rows, columns):
        condition = y[..., rows, columns]
        return denoiser(lambda x, t: net(torch.cat([x - condition, condition], 1)), process, y=condition)

    start, grid, step = process.start(y, normal(1, 3, 60, 40)), range(20, -1, -1), ancestral(process, y=y)
    with torch.inference_mode():
        whole = sample(at(slice(None), slice(None)), start, grid, step, noise=torch.Generator().manual_seed(1))
        denoise = tiled(at, (32, 24), overlap=8, multiple=4)
        in_tiles = sample(denoise, start, grid, step, noise=torch.Generator().manual_seed(1))
    torch.testing.assert_close(in_tiles, whole)


def test_a_network_that_looks_far_has_no_seams():
    """Tiles of which each has a mean of its own differ, and blending takes the difference over many pixels."""
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 3, 1).double()
    process, x = DDPM(linear_betas(100)), normal(1, 3, 128, 128)

    def far(z, t):
        return 0.5 * z + 0.1 * net(z).mean((2, 3), keepdim=True)  # sees the mean of its tile

    def run(denoise):
        with torch.inference_mode():
            return sample(denoise, x, range(99, -2, -10), ddim(process))

    plain = denoiser(far, process)
    soft, hard = (
        (run(tiled(lambda rows, columns: plain, tile, overlap=overlap)) - run(plain))[0]
        for tile, overlap in ((64, 32), (64, 0))
    )
    jumps = [float(difference.diff(dim=-1).abs().max() / difference.abs().max()) for difference in (soft, hard)]
    assert jumps[0] < 0.15 and jumps[1] > 0.5  # from one tile to the next in small steps, where a cut makes one


def test_tiles_not_larger_than_their_overlap_are_refused():
    process = DDPM(linear_betas(10))
    denoise = tiled(lambda rows, columns: GaussianData(process), 16, overlap=16)
    with pytest.raises(ValueError, match="enlarge the tile"):
        sample(denoise, normal(1, 3, 40, 40), [9, -1], ddim(process))
