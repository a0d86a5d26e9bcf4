"""Checks that all losses share, and their precision: their constants, 1e-12 or 1e-8, are 0 in half precision."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from restoralib.ops.precision import full_precision

Reduction = Literal["mean", "sum"]


def check_pair(restored: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The two images in full precision.

    Raises:
        ValueError: shapes differ; a loss never broadcasts.
    """
    if restored.shape != target.shape:
        raise ValueError(
            f"expected two images of one shape, got {tuple(restored.shape)} and {tuple(target.shape)}; losses neither resize "
            "nor broadcast"
        )
    return full_precision(restored), full_precision(target)


def check_batch(image: Tensor, name: str) -> None:
    """Refuse what is not a batch of images.

    Raises:
        ValueError: the shape is not (b, c, h, w).
    """
    if image.ndim != 4:
        raise ValueError(
            f"{name} expects images of shape (b, c, h, w), got {tuple(image.shape)}; image[None] makes one a batch"
        )


def reduce(errors: Tensor, weight: Tensor | None, reduction: Reduction) -> Tensor:
    """The sum or the mean of errors; with weights, the mean divides by the sum of the weights.

    Raises:
        ValueError: weights do not fit the errors, or the reduction is unknown.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction should be 'mean' or 'sum', got {reduction!r}")
    if weight is None:
        return errors.mean() if reduction == "mean" else errors.sum()
    try:
        weight = weight.to(errors.dtype).expand_as(errors)
    except RuntimeError as error:
        raise ValueError(
            f"weights of shape {tuple(weight.shape)} do not fit errors of {tuple(errors.shape)}; give (b, 1, h, w)"
        ) from error
    weighted = (errors * weight).sum()
    return weighted / weight.sum() if reduction == "mean" else weighted
