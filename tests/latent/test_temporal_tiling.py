"""Temporal tiling against networks written out over all tokens with masks, in float64 and with weights that all matter."""

import copy
import random
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.archs.sana import VARIANTS, SanaTransformer
from restoralib.archs.sana_denoiser import SanaDenoiser
from restoralib.blocks import LinearState, rotary_angles, rotate
from restoralib.diffusion import Flow, classifier_free, ddim, flow_heun, sample
from restoralib.latent import (
    SequenceState,
    Tile,
    TilePlan,
    block_causal,
    block_causal_linear_attention,
    exact_denoiser,
    plan_latent,
    plan_pixels,
    sample_tile_by_tile,
    temporal_denoiser,
    tile_rotation,
    two_pass,
    whole_denoiser,
)
from restoralib.latent.tile_plan import tile_positions
from restoralib.ops.tile import blend_weights

TINY = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 3,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 8,
    "cross_attention_dim": 16,
    "caption_channels": 12,
    "sample_size": 8,
}
TIME, SIZE = 300.0, (9, 11)
UNEVEN = TilePlan(((0, 2), (2, 3), (3, 9)), ((0, 5), (5, 11)))
DISJOINT = [
    plan_latent(*SIZE, (3, 11)),
    UNEVEN,
    TilePlan(((0, 4), (4, 9)), ((0, 1), (1, 2), (2, 8), (8, 11))),
    TilePlan(((0, 3), (3, 6), (6, 9)), ((0, 4), (4, 8), (8, 11)), "serpentine"),
    TilePlan(((0, 1), (1, 9)), ((0, 10), (10, 11)), "serpentine"),
]


def random_network(seed=0, cls=SanaTransformer, **changes):
    """A network of which no weight is a start that makes a layer do nothing."""
    torch.manual_seed(seed)
    net = cls(**TINY | changes)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5 if parameter.ndim < 2 else parameter[0].numel() ** -0.5)
    return net.double().eval()


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


NET = random_network()
X, TEXT = normal(2, 4, *SIZE), normal(2, 5, 12, seed=2)


def relative(ours, expected):
    return float((ours - expected).abs().max() / expected.abs().max())


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def order_map(plan):
    """Which tile of the order each token lies in, (h, w)."""
    order = torch.full(plan.size, -1)
    for index, tile in enumerate(plan):
        order[slice(*tile.rows), slice(*tile.columns)] = index
    return order


def attend_densely(attention, tokens, live, rotation=None):
    """Linear attention as the matrix of all pairs of tokens times a mask (or weights of keys)."""
    q, k, v = (
        x.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for x in (
            attention.norm_q(attention.to_q(tokens)),
            attention.norm_k(attention.to_k(tokens)),
            attention.to_v(tokens),
        )
    )
    q, k = q.relu(), k.relu()
    kernel = (q @ k.mT) * live
    turned = kernel if rotation is None else (rotate(q, rotation) @ rotate(k, rotation).mT) * live
    return attention.to_out((turned @ v / (kernel.sum(-1, keepdim=True) + 1e-15)).transpose(1, 2).flatten(2))


def masked_network(net, plan, rotary=False):
    """The network on the whole latent where attention and each tap of the convolutions see only tiles up to their own."""
    order, (height, width) = order_map(plan), plan.size
    live = (order.flatten()[:, None] >= order.flatten()).double()
    framed = F.pad(order, (1, 1, 1, 1), value=len(plan))
    rotation = None
    if rotary:
        positions = torch.zeros(height, width, 4, dtype=torch.float64)
        for tile in plan:
            positions[slice(*tile.rows), slice(*tile.columns)] = tile_positions(tile).view(*tile.grid, 4).double()
        rotation = rotary_angles(positions.flatten(0, 1), net.transformer_blocks[0].attn1.to_k.weight.shape[0] // 2)
    tokens = net.embed(X)
    modulation, e = net.times(torch.tensor([TIME]))
    context, _ = net.text(TEXT)
    for block in net.transformer_blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = (block.scale_shift_table + modulation.unflatten(-1, (6, -1))).split(1, 1)
        normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale1) + shift1
        tokens = tokens + gate1 * attend_densely(block.attn1, normed, live, rotation)
        tokens = tokens + block.attn2(tokens, context)  # token by token
        normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale2) + shift2
        hidden = F.silu(block.ff.conv_inverted(normed.mT.unflatten(2, plan.size)))
        padded, mixed = F.pad(hidden, (1, 1, 1, 1)), 0
        for down in range(3):
            for right in range(3):
                tap = (slice(down, down + height), slice(right, right + width))
                weight = block.ff.conv_depth.weight[:, 0, down, right, None, None]
                mixed = mixed + weight * padded[(..., *tap)] * (framed[tap] <= order)
        value, gate = (mixed + block.ff.conv_depth.bias[:, None, None]).chunk(2, 1)
        tokens = tokens + gate2 * block.ff.conv_point(value * F.silu(gate)).flatten(2).mT
    return net.unembed(tokens, e, plan.size)


