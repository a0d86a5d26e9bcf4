"""CutBlur: a rectangle of the one image in the other."""

import pytest
import torch

from restoralib.data import cut_blur


def test_a_rectangle_of_the_one_stands_in_the_other_either_way_as_likely():
    degraded, clean = torch.zeros(3, 50, 100), torch.ones(3, 50, 100)
    insides = []
    for seed in range(100):
        mixed = cut_blur(degraded, clean, torch.Generator().manual_seed(seed), alpha=0.7)
        assert torch.equal(mixed[0], mixed[2]) and set(mixed.unique().tolist()) == {0.0, 1.0}
        share = float((mixed[0] == 1).float().mean())
        assert min(abs(share - 0.49), abs(share - 0.51)) < 0.06, "0.7 of each side, give or take a hundredth"
        insides.append(share < 0.5)
    assert 30 < sum(insides) < 70
    assert float(degraded.max()) == 0, "the images themselves stay as they were"


def test_its_ends_are_the_images_themselves():
    degraded, clean = torch.zeros(1, 30, 30), torch.ones(1, 30, 30)
    for seed in range(8):
        whole = cut_blur(degraded, clean, torch.Generator().manual_seed(seed), alpha=1.0)
        assert float(whole.mean()) in (0.0, 1.0) or 0.9 < max(float(whole.mean()), 1 - float(whole.mean())) < 1
    again = cut_blur(degraded, clean, torch.Generator().manual_seed(3))
    assert torch.equal(again, cut_blur(degraded, clean, torch.Generator().manual_seed(3)))


def test_bad_input_is_told():
    generator = torch.Generator()
    with pytest.raises(ValueError, match="CutBlur needs two images of one size"):
        cut_blur(torch.zeros(3, 4, 4), torch.zeros(3, 8, 8), generator)
    with pytest.raises(ValueError, match="alpha should be from 0 to 1"):
        cut_blur(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), generator, alpha=2)
