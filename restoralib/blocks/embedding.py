"""Embeddings of a number (time, noise level) as a vector."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from restoralib.ops.precision import at_least_float32


def sinusoidal_embedding(
    t: Tensor, channels: int, *, max_period: float = 10000.0, sine_first: bool = False, endpoint: bool = False
) -> Tensor:
    """Cosines and sines of t at frequencies that fall geometrically from 1.

    The defaults are those of guided-diffusion and SANA. SR3 has `sine_first`; DDPM and IR-SDE have `sine_first` and `endpoint`.

    Args:
        t: times or levels, (b,), of any real type.
        channels: length of the vector, even.
        max_period: the frequencies are max_period**(-i / n), i from 0 to n - 1, n = channels / 2.
        sine_first: sines before cosines.
        endpoint: divide by n - 1 instead of n, so that the last frequency is exactly 1 / max_period.

    Returns:
        (b, channels), float32, or float64 where t is.

    Raises:
        ValueError: the number of channels is odd, or too small for an endpoint.

    Source: Ho et al., arXiv:2006.11239, after Vaswani et al., arXiv:1706.03762.
    """
    _check_channels(channels, endpoint)
    count = channels // 2
    t = t.to(at_least_float32(t.dtype))
    exponents = torch.arange(count, dtype=t.dtype, device=t.device) / (count - endpoint)
    angles = t[:, None] * torch.exp(-math.log(max_period) * exponents)
    parts = (angles.sin(), angles.cos()) if sine_first else (angles.cos(), angles.sin())
    return torch.cat(parts, dim=1)


class TimeEmbedding(nn.Sequential):
    """Two linear layers with SiLU between them on a sinusoidal embedding, as in guided-diffusion.

    Weights lie under the keys `0` and `2`, as in `time_embed` of published checkpoints.

    Args:
        channels: length of the sinusoidal embedding, even.
        width: features of the hidden layer.
        out_channels: features out; None for `width`.
        max_period, sine_first, endpoint: see `sinusoidal_embedding`.

    Shapes: (b,) -> (b, out_channels), of the weights' type.

    Raises:
        ValueError: as `sinusoidal_embedding`.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        out_channels: int | None = None,
        *,
        max_period: float = 10000.0,
        sine_first: bool = False,
        endpoint: bool = False,
    ) -> None:
        _check_channels(channels, endpoint)
        super().__init__(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, out_channels or width))
        self.channels = channels
        self.max_period = max_period
        self.sine_first = sine_first
        self.endpoint = endpoint

    def forward(self, t: Tensor) -> Tensor:
        x = sinusoidal_embedding(
            t, self.channels, max_period=self.max_period, sine_first=self.sine_first, endpoint=self.endpoint
        ).to(next(self.parameters()).dtype)
        for layer in self:
            x = layer(x)
        return x


class SinusoidalMLP(nn.Sequential):
    """Layers on a sinusoidal embedding, whose weights lie under keys counted from 1.

    Published checkpoints of IR-SDE, Refusion and SR3 count the embedding as the layer 0 of `time_mlp` or `noise_level_mlp`.

    Args:
        channels: length of the sinusoidal embedding, even.
        *layers: what follows, the first of which takes `channels` features.
        max_period, sine_first, endpoint: see `sinusoidal_embedding`.

    Shapes: (b,) -> what the last layer gives, of the weights' type.

    Raises:
        ValueError: as `sinusoidal_embedding`.
    """

    def __init__(
        self,
        channels: int,
        *layers: nn.Module,
        max_period: float = 10000.0,
        sine_first: bool = False,
        endpoint: bool = False,
    ) -> None:
        _check_channels(channels, endpoint)
        super().__init__(OrderedDict((str(index), layer) for index, layer in enumerate(layers, 1)))
        self.channels = channels
        self.max_period = max_period
        self.sine_first = sine_first
        self.endpoint = endpoint

    def forward(self, t: Tensor) -> Tensor:
        x = sinusoidal_embedding(
            t, self.channels, max_period=self.max_period, sine_first=self.sine_first, endpoint=self.endpoint
        ).to(next(self.parameters()).dtype)
        for layer in self:
            x = layer(x)
        return x


class FourierEmbedding(nn.Module):
    """Sines, then cosines, of 2 pi w t with frequencies w drawn from a normal distribution.

    Tancik et al. (arXiv:2006.10739); score-based SDEs (arXiv:2011.13456) give it the logarithm of the noise level. The
    frequencies lie under the key `weight`.

    Args:
        channels: length of the vector, even.
        std: standard deviation of the frequencies.
        learned: train the frequencies; otherwise they are a buffer.

    Shapes: (b,) -> (b, channels), of the frequencies' type; computed in float32 or better.

    Raises:
        ValueError: the number of channels is odd or not positive.
    """

    weight: Tensor

    def __init__(self, channels: int, std: float = 16.0, learned: bool = False) -> None:
        super().__init__()
        _check_channels(channels)
        frequencies = std * torch.randn(channels // 2)
        if learned:
            self.weight = nn.Parameter(frequencies)
        else:
            self.register_buffer("weight", frequencies)

    def forward(self, t: Tensor) -> Tensor:
        dtype = at_least_float32(self.weight.dtype)
        angles = 2 * math.pi * t.to(dtype)[:, None] * self.weight.to(dtype)
        return torch.cat((angles.sin(), angles.cos()), dim=1).to(self.weight.dtype)


def times_of(image: Tensor, times: Tensor | float, name: str = "time") -> Tensor:
    """The times or levels of a batch as a vector on its device.

    Args:
        image: the batch, (b, c, h, w).
        times: a number, or a tensor of any real type with one value for all images or one for each.
        name: what an error calls them.

    Returns:
        (1,) or (b,).

    Raises:
        ValueError: there are neither one nor b values.
    """
    vector = torch.as_tensor(times, device=image.device).reshape(-1)
    if vector.shape[0] not in (1, image.shape[0]):
        raise ValueError(f"{name} should hold one value, or one for each of {image.shape[0]} images, got {vector.shape[0]}")
    return vector


def _check_channels(channels: int, endpoint: bool = False) -> None:
    least = 4 if endpoint else 2
    if channels % 2 or channels < least:
        raise ValueError(f"channels should be even and at least {least}, got {channels}")
