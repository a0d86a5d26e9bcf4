"""The SANA-Denoiser: it starts as its base, learns from the condition at once, and folds into one convolution."""

import pytest
import torch
from test_sana import TINY, tiny
from torch import nn

from restoralib import load_model
from restoralib.archs import SanaDenoiser, SanaTransformer
from restoralib.archs.sana import VARIANTS
from restoralib.archs.sana_denoiser import infer_config
from restoralib.checkpoints import recognize, skeleton


def trained(**other):
    """A denoiser that has left its start, with inputs."""
    base, x, text, time = tiny(**other)
    net = SanaDenoiser.from_base(base)
    nn.init.normal_(net.proj.weight, std=0.3)
    return net, x, torch.randn_like(x), time, text


def test_it_starts_as_the_text_to_image_model_whatever_the_condition():
    base, x, text, time = tiny()
    net = SanaDenoiser.from_base(base)
    mask = torch.tensor([[1, 1, 0]])
    with torch.inference_mode():
        expected = base(x, text, time, mask)
        for condition in (torch.zeros_like(x), torch.randn_like(x), 1e6 * torch.randn_like(x), x):
            assert torch.equal(net(x, condition, time, text, mask), expected)
    assert torch.equal(SanaDenoiser(**TINY).proj.weight[:, :4, 0, 0], torch.eye(4))
    assert all(torch.equal(net.state_dict()[key], value) for key, value in base.state_dict().items())


def test_the_condition_has_a_gradient_at_the_start():
    base, x, text, time = tiny()
    net = SanaDenoiser.from_base(base)
    net(x, torch.randn_like(x), time, text).square().sum().backward()
    new = net.proj.weight.grad[:, 4:]
    assert net.proj.weight[:, 4:].eq(0).all() and new.isfinite().all() and new.abs().min() > 0


def test_for_32_channels_it_has_2048_new_weights():
    config = VARIANTS["sana_1600m_1024"].config
    net, base = skeleton(SanaDenoiser, config), skeleton(SanaTransformer, config)
    count, before = (sum(parameter.numel() for parameter in each.parameters()) for each in (net, base))
    assert count - before == 2048 and before == 1_604_462_752
    assert net.proj.weight.shape == (32, 64, 1, 1)
    assert net.state_dict().keys() - base.state_dict().keys() == {"proj.weight"}


@pytest.mark.parametrize("other", [{}, {"patch_size": 2, "out_channels": 3, "qk_norm": "rms_norm_across_heads"}])
def test_folded_is_unfolded(other):
    net, x, condition, time, text = trained(**other)
    folded = net.fold_projection()
    both = torch.cat((x, condition), 1)
    with torch.inference_mode():
        expected = net(x, condition, time, text)
        torch.testing.assert_close(folded(both, text, time), expected, atol=1e-6 * expected.abs().max().item(), rtol=0)
        precise = net.double()(x.double(), condition.double(), time.double(), text.double())
        exact = net.fold_projection()(both.double(), text.double(), time.double())
    torch.testing.assert_close(exact, precise, atol=1e-12, rtol=1e-12)
    assert type(folded) is SanaTransformer and folded.patch_embed.proj.in_channels == 8
    assert not any(a.data_ptr() == b.data_ptr() for a, b in zip(folded.parameters(), net.parameters(), strict=False))


def test_tiles_embed_both_latents_in_one_tensor():
    net, x, condition, _, _ = trained()
    with torch.inference_mode():
        tokens = net.embed(torch.cat((x, condition), 1))
        torch.testing.assert_close(tokens, net.fold_projection().embed(torch.cat((x, condition), 1)))
    with pytest.raises(ValueError, match=r"noisy and degraded latents should be \(b, 8, h, w\)"):
        net.embed(x)


def test_a_condition_of_another_shape_is_told():
    net, x, condition, time, text = trained()
    with pytest.raises(ValueError, match=r"condition should be shaped like x, \(2, 4, 6, 7\)"):
        net(x, condition[..., 1:], time, text)


def test_files_are_told_from_sanas(tmp_path):
    net, x, condition, time, text = trained()
    assert recognize(net.state_dict()).cls is SanaDenoiser
    assert recognize(net.fold_projection().state_dict()).config["in_channels"] == 8
    assert infer_config(SanaTransformer(**TINY).state_dict()) is None
    assert infer_config(net.state_dict() | {"proj.weight": torch.zeros(4, 4, 1, 1)}) is None
    torch.save(net.state_dict(), tmp_path / "denoiser.pth")
    heads = {key: TINY[key] for key in TINY if "head" in key}
    loaded = load_model(tmp_path / "denoiser.pth", interpolation_scale=None, **heads)
    with torch.inference_mode():
        assert torch.equal(loaded(x, condition, time, text), net(x, condition, time, text))


def test_dtype_and_mode_are_the_bases():
    base = tiny()[0].bfloat16().train()
    net = SanaDenoiser.from_base(base)
    assert net.proj.weight.dtype == torch.bfloat16 and net.training and not net.fold_projection().eval().training
    assert net.fold_projection().proj_out.weight.dtype == torch.bfloat16
