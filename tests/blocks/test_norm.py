"""Layer norms over channels, against their formulas in float64."""

import pytest
import torch

from restoralib.blocks import BiasFreeLayerNorm, LayerNorm2d, RMSNorm2d, WithBiasLayerNorm

NORMS = [LayerNorm2d, WithBiasLayerNorm, BiasFreeLayerNorm]


def formula(norm, x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    body = norm if isinstance(norm, LayerNorm2d) else norm.body
    centered = x if isinstance(norm, BiasFreeLayerNorm) else x - mean
    out = centered / (variance + body.eps) ** 0.5 * body.weight.reshape(1, -1, 1, 1)
    return out if body.bias is None else out + body.bias.reshape(1, -1, 1, 1)


def randomized(cls, channels: int = 6):
    norm = cls(channels)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    return norm


@pytest.mark.parametrize("cls", NORMS)
def test_values_are_the_formulas(cls):
    norm = randomized(cls).double()
    x = torch.randn(2, 6, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(norm(x), formula(norm, x))


@pytest.mark.parametrize("cls", NORMS)
def test_eps_counts_where_the_channels_are_equal(cls):
    norm = randomized(cls).double()
    x = 1e-3 * torch.randn(1, 6, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(norm(x), formula(norm, x))
    assert norm(torch.full_like(x, 0.5)).isfinite().all()


@pytest.mark.parametrize("cls", NORMS)
def test_float16_does_not_overflow(cls):
    # The squares of these values are far beyond 65504.
    x = (20000 * torch.randn(1, 64, 5, 7)).clamp(-60000, 60000).half()
    norm = cls(64)
    output = norm.half()(x)
    assert output.dtype == torch.float16 and output.isfinite().all()
    torch.testing.assert_close(output.double(), formula(norm.double(), x.double()), atol=1e-2, rtol=1e-2)


def test_published_eps():
    assert LayerNorm2d(4).eps == 1e-6
    assert WithBiasLayerNorm(4).body.eps == BiasFreeLayerNorm(4).body.eps == 1e-5


def test_keys_are_the_authors():
    assert LayerNorm2d(4).state_dict().keys() == {"weight", "bias"}
    assert WithBiasLayerNorm(4).state_dict().keys() == {"body.weight", "body.bias"}
    assert BiasFreeLayerNorm(4).state_dict().keys() == {"body.weight"}


def test_rms_norm_is_its_formula():
    norm = randomized(RMSNorm2d).double()
    x = 1e-2 * torch.randn(2, 6, 5, 3, dtype=torch.float64)
    expected = x / (x.square().mean(1, keepdim=True) + 1e-5) ** 0.5 * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    torch.testing.assert_close(norm(x), expected)
    assert RMSNorm2d(6).half()(torch.full((1, 6, 2, 2), 6e4, dtype=torch.float16)).isfinite().all()
