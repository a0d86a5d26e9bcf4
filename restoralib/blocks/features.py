"""The convolutional parts of AlexNet, SqueezeNet 1.1, VGG16 and VGG19, whose features perceptual metrics and losses compare.

State-dict keys are torchvision's, `features.N.weight`. The weights are torchvision's too, trained on ImageNet (BSD-3-Clause);
they are read from a file and never downloaded, and there is no stack with random ones.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from restoralib._timm import import_timm


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side.

    Iandola et al. 2016, arXiv:1602.07360.

    Args:
        channels: channels in.
        squeezed: channels between.
        expanded: channels out of each of the two.

    Shapes: (b, channels, h, w) -> (b, 2 * expanded, h, w).
    """

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def _alexnet() -> nn.Sequential:
    """Krizhevsky 2014, arXiv:1404.5997."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )


def _squeezenet() -> nn.Sequential:
    """Version 1.1, which pools earlier than the paper's network."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()),
        *(Fire(64, 16, 64), Fire(128, 16, 64), pool()),
        *(Fire(128, 32, 128), Fire(256, 32, 128), pool()),
        *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
    )


def _vgg(name: str) -> Callable[[], nn.Sequential]:
    """timm's network without its head, which would take 400 MB."""

    def build() -> nn.Sequential:
        network = getattr(import_timm("timm.models.vgg"), name)(pretrained=False)
        stack = nn.Sequential(*network.features)
        for module in stack.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # else the features before it, which losses compare, would be lost
        return stack

    return build


@dataclass(frozen=True)
class _Source:
    build: Callable[[], nn.Sequential]
    file: str
    megabytes: int


_SOURCES = {
    "alexnet": _Source(_alexnet, "alexnet-owt-7be5be79.pth", 233),
    "squeezenet1_1": _Source(_squeezenet, "squeezenet1_1-b8a52dc0.pth", 5),
    "vgg16": _Source(_vgg("vgg16"), "vgg16-397923af.pth", 528),
    "vgg19": _Source(_vgg("vgg19"), "vgg19-dcbb9e9d.pth", 548),
}

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_normalize(image: Tensor) -> Tensor:
    """Subtract the mean and divide by the standard deviation of ImageNet's colours: (b, 3, h, w) in [0, 1], RGB.

    Raises:
        ValueError: the images are not (b, 3, h, w).
    """
    _check_colours(image, "the normalisation of ImageNet")
    mean, std = (torch.tensor(values, dtype=image.dtype, device=image.device)[:, None, None] for values in (_MEAN, _STD))
    return (image - mean) / std


class FeatureStack(nn.Module):
    """The layers of a classifier, run as far as they are asked for; `load_features` makes one.

    Its weights are frozen, but gradients pass to the image.

    Args:
        name: "alexnet", "squeezenet1_1", "vgg16" or "vgg19".
        features: the layers in their order.
    """

    def __init__(self, name: str, features: nn.Sequential) -> None:
        super().__init__()
        self.name = name
        self.features = features
        self.requires_grad_(False)
        self.eval()

    def index(self, layer: int | str) -> int:
        """The position of a layer, given as its number in torchvision or, for VGG, as conv3_4, relu3_4 or pool3.

        Raises:
            ValueError: the network has no such layer.
        """
        if isinstance(layer, int):
            if not 0 <= layer < len(self.features):
                raise ValueError(f"{self.name} has layers 0 to {len(self.features) - 1}, got {layer}")
            return layer
        names = self._names()
        if layer not in names:
            known = f"; it has {', '.join(names)}" if names else f"; give the number of one, 0 to {len(self.features) - 1}"
            raise ValueError(f"{self.name} has no layer {layer!r}{known}")
        return names[layer]

    def _names(self) -> dict[str, int]:
        """The papers' names of VGG's layers."""
        if not self.name.startswith("vgg"):
            return {}
        names, block, number = {}, 1, 0
        for position, module in enumerate(self.features):
            if isinstance(module, nn.Conv2d):
                number += 1
                names[f"conv{block}_{number}"] = position
            elif isinstance(module, nn.ReLU):
                names[f"relu{block}_{number}"] = position
            else:
                names[f"pool{block}"] = position
                block, number = block + 1, 0
        return names

    def stages(
        self, image: Tensor, layers: Sequence[int | str], *, pool: Callable[[Tensor], Tensor] | None = None
    ) -> Iterator[Tensor]:
        """The outputs of layers one after the other, so that few of them need to be kept.

        Args:
            image: (b, 3, h, w), normalised as the network wants it.
            layers: numbers or names, from the first to the last.
            pool: what is done in place of max pooling.

        Raises:
            ValueError: there is no such layer, the order is wrong, or the image is too small to reach the last.
        """
        positions = [self.index(layer) for layer in layers]
        if positions != sorted(set(positions)):
            raise ValueError(f"layers should go from the first to the last, each once, got {list(layers)}")
        _check_colours(image, self.name)
        x = image
        for position, module in enumerate(self.features[: positions[-1] + 1]):
            _check_size(module, x, image, self.name)
            x = pool(x) if pool and isinstance(module, nn.MaxPool2d) else module(x)
            if position in positions:
                yield x

    def forward(
        self, image: Tensor, layers: Sequence[int | str], *, pool: Callable[[Tensor], Tensor] | None = None
    ) -> list[Tensor]:
        return list(self.stages(image, layers, pool=pool))


