"""Whose weights a state dict holds."""

from __future__ import annotations

import difflib
import functools
import inspect
import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn

from restoralib.archs import ARCHITECTURES, VARIANTS, Architecture, load_plugins
from restoralib.archs.spec import Inferred, StateDict
from restoralib.checkpoints.building import skeleton
from restoralib.checkpoints.errors import (
    AmbiguousCheckpoint,
    DamagedCheckpoint,
    UnknownCheckpoint,
    clip,
    difference,
    listing,
)

logger = logging.getLogger(__name__)

# What wrappers put in front of the keys.
_PREFIXES = ("module.", "_orig_mod.", "ema.", "net.", "netG.", "net_g.", "generator.", "network.", "model.")


# What the files of latent diffusion's autoencoders hold beside them.
_BESIDE = ("loss.", "model_ema.")


def recognize(state_dict: StateDict, *, arch: str | None = None) -> Inferred:
    """Tell the class and its constructor's arguments from the names and shapes of the weights.

    Args:
        state_dict: weights as `read_checkpoint` gives them.
        arch: name of an architecture or of a class, to ask only that.

    Raises:
        UnknownCheckpoint: no architecture has these weights.
        AmbiguousCheckpoint: more than one has.
        ValueError: `arch` is no known name.
    """
    classes = _classes()
    if arch not in (None, *ARCHITECTURES, *classes) and load_plugins():
        classes = _classes()
    if arch not in (None, *ARCHITECTURES, *classes):
        near = difflib.get_close_matches(str(arch), [*ARCHITECTURES, *classes]) or ARCHITECTURES
        raise ValueError(f"unknown architecture {arch!r}; did you mean {' or '.join(near)}?")
    cls = classes.get(str(arch))
    asked = {name: entry for name, entry in ARCHITECTURES.items() if arch in (None, name) or cls in entry.classes}
    claims = {name: told for name, entry in asked.items() if (told := _infer(entry, state_dict))}
    if not claims and arch is None:
        brought = {name: ARCHITECTURES[name] for name in load_plugins()}
        claims = {name: told for name, entry in brought.items() if (told := _infer(entry, state_dict))}
    if not claims:
        raise UnknownCheckpoint(_describe_unknown(state_dict))
    if len(claims) > 1:
        raise AmbiguousCheckpoint(f"the weights fit {' and '.join(claims)}; say which, for example arch={next(iter(claims))!r}")
    (told,) = claims.values()
    if cls is None or cls is told.cls:
        return told
    # A sister class with the same keys takes those arguments that it knows.
    known = inspect.signature(cls).parameters
    config, assumed = ({k: v for k, v in part.items() if k in known} for part in (told.config, told.assumed))
    if "train_size" in known.keys() - config.keys():  # the file is taken for a plain network's
        config["train_size"] = list(known["train_size"].default)
        assumed["train_size"] = "patches of 256x256, as for GoPro and REDS"
    return Inferred(cls, config, assumed, tuple(name for name in told.missing if name in known))


def _classes() -> dict[str, type[nn.Module]]:
    return {cls.__name__: cls for entry in ARCHITECTURES.values() for cls in entry.classes}


def recorded(metadata: Mapping[str, str]) -> Inferred | None:
    """What the metadata of a `.safetensors` file that this library wrote say; None for other files.

    Raises:
        UnknownCheckpoint: a network that this version does not have.
        DamagedCheckpoint: the arguments are not those of the network.
    """
    if not {"arch", "class", "config"} <= metadata.keys():
        return None
    if metadata["arch"] not in ARCHITECTURES:
        load_plugins()
    entry = ARCHITECTURES.get(metadata["arch"])
    cls = next((cls for cls in entry.classes if cls.__name__ == metadata["class"]), None) if entry else None
    if cls is None:
        raise UnknownCheckpoint(f"it holds a {clip(metadata['class'])}, which neither restoralib nor a plug-in here has")
    try:
        config = json.loads(metadata["config"])
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"its config is no JSON: {clip(error)}") from None
    if not isinstance(config, dict) or not config.keys() <= inspect.signature(cls).parameters.keys():
        raise DamagedCheckpoint(f"its config should hold arguments of {cls.__name__}, got {clip(metadata['config'])}")
    return Inferred(cls, config)


