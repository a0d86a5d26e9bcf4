"""Models by name: published configurations, and weights that come with the package."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from restoralib.archs import VARIANTS, NetSpec, Variant, load_plugins
from restoralib.archs.spec import Role
from restoralib.blocks.degradation_prompt import DEGRADATIONS
from restoralib.checkpoints import (
    DamagedCheckpoint,
    UnknownCheckpoint,
    build,
    check_agreement,
    naming,
    read_checkpoint,
    recorded,
    skeleton,
    with_arguments,
)
from restoralib.latent.restorer import LatentRestorer, degradation_text
from restoralib.zoo.bundled import read_manifest
from restoralib.zoo.measured import multiply_adds
from restoralib.zoo.published import PUBLISHED, Published

logger = logging.getLogger(__name__)

__all__ = ["TASKS", "ModelInfo", "create_model", "list_models", "load_bundled", "model_info", "weights_source"]

_TASK_NAMES = (*DEGRADATIONS, "sr2", "sr3", "sr4", "sr8", "deflare", "dereflect", "auto")
# Licences of weights that allow commercial use.
_FREE = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "ISC", "MIT", "Unlicense"}


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model.

    Args:
        name: its name here.
        cls: name of the network's class in `restoralib.archs`.
        config: the constructor's arguments.
        tasks: restoration tasks of the weights.
        role: what the network is for: "restorer", "denoiser" (one step of a diffusion), "autoencoder", "discriminator",
            "classifier" or "part".
        scale: output pixels for each input pixel, along each axis.
        parameters: their number.
        multiply_adds: for an input of 256x256, or of its only size, as torch's flop counter counts them; None where that
            was not done.
        code_license: SPDX identifier of the authors' code; restoralib's own is Apache-2.0.
        weights_license: SPDX identifier of the weights.
        commercial: whether that licence allows commercial use.
        weights: where they are: in the package, or the authors' page.
        bundled: whether they are in the package.
        data: what they were trained on.
        figures: data set -> measure -> value, as the authors report it; for bundled weights, as measured here.
        notice: one line that a user of the weights should read, None where there is nothing to say.
    """

    name: str
    cls: str
    config: dict[str, Any]
    tasks: tuple[str, ...]
    role: Role
    scale: int
    parameters: int
    multiply_adds: int | None
    code_license: str
    weights_license: str
    commercial: bool
    weights: str
    bundled: bool
    data: str
    figures: dict[str, Any]
    notice: str | None


def list_models(
    pattern: str = "*", *, task: str | None = None, commercial: bool | None = None, bundled: bool | None = None
) -> list[str]:
    """Names of models, in natural order.

    Args:
        pattern: names to list, with `*` and `?` as in file names.
        task: only models for this task, a key of `TASKS`.
        commercial: only models whose weights may be used commercially, or only others.
        bundled: only models whose weights are in the package, or only others.

    Raises:
        ValueError: the task is unknown.
    """
    load_plugins()
    if task is not None and task not in TASKS:
        raise ValueError(f"unknown task {task!r}; {_neighbours(task, TASKS)}")

    def is_listed(name: str) -> bool:
        return (
            fnmatchcase(name, pattern)
            and (task is None or task in _find(name).tasks)
            and commercial in (None, _offer(name).weights_license in _FREE)
            and bundled in (None, name in BUNDLED)
        )

    names = filter(is_listed, {**VARIANTS, **BUNDLED})
    return sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def model_info(name: str) -> ModelInfo:
    """What is known of a model.

    Raises:
        ValueError: the name is unknown; the error lists its neighbours.
    """
    variant, offer = _find(name), _offer(name)
    spec, parameters = _measure(variant.cls, json.dumps(dict(variant.config)))  # type: ignore[arg-type]
    return ModelInfo(
        name=name,
        cls=variant.cls.__name__,
        config=dict(variant.config),
        tasks=variant.tasks,
        role=spec.role,
        scale=spec.scale,
        parameters=parameters,
        multiply_adds=multiply_adds(name),
        code_license=offer.code_license,
        weights_license=offer.weights_license,
        commercial=offer.weights_license in _FREE,
        weights=offer.page,
        bundled=name in BUNDLED,
        data=offer.data,
        figures=offer.figures,
        notice=_notice(name, offer),
    )


