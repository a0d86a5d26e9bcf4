"""The random numbers of noise: those that the caller gives, or new ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def drawn(
    shape: tuple[int, ...],
    draw: Tensor | None,
    generator: torch.Generator | None,
    sample: Callable[..., Tensor] = torch.randn,
) -> Tensor:
    """The draw that is given, or a new one from the generator, where that is; without one, from torch's own on the CPU.

    Raises:
        ValueError: the draw has another shape.
    """
    if draw is None:
        return sample(shape, generator=generator, device="cpu" if generator is None else generator.device)
    if draw.shape != shape:
        raise ValueError(f"expected a draw of shape {tuple(shape)}, got {tuple(draw.shape)}")
    return draw
