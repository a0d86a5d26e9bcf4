"""Deep image structure and texture similarity."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restoralib.blocks.features import Weights, imagenet_normalize, load_features
from restoralib.metrics._inputs import check_colours, check_range
from restoralib.metrics._published import read_published

_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_CHANNELS = (3, 64, 128, 256, 512, 512)


def _l2_pool(x: Tensor) -> Tensor:
    """The root of the mean of squares under a 3x3 Hann window, at every second pixel: pooling without aliasing."""
    window = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
    kernel = (window[:, None] * window).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class DISTS(nn.Module):
    """DISTS: one minus the weighted similarity of the means and covariances of VGG16's feature maps.

    Call it with a result and its target, (b, 3, h, w) RGB in [0, 1], for one distance an image, (b,): 0 for equal images but
    for rounding, and smaller is better. It computes in the type of its weights, under autocast too, and gradients pass to the
    images. Values are not checked, so that a training step need not wait for them; `dists` does.

    Ding et al., IEEE TPAMI 2020, arXiv:2004.07728; alpha and beta are the authors' (MIT) and come with the package.

    Args:
        weights: of VGG16, as in `blocks.features.load_features`; None looks for torchvision's file.
        alpha: other weights of the textures, 1475 numbers.
        beta: other weights of the structures, 1475 numbers.
        resize: reduce images whose shorter side is over 256 to 256, as the authors' script does when it reads files; many
            toolboxes do not.

    Raises:
        ValueError: weights do not fit.
        FileNotFoundError: the file of VGG16 is missing; the error says where it belongs.
    """

    alpha: Tensor
    beta: Tensor

    def __init__(
        self,
        *,
        weights: Weights = None,
        alpha: Tensor | None = None,
        beta: Tensor | None = None,
        resize: bool = False,
    ) -> None:
        super().__init__()
        self.resize = resize
        published = read_published("dists")
        for name, given in (("alpha", alpha), ("beta", beta)):
            value = published[name] if given is None else given
            if value.numel() != sum(_CHANNELS):
                raise ValueError(f"{name} should have {sum(_CHANNELS)} numbers, one a channel, got {value.numel()}")
            self.register_buffer(name, value.detach().clone().flatten(), persistent=False)
        self.features = load_features("vgg16", weights)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            return self._distance(image, target)

    def _distance(self, image: Tensor, target: Tensor) -> Tensor:
        check_colours(image, target)
        image, target = (
            _reduce(side.to(self.alpha.dtype)) if self.resize else side.to(self.alpha.dtype) for side in (image, target)
        )
        ours, theirs = ((side, *self.features(imagenet_normalize(side), _LAYERS, pool=_l2_pool)) for side in (image, target))
        textures, structures = [], []
        for x, y in zip(ours, theirs, strict=True):
            mean_x, mean_y = x.mean((2, 3)), y.mean((2, 3))
            x, y = x - mean_x[..., None, None], y - mean_y[..., None, None]
            variances = x.square().mean((2, 3)) + y.square().mean((2, 3))
            covariance = (x * y).mean((2, 3))
            textures.append((2 * mean_x * mean_y + 1e-6) / (mean_x**2 + mean_y**2 + 1e-6))
            structures.append((2 * covariance + 1e-6) / (variances + 1e-6))
        similarity = torch.cat(textures, 1) @ self.alpha + torch.cat(structures, 1) @ self.beta
        return 1 - similarity / (self.alpha.sum() + self.beta.sum())


def _reduce(image: Tensor) -> Tensor:
    """To a shorter side of 256, bilinearly and antialiased."""
    height, width = image.shape[-2:]
    short = min(height, width)
    if short <= 256:
        return image
    return F.interpolate(image, size=(256 * height // short, 256 * width // short), mode="bilinear", antialias=True)


@lru_cache(maxsize=1)
def _loaded(device: torch.device) -> DISTS:
    with torch.inference_mode(False):  # it outlives the caller's mode
        return DISTS().to(device)


def dists(image: Tensor, target: Tensor, model: DISTS | None = None) -> Tensor:
    """DISTS of each image of a batch; smaller is better.

    Differentiable; NaN where an image holds NaN.

    Args:
        image: (b, 3, h, w), RGB in [0, 1].
        target: the reference, of the same shape.
        model: a `DISTS`; None takes one with the authors' weights, which are then read once and kept.

    Returns:
        (b,), 0 where the images are equal, but for rounding.

    Raises:
        ValueError: shapes differ or are not (b, 3, h, w), or the target is far out of [0, 1].
        TypeError: one image is of integers.
        FileNotFoundError: the file of VGG16 is missing; the error says where it belongs.
    """
    check_colours(image, target)
    check_range(target)
    distance = model if model is not None else _loaded(image.device)
    return distance(image, target)