def without_prefix(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network under a wrapper's prefix, without the loss networks and metrics beside it.

    A prefix is taken off only where a known network is left, since the keys of some networks begin like one.
    """
    found = _known_part(state_dict, ARCHITECTURES.values())
    if found is None:
        found = _known_part(state_dict, [ARCHITECTURES[name] for name in load_plugins()])
    if found is not None:
        return found
    # Nothing known; but these two prefixes are never a network's own.
    while state_dict and all(key.startswith(("module.", "_orig_mod.")) for key in state_dict):
        state_dict = {key.partition(".")[2]: value for key, value in state_dict.items()}
    return state_dict


def _known_part(state_dict: dict[str, Tensor], entries: Collection[Architecture]) -> dict[str, Tensor] | None:
    """The part that is a network of some architectures, without a prefix; None where none is."""
    parts = [state_dict]
    if any(key.startswith(_BESIDE) for key in state_dict):
        parts.append({key: value for key, value in state_dict.items() if not key.startswith(_BESIDE)})
    for part in parts:
        if any(_infer(entry, part) for entry in entries):
            if len(part) < len(state_dict):
                logger.info("%d entries beside the network are left out", len(state_dict) - len(part))
            return part
        inner = ({k.removeprefix(prefix): v for k, v in part.items() if k.startswith(prefix)} for prefix in _PREFIXES)
        if len(parts) < 32:
            parts.extend(found for found in inner if found)
    return None


def _infer(entry: Architecture, state_dict: StateDict) -> Inferred | None:
    try:
        return entry.infer_config(state_dict)
    except Exception as error:
        # Shapes that nobody foresaw: a hostile file, or one of another family. Of a plug-in's code nothing is known.
        foreseen = isinstance(error, ArithmeticError | LookupError | RuntimeError | TypeError | ValueError)
        if not foreseen and entry.classes[0].__module__.startswith("restoralib."):
            raise
        logger.debug("the detector of %s failed: %r", entry.classes[0].__name__, error)
        return None


def _describe_unknown(state_dict: StateDict) -> str:
    """What was found, and the published network whose keys are nearest."""
    keys = list(state_dict)
    inside = _networks_inside(state_dict)
    if inside:
        found = " and ".join(f"a {told.cls.__name__} under {prefix!r}" for prefix, told in inside.items())
        return f"it holds {found}; choose a network, for example load_model(path, prefix={next(iter(inside))!r})"
    spectral = any(key.endswith(("weight_orig", "weight_u", "parametrizations.weight.original")) for key in keys)
    logit = any(key.endswith("weight") and value.ndim == 2 and len(value) == 1 for key, value in state_dict.items())
    hint = "; it looks like a discriminator, which only trains: load the generator's file" if spectral or logit else ""
    examples = {variant.cls: name for name, variant in VARIANTS.items()}
    alike = {cls: _likeness(_pattern(_variant(name)), _pattern(keys)) for cls, name in examples.items()}
    family = max(alike, key=alike.__getitem__)
    if alike[family] < 0.1:
        return f"no network here has such weights, {len(keys)} tensors: {listing(keys)}{hint}"
    members = [name for name, variant in VARIANTS.items() if variant.cls is family]
    nearest = max(members, key=lambda name: _likeness(_variant(name), keys))
    found = difference(_variant(nearest), state_dict) or "only values that no network has"
    return f"no network here has these weights. Nearest is {family.__name__} ({nearest}): {found}{hint}"


def _networks_inside(state_dict: StateDict) -> dict[str, Inferred]:
    """What is recognised under one or two names that many keys begin with, as in the files of latent diffusion."""
    beginnings = Counter(".".join(key.split(".")[:depth]) for key in state_dict for depth in (1, 2))
    found: dict[str, Inferred] = {}
    for prefix, count in beginnings.most_common(12):
        if count > 10 and not prefix.startswith(tuple(f"{outer}." for outer in found)):
            start = f"{prefix}."
            part = {key.removeprefix(start): value for key, value in state_dict.items() if key.startswith(start)}
            told = next((told for entry in ARCHITECTURES.values() if (told := _infer(entry, part))), None)
            if told:
                found[prefix] = told
    return found


@functools.cache
def _variant(name: str) -> dict[str, Tensor]:
    """The state dict of a published configuration, without memory and without what a file may lack."""
    net = skeleton(VARIANTS[name].cls, VARIANTS[name].config)
    derived: tuple[str, ...] = (*getattr(net, "derived_suffixes", ()), "num_batches_tracked")
    return {key: value for key, value in net.state_dict().items() if not key.endswith(derived)}


def _pattern(keys: Iterable[str]) -> set[str]:
    return {re.sub(r"\d+", "#", key) for key in keys}


def _likeness(ours: Iterable[str], theirs: Iterable[str]) -> float:
    ours, theirs = set(ours), set(theirs)
    return len(ours & theirs) / len(ours | theirs)
