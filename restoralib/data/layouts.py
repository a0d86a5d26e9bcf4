"""The layouts of benchmarks: what lies where, how many pairs there are, how papers measure, and where a set comes from.

Nothing here downloads anything. A source or terms that are not surely known are called unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from restoralib.data.adapting import Adapt
from restoralib.data.entry import Problem
from restoralib.data.finding import Found, Places, Request, find_pairs

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Layout:
    """One benchmark, or one general shape of a folder.

    Args:
        name: under which `LAYOUTS` lists it.
        title: the set, its paper and year.
        variants: where its files lie, in order of preference.
        finder: finds the pairs where the variants cannot tell; `where` describes its files then.
        where: what lies where, for readers; None tells it from the variants.
        splits: split -> number of pairs that papers count, or None; the first is the usual one.
        protocol: key of `restoralib.metrics.PROTOCOLS` of its tables; None where there is none.
        others: further protocols that papers use on it.
        plain_protocol: the protocol without super-resolution, where that differs.
        tasks: what it is a benchmark of, by the names that `restore()` takes.
        scaled: it is a set for super-resolution, too.
        tabular: it is a table with columns.
        keep_gray: its tables score grey images as one channel.
        adapt: what its papers do to both images first.
        names: keys of the whole set, where they are known.
        source: where it comes from.
        terms: its terms of use.
        note: what else a reader of figures has to know.
    """

    name: str
    title: str
    variants: Sequence[Places] = ()
    finder: Callable[[Request], Found] | None = None
    where: str | None = None
    splits: Mapping[str, int | None] = field(default_factory=lambda: {"test": None})
    protocol: str | None = None
    others: tuple[str, ...] = ()
    plain_protocol: str | None = None
    tasks: tuple[str, ...] = ()
    scaled: bool = False
    tabular: bool = False
    keep_gray: bool = False
    adapt: Adapt | None = None
    names: Callable[[str], Collection[str]] | None = None
    source: str = UNKNOWN
    terms: str = UNKNOWN
    note: str = ""

    def find(self, request: Request) -> Found:
        """The entries of the set that lies under `request.root`; DatasetError where there is none."""
        if self.finder is not None:
            return self.finder(request)
        return find_pairs(request, self.variants, names=self.names(request.split) if self.names else ())

    def count_problems(self, request: Request, count: int) -> list[Problem]:
        """What is to be said where the number of pairs is not that of the papers."""
        wanted = self.splits.get(request.split)
        if wanted is None or wanted == count:
            return []
        return [Problem(request.root, f"holds {count} pairs of {self.name} ({request.split}), papers count {wanted}")]


def _enlarged(*more: Places) -> tuple[Places, ...]:
    """Variants of super-resolution sets: EDSR's and SwinIR's folders, BasicSR's, SelfExSR's, and clean images alone."""
    return (
        Places("HR", "LR_bicubic/X{scale}", degraded_stem="{name}x{scale}"),
        Places("HR", "LR_bicubic/X{scale}"),
        Places("GTmod12", "LRbicx{scale}"),
        Places("original", "LRbicx{scale}"),
        Places("image_SRF_{scale}", "image_SRF_{scale}", "{name}_SRF_{scale}_HR", "{name}_SRF_{scale}_LR"),
        *more,
        Places("HR"),
        Places("original"),
        Places("GTmod12"),
        Places("."),
    )


def _numbers(pattern: str, first: int, last: int) -> Callable[[str], Collection[str]]:
    names = tuple(pattern.format(number) for number in range(first, last + 1))
    return lambda split: names


_SET14 = "baboon barbara bridge coastguard comic face flowers foreman lenna man monarch pepper ppt3 zebra"


def _sr(name: str, title: str, count: int, terms: str = UNKNOWN, **more: Any) -> Layout:
    """A set of super-resolution tables."""
    return Layout(
        name,
        title,
        _enlarged(),
        splits={"test": count},
        protocol="classic-luma",
        others=("basicsr-y",),
        scaled=True,
        keep_gray=True,
        terms=terms,
        **more,
    )


_ALL: tuple[Layout, ...] = (
    Layout(
        "folder",
        "clean images of your own",
        (Places("."),),
        scaled=True,
        protocol="classic-luma",
        plain_protocol="rgb",
        source="yours",
        terms="yours",
    ),
    Layout(
        "pairs",
        "degraded and clean images of your own, with the same names",
        (
            Places("gt", "lq"),
            Places("target", "input"),
            Places("clean", "degraded"),
            Places("high", "low"),
            Places("HR", "LR"),
            Places("HR", "LR", degraded_stem="{name}x{scale}"),
        ),
        scaled=True,
        protocol="basicsr-y",
        plain_protocol="rgb",
        source="yours",
        terms="yours",
    ),
    _sr(
        "set5",
        "Set5, Bevilacqua et al., BMVC 2012",
        5,
        "research benchmark, no explicit licence",
        names=lambda split: ("baby", "bird", "butterfly", "head", "woman"),
    ),
    _sr(
        "set14",
        "Set14, Zeyde et al., 2010",
        14,
        "research benchmark, no explicit licence",
        names=lambda split: tuple(_SET14.split()),
        note="some copies hold grey images; the classic protocol scores them as they are",
    ),
)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ALL}
