"""One model for many images: loaded and placed once, equal images in one call, an image that fails told and not raised."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from typing_extensions import Unpack

from restoralib.archs.spec import NetSpec
from restoralib.batch.sharding import item_seed
from restoralib.diffusion import DiffusionModel
from restoralib.images import Picture
from restoralib.latent.restorer import LatentRestorer
from restoralib.restoration.auto import Auto
from restoralib.restoration.door import ImageOptions, Model, restore
from restoralib.restoration.errors import Cancelled
from restoralib.restoration.models import find_model
from restoralib.restoration.network import bound, choose_device, choose_dtype, make_network, placed, unbound
from restoralib.restoration.plan import choose_batch, choose_tile
from restoralib.restoration.run import ProgressCallback
from restoralib.zoo import TASKS
from restoralib.zoo.measured import bytes_per_pixel

logger = logging.getLogger(__name__)

WAITING = 2**24
"""Pixels of images that wait for others of their size; beyond, the oldest go on without."""


@dataclass(frozen=True)
class Result:
    """What became of an image.

    Args:
        key: what it came with.
        picture: the restored one; None where it failed.
        error: why it failed.
        seconds: of its call, shared among the images of that.
    """

    key: Any
    picture: Picture | None
    error: Exception | None = None
    seconds: float = 0.0


@dataclass
class _Item:
    key: Any
    picture: Picture
    name: Any
    count: int = 0


class Restorer:
    """A model with its options, for many images.

    It can be pickled: what is loaded stays behind, and is loaded anew where it is needed, so that no process inherits the CUDA
    state of another.

    Images of one size share a call where the model is a network that gives each image of a batch the same as alone: not where
    it draws random numbers, nor where an image is cut into tiles. On the CPU such calls are filled up, by repetition, to a
    number that depends on the size alone: kernels are chosen by it, so that the bytes of a result do not depend on the images
    beside it. Elsewhere they are not filled, and a result may differ in its last digit by what shared its call (1e-5 of the
    range); `batch=1` excludes that.

    Args:
        model: as `restore` takes one.
        batch: the most images (or tiles of one image) in a call; None to go by size and memory, with 1 for tiles.
        seed: of a model that draws random numbers. Each image's own comes from this and the image's name, wherever in the
            list it stands.
        options: further arguments of `restore`.

    Raises:
        ValueError: `batch` is no whole number from 1, or `seed` none.
    """

    def __init__(
        self, model: Model = "auto", *, batch: int | None = None, seed: int | None = None, **options: Unpack[ImageOptions]
    ) -> None:
        if batch is not None and (not isinstance(batch, int) or batch < 1):
            raise ValueError(f"batch should be at least 1 and whole, or None, got {batch!r}")
        if seed is not None and not isinstance(seed, int):
            raise ValueError(f"seed should be a whole number, got {seed!r}")
        self.model, self.batch, self.seed, self.options = model, batch, seed, options
        self._found: Any = None
        self._given: dict[str, Any] = {}
        self._most: float = float("inf")  # pixels of a call that fitted into memory, once one did not
        self._inferred: dict[int, NetSpec] = {}
        self._sizes: dict[torch.Size, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what was loaded."""
        return {**self.__dict__, "_found": None, "_given": {}, "_most": float("inf"), "_inferred": {}, "_sizes": {}}

    def load(self) -> None:
        """Load the model and put it where it runs, if that was not done yet.

        Raises:
            ValueError, FileNotFoundError, TypeError: there is no such model or device, as `restore` says.
        """
        if self._found is not None:
            return
        found: Any = self.model if isinstance(self.model, DiffusionModel) else find_model(self.model)
        device, dtype = self.options.get("device", "auto"), choose_dtype(self.options.get("dtype", "auto"))
        full = torch.float64 if dtype == torch.float64 else torch.float32
        self._given = dict(self.options)
        if isinstance(found, Auto):
            place = functools.partial(self._place, device=device, dtype=full)
            found = replace(found, models={**found.models, **(self._given.pop("models", None) or {})})
            found = replace(found, models=_Kept(found.models, place))
        self._found = self._place(found, device=device, dtype=full)

    @staticmethod
    def _place(found: Any, *, device: str | torch.device, dtype: torch.dtype) -> Any:
        inner = unbound(found)
        if not isinstance(inner, nn.Module):
            return found
        place = choose_device(device)
        ready = placed(inner, place, dtype)
        return bound(ready, found, place, dtype) if isinstance(found, functools.partial) else ready

    @property
    def network(self) -> Any:
        """The model itself, where it runs."""
        self.load()
        return self._found

    def restore(self, picture: Picture, *, name: Any = None, progress: ProgressCallback | None = None) -> Picture:
        """Restore one image.

        Args:
            picture: the image.
            name: of the image, for its seed; None for the seed as it is.
            progress: as in `restore`.

        Raises:
            Exception: whatever `restore` raises.
        """
        return self._restore([_Item(None, picture, name)], 1, progress)[0]

    def stream(
        self, items: Iterable[tuple[Any, Picture, Any]], *, window: int = 256, progress: ProgressCallback | None = None
    ) -> Iterator[Result]:
        """Restore images as they come; those of one size wait for each other, so that results are not in order.

        Args:
            items: (key, image, name): the key comes back with the result, the name gives the image's seed, as in `restore`.
            window: an image waits for others until so many, itself among them, have come.
            progress: as in `restore`, for the images of a call.

        Raises:
            Cancelled: `progress` returned False; whatever it raises comes through as well.
        """
        self.load()
        waiting: dict[Hashable, list[_Item]] = {}
        for count, (key, picture, name) in enumerate(items):
            size = self.images_in_a_call(picture)
            kind = self._kind(picture) if size > 1 else None
            group = waiting.setdefault(kind, [])
            group.append(_Item(key, picture, name, count))
            if len(group) >= size:
                yield from self._call(waiting.pop(kind), size, progress)
            while waiting and (_first(waiting)[0].count <= count - window + 1 or _pixels(waiting) > WAITING):
                oldest = waiting.pop(next(iter(waiting)))
                yield from self._call(oldest, self.images_in_a_call(oldest[0].picture), progress)
        for group in waiting.values():
            yield from self._call(group, self.images_in_a_call(group[0].picture), progress)

    def _call(self, items: Sequence[_Item], size: int, progress: ProgressCallback | None) -> Iterator[Result]:
        """Restore images of one kind; where that fails, each by itself."""
        began = time.perf_counter()
        watched = _Watched(progress)
        try:
            restored = self._restore(items, size, watched)
        except Exception as error:
            if watched.ended or isinstance(error, Cancelled):
                raise
            if len(items) > 1:
                logger.info("a call for %d images failed, each is tried by itself", len(items), exc_info=True)
                for item in items:
                    yield from self._call([item], size, progress)
                return
            logger.info("%s failed", items[0].name, exc_info=True)
            yield Result(items[0].key, None, error, time.perf_counter() - began)
            return
        if watched.attempts > 1 and size > 1:
            # Less fitted into memory than was thought; do not try so much again.
            self._most = size * _area(items[0].picture) // 2
        seconds = (time.perf_counter() - began) / len(items)
        for item, picture in zip(items, restored, strict=True):
            yield Result(item.key, picture, None, seconds)

    def _restore(self, items: Sequence[_Item], size: int, progress: ProgressCallback | None) -> list[Picture]:
        self.load()
        options = dict(self._given)
        first = items[0].picture
        if "spec" not in options and (spec := self._spec(first)):
            options["spec"] = spec
        if size == 1:
            (item,) = items
            seed = self.seed if self.seed is None or item.name is None else item_seed(self.seed, item.name)
            return [restore(item.picture, self._found, batch=self.batch or 1, seed=seed, progress=progress, **options)]
        colors = [item.picture.color for item in items]
        alphas = [item.picture.alpha for item in items if item.picture.alpha is not None]
        if choose_device(options.get("device", "auto")).type == "cpu":
            colors += colors[-1:] * (size - len(colors))
            alphas += alphas[-1:] * (size - len(alphas))
        stacked = Picture(torch.stack(colors), torch.stack(alphas) if alphas else None, first.depth)
        whole = restore(stacked, self._found, batch=size, progress=progress, **{**options, "tile": None})
        opacities = whole.alpha if whole.alpha is not None else [None] * len(items)
        # Each in memory of its own, that none keeps the whole call alive.
        return [
            replace(item.picture, color=color.clone(), alpha=None if alpha is None else alpha.clone())
            for item, color, alpha in zip(items, whole.color, opacities, strict=False)
        ]

    def _spec(self, picture: Picture) -> NetSpec | None:
        """The needs of a foreign network, found on the first image and kept; None where the model has its own."""
        inner = unbound(self._found)
        channels = picture.color.shape[-3]
        if not isinstance(inner, nn.Module) or isinstance(getattr(self._found, "spec", getattr(inner, "spec", None)), NetSpec):
            return None
        if channels not in self._inferred:
            image = picture.color if picture.color.ndim == 4 else picture.color[None]
            names = ("prompt", "device", "dtype")
            given: Any = {name: value for name, value in self.options.items() if name in names}
            self._inferred[channels] = make_network(self._found, None, image, **given).spec
        return self._inferred[channels]

    def _kind(self, picture: Picture) -> Hashable:
        return (picture.color.shape, picture.color.dtype, picture.color.device, picture.alpha is None)

    def images_in_a_call(self, picture: Picture) -> int:
        """How many images like this one share a call."""
        self.load()
        if picture.color.shape not in self._sizes:
            self._sizes[picture.color.shape] = self._choose_size(picture)
        most = int(min(self._most, 2**40)) // _area(picture)
        return max(1, min(self._sizes[picture.color.shape], most))

    def _choose_size(self, picture: Picture) -> int:
        inner = unbound(self._found)
        if picture.color.ndim != 3 or self.options.get("exact") or not isinstance(inner, nn.Module):
            return 1
        if isinstance(inner, LatentRestorer):
            return 1
        spec = self.options.get("spec") or getattr(self._found, "spec", getattr(inner, "spec", None))
        if not isinstance(spec, NetSpec):
            if self.seed is not None or self.batch == 1:
                return 1
            try:
                spec = self._spec(picture)
            except Exception:
                return 1  # it is told where the image is restored
            assert spec is not None
        if spec.role != "restorer" or spec.noise:
            return 1
        size = (picture.color.shape[-2], picture.color.shape[-1])
        device, many = choose_device(self.options.get("device", "auto")), bytes_per_pixel(type(inner).__name__) or 0
        try:
            tile = choose_tile(size, self.options.get("tile", "auto"), spec, device, 1, many)
        except ValueError:
            return 1  # likewise
        if tile[0] < size[0] or tile[1] < size[1]:
            return 1
        return choose_batch(size, spec, device, many) if self.batch is None else self.batch


