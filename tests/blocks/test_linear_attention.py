"""Linear attention with a running state: exact statements in float64, and that sums keep their precision."""

import itertools

import pytest
import torch
from einops import rearrange

from restoralib.blocks import LinearAttention, LinearState, read_linear_state, relu_linear_attention, update_linear_state


def tokens(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def dense(q, k, v, mask) -> torch.Tensor:
    """The same attention as a matrix over all pairs of tokens."""
    kernel = (q.relu() @ k.relu().transpose(-1, -2)) * mask
    return kernel @ v / (kernel.sum(-1, keepdim=True) + 1e-15)


@pytest.fixture
def parts():
    """Queries, keys and values (b, heads, n, d) of three tiles of unequal size."""
    torch.manual_seed(0)
    return [tuple(tokens(2, 3, n, d) for d in (4, 4, 5)) for n in (6, 1, 9)]


def whole(parts) -> tuple[torch.Tensor, ...]:
    return tuple(torch.cat(pieces, dim=-2) for pieces in zip(*parts, strict=True))


def run(parts) -> tuple[list[torch.Tensor], LinearState]:
    """Tile after tile with the state carried on."""
    outputs, state = [], None
    for q, k, v in parts:
        output, state = relu_linear_attention(q, k, v, state)
        outputs.append(output)
    return outputs, state


def test_carried_state_is_block_causal_attention(parts):
    block = torch.cat([torch.full((part[0].shape[-2],), index) for index, part in enumerate(parts)])
    causal = (block[:, None] >= block[None, :]).double()
    outputs, _ = run(parts)
    torch.testing.assert_close(torch.cat(outputs, dim=-2), dense(*whole(parts), causal), atol=1e-14, rtol=0)


def test_without_state_tiles_are_independent(parts):
    for q, k, v in parts:
        alone, _ = relu_linear_attention(q, k, v)
        zero = LinearState(torch.zeros(2, 3, 4, 5).double(), torch.zeros(2, 3, 4).double())
        assert torch.equal(relu_linear_attention(q, k, v, zero)[0], alone)
        torch.testing.assert_close(alone, dense(q, k, v, 1), atol=1e-14, rtol=0)


def test_the_last_tile_sees_the_whole(parts):
    outputs, _ = run(parts)
    assert torch.allclose(outputs[-1], dense(*whole(parts), 1)[..., -9:, :], atol=1e-14, rtol=0)


def test_summing_all_parts_first_gives_the_attention_of_the_whole(parts):
    expected, _ = relu_linear_attention(*whole(parts))
    for order in itertools.permutations(range(3)):
        state = None
        for index in order:
            state = update_linear_state(*parts[index][1:], state)
        output = torch.cat([read_linear_state(q, state) for q, _, _ in parts], dim=-2)
        torch.testing.assert_close(output, expected, atol=1e-14, rtol=0)


def test_order_changes_the_causal_outputs_but_not_the_sums(parts):
    outputs, state = run(parts)
    turned, turned_state = run(parts[::-1])
    torch.testing.assert_close(state, turned_state)
    assert not torch.allclose(outputs[0], turned[-1])


def test_weights_that_sum_to_one_count_shared_tokens_once():
    q, k, v = tokens(1, 2, 10, 4), tokens(1, 2, 10, 4), tokens(1, 2, 10, 4)
    share = torch.linspace(0, 1, 4, dtype=torch.float64)  # of the second tile, over tokens 3 to 6
    state = update_linear_state(k[..., :7, :], v[..., :7, :], weight=torch.cat([torch.ones(3), 1 - share]))
    output, state = relu_linear_attention(q, k[..., 3:, :], v[..., 3:, :], state, weight=torch.cat([share, torch.ones(3)]))
    torch.testing.assert_close(output, dense(q, k, v, 1))


def test_the_sum_of_keys_only_grows(parts):
    state = None
    for _, k, v in parts:
        previous, state = state, update_linear_state(k, v, state)
        assert previous is None or (state.z >= previous.z).all()


def test_a_query_without_a_positive_feature_sees_nothing():
    output, _ = relu_linear_attention(-torch.ones(1, 1, 2, 4), torch.randn(1, 1, 3, 4), torch.randn(1, 1, 3, 4))
    assert torch.equal(output, torch.zeros(1, 1, 2, 4))


def test_gradients_flow_through_the_state():
    q, k, v = (tokens(1, 1, 4, 3).requires_grad_() for _ in range(3))
    state = tuple(torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in ((1, 1, 3, 3), (1, 1, 3)))
    attend = lambda q, k, v, s, z: relu_linear_attention(q, k, v, LinearState(s, z))[0]  # noqa: E731
    assert torch.autograd.gradcheck(attend, (q, k, v, *state))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    # 20000 keys of about 4 leave the range of float16, and bfloat16 would stop counting at 256.
    q, k, v = (4 + torch.rand(1, 1, n, 2) for n in (5, 20000, 20000))
    expected = relu_linear_attention(q, k, v)
    output, state = relu_linear_attention(q.to(dtype), k.to(dtype), v.to(dtype))
    assert output.dtype == dtype and state.s.dtype == state.z.dtype == torch.float32
    torch.testing.assert_close(output.float(), expected[0], atol=0.05, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(relu_linear_attention(q, k, v), expected)


def test_module_is_projections_around_the_function():
    attention = LinearAttention(10, heads=3, head_dim=4).double()
    x = tokens(2, 7, 10)
    q, k, v = (
        rearrange(x @ layer.weight.T, "b n (h d) -> b h n d", h=3) for layer in (attention.to_q, attention.to_k, attention.to_v)
    )
    expected = rearrange(dense(q, k, v, 1), "b h n d -> b n (h d)") @ attention.to_out[0].weight.T + attention.to_out[0].bias
    output, state = attention(x)
    torch.testing.assert_close(output, expected)
    assert state.s.shape == (2, 3, 4, 4) and state.z.shape == (2, 3, 4)


def test_module_carries_the_state_and_reads_the_whole():
    attention = LinearAttention(8, heads=2, head_dim=4).double()
    first, second = tokens(1, 5, 8), tokens(1, 3, 8)
    expected, total = attention(torch.cat([first, second], dim=1))
    _, state = attention(first)
    output, state = attention(second, state)
    torch.testing.assert_close(output, expected[:, 5:])
    torch.testing.assert_close(state, total)
    torch.testing.assert_close(attention.read(first, state), expected[:, :5])
    doubled = attention.update(first, weight=torch.full((1, 5), 2.0))
    torch.testing.assert_close(doubled.z, 2 * attention.update(first).z)


def test_keys_are_named_like_sanas():
    assert LinearAttention(8, heads=2).state_dict().keys() == {
        "to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias"
    }  # fmt: skip