def create_model(name: str, *, weights: str | PathLike[str] | None = None, **overrides: Any) -> nn.Module:
    """Build a model by its name.

    The log warns of weights from a file whose licence does not allow commercial use; of those of the package it tells so once.

    Args:
        name: one of `list_models()`.
        weights: None for random ones, "bundled" for those of the package, or the path of a checkpoint of this configuration.
        overrides: constructor arguments in place of the published ones.

    Returns:
        The network: in training mode with random weights, in eval mode with others.

    Raises:
        ValueError: the name is unknown, it has no bundled weights, or the file is of another network. A CheckpointError, for a
            file that cannot be loaded, is one, too.
        TypeError: the network has no such argument.
    """
    variant = _find(name)
    config = {**variant.config, **overrides}
    if weights is None:
        return with_arguments(variant.cls, config)
    path = _bundled_file(name) if weights == "bundled" else Path(weights)
    state_dict, metadata = read_checkpoint(path)
    with naming(path):
        told = recorded(metadata)
        if told is not None:
            if told.cls is not variant.cls:
                raise UnknownCheckpoint(f"it holds a {told.cls.__name__}, and {name} is a {variant.cls.__name__}")
            check_agreement(told, config)
            config = {**told.config, **config}
        net = build(variant.cls, config, state_dict)
    if weights == "bundled":
        _tell_once(_notice(name, _offer(name)))
    elif name in PUBLISHED and (notice := _notice(name, PUBLISHED[name])):
        logger.warning(notice)
    return net


def load_bundled(name: str) -> nn.Module:
    """A model with its weights from the package, in eval mode; a denoiser of latents with its autoencoder, as a LatentRestorer.

    Raises:
        ValueError: the name is unknown or has no bundled weights.
    """
    net = create_model(name, weights="bundled")
    if not (latent := BUNDLED[name].latent):
        return net
    autoencoder, text = load_bundled(latent["autoencoder"]), degradation_text(latent["degradation"])
    return LatentRestorer(autoencoder, net, text, steps=latent["steps"], least=latent["least"]).eval()


BUNDLED = read_manifest(Path(__file__).parents[1] / "weights")

TASKS: Mapping[str, str | None] = {
    **dict.fromkeys(_TASK_NAMES),
    **{task: name for name, bundled in BUNDLED.items() for task in bundled.serves},
}
"""The tasks of `restore`, and the bundled model that does each; None where weights have to be brought.

Some bundled models are there to be asked for by their names alone, such as the small denoiser of latents.
"""


_OF_A_PLUGIN = Published(
    "see the package that brought it", "LicenseRef-unknown", "LicenseRef-unknown", terms="its package tells them"
)


def weights_source(name: str) -> Path | tuple[list[str], str, int]:
    """Where a model's weights can be had without a person's help: the bundled file, or addresses, SHA-256 and size.

    Raises:
        ValueError: the name is unknown, or no address is known whose bytes were seen; the error names the authors' page.
    """
    _find(name)
    if name in BUNDLED:
        return _bundled_file(name)
    offer = _offer(name)
    if not offer.urls:
        raise ValueError(
            f"no address of the weights of {name} is known whose bytes were seen; its authors' page is {offer.page}. Pass the "
            "address that it gives, with the file's sum: fetch('https://…', sha256='…')"
        )
    return list(offer.urls), offer.sha256, offer.size


def _find(name: str) -> Variant:
    if name in BUNDLED:
        return BUNDLED[name].variant
    if name not in VARIANTS and not (load_plugins() and name in VARIANTS):
        raise ValueError(f"unknown model {name!r}; {_neighbours(name, {**VARIANTS, **BUNDLED})}")
    return VARIANTS[name]


def _offer(name: str) -> Published:
    return BUNDLED[name].offer if name in BUNDLED else PUBLISHED.get(name, _OF_A_PLUGIN)


@functools.cache
def _measure(cls: type[nn.Module], config: str) -> tuple[NetSpec, int]:
    """Spec and number of parameters of a network; its arguments come as JSON, so that models which share them cost once."""
    net = skeleton(cls, json.loads(config))
    return net.spec, sum(parameter.numel() for parameter in net.parameters())  # type: ignore[return-value]


def _notice(name: str, offer: Published) -> str | None:
    if offer.weights_license in _FREE or not offer.terms:
        return None
    return f"{name}: {offer.weights_license} is the licence of its weights: {offer.terms}"


@functools.cache
def _tell_once(notice: str | None) -> None:
    """Log a notice; once in a process, for `restore` loads bundled weights at every call."""
    if notice:
        logger.info(notice)


def _bundled_file(name: str) -> Path:
    """The file of bundled weights, its bytes verified."""
    if name not in BUNDLED:
        offer = _offer(name)
        published = f"get a file from its authors ({offer.page}) and pass weights=path"
        advice = "none were published, so it has to be trained" if offer.weights_license == "NONE" else published
        raise ValueError(f"no weights of {name} are bundled, those of {', '.join(BUNDLED) or 'no model'} are; {advice}")
    bundled = BUNDLED[name]
    digest = hashlib.sha256(bundled.file.read_bytes()).hexdigest()
    if digest != bundled.sha256:
        raise DamagedCheckpoint(f"{bundled.file}: its SHA-256 is {digest}, not the manifest's; reinstall restoralib")
    return bundled.file


def _neighbours(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=5)
    return f"did you mean {', '.join(near)}?" if near else f"choose one of {', '.join(names)}"