# (a) block-causal tiles are one masked network


def test_blocks_with_a_carried_state_are_one_masked_attention():
    q, k, v, blocks = normal(2, 3, 20, 8), normal(2, 3, 20, 8, seed=2), normal(2, 3, 20, 5, seed=3), [1, 7, 4, 8]
    block = torch.repeat_interleave(torch.arange(4), torch.tensor(blocks))
    kernel = (q.relu() @ k.relu().mT) * (block[:, None] >= block)
    output, states = block_causal_linear_attention(q, k, v, blocks)
    torch.testing.assert_close(output, kernel @ v / (kernel.sum(-1, keepdim=True) + 1e-15), atol=1e-14, rtol=0)
    for end, state in zip((1, 8, 12, 20), states, strict=True):
        torch.testing.assert_close(state.z, k[..., :end, :].relu().sum(-2))
        torch.testing.assert_close(state.s, k[..., :end, :].relu().mT @ v[..., :end, :])
    later, _ = block_causal_linear_attention(*(x[..., 8:, :] for x in (q, k, v)), blocks[2:], states[1])
    torch.testing.assert_close(later, output[..., 8:, :])


@pytest.mark.parametrize("plan", DISJOINT)
@pytest.mark.parametrize("net", [NET, random_network(1, qk_norm="rms_norm_across_heads", num_layers=2)], ids=["", "qk_norm"])
def test_block_causal_tiles_are_one_masked_network(net, plan):
    expected = masked_network(net, plan)
    ours, _ = block_causal(net, X, TIME, TEXT, plan)
    assert relative(ours, expected) <= 1e-12
    assert relative(ours, net(X, TEXT, TIME)) > 1e-3  # the mask matters


@pytest.mark.parametrize("plan", DISJOINT[1:4:2])
def test_rotated_tiles_are_one_masked_network(plan):
    ours, state = block_causal(NET, X, TIME, TEXT, plan, rotary=True)
    assert relative(ours, masked_network(NET, plan, rotary=True)) <= 1e-12
    assert relative(ours, block_causal(NET, X, TIME, TEXT, plan)[0]) > 1e-3
    assert all((layer.z >= 0).all() for layer in state.layers)


def test_positions_tell_the_tile_and_the_place_within():
    plan = plan_latent(6, 8, (3, 4))
    positions = torch.cat([tile_positions(tile) for tile in plan])
    assert positions.unique(dim=0).shape == (48, 4) and positions.max(0).values.tolist() == [1, 1, 2, 3]
    assert tile_rotation(list(plan)[-1], 8).cos.shape == (12, 4)


