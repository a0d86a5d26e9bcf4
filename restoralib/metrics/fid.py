"""Fréchet distance between the features of two sets of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.metrics._inputs import check_colours, precision


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of a set of vectors: what is kept of a set of any size, and joined with that of another.

    Args:
        count: number of vectors.
        mean: (d,), float64.
        scatter: sum of the outer products of the deviations from the mean, (d, d), float64.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of vectors, (n, d).

        Raises:
            ValueError: the shape is another, there is no vector, or one holds NaN or infinity.
        """
        if features.ndim != 2 or not len(features):
            raise ValueError(f"expected features (n, d), n at least 1, got {tuple(features.shape)}")
        broken = (~features.isfinite()).any(1).nonzero().flatten().tolist()
        if broken:
            raise ValueError(
                f"{len(broken)} of {len(features)} features are not finite, first that of image {broken[0]}; leave it out"
            )
        features = features.to(precision(features))
        mean = features.mean(0)
        centered = features - mean
        return cls(len(features), mean, centered.mT @ centered)

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets together.

        Raises:
            ValueError: the vectors have different lengths.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"features of {len(self.mean)} and {len(other.mean)} dimensions cannot be joined")
        count = self.count + other.count
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter + torch.outer(step, step) * (self.count * other.count / count)
        return Moments(count, self.mean + step * (other.count / count), scatter)

    @property
    def covariance(self) -> Tensor:
        """With divisor n - 1, (d, d).

        Raises:
            ValueError: there are fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least two vectors, got {self.count}")
        return self.scatter / (self.count - 1)


def _root(covariance: Tensor) -> Tensor:
    """The square root of a symmetric matrix; eigenvalues below 0 are rounding errors."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.mT


def frechet_distance(first: Moments, second: Moments) -> Tensor:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), a number.

    Raises:
        ValueError: a set has fewer than two vectors, or the vectors have different lengths.

    Source: Dowson and Landau 1982; Heusel et al. 2017, arXiv:1706.08500.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features of {len(first.mean)} and {len(second.mean)} dimensions cannot be compared")
    one, two = first.covariance, second.covariance
    # The trace of the root is the sum of the singular values of the product of the roots, which needs no complex numbers.
    common = torch.linalg.svdvals(_root(one) @ _root(two)).sum()
    return (first.mean - second.mean).square().sum() + one.trace() + two.trace() - 2 * common


def inception_input(image: Tensor) -> Tensor:
    """What the network of published FIDs takes: images resized to 299x299, bilinearly and without antialiasing, in [-1, 1].

    Shapes: (b, 3, h, w) RGB in [0, 1] -> (b, 3, 299, 299).

    Raises:
        ValueError: the images are not (b, 3, h, w).
        TypeError: they are of integers.

    Source: conventions of pytorch-fid, whose images have been rounded to 8 bits: see `to_8_bits`.
    """
    check_colours(image, image)
    resized = F.interpolate(image, size=(299, 299), mode="bilinear", align_corners=False)
    return 2 * resized - 1


def gather_moments(images: Iterable[Tensor], extract: Callable[[Tensor], Tensor]) -> Moments:
    """The moments of a set's features, a batch at a time, so that a set of any size fits.

    Args:
        images: batches of images, as `extract` wants them.
        extract: gives the features of a batch, (b, d); it runs without gradients.

    Raises:
        ValueError: there is no batch, or features are not (b, d) or not finite.
    """
    moments: Moments | None = None
    with torch.no_grad():
        for batch in images:
            found = Moments.of(extract(batch))
            moments = found if moments is None else moments.merge(found)
    if moments is None:
        raise ValueError("there is no image to take features of")
    return moments


def fid(first: Tensor, second: Tensor) -> Tensor:
    """Fréchet distance of two sets of features, (n, d) and (m, d): a number, and smaller is better.

    The extractor is yours: published FIDs use the 2048 pooled features of the Inception-v3 converted from TensorFlow
    ("pt_inception-2015-12-05") on images that `inception_input` prepares, and no other gives comparable values. Sets of a few
    hundred images are biased upwards: state the count. For sets that do not fit into memory, `gather_moments` of each and
    compare them by `frechet_distance`.

    Raises:
        ValueError: shapes are not (n, d) and (m, d), a set has fewer than two vectors, or one is not finite.
    """
    return frechet_distance(Moments.of(first), Moments.of(second))