class _Kept(dict[str, Any]):
    """Models of tasks, each loaded and placed when it is first asked for."""

    def __init__(self, models: Mapping[str, Any], place: Callable[[Any], Any]) -> None:
        super().__init__({task: place(find_model(model)) for task, model in models.items()})
        self._load = place

    def get(self, task: str, default: Any = None) -> Any:
        """The model of a task; `default`, where nothing is bundled for it."""
        if task not in self and TASKS.get(task) is not None:
            self[task] = self._load(find_model(task))
        return super().get(task, default)


class _Watched:
    """A progress callback, of which is known whether it ended the work, and how often that began."""

    def __init__(self, callback: ProgressCallback | None) -> None:
        self.callback = callback
        self.attempts = 0
        self.ended = False

    def __call__(self, done: int, total: int, stage: str) -> Any:
        self.attempts += done == 0
        if self.callback is None:
            return None
        try:
            answer = self.callback(done, total, stage)
        except BaseException:
            self.ended = True
            raise
        self.ended = answer is False
        return answer


def _area(picture: Picture) -> int:
    return picture.color.shape[-2] * picture.color.shape[-1]


def _first(waiting: Mapping[Hashable, Sequence[_Item]]) -> Sequence[_Item]:
    return next(iter(waiting.values()))


def _pixels(waiting: Mapping[Hashable, Sequence[_Item]]) -> int:
    return sum(len(group) * _area(group[0].picture) for group in waiting.values())
