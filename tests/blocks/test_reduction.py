"""Reductions: their values, and that equal parts average to the whole, on which exact tiling rests."""

import pytest
import torch

from restoralib.blocks import ChannelGram, GlobalMean

REDUCTIONS = [GlobalMean, lambda: ChannelGram(heads=2)]


def test_global_mean():
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    expected = torch.stack([torch.stack([channel.sum() / 15 for channel in image]) for image in x])
    torch.testing.assert_close(GlobalMean()(x)[:, :, 0, 0], expected)


def test_channel_gram():
    x = torch.randn(1, 12, 3, 5, dtype=torch.float64)
    gram = ChannelGram(heads=2)(x)
    assert gram.shape == (1, 2, 3, 5)
    for head in range(2):
        q, k = x[0, 3 * head : 3 * head + 3], x[0, 6 + 3 * head : 9 + 3 * head]
        for row in range(3):
            for column in range(3):
                torch.testing.assert_close(gram[0, head, row, column], (q[row] * k[column]).mean())
            torch.testing.assert_close(gram[0, head, row, 3:], torch.stack([(q[row] ** 2).mean(), (k[row] ** 2).mean()]))


@pytest.mark.parametrize("build", REDUCTIONS)
def test_equal_parts_average_to_the_whole(build):
    x, reduction = torch.randn(2, 8, 6, 9, dtype=torch.float64), build()
    tiles = [tile for rows in x.split(3, dim=2) for tile in rows.split(3, dim=3)]
    torch.testing.assert_close(torch.stack([reduction(tile) for tile in tiles]).mean(0), reduction(x))


@pytest.mark.parametrize("build", REDUCTIONS)
def test_large_float16_features_do_not_overflow(build):
    x = torch.full((1, 8, 64, 64), 1000.0).half()
    assert build()(x).isfinite().all()
