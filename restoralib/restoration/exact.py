"""Tiles that give the result of the whole image, also by networks with means or Gram matrices over it.

Such reductions are gathered one after the other, each in a sweep over all tiles: the earlier ones are replaced by their values
for the whole image, this one is taken over the part of the tile that belongs to no other, and there the pass ends. Once all are
known the network looks no further than its convolutions, and a last sweep restores the image. That is slow: reductions + 1
sweeps, of which all but the last run half the network on average. It takes no more memory than a tile.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

import torch
from torch import Tensor, nn

from restoralib.archs.spec import NetSpec
from restoralib.blocks.reduction import GlobalReduction
from restoralib.ops.tile import Span, core_spans
from restoralib.restoration.network import Network, first, private_copy
from restoralib.restoration.plan import Plan

_STRIPS = (1 << 8, 1 << 11, 1 << 14)  # lengths in pixels of the images on which the reach is measured


class _Found(Exception):
    """Ends a pass with the statistic that it was made for, and the pixels that it is of."""

    def __init__(self, statistic: Tensor, pixels: int) -> None:
        self.statistic = statistic
        self.pixels = pixels


@dataclass
class Sweep:
    """What the reductions of a network give, in the order of their execution.

    Args:
        known: values for the whole image of the first reductions.
        core: the part of the tile over which the next one is taken, as (start, stop) in pixels of rows and of columns, stop
            None for all that the network has there, its padding included; None to take it over everything and go on.
        called: reductions so far in this pass.
        side: of the image of this pass, the longer one.
        resolutions: pixels of each reduction's map for one of the image, measured where the network pads nothing.
    """

    known: list[Tensor] = field(default_factory=list)
    core: tuple[tuple[int, int | None], ...] | None = None
    called: int = 0
    side: int = 0
    resolutions: list[Fraction] = field(default_factory=list)

    def restart(self, _: nn.Module, images: tuple[Tensor, ...]) -> None:
        """Begin a pass."""
        self.called, self.side = 0, max(images[0].shape[-2:])

    def reduce(self, reduction: GlobalReduction, x: Tensor) -> Tensor:
        """The known value, or that of the tile."""
        self.called += 1
        if self.called <= len(self.known):
            value = self.known[self.called - 1].to(x.device)
            return value.repeat(len(x) // len(value), *[1] * (value.ndim - 1))
        if self.core is None:
            if self.called > len(self.resolutions):
                self.resolutions.append(Fraction(max(x.shape[-2:]), self.side))
            self.known.append(reduction(x))
            return self.known[-1]
        resolution = self.resolutions[self.called - 1]
        for axis, (start, stop) in zip((-2, -1), self.core, strict=True):
            begin, end = start * resolution, x.shape[axis] if stop is None else stop * resolution
            if begin.denominator > 1 or end.denominator > 1:
                raise ValueError(f"exact=True cannot split feature maps of {resolution} times the image; use tile=None")
            x = x.narrow(axis, int(begin), int(end - begin))
        raise _Found(reduction(x), math.prod(x.shape[-2:]))


class _Gathered(nn.Module):
    """Stands in the place of a reduction."""

    def __init__(self, reduction: GlobalReduction, sweep: Sweep) -> None:
        super().__init__()
        self.reduction, self.sweep = reduction, sweep

    def forward(self, x: Tensor) -> Tensor:
        return self.sweep.reduce(self.reduction, x)


@dataclass
class Exact:
    """A network in a form whose tiles can give the result of the whole image.

    Args:
        network: the form, sharing its weights with the original.
        reach: how far it looks once its reductions are known.
        reductions: how many of them run in a pass.
        sweep: their state.
    """

    network: Network
    reach: int
    reductions: int = 0
    sweep: Sweep = field(default_factory=Sweep)

    def gather(self, image: Tensor, plan: Plan, advance: Callable[[int, str], None], noise: Tensor | None = None) -> None:
        """Make the reductions of an image (1, c, h, w) known, with the noise that the network is given for it."""
        self.sweep.known = []
        if len(plan) == 1:
            self.sweep.core = None
            return advance(self.reductions, "statistics")
        multiple = self.network.spec.multiple
        rows, columns = (
            [(span, _core(span, core)) for span, core in zip(spans, core_spans(spans, multiple), strict=True)]
            for spans in (plan.rows, plan.columns)
        )
        for _ in range(self.reductions):
            total, pixels, dtype = torch.zeros(()), 0, torch.float32
            for ((top, bottom), vertical), ((left, right), horizontal) in itertools.product(rows, columns):
                self.sweep.core = (vertical, horizontal)
                try:
                    self.network(image[..., top:bottom, left:right], noise)
                except _Found as found:
                    total = total + found.statistic.to("cpu", torch.float64) * found.pixels
                    pixels, dtype = pixels + found.pixels, found.statistic.dtype
                advance(1, "statistics")
            self.sweep.known.append((total / pixels).to(dtype))


def make_exact(network: Network) -> Exact:
    """Prepare a network for exact tiles.

    Raises:
        ValueError: it has an operation over the whole image that is not made of reductions, or computes in half precision.
    """
    if network.dtype != network.full:
        raise ValueError(f"exact=True computes in float32, not in {network.dtype}; leave dtype out")
    if network.spec.halo is not None:
        return Exact(network, network.spec.halo)
    model, operations = network.model, ", ".join(network.spec.global_ops)
    if not isinstance(model, nn.Module) or not any(isinstance(module, GlobalReduction) for module in model.modules()):
        raise ValueError(
            f"exact=True cannot tile this network: {operations} looks at the whole image and is no reduction that could be "
            "gathered; use tile=None, or exact=False"
        )
    probe = Sweep()
    reach = _measure_reach(_gathered(private_copy(model, torch.device("cpu"), torch.float32), probe), probe, network.spec)
    sweep = Sweep(resolutions=probe.resolutions)
    form = replace(network, model=_gathered(private_copy(model, network.device, network.full), sweep))
    return Exact(form, reach, len(probe.known), sweep)


def _gathered(model: nn.Module, sweep: Sweep) -> nn.Module:
    """The module itself, with its reductions replaced."""
    for name, module in list(model.named_modules()):
        if isinstance(module, GlobalReduction):
            model.set_submodule(name, _Gathered(module, sweep))
    model.register_forward_pre_hook(sweep.restart)
    return model


def _core(span: Span, core: Span) -> tuple[int, int | None]:
    """A core within its tile; what the network pads to the last tile belongs to its core."""
    return core[0] - span[0], None if core[1] == span[1] else core[1] - span[0]


def _measure_reach(model: nn.Module, sweep: Sweep, spec: NetSpec) -> int:
    """How far from a cell of the grid wrong pixels within it spoil what the network gives, once its reductions are known.

    NaN passes through every operation, whatever the weights, to all that depends on it. The cell lies in the middle of the
    image, away from its ends, which windows that were moved cyclically hold together behind a mask that NaN would pass. The
    images are narrow strips along either axis.

    Raises:
        ValueError: it spoils everything.
    """
    given = {"noise": torch.zeros(1, spec.noise)} if spec.noise else {}  # no number is drawn from the caller's generators
    for strip in _STRIPS:
        length = strip + -strip % spec.multiple  # nothing is padded
        reach, start = 0, length // 2 // spec.multiple * spec.multiple
        stop = start + spec.multiple
        for axis in (-2, -1):
            image = torch.full((1, spec.in_channels, length, spec.multiple), 0.5)
            image = image if axis == -2 else image.mT
            sweep.known = []
            with torch.inference_mode():
                model(image, **given)
                spoiled = image.clone()
                spoiled.movedim(axis, 0)[start:stop] = torch.nan
                wrong = first(model(spoiled, **given)).isnan().movedim(axis, 0).flatten(1).any(1)
                wrong = wrong.view(length, spec.scale).any(1).nonzero()
                if len(wrong):
                    reach = max(reach, start - int(wrong.min()), int(wrong.max()) + 1 - stop)
        if reach + spec.multiple < min(start, length - stop):
            return reach
    raise ValueError("exact=True cannot tile this network: it looks at the whole image also when its reductions are known")
