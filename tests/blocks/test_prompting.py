"""What takes up an embedding of the degradation: modulation, cross-attention, DA-CLIP's prompt, and the learned table."""

import pytest
import torch
from torch import nn

from restoralib.blocks import DEGRADATIONS, CrossAttention, DegradationPrompt, DegradationTable, FeatureModulation
from restoralib.zoo import TASKS


def filled(block, seed=0):
    torch.manual_seed(seed)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.double()


@pytest.mark.parametrize("embedding", [(3, 5), (1, 5), (3, 4, 5), (1, 2, 5)])
@pytest.mark.parametrize("block", [FeatureModulation, CrossAttention])
def test_a_new_block_changes_nothing(block, embedding):
    x = torch.randn(3, 8, 5, 7)
    assert torch.equal(block(8, 5)(x, torch.randn(embedding)), x)


def test_modulation_is_scale_and_shift():
    block, x, e = filled(FeatureModulation(4, 3)), torch.randn(2, 4, 3, 3).double(), torch.randn(2, 3).double()
    scale, shift = (e @ block.linear.weight.T + block.linear.bias).unflatten(1, (2, 4)).unbind(1)
    torch.testing.assert_close(block(x, e), x + x * scale[..., None, None] + shift[..., None, None])
    torch.testing.assert_close(block(x, torch.stack([e, -e, 3 * e], 1)), block(x, e))  # the mean of the three


def test_cross_attention_is_a_softmax_over_the_vectors():
    block, x, vectors = filled(CrossAttention(4, 3, heads=1)), torch.randn(1, 4, 2, 2).double(), torch.randn(1, 5, 3).double()
    k, v = (vectors @ block.to_kv.weight.T).chunk(2, -1)
    q = block.norm(x)[0, :, 1, 0] @ block.to_q.weight.T
    answer = (k[0] @ q / 2).softmax(0) @ v[0]
    expected = x[0, :, 1, 0] + block.to_out(answer)
    torch.testing.assert_close(block(x, vectors)[0, :, 1, 0], expected)
    torch.testing.assert_close(block(x, vectors.flip(1)), block(x, vectors))


def test_one_vector_answers_all_pixels_alike():
    block, x, e = filled(CrossAttention(4, 3)), torch.randn(2, 4, 3, 3).double(), torch.randn(2, 3).double()
    answer = block(x, e) - x
    torch.testing.assert_close(answer, answer[..., :1, :1].expand_as(answer))
    torch.testing.assert_close(block(x, e[:, None]), block(x, e))


def test_the_prompt_is_weighed_by_a_softmax_and_starts_at_nothing():
    e = torch.randn(2, 3).double()
    assert not DegradationPrompt(3, 6).double()(e).any()
    block = filled(DegradationPrompt(3, 6))
    torch.testing.assert_close(block(e), block.out(block.choice(e).softmax(1) * block.prompt))


def test_the_table_knows_the_nine_tasks():
    assert list(TASKS)[:9] == list(DEGRADATIONS)
    table = DegradationTable(4)
    both = table(["derain", "denoise"])
    assert both.shape == (2, 4) and torch.equal(both[1:], table("denoise")) and not torch.equal(both[0], both[1])


def test_errors():
    with pytest.raises(ValueError, match=r"no degradation 'snow'; choose from denoise, denoise_real, jpeg"):
        DegradationTable(4)("snow")
    for names in ([], ["blur", "blur"], "blur"):
        with pytest.raises(ValueError, match="different names"):
            DegradationTable(4, names)
    with pytest.raises(ValueError, match="heads should divide channels, got 3 and 8"):
        CrossAttention(8, 5, heads=3)
    for block in (FeatureModulation(8, 5), CrossAttention(8, 5)):
        with pytest.raises(ValueError, match=r"should be \(b, d\) or \(b, n, d\), got \(5,\)"):
            block(torch.rand(1, 8, 2, 2), torch.rand(5))
