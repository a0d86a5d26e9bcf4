"""A network as one graph for all sizes of image."""

from __future__ import annotations

import copy
import inspect
import itertools
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from restoralib.archs.spec import NetSpec, example_inputs
from restoralib.export.description import Sizes, spec_of

NEAR = 1e-4  # of a graph's result to the network's, relative to the largest value
_MOST = 2**15  # pixels a side
_LEAST = 32  # pixels a side from which networks work that enlarge smaller images
_EXAMPLE = 40  # pixels a side, about, of the image on which a network is traced


class NotExportable(ValueError):
    """A network that cannot be had as one graph; its text says why."""


class _Outputs(nn.Module):
    """A network whose results are a tuple: of a restorer the restored image alone, of others all."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.alone = spec_of(net).role == "restorer"

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with _Portable():
            results = self.net(*inputs)
        results = tuple(results) if isinstance(results, tuple | list) else (results,)
        return results[:1] if self.alone else results


class _Portable(TorchFunctionMode):
    """What keeps the traced size, and the kernels of this machine, out of a graph.

    [..., :height, :width] is cut by looking rows and columns up: of a view torch asks in every later operation whether it is
    the whole tensor, and makes the answer for the traced size a condition of the graph. Results of attention are laid out anew:
    a reshape of them would be recorded as a view, which does not hold for the plain products that ONNX has in their place.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.__getitem__ and isinstance(args[1], tuple) and any(map(_ends_symbolically, args[1])):
            x, places = args
            places = tuple(part for part in places if part is not Ellipsis)
            rest = tuple(slice(None) if _ends_symbolically(part) else part for part in places)
            if all(isinstance(part, slice) for part in rest) and (Ellipsis in args[1] or len(places) == x.ndim):
                for axis, part in enumerate(places, x.ndim - len(places)):
                    if _ends_symbolically(part):
                        x = x.index_select(axis, torch.arange(part.stop, device=x.device))
                whole: Any = (..., *rest)
                return x[whole]
        result = func(*args, **(kwargs or {}))
        return result.clone(memory_format=torch.contiguous_format) if func is F.scaled_dot_product_attention else result


def _ends_symbolically(part: Any) -> bool:
    return isinstance(part, slice) and isinstance(part.stop, torch.SymInt) and part.start is None and part.step is None


def trace(net: nn.Module, *, check: bool = True) -> tuple[ExportedProgram, Sizes]:
    """Trace a network for images of one batch and as many sizes as it allows.

    Tried in this order: any size, any size that is not tiny, multiples of the network's `multiple`. A network that takes only
    one size is traced for that.

    Args:
        net: the network; a copy is traced where it is not in eval mode, on the CPU and in float32.
        check: run the graph at another size, and compare.

    Raises:
        NotExportable: torch cannot trace it, or the graph's result is not the network's.
    """
    spec = spec_of(net)
    module = _Outputs(_ready(net)).eval()
    reasons: list[str] = []
    for sizes in _attempts(spec):
        try:
            with torch.no_grad():
                program = _export(module, spec, sizes)
                if check:
                    check_sizes(program.module(), net, sizes, count=1)
        except NotExportable as error:
            reasons.append(str(error))
        except Exception as error:  # whatever torch trips over is the finding
            reasons.append(first_line(error))
        else:
            return program, sizes
    raise NotExportable(f"{type(net).__name__} is not exported: {reasons[-1]}")


def names_of(spec: NetSpec) -> list[str]:
    """Names of a graph's inputs: those of the spec, maps one by one, and the noise where the network takes any."""
    tensors = example_inputs(spec, (64, 64), make=torch.zeros, device="meta")
    maps = len(tensors) - len(spec.inputs) + 1
    names = [part for name in spec.inputs for part in ([f"map{i}" for i in range(maps)] if name == "maps" else [name])]
    return [*names, "noise"] if spec.noise else names


