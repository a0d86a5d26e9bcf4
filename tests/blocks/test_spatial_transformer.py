import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.blocks import SpatialTransformer


def attend(layer, tokens, seen, heads):
    """Softmax attention head by head."""
    parts = [x.chunk(heads, dim=2) for x in (layer.to_q(tokens), layer.to_k(seen), layer.to_v(seen))]
    each = [(q @ k.mT / q.shape[2] ** 0.5).softmax(-1) @ v for q, k, v in zip(*parts, strict=True)]
    return layer.to_out(torch.cat(each, 2))


@pytest.mark.parametrize("use_linear", [False, True])
def test_it_is_its_formula(use_linear):
    torch.manual_seed(0)
    net = SpatialTransformer(32, 6, heads=2, head_dim=8, use_linear=use_linear).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, context = torch.randn(2, 32, 3, 4, dtype=torch.float64), torch.randn(2, 5, 6, dtype=torch.float64)
    tokens = net.norm(x).flatten(2).mT @ net.proj_in.weight.flatten(1).T + net.proj_in.bias
    block = net.transformer_blocks[0]
    normed = block.norm1(tokens)
    tokens = tokens + attend(block.attn1, normed, normed, 2)
    tokens = tokens + attend(block.attn2, block.norm2(tokens), context, 2)
    value, gate = block.ff.net[0].proj(block.norm3(tokens)).chunk(2, -1)
    tokens = tokens + block.ff.net[2](value * F.gelu(gate))
    expected = x + (tokens @ net.proj_out.weight.flatten(1).T + net.proj_out.bias).mT.view_as(x)
    torch.testing.assert_close(net(x, context), expected)


def test_a_new_one_is_the_identity_and_one_text_serves_all_images():
    net, x, context = SpatialTransformer(32, 6, heads=2, head_dim=8), torch.randn(3, 32, 4, 4), torch.randn(1, 5, 6)
    assert torch.equal(net(x, context), x)
    nn.init.normal_(net.proj_out.weight)
    torch.testing.assert_close(net(x, context), net(x, context.expand(3, -1, -1)))
