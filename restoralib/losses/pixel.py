"""The plain losses: mean absolute and mean squared errors."""

from torch import Tensor

from restoralib.losses._inputs import Reduction, check_pair, reduce


def l1_loss(restored: Tensor, target: Tensor, *, weight: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """Mean absolute error.

    Args:
        restored: of any shape, usually (b, c, h, w).
        target: of the same shape.
        weight: of each element, for example (b, 1, h, w); a weighted mean divides by the sum of the weights, one weight
            counted for every channel that it stands for. NaN where all weights are 0.
        reduction: "mean" or "sum".

    Returns:
        A scalar; float32 for images of half precision.

    Raises:
        ValueError: shapes differ, or weights do not fit.
    """
    restored, target = check_pair(restored, target)
    return reduce((restored - target).abs(), weight, reduction)


def mse_loss(restored: Tensor, target: Tensor, *, weight: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """Mean squared error; arguments, result and errors as in `l1_loss`."""
    restored, target = check_pair(restored, target)
    return reduce((restored - target).square(), weight, reduction)
