"""Come-Closer-Diffuse-Faster: start from a restored image with little noise, not from pure noise (arXiv:2112.05146)."""

from __future__ import annotations

from torch import Tensor

from restoralib.diffusion.process import Process


def come_closer(process: Process, restored: Tensor, times: Tensor, start: float, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The state and the rest of the grid, for a start in the middle.

    Any sampler and any projection (`ILVR`, `RePaint`) goes on from there.

    Args:
        process: one without y.
        restored: a first guess, by a fast network or by interpolation, in the network's range, (b, c, h, w).
        times: the whole grid, falling.
        start: share of the grid that is sampled, in (0, 1]; the paper has 0.02 to 0.5.
        noise: standard normal, like the image.

    Returns:
        The state at the first time that is left, and the times from there on.

    Raises:
        ValueError: start is not in (0, 1], or no step is left.

    Source: Chung et al., arXiv:2112.05146, algorithm 1.
    """
    if not 0 < start <= 1:
        raise ValueError(f"expected a share in (0, 1], got {start}")
    rest = times[round((len(times) - 1) * (1 - start)) :]
    if len(rest) < 2:
        raise ValueError(f"start = {start} leaves no step of {len(times) - 1}")
    return process.marginal(restored, rest[0], noise), rest