def overlapping_network(net, plan):
    """Every tile with tokens of its own, all layers written out; what tiles share counts by the weights of the plan."""
    tiles, weights = list(plan), plan.weights(X)
    across = blend_weights(plan.columns, dtype=torch.float64, ramp="linear")
    modulation, e = net.times(torch.tensor([TIME]))
    context, _ = net.text(TEXT)
    parts = [net.embed(X[tile.place]) for tile in tiles]
    for block in net.transformer_blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = (block.scale_shift_table + modulation.unflatten(-1, (6, -1))).split(1, 1)
        normed = [F.layer_norm(part, part.shape[-1:], eps=1e-6) * (1 + scale1) + shift1 for part in parts]
        seen = []
        for index, part in enumerate(parts):
            key_weights = torch.cat([weight.flatten() for weight in weights[: index + 1]])
            out = attend_densely(block.attn1, torch.cat(normed[: index + 1], 1), key_weights)[:, -part.shape[1] :]
            part = part + gate1 * out
            seen.append(part + block.attn2(part, context))
        maps = [
            (F.layer_norm(part, part.shape[-1:], eps=1e-6) * (1 + scale2) + shift2).mT.unflatten(2, tile.grid)
            for part, tile in zip(seen, tiles, strict=True)
        ]
        hidden = [F.silu(block.ff.conv_inverted(part)) for part in maps]
        parts = []
        for index, tile in enumerate(tiles):
            height, width = tile.grid
            framed = F.pad(hidden[index], (1, 1, 1, 1))
            above = torch.zeros(*maps[0].shape[:2], plan.size[1], dtype=torch.float64)
            for other, part in zip(tiles, maps, strict=True):
                if other.row == tile.row - 1:
                    above[..., slice(*other.columns)] += across[other.column] * part[..., tile.rows[0] - 1 - other.rows[0], :]
            if tile.row:
                row = F.pad(F.silu(block.ff.conv_inverted(above[..., None, :])), (1, 1))
                framed[..., 0, :] = row[..., 0, tile.columns[0] : tile.columns[1] + 2]
            if index and tiles[index - 1].row == tile.row:
                before = tiles[index - 1]
                at, beside = (0, tile.columns[0] - 1) if before.column < tile.column else (width + 1, tile.columns[1])
                framed[..., 1 : height + 1, at] = hidden[index - 1][..., beside - before.columns[0]]
            mixed = F.conv2d(framed, block.ff.conv_depth.weight, block.ff.conv_depth.bias, groups=framed.shape[1])
            value, gate = mixed.chunk(2, 1)
            parts.append(seen[index] + gate2 * block.ff.conv_point(value * F.silu(gate)).flatten(2).mT)
    out = torch.zeros_like(X)
    for tile, weight, part in zip(tiles, weights, parts, strict=True):
        out[tile.place] += weight * net.unembed(part, e, tile.grid)
    return out


@pytest.mark.parametrize("order", ["raster", "serpentine"])
@pytest.mark.parametrize(("tile", "overlap"), [((5, 4), 2), ((4, 5), 0), ((5, 6), 4)])
def test_overlapping_tiles_count_shared_tokens_by_their_weights(tile, overlap, order):
    plan = plan_latent(*SIZE, tile, overlap, order=order)
    assert not plan.disjoint
    ours, state = block_causal(NET, X, TIME, TEXT, plan)
    assert relative(ours, overlapping_network(NET, plan)) <= 1e-12
    # The first layer's tokens are the same in all tiles that share them, so that they count once.
    _, alone = block_causal(NET, X, TIME, TEXT, plan_latent(*SIZE, SIZE))
    for summed, whole in zip(state.layers[0], alone.layers[0], strict=True):
        torch.testing.assert_close(summed, whole)


def test_without_a_border_convolutions_see_zeros_beyond_the_tile():
    plan = DISJOINT[1]
    ours, _ = block_causal(NET, X, TIME, TEXT, plan, border=False)
    assert relative(ours, block_causal(NET, X, TIME, TEXT, plan)[0]) > 1e-3
    first, _ = block_causal(NET, X[..., :2, :5], TIME, TEXT, TilePlan(((0, 2),), ((0, 5),)))
    torch.testing.assert_close(ours[..., :2, :5], first)


# (b) two passes are the untiled network


@pytest.mark.parametrize("halo", [None, 3, 20])
@pytest.mark.parametrize("plan", [*DISJOINT, plan_latent(*SIZE, (5, 4), 2), TilePlan(((0, 9),), ((0, 11),))])
def test_two_passes_are_the_untiled_network(plan, halo):
    assert relative(two_pass(NET, X, TIME, TEXT, plan, halo=halo), NET(X, TEXT, TIME)) <= 1e-13


def test_a_halo_smaller_than_the_layers_is_wrong_by_less_and_less():
    errors = [relative(two_pass(NET, X, TIME, TEXT, UNEVEN, halo=halo), NET(X, TEXT, TIME)) for halo in range(4)]
    assert all(small < large for large, small in pairwise(errors))
    assert errors[2] > 1e-5 and errors[3] < 1e-13


