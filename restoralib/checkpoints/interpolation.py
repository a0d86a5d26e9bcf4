"""Weights between two checkpoints of one network."""

from __future__ import annotations

from torch import Tensor

from restoralib.archs.spec import StateDict
from restoralib.checkpoints.errors import difference
from restoralib.ops.precision import at_least_float32


def interpolate_weights(a: StateDict, b: StateDict, strength: float) -> dict[str, Tensor]:
    """`strength` of the weights `a` and the rest of `b`, key by key.

    Network interpolation of ESRGAN (arXiv:1809.00219, sec. 3.4).

    Between realesr_general_x4v3 as `a` and realesr_general_wdn_x4v3 as `b` it is the strength of denoising: 1 denoises most.
    Between ESRGAN and its PSNR-trained start it trades texture for fidelity.

    Args:
        a: state dict of one network.
        b: state dict of another with the same keys and shapes.
        strength: share of `a`; 0 gives `b`, and numbers outside [0, 1] extrapolate.

    Returns:
        A new state dict in the order and the types of `a`. What is no floating-point number, such as a counter, is `a`'s.

    Raises:
        ValueError: keys or shapes differ.
    """
    found = difference(a, b)
    if found:
        raise ValueError(f"a and b should be weights of the same network; compared with a, b has {found}")

    def between(first: Tensor, second: Tensor) -> Tensor:
        if not first.is_floating_point():
            return first.clone()
        dtype = at_least_float32(first.dtype)
        return (strength * first.to(dtype) + (1 - strength) * second.to(dtype)).to(first.dtype)

    return {key: between(value, b[key]) for key, value in a.items()}
