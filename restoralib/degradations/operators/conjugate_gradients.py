"""Least squares by conjugate gradients, each image of a batch for itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def least_squares(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    damping: Tensor | None = None,
    rtol: float | None = None,
    steps: int = 200,
) -> Tensor:
    """The smallest x that minimises |A x - y|^2 + damping |x|^2, by CGLS from zero.

    Images whose normal equations are solved stand still while others go on.

    Args:
        forward: x to A x.
        adjoint: y to A^T y.
        y: (b, ...).
        damping: not negative, shaped to multiply x; None for none.
        rtol: size of A^T r against its first one, where an image is done; None for the type's epsilon to the power 0.8.
        steps: the most that are taken.

    Source: Hestenes and Stiefel 1952; Björck 1996, algorithm 7.4.1.
    """
    tolerance = torch.finfo(y.dtype).eps ** 0.8 if rtol is None else rtol
    tiny = torch.finfo(y.dtype).tiny
    residual, gradient = y, adjoint(y)
    x, direction, size = torch.zeros_like(gradient), gradient, _square(gradient)
    goal = tolerance**2 * size
    for _ in range(steps):
        going = size > goal
        if not bool(going.any()):
            break
        image = forward(direction)
        curvature = _square(image)
        if damping is not None:
            curvature = curvature + (damping.sqrt() * direction).flatten(1).square().sum(1)
        step = torch.where(going & (curvature > 0), size / curvature.clamp(min=tiny), 0)
        x = x + _each(step, x) * direction
        residual = residual - _each(step, residual) * image
        gradient = adjoint(residual) if damping is None else adjoint(residual) - damping * x
        previous, size = size, _square(gradient)
        direction = gradient + _each(size / previous.clamp(min=tiny), direction) * direction
    return x


def _square(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)


def _each(value: Tensor, x: Tensor) -> Tensor:
    return value.reshape(-1, *[1] * (x.ndim - 1))