def _check_colours(image: Tensor, name: str) -> None:
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"{name} expects colour images (b, 3, h, w), got {tuple(image.shape)}; repeat grey three times")


def _check_size(module: nn.Module, x: Tensor, image: Tensor, name: str) -> None:
    if isinstance(module, nn.Conv2d | nn.MaxPool2d):
        sizes = (module.kernel_size, module.padding, module.stride)
        kernel, padding, stride = (size if isinstance(size, int) else int(size[0]) for size in sizes)
        smallest = kernel - stride + 1 if getattr(module, "ceil_mode", False) else kernel
        if min(x.shape[-2:]) + 2 * padding < smallest:
            raise ValueError(f"an image of {image.shape[-2]}x{image.shape[-1]} is too small for {name}; enlarge or pad it")


def feature_skeleton(name: str) -> FeatureStack:
    """A stack on the meta device: layers and shapes, but no numbers.

    Args:
        name: "alexnet", "squeezenet1_1", "vgg16" or "vgg19".

    Raises:
        ValueError: the name is another.
        ImportError: timm, which has the VGG networks, cannot be imported.
    """
    if name not in _SOURCES:
        raise ValueError(f"unknown feature network {name!r}; choose one of {', '.join(_SOURCES)}")
    with torch.device("meta"):
        return FeatureStack(name, _SOURCES[name].build())


Weights: TypeAlias = str | os.PathLike[str] | Mapping[str, Tensor] | FeatureStack | None


def load_features(name: str, weights: Weights = None) -> FeatureStack:
    """A stack with its weights, on the CPU.

    Args:
        name: "alexnet", "squeezenet1_1", "vgg16" or "vgg19".
        weights: torchvision's or timm's file or state dict, of which the `features.*` are taken. None looks for torchvision's
            file in the folder RESTORALIB_HOME (by default ~/.cache/restoralib) and in the cache of torch.hub; nothing is
            downloaded. A stack comes back as it is, so that metrics and losses share one, and its device and type.

    Raises:
        ValueError: the name is another, or the weights are those of another network.
        FileNotFoundError: the file is missing; the error says what it is called, where to get it and where to put it.
        ImportError: timm, which has the VGG networks, cannot be imported.
    """
    if isinstance(weights, FeatureStack):
        if weights.name != name:
            raise ValueError(f"the features to share are of {weights.name}, and {name} is needed")
        return weights
    stack = feature_skeleton(name)
    origin = "the weights" if isinstance(weights, Mapping) else _find(name, weights)
    state_dict = weights if isinstance(weights, Mapping) else _read(Path(origin))
    wanted = {key: value.shape for key, value in stack.state_dict().items()}
    taken = {key: value for key, value in state_dict.items() if re.match(r"features\.", key)}
    wrong = sorted(wanted.keys() ^ taken.keys()) or [key for key in wanted if taken[key].shape != wanted[key]]
    if wrong:
        raise ValueError(f"{origin} does not fit {name}: {len(wrong)} keys or shapes differ, first {wrong[0]}")
    stack.load_state_dict({key: value.detach().clone() for key, value in taken.items()}, assign=True)
    return stack.requires_grad_(False)


def _find(name: str, path: str | os.PathLike[str] | None) -> str:
    """The file with the weights of a network."""
    source = _SOURCES[name]
    home = Path(os.environ.get("RESTORALIB_HOME") or Path.home() / ".cache" / "restoralib")
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    candidates = [Path(path)] if path else [home / source.file, home / f"{name}.safetensors", hub / source.file]
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    looked = ", ".join(map(str, candidates))
    raise FileNotFoundError(
        f"the weights of {name} are not here (looked for {looked}), and restoralib downloads none. Get "
        f"https://download.pytorch.org/models/{source.file} ({source.megabytes} MB, trained on ImageNet) and put it into "
        f"{home} or {hub}, or pass its path"
    )


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Mapped, for most of VGG's file is the classifier, which nobody needs.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a parser on bytes that may be truncated
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be read ({reason}); it may be truncated: download it again") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} should hold a state dict, got a {type(content).__name__}")
    return content
