"""Rounding to whole levels."""

import pytest
import torch

from restoralib.ops import nearest_levels, round_to_levels


def test_ties_go_to_even_levels_and_values_outside_are_clipped():
    image = torch.tensor([-0.2, 0.5, 1.5, 2.5, 3.4, 9.0], dtype=torch.float64) / 4
    assert nearest_levels(image, 4).tolist() == [0, 0, 2, 2, 3, 4]
    assert nearest_levels(image, 4, clip=False).tolist() == [0, 0, 2, 2, 3, 9]
    assert round_to_levels(image, 4).tolist() == [0, 0, 0.5, 0.5, 0.75, 1]


@pytest.mark.parametrize("levels", [1, 255, 65535])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stored_levels_come_back(levels, dtype):
    stored = torch.arange(levels + 1)
    image = stored.to(dtype) / levels
    assert torch.equal(nearest_levels(image, levels).long(), stored)
    assert torch.equal(round_to_levels(image, levels), image)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_in_float32(dtype):
    image = torch.linspace(-0.5, 1.5, 999).to(dtype)
    assert torch.equal(nearest_levels(image), nearest_levels(image.float()))
    assert torch.equal(round_to_levels(image), round_to_levels(image.float()).to(dtype))


def test_nan_stays_and_impossible_levels_are_named():
    assert round_to_levels(torch.tensor([torch.nan, 0.5])).isnan().tolist() == [True, False]
    with pytest.raises(ValueError, match="levels should be positive, got 0; 255 is 8 bits"):
        round_to_levels(torch.zeros(1), 0)
