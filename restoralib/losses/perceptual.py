"""Losses on the features of VGG: content, and style by Gram matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from restoralib.blocks.features import Weights, imagenet_normalize, load_features
from restoralib.losses._inputs import check_pair
from restoralib.losses.pixel import l1_loss, mse_loss
from restoralib.ops.precision import full_precision

Criterion = Literal["l1", "mse", "fro"]

# What papers compare: the arguments of PerceptualLoss.
PERCEPTUAL: dict[str, dict[str, Any]] = {
    "esrgan": {"net": "vgg19", "layers": {"conv5_4": 1.0}},
    "real-esrgan": {
        "net": "vgg19",
        "layers": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
    },
    # Features divided by 12.75 before they are squared.
    "srgan": {"net": "vgg19", "layers": {"relu5_4": 1 / 12.75**2}, "criterion": "mse"},
    "srgan-leftthomas": {"net": "vgg16", "layers": {"pool5": 1.0}, "criterion": "mse", "normalize": False, "content": 0.006},
}


def gram_matrix(features: Tensor) -> Tensor:
    """Products of the channels, summed over the image and divided by c h w: (b, c, h, w) -> (b, c, c)."""
    b, c, h, w = features.shape
    flat = full_precision(features).reshape(b, c, h * w)
    with torch.autocast(features.device.type, enabled=False):
        return flat @ flat.mT / (c * h * w)


def _distance(x: Tensor, y: Tensor, criterion: Criterion) -> Tensor:
    if criterion == "fro":
        return torch.linalg.vector_norm(full_precision(x) - full_precision(y))
    return l1_loss(x, y) if criterion == "l1" else mse_loss(x, y)


class PerceptualLoss(nn.Module):
    """Differences of the features of a network trained on ImageNet, weighted by layer and summed.

    Call it with a result and its target, (b, 3, h, w) RGB in [0, 1], for a scalar. `convX_Y` is the convolution before its
    activation, as in ESRGAN, `reluX_Y` what comes after it. It computes in the type of its weights, or in autocast's; gradients
    pass to the result alone, and the network is frozen.

    Johnson et al. 2016, arXiv:1603.08155; conventions of BasicSR.

    Args:
        layers: names (conv3_4, relu5_4, pool5; numbers too) and their weights; by default ESRGAN's.
        net: "vgg19", "vgg16", "alexnet" or "squeezenet1_1", the latter two with numbers.
        criterion: "l1", "mse", or "fro" for the Frobenius norm over the whole batch.
        content: weight of the differences of features.
        style: weight of the differences of Gram matrices.
        normalize: subtract the mean and divide by the deviation of ImageNet's colours first.
        signed: images are in [-1, 1], and are brought to [0, 1] first.
        weights: of the network, as in `blocks.features.load_features`; `LPIPS("vgg").features` to share those of VGG16.

    Raises:
        ValueError: a name is unknown, weights do not fit, or nothing is weighted.
        FileNotFoundError: the network's file is missing; the error says where it belongs.
    """

    def __init__(
        self,
        layers: Mapping[str | int, float] | None = None,
        *,
        net: str = "vgg19",
        criterion: Criterion = "l1",
        content: float = 1.0,
        style: float = 0.0,
        normalize: bool = True,
        signed: bool = False,
        weights: Weights = None,
    ) -> None:
        super().__init__()
        if criterion not in ("l1", "mse", "fro"):
            raise ValueError(f"criterion should be 'l1', 'mse' or 'fro', got {criterion!r}")
        layers = {"conv5_4": 1.0} if layers is None else layers
        if not layers or not (content or style):
            raise ValueError(f"nothing is compared: layers {dict(layers)}, content {content}, style {style}")
        self.features = load_features(net, weights)
        positions = {self.features.index(layer): float(share) for layer, share in layers.items()}
        self.layers = dict(sorted(positions.items()))
        self.criterion, self.content, self.style = criterion, content, style
        self.normalize, self.signed = normalize, signed

    @classmethod
    def named(cls, name: str, **arguments: Any) -> PerceptualLoss:
        """The loss of a paper, a key of `PERCEPTUAL`; other arguments as in the constructor, `weights` among them.

        Raises:
            ValueError: the name is unknown.
        """
        if name not in PERCEPTUAL:
            raise ValueError(f"unknown perceptual loss {name!r}; choose one of {', '.join(PERCEPTUAL)}")
        return cls(**{**PERCEPTUAL[name], **arguments})

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        content, style = self.parts(restored, target)
        return content + style

    def parts(self, restored: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted content and style, scalars, whose sum is the loss; 0 where its weight is."""
        restored, target = check_pair(restored, target)
        content, style = [], []
        ours = self.features.stages(self._prepare(restored), list(self.layers))
        theirs = self.features.stages(self._prepare(target.detach()), list(self.layers))
        for share, x, y in zip(self.layers.values(), ours, theirs, strict=True):
            if self.content:
                content.append(share * _distance(x, y, self.criterion))
            if self.style:
                style.append(share * _distance(gram_matrix(x), gram_matrix(y), self.criterion))
        zero = restored.new_zeros(())
        return self.content * sum(content, zero), self.style * sum(style, zero)

    def _prepare(self, image: Tensor) -> Tensor:
        image = image.to(next(self.features.parameters()).dtype)
        if self.signed:
            image = (image + 1) / 2
        return imagenet_normalize(image) if self.normalize else image
