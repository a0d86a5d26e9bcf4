"""Embeddings of degradations: a table of learned ones, and what a prompt makes of one beside the time of a diffusion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restoralib.blocks.modulation import one_vector, zero_start

DEGRADATIONS = ("denoise", "denoise_real", "jpeg", "deblur", "defocus", "derain", "dehaze", "low_light", "demoire")
"""The nine degradations, by the names of their tasks."""


class DegradationTable(nn.Module):
    """A learned embedding for each degradation, for those who have no encoder of texts or images.

    Args:
        features: length of an embedding.
        names: of the degradations.

    Shapes: one name or b names -> (1, features) or (b, features).

    Raises:
        ValueError: there are no names, or one twice; in `forward`, a name is not in the table.
    """

    def __init__(self, features: int, names: Sequence[str] = DEGRADATIONS) -> None:
        super().__init__()
        if not names or isinstance(names, str) or len(set(names)) < len(names):
            raise ValueError(f"expected different names of degradations, got {names!r}")
        self.names = tuple(names)
        self.weight = nn.Parameter(torch.randn(len(names), features))

    def forward(self, names: str | Sequence[str]) -> Tensor:
        wanted = [names] if isinstance(names, str) else names
        for name in wanted:
            if name not in self.names:
                raise ValueError(f"the table has no degradation {name!r}; choose from {', '.join(self.names)}")
        return torch.stack([self.weight[self.names.index(name)] for name in wanted])


class DegradationPrompt(nn.Module):
    """DA-CLIP's prompt learning: the embedding chooses from a learned prompt, and the result is added to that of the time.

        W2 (softmax(W1 e) * prompt) + b2

    The last layer starts at zero, so that a new block gives zeros.

    Args:
        features: of the embedding.
        out_features: of the time's embedding.

    Shapes: (b, features), or the mean of (b, n, features) -> (b, out_features).

    Source: Luo et al., Controlling Vision-Language Models for Multi-Task Image Restoration, arXiv:2310.01018, section 4.
    """

    def __init__(self, features: int, out_features: int) -> None:
        super().__init__()
        self.choice = nn.Linear(features, out_features)
        self.prompt = nn.Parameter(torch.randn(out_features))
        self.out = zero_start(nn.Linear(out_features, out_features))

    def forward(self, embedding: Tensor) -> Tensor:
        return self.out(self.choice(one_vector(embedding)).softmax(-1) * self.prompt)