@pytest.mark.parametrize("changes", [{"patch_size": 2}, {"interpolation_scale": 1.0}, {"guidance_embeds": True}])
def test_patches_tables_and_guidance_reach_the_tiles(changes):
    net, x, mask = random_network(2, **changes), normal(2, 4, 12, 16), torch.tensor([[1, 1, 0, 1, 0]])
    given = {"guidance": 4.5} if net.spec.inputs[-1] == "guidance" else {}
    plan = TilePlan(((0, 4), (4, 12)), ((0, 10), (10, 16)))
    expected = net(x, TEXT, TIME, mask, *given.values())
    assert relative(two_pass(net, x, TIME, TEXT, plan, mask=mask, **given), expected) <= 1e-13
    one = TilePlan(((0, 12),), ((0, 16),))
    assert relative(block_causal(net, x, TIME, TEXT, one, mask=mask, **given)[0], expected) <= 1e-13


def test_the_denoiser_is_given_its_tile_of_the_degraded_latents():
    net, condition = random_network(3, SanaDenoiser), normal(2, 4, *SIZE, seed=5)
    expected = net(X, condition, TIME, TEXT)
    assert relative(two_pass(net, X, TIME, TEXT, UNEVEN, condition=condition), expected) <= 1e-13
    folded = net.fold_projection()
    assert relative(two_pass(folded, X, TIME, TEXT, UNEVEN, condition=condition), expected) <= 1e-13
    one = condition[:1]  # serves both
    causal, _ = block_causal(net, X, TIME, TEXT, UNEVEN, condition=one)
    torch.testing.assert_close(causal, block_causal(net, X, TIME, TEXT, UNEVEN, condition=one.expand(2, -1, -1, -1))[0])


# (c) the state


def test_the_sums_of_keys_only_grow_and_the_state_does_not():
    layers, sizes = [], []
    for columns in range(1, 12):
        plan = TilePlan(((0, 9),), tuple((at, at + 1) for at in range(columns)))
        _, state = block_causal(NET, X[..., :columns], TIME, TEXT, plan)
        layers.append(state.layers)
        sizes.append(state.numel())
    for before, after in pairwise(layers):
        assert all((a.z >= b.z).all() and (a.z > b.z).any() for a, b in zip(after, before, strict=True))
    assert set(sizes) == {3 * (2 * 8 * 8 + 2 * 8)}


def test_the_state_of_the_1600m_model_is_6_megabytes():
    """Of the widths that the network on the meta device has, through the code that makes it."""
    with torch.device("meta"):
        net = SanaTransformer(**VARIANTS["sana_1600m_1024"].config).eval()
        x, text = torch.empty(1, 32, 4, 4), torch.empty(1, 3, 2304)
        _, state = block_causal(net, x, torch.empty(1), text, plan_latent(4, 4, (4, 2)))
    assert state.numel() == 1_478_400
    assert {part.dtype for layer in state.layers for part in layer} == {torch.float32}


def test_the_order_of_blocks_changes_outputs_but_not_the_sums():
    q, k, v = normal(1, 2, 12, 4), normal(1, 2, 12, 4, seed=2), normal(1, 2, 12, 4, seed=3)
    forth, states = block_causal_linear_attention(q, k, v, [5, 3, 4])
    turn = torch.tensor([*range(8, 12), *range(5, 8), *range(5)])
    back, turned = block_causal_linear_attention(*(x[..., turn, :] for x in (q, k, v)), [4, 3, 5])
    torch.testing.assert_close(states[-1], turned[-1])
    assert not torch.allclose(forth[..., turn, :], back)
    # In the whole network this holds for the first layer, whose keys know nothing of the order yet.
    raster, serpentine = (
        block_causal(NET, X, TIME, TEXT, TilePlan(UNEVEN.rows, UNEVEN.columns, order)) for order in ("raster", "serpentine")
    )
    torch.testing.assert_close(raster[1].layers[0], serpentine[1].layers[0])
    assert relative(raster[0], serpentine[0]) > 1e-4


