"""NIQE: how far the statistics of an image are from those of pristine photographs; it needs no reference."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from restoralib.metrics._inputs import check_image, check_range, told_size
from restoralib.metrics._published import read_published
from restoralib.metrics._window import constant, gaussian, slide
from restoralib.metrics.fid import Moments
from restoralib.ops.color import rgb_to_y
from restoralib.ops.levels import nearest_levels
from restoralib.ops.resize import resize

_WINDOW = gaussian(7, 7 / 6)
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))

Luma = Literal["matlab", "gray"]


@dataclass(frozen=True)
class NiqeModel:
    """The Gaussian of the features of pristine photographs.

    Args:
        mean: (36,).
        covariance: (36, 36).
        block: side of the blocks, in pixels.
    """

    mean: Tensor
    covariance: Tensor
    block: int = 96

    @classmethod
    def published(cls) -> NiqeModel:
        """The model of the NIQE release of LIVE (The University of Texas at Austin, 2011), fitted to 125 photographs.

        MATLAB's built-in `niqe` has other numbers and gives other values.
        """
        numbers = read_published("niqe")
        return cls(numbers["mean"], numbers["covariance"])


def _local_statistics(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each pixel's surroundings under the window, the outermost pixels repeated outside, in float32.

    The sums are of float64 and rounded, as the tables' are: the deviation of a flat area is exactly 0 then.
    """
    side = len(_WINDOW) // 2
    padded = F.pad(luma.float(), (side,) * 4, mode="replicate")
    mean, square = (slide(x.to(luma.dtype), _WINDOW).float() for x in (padded, padded.square()))
    return mean, (square - mean.square()).abs().sqrt()


def normalized_luma(luma: Tensor) -> Tensor:
    """MSCN coefficients: each pixel less the mean of its surroundings, divided by their deviation + 1.

    A 7x7 Gaussian window of sigma 7/6, the outermost pixels repeated outside.

    Shapes: (b, 1, h, w), 0 to 255 -> the same.
    """
    mean, deviation = _local_statistics(luma)
    return ((luma.float() - mean) / (deviation + 1)).to(luma.dtype)


@lru_cache(maxsize=1)
def _shapes() -> tuple[np.ndarray, np.ndarray]:
    """The grid of shape parameters, and for each the ratio Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a)), which grows with it."""
    shape = 0.2 + 0.001 * torch.arange(9801, dtype=torch.float64)
    ratio = (2 * torch.lgamma(2 / shape) - torch.lgamma(1 / shape) - torch.lgamma(3 / shape)).exp()
    return shape.numpy(), ratio.numpy()


def _masked_rms(x: Tensor, mask: Tensor) -> Tensor:
    return ((x.square() * mask).sum((1, 2)) / mask.sum((1, 2))).sqrt()


