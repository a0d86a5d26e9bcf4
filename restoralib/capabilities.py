"""Measure what each network can do: half precision, tiles, memory, compilation, export, multiply-adds.

    restoralib capabilities --measure

writes `restoralib/zoo/capabilities.json`, from which the documentation makes its table and `restore()` takes the memory that a
tile needs. Networks with weights in the package are measured with these, others with random ones: what depends on the weights
(precision, tiles) is then an indication and not a promise.
"""

from __future__ import annotations

import datetime
import functools
import json
import math
import platform
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from restoralib import archs
from restoralib.archs import VARIANTS, NetSpec, example_inputs
from restoralib.checkpoints import skeleton
from restoralib.restoration.door import restore
from restoralib.restoration.exact import make_exact
from restoralib.restoration.network import first, make_network
from restoralib.zoo import create_model, list_models, model_info
from restoralib.zoo.measured import FILE, Capability

SIDE = 256
_HALF_SIDE = 128
_NOISE = 25 / 255
_NEAR = 1e-4  # of an exported program's result, relative to the largest value
_LEAST = 32  # pixels a side of an exported program that takes no smaller image


def measure(name: str) -> Capability:
    """Measure one model of the zoo, with its weights where the package has them; takes seconds to minutes.

    Args:
        name: one of `list_models()`.

    Raises:
        ValueError: the name is unknown.
    """
    info = model_info(name)
    net = create_model(name, weights="bundled") if info.bundled else _random(name)
    with torch.no_grad():
        half = _half_precision(net)
        tiles, reach, tile_psnr = _tiles(net)
        status, recompiles = _compilation(net)
        return Capability(
            model=name,
            cls=info.cls,
            weights="bundled" if info.bundled else "random",
            bfloat16=half["bfloat16"],
            float16=half["float16"],
            bytes_per_pixel=count_bytes_per_pixel(name),
            tiles=tiles,
            reach=reach,
            tile_psnr=tile_psnr,
            compile=status,
            recompiles=recompiles,
            export=_export(net),
        )


def representatives() -> list[str]:
    """The configurations that are measured, cheap ones first: those with bundled weights, and the first of every class."""
    names = list_models(bundled=True)
    classes = {model_info(name).cls for name in names}
    for name, variant in VARIANTS.items():
        if variant.cls.__name__ not in classes:
            classes.add(variant.cls.__name__)
            names.append(name)
    return sorted(names, key=count_multiply_adds)