def test_the_last_block_sees_all():
    q, k, v = normal(1, 2, 12, 4), normal(1, 2, 12, 4, seed=2), normal(1, 2, 12, 4, seed=3)
    whole, _ = block_causal_linear_attention(q, k, v, [12])
    parts, _ = block_causal_linear_attention(q, k, v, [5, 3, 4])
    torch.testing.assert_close(parts[..., 8:, :], whole[..., 8:, :])
    net = random_network(4, num_layers=1)  # deeper layers of the last tile see what others lacked
    ours, _ = block_causal(net, X, TIME, TEXT, UNEVEN)
    inside = (..., slice(4, None), slice(6, None))  # of the tile: its convolutions see the tiles before it at its edge
    torch.testing.assert_close(ours[inside], net(X, TEXT, TIME)[inside])


def test_one_block_is_the_untiled_network():
    for border in (True, False):
        ours, _ = block_causal(NET, X, TIME, TEXT, TilePlan(((0, 9),), ((0, 11),)), border=border)
        assert torch.equal(ours, NET(X, TEXT, TIME))


def test_a_zero_state_leaves_tiles_on_their_own():
    zero = SequenceState(
        [LinearState(torch.zeros(2, 2, 8, 8).double(), torch.zeros(2, 2, 8).double()) for _ in range(3)], torch.tensor([TIME])
    )
    plan = TilePlan(((0, 4),), ((0, 5),))
    for tile in UNEVEN:
        plan, part = TilePlan(((0, tile.grid[0]),), ((0, tile.grid[1]),)), X[tile.place]
        ours, _ = block_causal(NET, part, TIME, TEXT, plan, zero)
        torch.testing.assert_close(ours, NET(part, TEXT, TIME))


def test_a_state_carries_on_from_call_to_call():
    """The strips of a picture, each of which is a call, without borders that would have to be carried too."""
    whole, total = block_causal(NET, X, TIME, TEXT, TilePlan(((0, 4), (4, 9)), ((0, 6), (6, 11))), border=False)
    state = None
    for rows in ((0, 4), (4, 9)):
        part, plan = X[..., slice(*rows), :], TilePlan(((0, rows[1] - rows[0]),), ((0, 6), (6, 11)))
        ours, state = block_causal(NET, part, TIME, TEXT, plan, state, border=False)
        torch.testing.assert_close(ours, whole[..., slice(*rows), :])
    torch.testing.assert_close(state.layers, total.layers)


def test_gradients_reach_the_first_tile_from_the_last():
    with torch.enable_grad():
        x = X.clone().requires_grad_()
        out, _ = block_causal(NET, x, TIME, TEXT, UNEVEN)
        (last,) = torch.autograd.grad(out[..., 3:, 5:].sum(), x)
        assert last[..., :2, :5].abs().max() > 0
        out = two_pass(NET, x, TIME, TEXT, UNEVEN)
        (tiled,) = torch.autograd.grad(out.square().sum(), x)
        (whole,) = torch.autograd.grad(NET(x, TEXT, TIME).square().sum(), x)
    torch.testing.assert_close(tiled, whole)


# samplers


LEVELS = [1.0, 0.6, 0.0]


def test_the_exact_mode_samples_the_untiled_picture():
    whole = sample(whole_denoiser(NET, TEXT), X, LEVELS, ddim(Flow()))
    for halo in (None, 3):
        tiled = sample(exact_denoiser(NET, TEXT, (4, 6), halo=halo), X, LEVELS, ddim(Flow()))
        torch.testing.assert_close(tiled, whole, atol=1e-10, rtol=0)


def test_guidance_has_sums_for_each_of_its_branches():
    empty = torch.zeros(1, 2, 12).double()
    denoise = classifier_free(*(exact_denoiser(NET, text, 5) for text in (TEXT, empty)), 4.5)
    whole = classifier_free(*(whole_denoiser(NET, text) for text in (TEXT, empty)), 4.5)
    torch.testing.assert_close(denoise(X, torch.tensor(0.5)).x0, whole(X, torch.tensor(0.5)).x0, atol=1e-10, rtol=0)


@pytest.mark.parametrize("order", ["raster", "serpentine"])
@pytest.mark.parametrize("border", [True, False])
def test_finishing_tile_after_tile_is_the_same_where_nothing_overlaps(order, border):
    plan = TilePlan(((0, 3), (3, 6), (6, 9)), ((0, 4), (4, 8), (8, 11)), order)
    ours = sample_tile_by_tile(NET, X, TEXT, plan, LEVELS, ddim(Flow()), border=border)
    x = X
    for level, after in pairwise(LEVELS):  # Euler's steps of the whole
        x = x + (after - level) * block_causal(NET, x, torch.tensor([1000 * level]).double(), TEXT, plan, border=border)[0]
    torch.testing.assert_close(ours, x, atol=1e-10, rtol=0)


