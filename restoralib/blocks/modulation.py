"""Modulation of image features by a vector (FiLM, Perez et al., arXiv:1709.07871)."""

from __future__ import annotations

from torch import Tensor, nn


class FeatureModulation(nn.Module):
    """Every channel scaled and shifted by what a linear layer makes of an embedding: x (1 + scale) + shift.

    The layer starts at zero: a new block gives its input, bit for bit.

    Args:
        channels: channels in and out.
        features: of the embedding.

    Shapes: (b, channels, h, w) and (b, features) or (1, features) -> (b, channels, h, w). Of several vectors for each image,
        (b, n, features), the mean is taken.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.linear = zero_start(nn.Linear(features, 2 * channels))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.linear(one_vector(embedding))[..., None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift


def one_vector(embedding: Tensor) -> Tensor:
    """The mean of the vectors of an embedding (b, n, d); (b, d) as it is.

    Raises:
        ValueError: it has another shape.
    """
    if embedding.ndim not in (2, 3):
        raise ValueError(f"an embedding should be (b, d) or (b, n, d), got {tuple(embedding.shape)}")
    return embedding.mean(1) if embedding.ndim == 3 else embedding


def zero_start(linear: nn.Linear) -> nn.Linear:
    """The layer, with weights and bias of zero."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
