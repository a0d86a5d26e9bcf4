"""Total variation in the three forms that training codes use; their values differ, and so do fitting weights."""

from torch import Tensor

from restoralib.losses._inputs import Reduction, check_batch, reduce
from restoralib.ops.precision import full_precision


def _steps(image: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between rows, and between columns."""
    return image.diff(dim=-2), image.diff(dim=-1)


def total_variation(image: Tensor, *, weight: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
    """Mean absolute step from row to row, plus the same from column to column.

    Args:
        image: (b, c, h, w).
        weight: of each pixel, (b, 1, h, w) or (b, c, h, w); a step has that of its upper or left pixel.
        reduction: "mean" or "sum", of each of the two.

    Returns:
        A scalar; an image one pixel high or wide has no step that way.

    Raises:
        ValueError: the image is not (b, c, h, w), or weights do not fit.

    Source: BasicSR's WeightedTVLoss.
    """
    check_batch(image, "total_variation")
    image = full_precision(image)
    rows, columns = (steps.abs() for steps in _steps(image))
    above = weight[..., :-1, :] if weight is not None else None
    left = weight[..., :-1] if weight is not None else None
    parts = [reduce(steps, part, reduction) for steps, part in ((rows, above), (columns, left)) if steps.numel()]
    return sum(parts, image.new_zeros(()))


def total_variation_squared(image: Tensor) -> Tensor:
    """Twice the mean squared step from row to row, plus twice that from column to column.

    Args:
        image: (b, c, h, w).

    Returns:
        A scalar; an image one pixel high or wide has no step that way.

    Raises:
        ValueError: the image is not (b, c, h, w).

    Source: the re-implementation of SRGAN by leftthomas, which adds it with weight 2e-8.
    """
    check_batch(image, "total_variation_squared")
    image = full_precision(image)
    parts = [2 * steps.square().mean() for steps in _steps(image) if steps.numel()]
    return sum(parts, image.new_zeros(()))


def total_variation_isotropic(image: Tensor, *, eps: float = 1e-24) -> Tensor:
    """Sum over channels of the lengths of the steps, sqrt(dx^2 + dy^2), divided by the number of pixels and images.

    Args:
        image: (b, c, h, w); the last row and column, which lack a neighbour, count as pixels, but have no step.
        eps: added under the root, which gives a finite gradient in flat areas.

    Returns:
        A scalar.

    Raises:
        ValueError: the image is not (b, c, h, w).

    Source: Rudin, Osher and Fatemi 1992, discretised by forward differences.
    """
    check_batch(image, "total_variation_isotropic")
    rows, columns = _steps(full_precision(image))
    lengths = (rows[..., :-1].square() + columns[..., :-1, :].square() + eps).sqrt()
    return lengths.sum() / (image.shape[0] * image.shape[2] * image.shape[3])
