"""Rotary positions: what turning keeps, and linear attention with turned features in its numerator only."""

import pytest
import torch

from restoralib.blocks import (
    LinearAttention,
    Rotation,
    read_linear_state,
    relu_linear_attention,
    rotary_angles,
    rotate,
    update_linear_state,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def tokens(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def positions_of(count, axes=2, shift=0):
    return torch.stack([torch.arange(count) * (axis + 1) % 7 + shift for axis in range(axes)], -1).double()


def test_products_of_turned_features_depend_on_the_distance_alone():
    q, k = tokens(1, 12), tokens(1, 12)
    products = [
        (
            rotate(q, rotary_angles(torch.tensor([[a, b]]).double(), 12))
            * rotate(k, rotary_angles(torch.tensor([[c, d]]).double(), 12))
        ).sum()
        for a, b, c, d in ((0, 0, 3, -2), (5, 9, 8, 7), (-4, 1, -1, -1))
    ]
    torch.testing.assert_close(torch.stack(products), products[0].expand(3))
    assert not torch.allclose(products[0], (q * k).sum())


def test_axes_share_the_pairs_and_lengths_stay():
    rotation = rotary_angles(positions_of(5, 4), 32)
    assert rotation.cos.shape == (5, 16) and rotary_angles(positions_of(5, 3), 8).cos.shape == (5, 4)
    x = tokens(2, 3, 5, 32)
    torch.testing.assert_close(rotate(x, rotation).norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(rotation.cos[:, 0], positions_of(5)[:, 0].cos())  # the fastest pair turns by the position itself
    nowhere = rotary_angles(torch.zeros(5, 4).double(), 32)
    assert torch.equal(rotate(x, nowhere), x)


def test_only_the_numerator_is_turned():
    """Against the matrix of all pairs; and parts with a carried state are the block-causal mask."""
    q, k, v, rotation = tokens(2, 3, 9, 8), tokens(2, 3, 9, 8), tokens(2, 3, 9, 5), rotary_angles(positions_of(9), 8)
    plain = q.relu() @ k.relu().mT
    turned = rotate(q.relu(), rotation) @ rotate(k.relu(), rotation).mT
    torch.testing.assert_close(relu_linear_attention(q, k, v, rotation=rotation)[0], turned @ v / plain.sum(-1, keepdim=True))
    block = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2])
    mask = (block[:, None] >= block).double()
    outputs, state = [], None
    for index in range(3):
        at = block == index
        part = Rotation(rotation.cos[at], rotation.sin[at])
        out, state = relu_linear_attention(q[..., at, :], k[..., at, :], v[..., at, :], state, rotation=part)
        outputs.append(out)
    expected = (turned * mask) @ v / ((plain * mask).sum(-1, keepdim=True) + 1e-15)
    torch.testing.assert_close(torch.cat(outputs, -2), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(state.z, k.relu().sum(-2))  # grows whatever the angles are


def test_the_module_hands_the_rotation_on():
    attention, x, rotation = LinearAttention(8, 2, 4).double(), tokens(1, 6, 8), rotary_angles(positions_of(6), 4)
    q, k, v = (layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (attention.to_q, attention.to_k, attention.to_v))
    seen = read_linear_state(q, update_linear_state(k, v, rotation=rotation), rotation)
    torch.testing.assert_close(attention(x, rotation=rotation)[0], attention.to_out(seen.transpose(1, 2).flatten(2)))
    assert not torch.allclose(attention(x, rotation=rotation)[0], attention(x)[0])


def test_half_precision_angles_are_full():
    far = torch.tensor([[4096]])
    assert rotary_angles(far, 4).cos.dtype == torch.float32
    torch.testing.assert_close(rotary_angles(far, 4).cos[0, 0], far[0, 0].double().cos().float(), atol=1e-3, rtol=0)


def test_too_few_pairs_are_refused():
    with pytest.raises(ValueError, match=r"even and at least .* got 6"):
        rotary_angles(positions_of(2, 4), 6)
    with pytest.raises(ValueError, match="even"):
        rotary_angles(positions_of(2, 1), 3)