def inputs_for(spec: NetSpec, size: tuple[int, int]) -> tuple[Tensor, ...]:
    """Example inputs of one image, in the order of `names_of`; the same for the same size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs = example_inputs(spec, size)
        return (*inputs, torch.randn(1, spec.noise)) if spec.noise else inputs


def sizes_to_try(spec: NetSpec, sizes: Sizes, count: int) -> list[tuple[int, int]]:
    """Sizes of images that a graph takes: the first for tracing, the others to check it at."""
    if sizes.only:
        return [sizes.only] * (count + 1)
    step = math.lcm(sizes.step, spec.multiple if spec.role == "discriminator" else 1)
    base = math.ceil(max(_EXAMPLE, 2 * spec.multiple, sizes.least + step) / step)
    # Off the grid of the network where the graph allows it, in either direction.
    moves = [(1, 6), (4, 3), (0, 11), (13, 1)]
    return [((base + rows) * step, (base + columns) * step) for rows, columns in moves[: count + 1]]


def check_sizes(graph: Any, net: nn.Module, sizes: Sizes, count: int = 2) -> float:
    """Compare a graph with its network at sizes other than the traced one.

    Args:
        graph: a callable with the network's inputs in order, which gives a tensor or a tuple that begins with one.
        net: the network.
        sizes: that the graph takes.
        count: of sizes.

    Returns:
        The largest difference, relative to the largest value.

    Raises:
        NotExportable: it is above `NEAR`.
    """
    spec, ready, worst = spec_of(net), _ready(net), 0.0
    for size in sizes_to_try(spec, sizes, count)[1:]:
        inputs = inputs_for(spec, size)
        with torch.no_grad():
            expected, found = _first(ready(*inputs)), _first(graph(*inputs))
        if found.shape != expected.shape:
            raise NotExportable(f"the graph gives {tuple(found.shape)} for an image of {size[0]}x{size[1]}")
        error = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        if not error <= NEAR:
            raise NotExportable(f"the graph's result differs by {error:.1e} at {size[0]}x{size[1]}")
        worst = max(worst, error)
    return worst


def first_line(error: BaseException) -> str:
    """Class and first line of an error."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:200]


def _attempts(spec: NetSpec) -> Iterator[Sizes]:
    if spec.input_size:
        yield Sizes(only=spec.input_size)
        return
    if spec.role != "discriminator":
        # From one pixel more than the padding's grid on, no size is a special case for torch's shape analysis.
        yield Sizes(1, spec.multiple + 1)
        if spec.multiple < _LEAST:
            yield Sizes(1, _LEAST)
    if spec.multiple > 1:
        yield Sizes(spec.multiple, 2 * spec.multiple)


def _export(module: nn.Module, spec: NetSpec, sizes: Sizes) -> ExportedProgram:
    inputs = inputs_for(spec, sizes_to_try(spec, sizes, 0)[0])
    shapes: Any = None
    if not sizes.only:
        least, most = math.ceil(sizes.least / sizes.step), _MOST // sizes.step
        if sizes.step == 1:
            rows, columns = Dim("height", min=least, max=most), Dim("width", min=least, max=most)
        else:
            rows, columns = (sizes.step * Dim(name, min=least, max=most) for name in ("rows", "columns"))
        # Maps and targets are larger or smaller than the image; torch finds by how much.
        named: dict[int, Any] = {2: rows, 3: columns}
        others: dict[int, Any] = {2: Dim.AUTO, 3: Dim.AUTO}
        sides = inputs[0].shape[2:]
        kinds = (None if x.ndim != 4 else named if x.shape[2:] == sides else others for x in inputs)
        shapes = (tuple(kinds),)  # of the one argument *inputs
    # Conditions that torch cannot prove for all sizes are then checked when the program runs, rather than an error here.
    later = "prefer_deferred_runtime_asserts_over_guards"
    options: dict[str, Any] = {later: True} if later in inspect.signature(torch.export.export).parameters else {}
    with _quiet():
        return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False, **options)


def _ready(net: nn.Module) -> nn.Module:
    """The network in eval mode, on the CPU, in float32: itself where it is so, else a copy."""
    tensors = itertools.chain(net.parameters(), net.buffers())
    right = all(x.device.type == "cpu" and (x.dtype == torch.float32 or not x.is_floating_point()) for x in tensors)
    if right and not any(module.training for module in net.modules()):
        return net
    return copy.deepcopy(net).cpu().float().eval()


def _first(result: Any) -> Tensor:
    return result[0] if isinstance(result, tuple | list) else result


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the compiler's warnings about what it does with shapes."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
