"""Where the noise of a sampler comes from: a generator, or draws that are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

Noise = Callable[[Tensor], Tensor]
"""Gives standard normal noise of a tensor's shape, type and device."""


def generated(generator: torch.Generator | None = None) -> Noise:
    """Noise from a generator, drawn on the generator's device and moved to the image's; None is torch's own generator."""

    def draw(like: Tensor) -> Tensor:
        device = like.device if generator is None else generator.device
        return torch.randn(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device)

    return draw


def given(draws: Iterable[Tensor]) -> Noise:
    """Noise that was drawn before, in order.

    Raises:
        ValueError: when called: the draws have run out, or the next one has another shape than the image.
    """
    rest: Iterator[Tensor] = iter(draws)
    count = 0

    def draw(like: Tensor) -> Tensor:
        nonlocal count
        noise = next(rest, None)
        if noise is None:
            raise ValueError(f"the sampler asks for more noise than the {count} draws that were given")
        count += 1
        if noise.shape != like.shape:
            raise ValueError(f"draw {count} of the given noise has shape {tuple(noise.shape)}, the image {tuple(like.shape)}")
        return noise.to(like)

    return draw


def noise_source(noise: Noise | torch.Generator | Iterable[Tensor] | None) -> Noise:
    """A source from what samplers take for `noise`: a source, a generator, draws, or None for torch's own generator."""
    if noise is None or isinstance(noise, torch.Generator):
        return generated(noise)
    if callable(noise):
        return noise
    return given(noise)
