"""Networks that are told the degradation."""

from functools import partial

import pytest
import torch
from torch import nn

from restoralib import restore
from restoralib.archs import SRCNN, Baseline, ConditionalUNet, NAFNet, NAFNetLocal, PlainNet, PromptedNAFNet, PromptedUNet
from restoralib.blocks import DegradationTable

NAF = {"width": 4, "middle_blk_num": 2, "enc_blk_nums": (1, 2), "dec_blk_nums": (2, 1)}
WAYS = {"both": {}, "modulation": {"attention": False}, "attention": {"modulation": False}}


def filled(net, std=0.1):
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=std)
    return net.eval()


def plain(cls):
    return filled(cls(**NAF))


def prompted(way):
    return PromptedUNet(filled(ConditionalUNet(nf=8, depth=2)), 6, **WAYS[way]).eval()


@pytest.mark.parametrize("embedding", [(2, 6), (1, 6), (2, 3, 6)])
@pytest.mark.parametrize("cls", [NAFNet, NAFNetLocal, Baseline, PlainNet])
def test_a_new_nafnet_gives_what_it_gave(cls, embedding):
    net, image = plain(cls), torch.rand(2, 3, 9, 14)
    keys = list(net.state_dict())
    told = PromptedNAFNet(net, 6).eval()
    assert torch.equal(told(image, torch.randn(embedding)), net(image))
    assert list(told.net.state_dict()) == keys and told.spec == net.spec
    told.net.load_state_dict(plain(cls).state_dict())


@pytest.mark.parametrize("embedding", [(2, 6), (1, 6), (2, 3, 6)])
@pytest.mark.parametrize("way", WAYS)
def test_a_new_unet_gives_what_it_gave(way, embedding):
    told, x, y = prompted(way), torch.rand(2, 3, 9, 14), torch.rand(2, 3, 9, 14)
    assert torch.equal(told(x, y, torch.tensor([3, 50]), torch.randn(embedding)), told.net(x, y, torch.tensor([3, 50])))
    assert list(told.net.state_dict()) == list(ConditionalUNet(nf=8, depth=2).state_dict()) and told.spec == told.net.spec


@pytest.mark.parametrize("way", WAYS)
def test_every_part_of_the_unet_takes_part(way):
    told = filled(prompted(way))
    assert len(told.attentions) == (0 if way == "modulation" else 5) and (told.prompt is None) == (way == "attention")
    x, y, embedding = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.randn(2, 3, 6, requires_grad=True)
    output = told(x, y, 5, embedding)
    output.backward(torch.randn_like(output))
    for name, tensor in [*told.named_parameters(), ("embedding", embedding)]:
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.any(), name


def test_every_block_of_nafnet_takes_part():
    told, table = filled(PromptedNAFNet(NAFNet(**NAF), 6), 0.3), DegradationTable(6)
    assert sum(len(stage) for stage in told.modulations) == 8
    output = told(torch.rand(2, 3, 8, 8), table(["deblur", "denoise"]))
    output.backward(torch.randn_like(output))
    for name, tensor in told.named_parameters():
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.any(), name
    used = table.weight.grad.abs().sum(1) > 0
    assert [name for name, is_used in zip(table.names, used, strict=True) if is_used] == ["denoise", "deblur"]


def test_each_image_has_its_own_embedding():
    told, image = filled(PromptedNAFNet(NAFNet(**NAF), 6), 0.3), torch.rand(2, 3, 8, 8)
    embedding = torch.randn(2, 6)
    both = told(image, embedding)
    for index in range(2):
        alone = told(image[index : index + 1], embedding[index : index + 1])
        torch.testing.assert_close(both[index : index + 1], alone, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(told(image, embedding.flip(0)), both)


@pytest.mark.slow
def test_the_unet_compiles_in_one_graph():
    told, x, y, embedding = filled(prompted("both")), torch.rand(1, 3, 9, 8), torch.rand(1, 3, 9, 8), torch.randn(1, 2, 6)
    compiled = torch.compile(told, backend="eager", fullgraph=True)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x, y, 3.0, embedding), told(x, y, 3.0, embedding))


def test_nafnet_compiles_and_restores():
    told, table, image = filled(PromptedNAFNet(NAFNet(**NAF), 6)), DegradationTable(6), torch.rand(1, 3, 9, 8)
    embedding = table("deblur").detach()
    compiled = torch.compile(told, backend="eager", fullgraph=True)
    with torch.inference_mode():
        expected = told(image, embedding)
        torch.testing.assert_close(compiled(image, embedding), expected)
        torch.testing.assert_close(restore(image, partial(told, embedding=embedding)), expected.clamp(0, 1), atol=1e-5, rtol=0)


def test_errors():
    with pytest.raises(TypeError, match="expected NAFNet, Baseline or PlainNet, got SRCNN"):
        PromptedNAFNet(SRCNN(), 6)
    with pytest.raises(TypeError, match="expected ConditionalUNet, got SRCNN"):
        PromptedUNet(SRCNN(), 6)
    with pytest.raises(ValueError, match="modulation or attention or both, got neither"):
        PromptedUNet(ConditionalUNet(nf=8, depth=1), 6, modulation=False, attention=False)
    with pytest.raises(ValueError, match="should be of one shape"):
        prompted("both")(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 5), 1, torch.rand(1, 6))