def _fit_generalized_gaussian(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape and the scales left and right of 0 of an asymmetric generalised Gaussian, for each block (n, h, w).

    Lasmar et al., ICIP 2009, by the matching of moments on a grid of shapes.
    """
    left, right = _masked_rms(x, x < 0), _masked_rms(x, x > 0)
    skew = left / right
    moment = x.abs().mean((1, 2)) ** 2 / x.square().mean((1, 2))
    wanted = moment * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    grid, ratios = (constant(table, x) for table in _shapes())
    above = torch.searchsorted(ratios, wanted).clamp(1, len(ratios) - 1)
    nearer_below = wanted - ratios[above - 1] <= ratios[above] - wanted
    shape = grid[torch.where(nearer_below, above - 1, above)]
    shape = torch.where(wanted.isnan(), math.nan, shape)
    spread = (0.5 * (torch.lgamma(1 / shape) - torch.lgamma(3 / shape))).exp()
    return shape, left * spread, right * spread


def block_features(blocks: Tensor) -> Tensor:
    """The 18 features of blocks of MSCN coefficients, (n, h, w) -> (n, 18).

    Shape and mean scale of the coefficients, then shape, mean and both scales of their products with the neighbours to the
    right, below, and below to the right and left, the block's ends joined. NaN where a block is constant.
    """
    shape, left, right = _fit_generalized_gaussian(blocks)
    features = [shape, (left + right) / 2]
    for offset in _NEIGHBOURS:
        shape, left, right = _fit_generalized_gaussian(blocks * blocks.roll(offset, (1, 2)))
        mean = (right - left) * (torch.lgamma(2 / shape) - torch.lgamma(1 / shape)).exp()
        features += [shape, mean, left, right]
    return torch.stack(features, 1)


def whole_levels(image: Tensor, kind: Luma) -> Tensor:
    """Luma from 0 to 255, rounded, of RGB or grey in [0, 1] and float64; grey is its own: (b, c, h, w) -> (b, 1, h, w)."""
    if image.shape[1] == 1:
        y = image
    elif kind == "matlab":
        y = rgb_to_y(image)
    else:
        # Grey levels often lie halfway between two whole ones, so that the rounding errors of the tables' library decide:
        # OpenCV's, in float32, blue first, each product added before it is rounded.
        y = torch.zeros_like(image[:, :1])
        for channel, weight in ((2, 0.114), (1, 0.587), (0, 0.299)):
            product = image[:, channel : channel + 1].float().to(image.dtype) * float(np.float32(weight))
            y = (y + product).float().to(image.dtype)
        return nearest_levels(y.float(), clip=False).to(image.dtype)
    return nearest_levels(y, clip=False)


def _blocks(coefficients: Tensor, block: int) -> Tensor:
    """(1, 1, h, w) -> (n, block, block), column by column."""
    tiles = coefficients[0, 0].unfold(0, block, block).unfold(1, block, block)
    return tiles.transpose(0, 1).reshape(-1, block, block)


def niqe_features(image: Tensor, *, luma: Luma = "matlab", block: int = 96) -> Tensor:
    """The features of one image, (1, c, h, w) -> (blocks, 36): 18 of each block at full and at half resolution.

    Raises:
        ValueError: the shape is another, or the image is smaller than a block.
        TypeError: the image is of integers.
    """
    return _features(check_image(image), luma, block)[0]


def _features(image: Tensor, luma: Luma, block: int) -> tuple[Tensor, Tensor]:
    """The features, and the sharpness of each block: the mean deviation of its pixels from their surroundings."""
    if image.shape[0] != 1 or image.shape[1] not in (1, 3):
        raise ValueError(f"expected one image, (1, 3, h, w) or (1, 1, h, w), got {tuple(image.shape)}")
    height, width = (side // block * block for side in image.shape[-2:])
    if not height or not width:
        raise ValueError(f"NIQE needs a block of {block}x{block} pixels at least, got {image.shape[-2]}x{image.shape[-1]}")
    full = whole_levels(image, luma)[..., :height, :width]
    half = resize((full / 255).float(), 0.5).mul(255).to(full.dtype)  # in float32 on [0, 1], as the tables
    features = [block_features(_blocks(normalized_luma(level), side)) for level, side in ((full, block), (half, block // 2))]
    return torch.cat(features, 1), _blocks(_local_statistics(full)[1], block).mean((1, 2))


@torch.no_grad()
def niqe(image: Tensor, *, model: NiqeModel | None = None, luma: Luma = "matlab", crop: int = 0) -> Tensor:
    """NIQE of each image of a batch, in float64; smaller is better.

    The luma is cut, rounded to whole levels and cut to whole blocks; the mean and covariance of the blocks' features are
    compared with the model's. Not differentiable.

    Args:
        image: (b, 3, h, w) RGB or (b, 1, h, w) grey, in [0, 1]; at least two blocks of 96x96 pixels after the crop.
        model: the pristine photographs' features; None is `NiqeModel.published()`.
        luma: "matlab": BT.601 in limited range, as the tables; "gray": 0.299 R + 0.587 G + 0.114 B. Grey is taken as it is.
        crop: border left out on all sides, in pixels.

    Returns:
        (b,); NaN for images that hold NaN, or of which fewer than two blocks have any texture (constant images).

    Raises:
        ValueError: the shape is another, fewer than two blocks fit in, or the image is far out of [0, 1].
        TypeError: the image is of integers.

    Source: Mittal et al., IEEE SPL 2013; conventions of BasicSR, which equal the MATLAB release.
    """
    image = check_image(image, crop)
    check_range(image, name="the image")
    if luma not in ("matlab", "gray"):
        raise ValueError(f"luma should be 'matlab' or 'gray', got {luma!r}")
    model = model or NiqeModel.published()
    block = model.block
    if (image.shape[-2] // block) * (image.shape[-1] // block) < 2:
        raise ValueError(f"NIQE needs two whole blocks of {block}x{block} pixels, got {told_size(image, crop)}")
    return torch.stack([_distance(single[None], model, luma) for single in image])


def _distance(image: Tensor, model: NiqeModel, luma: Luma) -> Tensor:
    undefined = image.new_tensor(math.nan)
    if not image.isfinite().all():
        return undefined
    features = _features(image, luma, model.block)[0]
    whole = features[features.isfinite().all(1)]
    if len(whole) < 2:
        return undefined
    difference = model.mean.to(image) - features.nanmean(0)
    covariance = (model.covariance.to(image) + whole.mT.cov()) / 2
    return (difference @ torch.linalg.pinv(covariance) @ difference).sqrt()


def fit_niqe(images: Iterable[Tensor], *, block: int = 96, sharpness: float = 0.75, luma: Luma = "matlab") -> NiqeModel:
    """Fit a model to one's own pristine photographs.

    Of each photograph the blocks are taken whose sharpness is above `sharpness` times that of its sharpest, as the release of
    NIQE does. One photograph is in memory at a time. Give a few dozen sharp, clean ones, some megapixels each.

    Args:
        images: photographs, (3, h, w) or (1, 3, h, w) in [0, 1], or grey ones.
        block: side of the blocks, in pixels, even.
        sharpness: the share of the sharpest block's sharpness that a block needs.
        luma: as in `niqe`.

    Raises:
        ValueError: a photograph is smaller than a block, not finite or far out of [0, 1], `block` is odd, or fewer than 37
            blocks remain, of which no covariance of 36 features can be told.
    """
    if block < 2 or block % 2:
        raise ValueError(f"block should be an even number, got {block}")
    moments: Moments | None = None
    for image in images:
        single = check_image(image if image.ndim == 4 else image[None])
        check_range(single, name="a photograph")
        if not single.isfinite().all():
            raise ValueError("a photograph holds values that are not finite; leave it out")
        features, sharp = _features(single, luma, block)
        chosen = features[(sharp > sharpness * sharp.max()) & features.isfinite().all(1)]
        if len(chosen):
            moments = Moments.of(chosen) if moments is None else moments.merge(Moments.of(chosen))
    count = moments.count if moments else 0
    if moments is None or count <= moments.mean.numel():
        raise ValueError(f"a model of 36 features needs more than 36 sharp blocks, got {count}; give more photographs")
    return NiqeModel(moments.mean, moments.covariance, block)
