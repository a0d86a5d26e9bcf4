"""Networks from weights: checked before they are built, loaded strictly."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from restoralib.archs import find_architecture
from restoralib.archs.spec import StateDict
from restoralib.checkpoints.errors import CheckpointWarning, DamagedCheckpoint, UnknownCheckpoint, clip, difference, listing

_MAX_NUMBER = 2**16  # of one constructor argument
_MAX_TABLES = 2**28  # bytes that a network computes from its arguments


def build(cls: type[nn.Module], config: Mapping[str, Any], state_dict: StateDict) -> nn.Module:
    """Build a network for weights from a file, and load them.

    It is built without memory first, and really only if the weights fit. The global random state stays as it was.

    Returns:
        The network in eval mode, float32.

    Raises:
        UnknownCheckpoint: the weights are not those of the network.
        DamagedCheckpoint: the arguments make no network, or an absurd one.

    Warns:
        CheckpointWarning: weights are NaN or infinite.
    """
    text = f"{cls.__name__} with {clip(dict(config))}"
    if not all(_is_plain(value) for value in config.values()):
        raise DamagedCheckpoint(f"{text} is absurd; arguments are plain and numbers at most {_MAX_NUMBER:,}")
    try:
        outline = skeleton(cls, config, calls=200 * (len(state_dict) + 100))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise DamagedCheckpoint(f"{text} cannot be built: {clip(error)}") from error
    weights = fit(outline, state_dict)
    tables = 4 * sum(value.numel() for key, value in outline.state_dict().items() if key not in weights)
    if tables > _MAX_TABLES:
        raise DamagedCheckpoint(f"{text} has {tables:,} bytes of tables that are not in the file, too many")
    with torch.random.fork_rng(devices=[]):
        net = with_arguments(cls, config)
    load_weights(net, state_dict)
    return net.eval()


def with_arguments(cls: type[nn.Module], config: Mapping[str, Any]) -> nn.Module:
    """A network that remembers its constructor's arguments as `built_with`, for files that are written of it later."""
    net = cls(**config)
    object.__setattr__(net, "built_with", dict(config))
    return net


def skeleton(cls: type[nn.Module], config: Mapping[str, Any], *, calls: int = 1_000_000) -> nn.Module:
    """A network without memory and values: the names and the shapes of its weights.

    Args:
        cls: the network's class.
        config: constructor arguments.
        calls: how often the constructor may call torch.

    Raises:
        RuntimeError: it calls more often.
    """
    with _Outline(calls), torch.device("meta"):
        return cls(**config)


def load_weights(net: nn.Module, state_dict: StateDict) -> None:
    """Load weights strictly; only what a network computes itself (tables, counters) may be missing.

    Raises:
        UnknownCheckpoint: keys are missing or not the network's, or shapes differ.

    Warns:
        CheckpointWarning: weights are NaN or infinite.
    """
    weights = fit(net, state_dict)
    broken = [key for key, value in weights.items() if not value.isfinite().all()]
    if broken:
        warnings.warn(f"weights hold NaN or infinite values: {listing(broken)}", CheckpointWarning, stacklevel=2)
    net.load_state_dict(weights, strict=False)


def fit(net: nn.Module, state_dict: StateDict) -> dict[str, Tensor]:
    """The weights under the network's own keys, checked to be all that it needs and nothing else.

    Keys that end in one of `net.derived_suffixes` are computed by the network and never taken from a file, but a file may
    have no others of them than the network: SwinIR has masks only where layers are shifted.

    Raises:
        UnknownCheckpoint: keys are missing or not the network's, or shapes differ.
    """
    entry = find_architecture(type(net))
    renamed = entry.rename_keys(state_dict) if entry else state_dict
    derived: tuple[str, ...] = getattr(net, "derived_suffixes", ())
    needed = net.state_dict()
    weights = {key: value for key, value in renamed.items() if not key.endswith(derived) or key not in needed}
    own = {key: value for key, value in needed.items() if key in weights or not key.endswith((*derived, "num_batches_tracked"))}
    found = difference(own, weights)
    if found:
        raise UnknownCheckpoint(f"the weights do not fit {type(net).__name__}: {found}")
    return weights


class _Outline(TorchFunctionMode):
    """Leaves initial values out, and stops a constructor that calls torch too often: a file may claim a billion layers."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("it has far more layers than the file has tensors")
        if getattr(func, "__module__", None) == "torch.nn.init" or getattr(func, "__name__", None) in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) <= 1000 and all(_is_plain(item) for item in value)
    if isinstance(value, (int, float)):
        return math.isfinite(value) and abs(value) <= _MAX_NUMBER
    return value is None or isinstance(value, str)
