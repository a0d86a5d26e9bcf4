"""A model as `restore` calls it: tiles of a picture in, tiles of the restored picture out, on a device and in a precision."""

from __future__ import annotations

import copy
import inspect
import itertools
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs.spec import NetSpec
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.precision import without_autocast
from restoralib.restoration.color import check_channels, restore_channels
from restoralib.zoo.measured import bytes_per_pixel

logger = logging.getLogger(__name__)

_DTYPES = {"auto": torch.float32, "float32": torch.float32, "float64": torch.float64}
_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_PROBE = 64  # side of the piece on which an unknown callable is tried
_ROLES = {
    "denoiser": "it predicts one step of a diffusion process, from a noisy image and the time; give it to a sampler",
    "autoencoder": "it gives an image back as its latent tells it, degradations and all; a LatentRestorer works on the latent",
    "discriminator": "it is a discriminator, which only trains; load the generator's file",
    "classifier": "it tells which degradations an image shows; restore(image, 'auto') asks it",
    "part": "it works inside or beside another network; load that one's file, or join the halves of a RetinexNet by "
    "RetinexNet.from_parts",
}


@dataclass
class Network:
    """A model with everything that its call needs.

    Args:
        model: the network, or a callable from (b, c, h, w) to (b, c, s h, s w); where it gives several results, to a tuple
            or list that begins with it.
        spec: its needs.
        device: where it runs.
        dtype: of the computation; half precision runs by autocast, with the weights in float32.
        strict: raise where half precision overflows, rather than go on in float32.
        foreign: the model brought no spec of its own, so it is not trusted to pad to its `multiple`.
        overflowed: half precision did not do for a tile.
    """

    model: Callable[..., Tensor]
    spec: NetSpec
    device: torch.device
    dtype: torch.dtype
    strict: bool = False
    foreign: bool = False
    overflowed: bool = False

    @property
    def bytes_per_pixel(self) -> float:
        """What was measured of networks of this class; 0 where nothing was."""
        return bytes_per_pixel(type(unbound(self.model)).__name__) or 0

    @property
    def full(self) -> torch.dtype:
        """The type of tiles and weights."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def draw_noise(self) -> Tensor | None:
        """Noise for one image, (1, d), of a network that takes any; from the CPU's generator, so equal on all devices."""
        return torch.randn(1, self.spec.noise) if self.spec.noise else None

    def __call__(self, tile: Tensor, noise: Tensor | None = None) -> Tensor:
        """Restore (b, c, h, w) from anywhere, all with the same noise; the result stays on the device.

        Raises:
            ValueError: the model gives another size than its spec says.
            FloatingPointError: its result is not finite, in half precision only where `strict`.
        """
        tile = tile.to(self.device, self.full, memory_format=torch.channels_last)
        return restore_channels(partial(self._restore, noise=noise), self.spec, tile)

    def _restore(self, x: Tensor, noise: Tensor | None) -> Tensor:
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.spec.multiple) if self.foreign else x
        given = {} if noise is None else {"noise": noise.to(x).expand(len(x), -1)}
        restored = self.run(padded, **given)[..., : self.spec.scale * height, : self.spec.scale * width]
        expected = (x.shape[0], self.spec.out_channels, self.spec.scale * height, self.spec.scale * width)
        if restored.shape != expected:
            raise ValueError(
                f"the model gave {tuple(restored.shape)} for {tuple(x.shape)}, not {expected}; say its scale and channels by "
                "spec=NetSpec(…)"
            )
        return restored

    def run(self, x: Tensor, *inputs: Tensor, **given: Tensor) -> Tensor:
        """What the model makes of its inputs as they are, in the type of the computation.

        Raises:
            FloatingPointError: it is not finite, in half precision only where `strict`.
        """
        if self.dtype != self.full:
            reason = None
            try:
                with torch.autocast(self.device.type, self.dtype):
                    restored = first(self.model(x, *inputs, **given)).to(self.full)
                if restored.isfinite().all():
                    return restored
            except FloatingPointError as error:  # a sampler stops at the first such step
                reason = error
            if self.strict:
                raise FloatingPointError(
                    f"the model overflows in {self.dtype}; use dtype='float32', or strict=False"
                ) from reason
            if not self.overflowed:
                warnings.warn(f"the model overflows in {self.dtype}; such tiles are computed in float32", stacklevel=2)
            self.overflowed = True
        with without_autocast(x):
            restored = first(self.model(x, *inputs, **given)).to(self.full)
        if not restored.isfinite().all():
            raise FloatingPointError(f"the model gives NaN or Inf in {self.full}; its weights, if it has any, are damaged")
        return restored


