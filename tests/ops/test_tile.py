"""Plans of tiles and their blend weights."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restoralib.ops.tile import blend_weights, core_spans, plan_tiles


@st.composite
def plans(draw):
    multiple = draw(st.sampled_from((1, 2, 7, 8, 16)))
    tile = multiple * draw(st.integers(1, 20)) + draw(st.integers(0, multiple - 1))
    overlap = draw(st.integers(0, tile // multiple * multiple - multiple))
    length = draw(st.integers(1, 700))
    return length, tile, overlap, multiple, plan_tiles(length, tile, overlap, multiple)


@settings(max_examples=200, deadline=None)
@given(plans())
def test_plan_covers_the_axis_on_the_grid_without_slivers(plan):
    length, tile, overlap, multiple, spans = plan
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(start % multiple == 0 for start, _ in spans)
    assert all(stop - start == tile // multiple * multiple for start, stop in spans[:-1])
    start, stop = spans[-1]
    assert len(spans) == 1 or tile // multiple * multiple - multiple < stop - start <= tile
    assert all(stop - start >= overlap for (_, stop), (start, _) in pairwise(spans))


@settings(max_examples=200, deadline=None)
@given(plans(), st.integers(0, 40), st.sampled_from(("cosine", "linear")))
def test_blend_weights_sum_to_one_and_spare_the_margin(plan, margin, ramp):
    length, _, overlap, _, spans = plan
    margin = min(margin, overlap // 2)
    weights = blend_weights(spans, margin, ramp=ramp)
    total = torch.zeros(length)
    for (start, stop), weight in zip(spans, weights, strict=True):
        assert weight.min() >= 0
        assert start == 0 or (weight[:margin] == 0).all()
        assert stop == length or (weight[stop - start - margin :] == 0).all()
        total[start:stop] += weight
    assert (total - 1).abs().max() <= 1e-6


@settings(max_examples=200, deadline=None)
@given(plans())
def test_core_spans_partition_the_axis_inside_their_tiles(plan):
    length, _, _, multiple, spans = plan
    cores = core_spans(spans, multiple)
    assert [cores[0][0], cores[-1][1]] == [0, length]
    assert all(first[1] == second[0] for first, second in pairwise(cores))
    assert all(span[0] <= core[0] < core[1] <= span[1] for core, span in zip(cores, spans, strict=True))
    assert all(start % multiple == 0 for start, _ in cores)


def test_ramp_is_smooth_and_symmetric():
    left, right = blend_weights([(0, 40), (20, 60)], margin=2)
    overlap = right[:20]
    torch.testing.assert_close(overlap, left[20:].flip(0))
    assert (overlap.diff() >= 0).all()
    assert overlap.diff().max() < 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 8), "positive"),
        ((9, 0), "positive"),
        ((9, 8, -1), "overlap -1"),
        ((100, 16, 16), "cannot advance"),
        ((100, 7, 0, 8), "cannot advance"),
    ],
)
def test_impossible_plans_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        plan_tiles(*arguments)


def test_margin_needs_overlap():
    with pytest.raises(ValueError, match="at least 6 samples"):
        blend_weights([(0, 8), (4, 12)], margin=3)


def test_a_linear_ramp_is_a_straight_line_over_the_overlap():
    left, right = blend_weights([(0, 6), (2, 8)], ramp="linear")
    torch.testing.assert_close(left, torch.tensor([1, 1, 0.875, 0.625, 0.375, 0.125]))
    torch.testing.assert_close(right, left.flip(0))
