"""restoralib's models for torch.hub.

    net = torch.hub.load("PATH/OF/A/CLONE", "nafnet_denoise", source="local", pretrained=True)

Every name of `restoralib.list_models()` is an entry; so are `load_model` and `restore`. Nothing is installed or downloaded.
"""

from collections.abc import Callable
from os import PathLike
from typing import Any

from torch import nn

from restoralib import create_model, list_models, load_model, restore

dependencies = ["torch", "einops", "safetensors", "timm", "numpy", "typing_extensions"]

__all__ = ["load_model", "restore"]


def _entry(name: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, weights: str | PathLike[str] | None = None, **overrides: Any) -> nn.Module:
        if pretrained and weights is not None:
            raise ValueError("pretrained=True takes the bundled weights; leave it out where you give weights")
        return create_model(name, weights="bundled" if pretrained else weights, **overrides)

    build.__name__ = name
    build.__doc__ = f"""{name}; restoralib.zoo.model_info({name!r}) tells its figures and licences.

    Args:
        pretrained: take the bundled weights, for models that have some.
        weights: path of a checkpoint of this configuration.
        overrides: constructor arguments in place of the published ones.
    """
    return build


globals().update({name: _entry(name) for name in list_models()})
