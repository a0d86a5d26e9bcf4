"""Feature networks with the weights of the fill rule, which golden files of metrics and losses were made with."""

from __future__ import annotations

from functools import cache

import torch
from goldens.fill import fill

from restoralib.blocks.features import FeatureStack, feature_skeleton, load_features


@cache
def filled_weights(name):
    """A state dict by torchvision's keys; it is shared."""
    keys = feature_skeleton(name).state_dict()
    return {key: torch.from_numpy(fill(key, tuple(value.shape))) for key, value in keys.items()}


class Remembering(FeatureStack):
    """A stack that runs once for images without gradients that come again, as every entry of a file compares the same two."""

    def stages(self, image, layers, *, pool=None):
        if image.requires_grad or pool:
            return super().stages(image, layers, pool=pool)
        memory = self.__dict__.setdefault("memory", [])
        for seen, taken, features in memory:
            if taken == list(layers) and seen.shape == image.shape and torch.equal(seen, image):
                return iter(features)
        features = list(super().stages(image, layers))
        memory[:] = [*memory[-7:], (image, list(layers), features)]
        return iter(features)


@cache
def filled_features(name):
    """A stack in float64."""
    stack = load_features(name, filled_weights(name)).double()
    stack.__class__ = Remembering
    return stack
