"""Attention between pixels against its formula, in both orders of the channels."""

import pytest
import torch
from torch import nn

from restoralib.blocks import AttentionBlock, one_head_attention, pixel_attention


def by_heads(x, heads, new_order):
    """Queries, keys and values (b, 3c, n) by the words of the two orders."""
    if new_order:
        q, k, v = (part.unflatten(1, (heads, -1)) for part in x.chunk(3, dim=1))
    else:
        q, k, v = x.unflatten(1, (heads, -1)).chunk(3, dim=2)
    scale = q.shape[2] ** -0.25
    weights = torch.einsum("bhcn,bhcm->bhnm", q * scale, k * scale).softmax(-1)
    return torch.einsum("bhnm,bhcm->bhcn", weights, v).flatten(1, 2)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("new_order", [False, True])
def test_attention_is_its_formula(heads, new_order):
    torch.manual_seed(0)
    block, x = AttentionBlock(32, heads, new_order).double(), torch.randn(2, 32, 3, 5, dtype=torch.float64)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    tokens = block.qkv(nn.functional.group_norm(x, 32, block.norm.weight, block.norm.bias).flatten(2))
    attended = by_heads(tokens, heads, new_order)
    torch.testing.assert_close(pixel_attention(tokens.mT.contiguous(), heads, heads_first=not new_order).mT, attended)
    torch.testing.assert_close(block(x), x + block.proj_out(attended).view_as(x))


def test_a_new_block_is_the_identity():
    x = torch.randn(1, 32, 4, 5)
    assert torch.equal(AttentionBlock(32)(x), x)


def test_norms_have_float32_statistics():
    torch.manual_seed(0)
    block, x = AttentionBlock(64).half(), 300 * torch.randn(1, 64, 8, 8) + 500  # squares overflow float16
    expected = nn.functional.group_norm(x.half().float(), 32)
    torch.testing.assert_close(block.norm(x.half()).float(), expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_that_do_not_divide_the_channels_are_refused(heads):
    with pytest.raises(ValueError, match=f"{heads} heads do not divide 32 channels"):
        AttentionBlock(32, heads)


@pytest.mark.parametrize("convolutions", [False, True])
def test_one_head_of_separate_projections_is_its_formula(convolutions):
    torch.manual_seed(0)
    layers = [(nn.Conv2d(8, 8, 1) if convolutions else nn.Linear(8, 8)).double() for _ in range(4)]
    norm, x = nn.GroupNorm(4, 8).double(), torch.randn(2, 8, 3, 5, dtype=torch.float64)
    tokens = norm(x).flatten(2).mT
    q, k, v, out = (lambda t, layer=layer: t @ layer.weight.flatten(1).T + layer.bias for layer in layers)
    attended = (q(tokens) @ k(tokens).mT / 8**0.5).softmax(-1) @ v(tokens)
    torch.testing.assert_close(one_head_attention(x, norm, *layers), x + out(attended).mT.view_as(x))
