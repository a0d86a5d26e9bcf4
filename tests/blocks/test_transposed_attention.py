"""Attention between channels, against the papers' formulas; what holds for every block is in test_every_block.py."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restoralib.blocks import DGFN, DMTA, GDFN, MDTA


def randomized(block: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.double()


def mdta_formula(block: nn.Module, x: torch.Tensor, heads: int) -> torch.Tensor:
    """Restormer, eq. 1, head by head: normalised queries and keys are multiplied and softmax weighs the values."""
    q, k, v = block.qkv_dwconv(block.qkv(x)).flatten(2).chunk(3, dim=1)
    mixed = []
    for temperature, q_head, k_head, v_head in zip(
        block.temperature, *(part.chunk(heads, 1) for part in (q, k, v)), strict=True
    ):
        attention = F.normalize(q_head, dim=-1) @ F.normalize(k_head, dim=-1).transpose(1, 2)
        mixed.append((attention * temperature).softmax(-1) @ v_head)
    return block.project_out(torch.cat(mixed, 1).unflatten(2, x.shape[2:]))


def gdfn_formula(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Restormer, eq. 2, with the Gaussian's distribution function written out."""
    first, second = block.dwconv(block.project_in(x)).chunk(2, dim=1)
    return block.project_out(first * (1 + torch.erf(first / 2**0.5)) / 2 * second)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_mdta_is_the_papers_formula(heads, bias):
    block, x = randomized(MDTA(8, heads, bias)), torch.randn(2, 8, 7, 5).double()
    torch.testing.assert_close(block(x), mdta_formula(block, x, heads), rtol=1e-6, atol=0)


@pytest.mark.parametrize("bias", [False, True])
def test_gdfn_is_the_papers_formula(bias):
    block, x = randomized(GDFN(8, 2.66, bias)), torch.randn(2, 8, 7, 5).double()
    torch.testing.assert_close(block(x), gdfn_formula(block, x), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("channels", "hidden"), [(48, 127), (96, 255), (192, 510), (384, 1021)])
def test_gdfn_rounds_its_width_down(channels, hidden):
    assert GDFN(channels, 2.66).project_out.in_channels == hidden


def test_the_prior_scales_and_shifts_the_features():
    x, prior = torch.randn(2, 8, 7, 5).double(), torch.randn(2, 6).double()
    for dynamic, plain in ((DMTA(8, 2, prior_features=6), MDTA(8, 2)), (DGFN(8, prior_features=6), GDFN(8))):
        randomized(dynamic)
        plain.double().load_state_dict({key: value for key, value in dynamic.state_dict().items() if "kernel" not in key})
        scale, shift = (prior @ dynamic.kernel[0].weight.T)[..., None, None].chunk(2, dim=1)
        torch.testing.assert_close(dynamic(x, prior), plain(x * scale + shift))


@pytest.mark.parametrize(
    ("block", "keys"),
    [
        (MDTA(4, 2), "temperature qkv.weight qkv_dwconv.weight project_out.weight"),
        (GDFN(4), "project_in.weight dwconv.weight project_out.weight"),
        (DMTA(4, 2), "temperature kernel.0.weight qkv.weight qkv_dwconv.weight project_out.weight"),
        (DGFN(4), "project_in.weight dwconv.weight project_out.weight kernel.0.weight"),
    ],
    ids=["MDTA", "GDFN", "DMTA", "DGFN"],
)
def test_keys_are_the_authors_in_their_order(block, keys):
    assert list(block.state_dict()) == keys.split()


def test_gram_gathered_in_parts_gives_the_whole():
    block, x = randomized(MDTA(8, 2)), torch.randn(1, 8, 12, 9).double()
    expected = block(x)

    def gather(qk: torch.Tensor) -> torch.Tensor:
        return torch.stack([gram(part) for part in qk.chunk(3, dim=2)]).mean(0)

    gram = block.gram
    block.gram = nn.Identity()
    block.gram.forward = gather
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)


def test_vanishing_features_are_divided_by_eps():
    block = randomized(MDTA(4, 2)).requires_grad_()
    for scale in (0.0, 1e-14, 1e-12, 1e-10):
        x = (scale * torch.randn(1, 4, 6, 5).double()).requires_grad_()
        torch.testing.assert_close(block(x), mdta_formula(block, x, 2), rtol=1e-6, atol=0)
        (gradient,) = torch.autograd.grad(block(x).sum(), x)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("autocast", [False, True], ids=["converted", "autocast"])
def test_norms_of_a_large_float16_image_do_not_overflow(autocast):
    block = MDTA(4, 2)
    nn.init.constant_(block.qkv.weight, 10.0)
    nn.init.constant_(block.qkv_dwconv.weight, 1.0)
    x = 10 * torch.rand(1, 4, 64, 64)
    with torch.autocast("cpu", torch.float16, enabled=autocast):
        output = block(x) if autocast else block.half()(x.half())
    assert output.dtype == torch.float16
    torch.testing.assert_close(output.float(), block.float()(x), rtol=0.02, atol=0.02)


def test_meta_device_needs_no_autocast():
    with torch.device("meta"):
        assert MDTA(8, 2)(torch.empty(1, 8, 5, 7)).shape == (1, 8, 5, 7)


@pytest.mark.parametrize("block", [MDTA, DMTA])
@pytest.mark.parametrize("heads", [0, 3])
def test_heads_that_do_not_divide_are_refused(block, heads):
    with pytest.raises(ValueError, match=f"{heads} heads do not divide 8 channels"):
        block(8, heads)
