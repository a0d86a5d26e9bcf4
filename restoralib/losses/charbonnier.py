"""Charbonnier's loss: an absolute error that is rounded off at 0."""

from torch import Tensor

from restoralib.losses._inputs import Reduction, check_pair, reduce


def charbonnier_loss(
    restored: Tensor,
    target: Tensor,
    *,
    eps: float = 1e-3,
    square_eps: bool = True,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean of sqrt(d^2 + eps^2), where d is the difference.

    Two forms are in use, and the same eps means something else in each: LapSRN, MPRNet and HINet square it (1e-3), BasicSR
    does not (1e-12, `square_eps=False`). 1e-6 in the one is 1e-3 in the other.

    Args:
        restored: of any shape, usually (b, c, h, w).
        target: of the same shape.
        eps: below which errors count as squares.
        square_eps: False for sqrt(d^2 + eps).
        weight: of each element, as in `l1_loss`.
        reduction: "mean" or "sum".

    Returns:
        A scalar; float32 for images of half precision.

    Raises:
        ValueError: shapes differ, weights do not fit, or eps is not above 0, where the gradient would be undefined.

    Source: Charbonnier et al., ICIP 1994; Lai et al. 2017, arXiv:1704.03915.
    """
    if not eps > 0:
        raise ValueError(f"eps should be above 0, got {eps}; l1_loss is the loss without it")
    restored, target = check_pair(restored, target)
    return reduce(((restored - target).square() + (eps**2 if square_eps else eps)).sqrt(), weight, reduction)
