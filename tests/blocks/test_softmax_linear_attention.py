"""Linear attention by two softmaxes against its formula."""

import torch

from restoralib.blocks import SoftmaxLinearAttention


def test_attention_is_its_formula():
    torch.manual_seed(0)
    block, x = SoftmaxLinearAttention(6, heads=2, head_dim=4).double(), torch.randn(2, 6, 3, 5, dtype=torch.float64)
    q, k, v = (part.view(2, 2, 4, 15) for part in block.to_qkv(x).chunk(3, dim=1))
    context = torch.einsum("bhdn,bhen->bhde", k.softmax(-1), v / 15)
    out = torch.einsum("bhde,bhdn->bhen", context, q.softmax(-2) / 2).reshape(2, 8, 3, 5)
    mixed = torch.einsum("oc,bchw->bohw", block.to_out[0].weight.flatten(1), out) + block.to_out[0].bias[:, None, None]
    mean, variance = mixed.mean(1, keepdim=True), mixed.var(1, correction=0, keepdim=True)
    torch.testing.assert_close(block(x), (mixed - mean) / (variance + 1e-5).sqrt() * block.to_out[1].g)


def test_keys_are_the_authors():
    assert set(SoftmaxLinearAttention(6).state_dict()) == {"to_qkv.weight", "to_out.0.weight", "to_out.0.bias", "to_out.1.g"}
    assert SoftmaxLinearAttention(6).to_qkv.weight.shape == (384, 6, 1, 1)
