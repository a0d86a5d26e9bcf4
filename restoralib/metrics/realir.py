"""The final score FS of RealIR-Bench: how much a degradation is reduced, times how much of the image stays.

The scores come from a vision-language model that grades the degradation before and after, 1 (extreme) to 5 (none); the LPIPS
(alex, 0.1) is between the degraded image and the restored one, which is resized to it (Lanczos). There is no ground truth, and
no FS is above 0.8. The released evaluator and the printed tables average differently; both ways are here.

RealRestorer, RealIR-Bench; the formula is checked on the 80 entries of the paper's table.
"""

from __future__ import annotations

from torch import Tensor

from restoralib.metrics._inputs import precision


def _check(before: Tensor, after: Tensor, lpips: Tensor) -> tuple[Tensor, Tensor]:
    """The differences of the scores, not below 0, and the LPIPS, of one shape."""
    if not before.shape == after.shape == lpips.shape or before.ndim != 1:
        shapes = ", ".join(str(tuple(values.shape)) for values in (before, after, lpips))
        raise ValueError(f"expected scores before, after and LPIPS of one shape (b,), got {shapes}")
    before, after, lpips = (values.to(precision(values)) for values in (before, after, lpips))
    for name, scores in (("before", before), ("after", after)):
        if ((scores < 1) | (scores > 5)).any():
            raise ValueError(
                f"scores {name} should lie between 1 and 5, got {scores.min().item():g} to {scores.max().item():g}"
            )
    return (after - before).clamp(min=0), lpips


def realir_fs(before: Tensor, after: Tensor, lpips: Tensor) -> Tensor:
    """FS of each image: 0.2 max(0, after - before) (1 - LPIPS).

    Args:
        before: the model's score of the degraded image, (b,), 1 to 5; NaN where no answer could be read.
        after: its score of the restored image, (b,); NaN likewise.
        lpips: LPIPS between the degraded and the restored image, (b,).

    Returns:
        (b,), 0 to 0.8; NaN where a score is.

    Raises:
        ValueError: shapes differ, or scores are out of range.
    """
    gain, distance = _check(before, after, lpips)
    return 0.2 * gain * (1 - distance)


def realir_fs_evaluator(before: Tensor, after: Tensor, lpips: Tensor) -> Tensor:
    """FS of a set as the released evaluator reports it: the mean of the images' FS; images without a score are left out.

    Arguments as in `realir_fs`; returns a number, NaN where no image has its scores.
    """
    return realir_fs(before, after, lpips).nanmean()


def realir_fs_table(before: Tensor, after: Tensor, lpips: Tensor) -> Tensor:
    """FS of a set as the paper's tables print it: the formula applied to the means, 0.2 mean(RS) (1 - mean(LPIPS)).

    RS is max(0, after - before); images without a score are left out of both means. Arguments as in `realir_fs`; returns a
    number, NaN where no image has its scores.
    """
    gain, distance = _check(before, after, lpips)
    scored = ~(gain.isnan() | distance.isnan())
    return 0.2 * gain[scored].mean() * (1 - distance[scored].mean())