def make_network(
    model: Callable[..., Any],
    spec: NetSpec | None,
    image: Tensor,
    *,
    prompt: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    strict: bool = False,
) -> Network:
    """Put a model where it runs, without a change to the caller's.

    Args:
        model: a module, of which a copy in eval mode is made unless it is ready as it is; a `functools.partial` of one, with
            further arguments; or another callable.
        spec: its needs; None to take the model's own, or to find out a foreign one's scale on a piece of the image.
        image: (b, c, h, w), what is to be restored.
        prompt: given to the model by this name.
        device: "auto" is CUDA, MPS or the CPU, whichever is there first; for a callable that is no module, the image's own.
        dtype: "auto" is float32.
        strict: as in `Network`.

    Raises:
        ValueError: the device is not there, the type is unknown, the model takes no prompt or not the image's channels.
    """
    inner = unbound(model)
    own = getattr(model, "spec", getattr(inner, "spec", None))
    own = own if isinstance(own, NetSpec) else None
    entry = inner.forward if isinstance(inner, nn.Module) else model
    if prompt is not None and "prompt" not in inspect.signature(entry).parameters:
        raise ValueError(f"this model takes no text; leave prompt out, got {prompt!r}")
    place = choose_device(device, None if isinstance(inner, nn.Module) else image.device)
    foreign = own is None
    network = Network(model, spec or own or NetSpec(), place, choose_dtype(dtype), strict, foreign)
    if isinstance(inner, nn.Module):
        ready = placed(inner, place, network.full)
        network.model = bound(ready, model, place, network.full) if isinstance(model, partial) else ready
    if prompt is not None:
        network.model = partial(network.model, prompt=prompt)  # type: ignore[call-arg]
    if spec is None and foreign:
        network.spec = _infer_spec(network, image)
    if network.spec.role != "restorer":
        raise ValueError(f"{type(inner).__name__} restores no image by itself: {_ROLES[network.spec.role]}")
    check_channels(network.spec, image.shape[1])
    return network


def unbound(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model without the further arguments that a `functools.partial` gives it."""
    return model.func if isinstance(model, partial) else model


def bound(module: nn.Module, model: partial[Any], device: torch.device, dtype: torch.dtype) -> partial[Any]:
    """A module with the further arguments of a model; those that are networks or tensors are put where it is."""

    def beside(value: Any) -> Any:
        if isinstance(value, nn.Module):
            return placed(value, device, dtype)
        return value.to(device, dtype if value.is_floating_point() else None) if isinstance(value, Tensor) else value

    return partial(module, *map(beside, model.args), **{name: beside(value) for name, value in model.keywords.items()})


def first(result: Any) -> Any:
    """The restored image of a model that may give several results."""
    return result[0] if isinstance(result, tuple | list) and result else result


def choose_device(device: str | torch.device, own: torch.device | None = None) -> torch.device:
    """The device for "auto" (`own`, if given), or the one asked for, if it is there."""
    if device == "auto":
        if own is not None:
            return own
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"unknown device {device!r}; choose 'auto', 'cpu', 'cuda' or 'mps'") from None
    if device.type == "meta":
        raise ValueError("the device meta holds no values; choose 'auto', 'cpu', 'cuda' or 'mps'")
    if device.type == "cpu":
        return torch.device("cpu")  # "cpu:0" is the same and compares unequal
    if device.type == "cuda" and not torch.cuda.is_available():
        build = "finds no CUDA device" if torch.version.cuda else "is a build for CPUs; install one for CUDA"
        raise ValueError(f"device {device} is not there: torch {torch.__version__} {build}; use device='cpu'")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device mps is not there; use device='cpu'")
    if device.index is None:
        # With its number it compares equal to the device of weights that are there.
        device = torch.device(device.type, torch.cuda.current_device() if device.type == "cuda" else 0)
    return device


def choose_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The type of the computation."""
    known = {**_DTYPES, **_HALF}
    name = str(dtype).removeprefix("torch.")
    if name not in known:
        raise ValueError(f"unknown dtype {dtype}; choose one of {', '.join(known)}")
    return known[name]


def placed(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The model in eval mode with its weights on a device and in a type: itself where it is so, else a copy."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    ready = all(x.device == device and (x.dtype == dtype or not x.is_floating_point()) for x in tensors)
    return model if ready and not any(module.training for module in model.modules()) else private_copy(model, device, dtype)


def private_copy(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A copy in eval mode with its weights on a device and in a type. It shares those that are so already.

    Raises:
        TypeError: the model cannot be copied.
    """
    memo: dict[int, Tensor] = {}
    for x in itertools.chain(model.parameters(), model.buffers()):
        moved = x.detach().to(device, dtype if x.is_floating_point() else x.dtype)
        memo[id(x)] = nn.Parameter(moved, requires_grad=False) if isinstance(x, nn.Parameter) else moved
    try:
        return copy.deepcopy(model, memo).eval()
    except (TypeError, RuntimeError) as error:
        raise TypeError(
            f"the model cannot be copied ({error}); bring it into eval mode, to {device} and into {dtype} yourself"
        ) from error


def _infer_spec(network: Network, image: Tensor) -> NetSpec:
    """The scale of a foreign callable, from a piece of the image; nothing is known of how far it looks."""
    channels = image.shape[1] if image.shape[1] not in (1, 3) else 3
    piece = image[:1, :, :_PROBE, :_PROBE].to(network.device, network.full).expand(-1, channels, -1, -1)
    # The trial draws no number from the caller's generators.
    with torch.inference_mode(), torch.random.fork_rng([network.device] if network.device.type == "cuda" else []):
        restored = first(network.model(piece))
    sizes = zip(piece.shape[-2:], getattr(restored, "shape", ())[-2:], strict=False)
    scales = {after / before for before, after in sizes}
    if len(scales) != 1 or restored.ndim != 4 or not (scale := scales.pop()).is_integer() or scale < 1:
        raise ValueError(
            f"the model gave {getattr(restored, 'shape', type(restored))} for {tuple(piece.shape)}; expected (b, c, s h, s w)"
        )
    if scale > 1:
        logger.info("took scale %d from the model's output; spec=NetSpec(scale=…) says it without a trial", scale)
    return replace(
        network.spec, scale=int(scale), in_channels=channels, out_channels=restored.shape[1], halo=None, global_ops=("unknown",)
    )