def test_tiles_one_after_the_other_draw_noise_and_blend():
    plan = plan_latent(*SIZE, (5, 6), 2)
    runs = [
        sample_tile_by_tile(NET, X, TEXT, plan, LEVELS, ddim(Flow(), eta=0.5), noise=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.allclose(runs[0], runs[2]) and runs[0].isfinite().all()


def test_the_temporal_denoiser_serves_any_sampler():
    denoise = temporal_denoiser(NET, TEXT, (5, 6), 2, order="serpentine")
    plan = plan_latent(*SIZE, (5, 6), 2, order="serpentine")
    velocity, _ = block_causal(NET, X, torch.tensor([500.0]).double(), TEXT, plan)
    torch.testing.assert_close(denoise(X, torch.tensor(0.5)).x0, X - 0.5 * velocity)
    assert flow_heun(denoise, X, LEVELS).isfinite().all()


# plans


def test_plans_have_as_many_tiles_as_the_formula():
    assert len(plan_pixels(4096, 4096, 1024, 0)) == 16
    assert len(plan_pixels(4096, 4096, 1024, 128)) == len(plan_pixels(4096, 4096, 1024, 256)) == 25
    draw = random.Random(0)
    for _ in range(100):
        tile, length = draw.randint(2, 12), draw.randint(12, 60)
        overlap = draw.randint(0, tile - 1)
        plan = plan_latent(length, tile, tile, overlap)
        assert len(plan) == -(-(length - tile) // (tile - overlap)) + 1
        assert {end - start for start, end in plan.rows} == {tile} and plan.size == (length, tile)


def test_serpentine_tiles_touch_their_predecessor():
    tiles = list(plan_latent(9, 12, (3, 4), order="serpentine"))
    places = [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0), (2, 0), (2, 1), (2, 2)]
    assert [tile[:2] for tile in tiles] == places
    assert all(abs(a.row - b.row) + abs(a.column - b.column) == 1 for a, b in pairwise(tiles))
    assert [tile[:2] for tile in plan_latent(9, 12, (3, 4))] == sorted(places)


def test_weights_are_straight_ramps_that_sum_to_one():
    plan = plan_latent(20, 17, (8, 7), 3)
    total = torch.zeros(plan.size)
    for tile, weight in zip(plan, plan.weights(total), strict=True):
        assert weight.shape == tile.grid
        total[slice(*tile.rows), slice(*tile.columns)] += weight
    torch.testing.assert_close(total, torch.ones(plan.size))
    first = TilePlan(((0, 6), (2, 8)), ((0, 1),)).weights(total)[0][:, 0]
    torch.testing.assert_close(first, torch.tensor([1, 1, 0.875, 0.625, 0.375, 0.125]))


def test_images_of_any_size_have_a_plan():
    plan = plan_pixels(1000, 2500, 512, 64, factor=32, multiple=2)
    assert plan.size == (32, 80) and plan.reduced(2).scaled(2) == plan
    assert plan_pixels(40, 70, 1024).size == (2, 3)
    assert plan.core(2).disjoint and plan.core(2).size == plan.size


# bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plan_latent(8, 8, 4, 4), "enlarge the tile"),
        (lambda: plan_latent(8, 8, 0), "at least one token of 1x1, got 0x0"),
        (lambda: plan_latent(8, 8, 4, -1), "positive"),
        (lambda: plan_latent(9, 8, 4, multiple=2), "height should be a multiple of 2, the side of a token, got 9"),
        (lambda: plan_latent(8, 8, 0, multiple=2), "at least one token of 2x2, got 0x0"),
        (lambda: plan_pixels(512, 512, 16, 0), "tile should be a multiple of 32 pixels, which are one token, got 16"),
        (lambda: plan_pixels(512, 512, 128, 48), "overlap should be a multiple of 32 pixels"),
        (lambda: plan_pixels(512, 512, 0, 0), "at least one token of 32x32 pixels, got 0x0"),
        (lambda: plan_pixels(512, 512, 128, 128), "enlarge the tile"),
        (lambda: plan_latent(8, 8, 4, order="spiral"), "unknown order 'spiral'; choose one of raster, serpentine"),
        (lambda: TilePlan(((0, 4), (5, 8)), ((0, 8),)), "rows should be spans from 0 on that advance without gaps"),
        (lambda: TilePlan(((0, 8),), ((0, 4), (2, 4))), "columns should be spans"),
        (lambda: TilePlan((), ((0, 4),)), "rows should be spans"),
        (lambda: TilePlan(((0, 5), (5, 8)), ((0, 8),)).reduced(2), "begin and end on multiples of 2"),
        (lambda: block_causal_linear_attention(X, X, X, [3, 4]), "blocks of one token or more, 9 in all, got"),
        (lambda: block_causal(NET, X, TIME, TEXT, plan_latent(8, 8, 4)), "a latent of 8x8, got"),
        (lambda: block_causal(NET, X, TIME, TEXT, UNEVEN, condition=X[..., 1:]), "of the latent's size"),
        (lambda: block_causal(NET, X, TIME, TEXT, UNEVEN, condition=normal(3, 4, *SIZE)), "of the latent's size"),
        (lambda: block_causal(NET, X[:, :3], TIME, TEXT, UNEVEN), r"latents should be \(b, 4, h, w\), got \(2, 3, 2, 5\)"),
        (lambda: two_pass(NET, X, TIME, TEXT, UNEVEN, halo=-1), "halo should be None or at least 0, got -1"),
        (lambda: temporal_denoiser(NET, TEXT, 4, 4)(X, torch.tensor(0.5)), "enlarge the tile"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_state_of_another_network_or_noise_level_is_refused():
    _, state = block_causal(NET, X, TIME, TEXT, UNEVEN)
    with pytest.raises(ValueError, match="a network with 3 layers, this one has 1; every network needs its own"):
        block_causal(random_network(4, num_layers=1), X, TIME, TEXT, UNEVEN, state)
    wide = random_network(5, num_attention_heads=4, attention_head_dim=4)
    with pytest.raises(ValueError, match=r"the state's s should be \(2, 4, 4, 4\) for this network, got \(2, 2, 8, 8\)"):
        block_causal(wide, X, TIME, TEXT, UNEVEN, state)
    with pytest.raises(ValueError, match=r"summed at time \[300.0\], this is \[200.0\]; every noise level needs its own"):
        block_causal(NET, X, 200.0, TEXT, UNEVEN, state)
    with pytest.raises(ValueError, match="the state's s should be"):
        block_causal(NET, normal(3, 4, *SIZE), TIME, TEXT[:1], UNEVEN, state)
    with pytest.raises(TypeError, match="expected a SanaTransformer or SanaDenoiser, got Linear"):
        block_causal(nn.Linear(1, 1), X, TIME, TEXT, UNEVEN)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_beyond_the_range_of_half_precision_are_right(dtype):
    """Keys and values of about 100 over 4000 tokens: S is 4e7, where float16 ends at 65504."""
    q, k, v = (100 * (0.5 + normal(1, 1, 4000, 4, seed=seed).abs()).float() for seed in (1, 2, 3))
    expected, _ = block_causal_linear_attention(q, k, v, [1000] * 4)
    ours, states = block_causal_linear_attention(q.to(dtype), k.to(dtype), v.to(dtype), [1000] * 4)
    assert states[-1].s.max() > 65504 and states[-1].s.dtype == torch.float32 and ours.dtype == dtype
    torch.testing.assert_close(ours.float(), expected, rtol=0.02, atol=0)


def test_a_network_in_half_precision_keeps_its_sums_in_single():
    net = copy.deepcopy(NET).bfloat16()
    ours, state = block_causal(net, X.bfloat16(), TIME, TEXT.bfloat16(), plan_latent(*SIZE, (5, 6), 2))
    expected, _ = block_causal(NET, X, TIME, TEXT, plan_latent(*SIZE, (5, 6), 2))
    assert ours.dtype == torch.bfloat16 and state.layers[0].s.dtype == torch.float32
    assert float((ours.double() - expected).square().mean() / expected.square().mean()) < 0.01


def test_tiles_are_named_by_their_place():
    tile = Tile(0, 1, (0, 3), (4, 9))
    assert tile.grid == (3, 5) and X[tile.place].shape == (2, 4, 3, 5)