def count_multiply_adds(name: str) -> int:
    """Multiply-adds of a model for an input of 256x256, or of its only size: products of convolutions and of matrices.

    Counted by torch's flop counter without memory and values.
    """
    net = _outline(name)
    inputs = example_inputs(_spec(net), (SIDE, SIDE), make=torch.zeros, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(*inputs)
    return counter.get_total_flops() // 2


def count_bytes_per_pixel(name: str) -> float:
    """Bytes by which the largest sum of living tensors grows with each input pixel, weights left out.

    Counted without memory and values, so what kernels need inside is not in it; a network of one size is divided by its pixels.
    """
    net = _outline(name)
    only = _spec(net).input_size
    sizes = [(SIDE, SIDE), (2 * SIDE, 2 * SIDE)] if only is None else [only]
    peaks = []
    for size in sizes:
        inputs = example_inputs(_spec(net), size, make=torch.zeros, device="meta")
        with torch.no_grad(), LivingBytes() as living:
            net(*inputs)
        peaks.append(living.peak)
    if len(sizes) == 1:
        return peaks[0] / math.prod(sizes[0])
    return (peaks[1] - peaks[0]) / (math.prod(sizes[1]) - math.prod(sizes[0]))


class LivingBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made under it and still live; `peak` is the most at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.living = 0
        self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # Storages that come in were made before, or are known.
        before = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                if storage._cdata not in before and storage not in self._seen:
                    self._seen.add(storage)
                    self.living += storage.nbytes()
                    weakref.finalize(storage, self._release, storage.nbytes())
        self.peak = max(self.peak, self.living)
        return result

    def _release(self, count: int) -> None:
        self.living -= count


def write(names: list[str], file: Path | None = None, tell: Callable[[str], None] | None = None) -> None:
    """Measure models, and enter what was found into the stored table; multiply-adds are counted for these and for new models.

    Args:
        names: what to measure.
        file: the table; None for that of the package.
        tell: called with a line before each model.
    """
    file = file or FILE
    counted = json.loads(file.read_text(encoding="utf-8")).get("multiply_adds", {}) if file.exists() else {}
    counts = {n: counted[n] if n in counted and n not in names else count_multiply_adds(n) for n in list_models()}
    for number, name in enumerate(names, 1):
        if tell:
            tell(f"{number} of {len(names)}: {name}")
        entry = asdict(measure(name))
        del entry["model"]
        # Read again each time: measuring takes minutes, in which another process may have entered what it found.
        networks = json.loads(file.read_text(encoding="utf-8"))["networks"] if file.exists() else {}
        networks[name] = {key: round(value, 2) if isinstance(value, float) else value for key, value in entry.items()}
        known = [name for name in list_models() if name in networks]
        content = {"environment": _environment(), "multiply_adds": counts, "networks": {n: networks[n] for n in known}}
        part = file.with_suffix(".part")
        part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(file)


def _environment() -> dict[str, str]:
    return {
        "torch": torch.__version__.partition("+")[0],
        "processor": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "date": datetime.date.today().isoformat(),
    }


def _spec(net: nn.Module) -> NetSpec:
    spec = net.spec
    assert isinstance(spec, NetSpec)
    return spec


@functools.lru_cache(maxsize=1)
def _outline(name: str) -> nn.Module:
    info = model_info(name)
    return skeleton(getattr(archs, info.cls), info.config).eval()


def _random(name: str) -> nn.Module:
    """A network with its initial weights, and small random ones where these are zero, as at the end of residual branches."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = create_model(name).eval()
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.ndim > 1 and not parameter.any():
                    parameter.normal_(std=0.02)
    return net


def _photograph(channels: int, side: int) -> Tensor:
    """A noisy image (1, c, side, side) in [0, 1] with the spectrum of photographs, which falls with the frequency."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(side)
    amplitude = 1 / torch.hypot(frequency[:, None], frequency).clamp_min(1 / side)
    noise = torch.randn(channels, side, side, generator=generator)
    image = torch.fft.ifft2(torch.fft.fft2(noise) * amplitude).real
    image = 0.7 * image[:1] + 0.3 * image  # the channels of photographs are much alike
    low, high = image.aminmax()
    image = (image - low) / (high - low)
    return (image + _NOISE * torch.randn(image.shape, generator=generator)).clamp(0, 1)[None]


def _inputs(net: nn.Module, side: int) -> tuple[Tensor, ...]:
    spec = _spec(net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image, *others = example_inputs(spec, (side, side))
    if image.ndim == 4 and image.shape[-1] == image.shape[-2]:
        image = _photograph(image.shape[1], image.shape[-1])
    return image, *others


def _call(net: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """The network's first result; what it draws is always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return first(net(*inputs))


def _psnr(image: Tensor, target: Tensor) -> float | None:
    """PSNR in dB, at most 200; None where the image is not finite, or the target is black and tells nothing.

    The peak is the target's range, or its largest magnitude where that is more: of random weights the result may be flat.
    """
    low, high = target.double().aminmax()
    peak = torch.stack((high - low, high.abs(), low.abs())).max()
    if not image.isfinite().all() or not peak:
        return None
    error = (image.double() - target.double()).square().mean()
    return min(200.0, float(10 * (peak.square() / error.clamp_min(1e-30)).log10()))


def _half_precision(net: nn.Module) -> dict[str, float | None]:
    inputs = _inputs(net, _HALF_SIDE)
    target = _call(net, inputs)
    found: dict[str, float | None] = {}
    for name in ("bfloat16", "float16"):
        with torch.autocast("cpu", getattr(torch, name)):
            found[name] = _psnr(_call(net, inputs).float(), target)
    return found


def _tiles(net: nn.Module) -> tuple[str, int | None, float | None]:
    spec = _spec(net)
    if spec.halo is not None:
        return "exact", spec.halo, None
    if spec.role != "restorer":
        return "blended", None, None
    image = _photograph(spec.in_channels, SIDE)
    whole, tiled = (restore(image, net, tile=tile, device="cpu", seed=0) for tile in (None, SIDE // 2))
    near = _psnr(tiled, whole)
    try:
        return "gathered", make_exact(make_network(net, None, image, device="cpu")).reach, near
    except ValueError:
        return "blended", None, near


@contextmanager
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()


def _compilation(net: nn.Module) -> tuple[str, int | None]:
    """Whether one graph holds the network, and how many further ones three other sizes on its grid need."""
    graphs = 0

    def count(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        nonlocal graphs
        graphs += 1
        return graph.forward

    with _fresh_compiler():
        compiled = torch.compile(net, backend=count, fullgraph=True, dynamic=True)
        try:
            for number, size in enumerate(_sizes(net)):
                compiled(*example_inputs(_spec(net), size))
                if number == 0:
                    first_graphs = graphs
        except Exception as error:  # whatever keeps the compiler from it is the finding
            return _first_line(error), None
    return "one graph", graphs - first_graphs


def _sizes(net: nn.Module) -> list[tuple[int, int]]:
    """Four sizes on the network's grid; one where it takes no other."""
    only = _spec(net).input_size
    if only is not None:
        return [only]
    step = math.lcm(_spec(net).multiple, 8)
    # Not smaller: torch takes other convolutions for small maps, and compiles these anew.
    least = math.ceil(96 / step)
    return [((least + rows) * step, (least + columns) * step) for rows, columns in ((0, 1), (1, 2), (2, 0), (3, 3))]


def _export(net: nn.Module) -> str:
    """The sizes that torch.export's program takes, tried at two others than the first."""
    spec = _spec(net)
    if spec.input_size is not None:
        return _try_export(net, 0) or f"{spec.input_size[0]}x{spec.input_size[1]}"
    if _try_export(net, 1) is None:
        return "any"
    if spec.multiple > 1:
        return _try_export(net, spec.multiple) or f"multiples of {spec.multiple}"
    return _try_export(net, 1, _LEAST) or f"any from {_LEAST} pixels"


def _try_export(net: nn.Module, step: int, least: int = 2) -> str | None:
    """Export for heights and widths that are multiples of `step` from `least` times it, 0 for the given ones.

    Returns:
        The reason where that fails.
    """
    sizes = _sizes(net)
    if step == 1:
        sizes = [sizes[0], *((height + 1, width - 3) for height, width in sizes[1:])]
    inputs = example_inputs(_spec(net), sizes[0])
    shapes: Any = None
    if step:
        rows, columns = (step * torch.export.Dim(name, min=least, max=4096) for name in ("rows", "columns"))
        if step == 1:
            rows, columns = (torch.export.Dim(name, min=least, max=4096) for name in ("height", "width"))
        shapes = tuple({2: rows, 3: columns} if x.ndim == 4 else None for x in inputs)
    try:
        program = torch.export.export(net, inputs, dynamic_shapes=shapes, strict=False).module()
        for size in sizes[1:3]:
            inputs = example_inputs(_spec(net), size)
            expected = _call(net, inputs)
            error = (_call(program, inputs) - expected).abs().max() / expected.abs().max()
            if not error <= _NEAR:
                return f"differs by {error:.1e} at {size[0]}x{size[1]}"
    except Exception as error:  # whatever keeps it from being exported is the finding
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:200]
