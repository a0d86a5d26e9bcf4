"""What all guidances share."""

from __future__ import annotations

import torch
from torch import Tensor

from restoralib.diffusion.noise import Noise


class Unguided:
    """A guidance that changes nothing, of which others overwrite what they change."""

    needs_gradient = False

    def on_x0(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The clean image as it is."""
        return x0

    def on_step(self, x_r: Tensor, x_t: Tensor, x0: Tensor, t: Tensor, r: Tensor, noise: Noise) -> Tensor:
        """The state as it is."""
        return x_r


def gradient(value: Tensor, x: Tensor, method: str, along: Tensor | None = None) -> Tensor:
    """Gradient with respect to the state: of a value's sum, or of its inner product with a tensor like it.

    Args:
        value: what depends on the state.
        x: the state.
        method: what errors call the guidance.
        along: the tensor, which counts as constant.

    Raises:
        RuntimeError: the denoised image does not depend on the state.
    """
    if not value.requires_grad:
        raise RuntimeError(
            f"{method} differentiates the denoiser, but its result does not depend on the state: let gradients pass "
            "through the network (no detach, no_grad or inference_mode inside it)"
        )
    return torch.autograd.grad(value, x, torch.ones_like(value) if along is None else along)[0]
