"""Embeddings against the conventions of the published networks, written out."""

import math

import pytest
import torch

from restoralib.blocks import FourierEmbedding, SinusoidalMLP, TimeEmbedding, sinusoidal_embedding, times_of


def written_out(t: float, channels: int, divisor: int, sine_first: bool) -> list[float]:
    angles = [t / 10000 ** (index / divisor) for index in range(channels // 2)]
    sines, cosines = [math.sin(angle) for angle in angles], [math.cos(angle) for angle in angles]
    return sines + cosines if sine_first else cosines + sines


@pytest.mark.parametrize(
    ("options", "divisor"),
    [
        pytest.param({}, 4, id="guided-diffusion, SANA"),
        pytest.param({"sine_first": True}, 4, id="SR3"),
        pytest.param({"sine_first": True, "endpoint": True}, 3, id="DDPM, IR-SDE"),
    ],
)
def test_conventions_of_published_networks(options, divisor):
    times = [0, 0.25, 7, 999]
    embedding = sinusoidal_embedding(torch.tensor(times, dtype=torch.float64), 8, **options)
    expected = [written_out(t, 8, divisor, "sine_first" in options) for t in times]
    torch.testing.assert_close(embedding, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.bfloat16, torch.float32])
def test_embedding_is_computed_in_float32(dtype):
    embedding = sinusoidal_embedding(torch.tensor([3, 128]).to(dtype), 6)
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding, sinusoidal_embedding(torch.tensor([3.0, 128.0]).double(), 6).float())


@pytest.mark.parametrize(("channels", "endpoint", "least"), [(7, False, 2), (0, False, 2), (2, True, 4)])
def test_impossible_lengths_are_refused(channels, endpoint, least):
    with pytest.raises(ValueError, match=f"even and at least {least}, got {channels}"):
        sinusoidal_embedding(torch.zeros(1), channels, endpoint=endpoint)
    with pytest.raises(ValueError, match=f"even and at least {least}, got {channels}"):
        TimeEmbedding(channels, 8, endpoint=endpoint)


def test_time_embedding_is_two_layers_on_the_sinusoid():
    block, t = TimeEmbedding(6, 8, 4, sine_first=True), torch.tensor([0, 10, 999])
    hidden = sinusoidal_embedding(t, 6, sine_first=True) @ block[0].weight.T + block[0].bias
    expected = (hidden * torch.sigmoid(hidden)) @ block[2].weight.T + block[2].bias
    torch.testing.assert_close(block(t), expected)
    assert block.state_dict().keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_layers_behind_a_sinusoid_are_counted_from_1():
    block, t = (
        SinusoidalMLP(6, torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.Linear(8, 4), endpoint=True),
        torch.tensor([0.5]),
    )
    assert list(block.state_dict()) == ["1.weight", "1.bias", "3.weight", "3.bias"]
    hidden = block[0](sinusoidal_embedding(t, 6, endpoint=True))
    torch.testing.assert_close(block(t), block[2](torch.nn.functional.gelu(hidden)))
    with pytest.raises(ValueError, match="even and at least 4, got 2"):
        SinusoidalMLP(2, torch.nn.Linear(2, 2), endpoint=True)


def test_times_of_a_batch_are_one_or_one_each():
    image = torch.zeros(2, 3, 4, 5)
    assert times_of(image, 3).tolist() == [3] and times_of(image, 0.5).tolist() == [0.5]
    assert times_of(image, torch.tensor([[1], [2]])).tolist() == [1, 2]
    with pytest.raises(ValueError, match="level should hold one value, or one for each of 2 images, got 3"):
        times_of(image, torch.zeros(3), "level")


@pytest.mark.parametrize("learned", [True, False])
def test_fourier_features(learned):
    block = FourierEmbedding(6, std=2.0, learned=learned)
    t = torch.tensor([-0.5, 0.1])
    angles = [[2 * math.pi * time * frequency for frequency in block.weight.tolist()] for time in t.tolist()]
    expected = torch.cat([torch.tensor(angles).sin(), torch.tensor(angles).cos()], dim=1)
    torch.testing.assert_close(block(t), expected)
    assert block.state_dict().keys() == {"weight"}
    assert [name for name, _ in block.named_parameters()] == (["weight"] if learned else [])


def test_fourier_features_refuse_an_odd_length():
    with pytest.raises(ValueError, match="even and at least 2, got 5"):
        FourierEmbedding(5)
