"""A model on a set of images, measured as one of the papers' protocols says."""

from __future__ import annotations

import copy
import difflib
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restoralib.archs.spec import NetSpec
from restoralib.data import LAYOUTS, Benchmark, DatasetError, Pair, get_layout, open_benchmark
from restoralib.data import align as aligned
from restoralib.data.reading import image_files, to_image
from restoralib.evaluation.classical import CLASSICAL, Informed
from restoralib.evaluation.inputs import NoiseProtocol, add_table_noise, cut_to_multiple, reduce_colours, reduce_luma
from restoralib.evaluation.measures import Measure, Measuring, Weights, default_measures, get_measures, load_measure
from restoralib.evaluation.pictures import write_pictures
from restoralib.evaluation.records import Records, digest, digest_of_model
from restoralib.evaluation.results import Evaluation, Failure, ImageFigures
from restoralib.evaluation.synthetic import SyntheticPairs, open_synthetic
from restoralib.images import Picture
from restoralib.metrics import Protocol, get_protocol, luma_8_bits
from restoralib.ops.resize import resize
from restoralib.restoration import Cancelled, restore
from restoralib.restoration.models import Model, find_model
from restoralib.restoration.network import choose_device
from restoralib.restoration.plan import TileSize

Data = str | os.PathLike[str] | Benchmark | SyntheticPairs | Sequence[Pair] | Mapping[str, Tensor]
Progress = Callable[[int, int, str], object]

CLASSIC = "classic-luma"
# Methods that are no networks.
PLAIN = ("bicubic", "identity", "noisy")
# Folders that say which side of a set they hold, and not which set.
_PLACES = {"hr", "gt", "gtmod12", "clean", "target", "original", "images", "test", "val"}
# What super-resolution means by these words.
_SHORT = {"classic": CLASSIC, "rgb": "basicsr-y"}


def evaluate(
    model: Model,
    data: Data,
    *,
    scale: int | None = None,
    metrics: Iterable[str] | None = None,
    protocol: str | None = None,
    noise: float | None = None,
    noise_protocol: NoiseProtocol = "paper",
    seed: int = 0,
    name: str | None = None,
    output: str | os.PathLike[str] | None = None,
    pictures: bool = False,
    sheets: bool = False,
    weights: Weights | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: TileSize = None,
    ensemble: bool = False,
    align: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model on a set, as a protocol of the papers says.

    Images of a set without degraded ones are degraded here: reduced by MATLAB's bicubic where there is a scale, and given
    Gaussian noise where `noise` says so.

    A network for super-resolution that does not enlarge, such as SRCNN, gets what MATLAB's bicubic has enlarged.

    By the protocol "classic-luma", networks of luma and "bicubic" work on the luma alone, reduced without rounding. Networks of
    colours get reduced colours in 8 bits, as files hold them, and the luma of their result is rounded. Measures of colours
    (psnr, lpips and so on) are always taken of colours, beside which a network of luma has bicubic chroma.

    An image that cannot be read, restored or measured is listed under `failures`, and the others go on.

    Args:
        model: as `restore()` takes it, or "bicubic", "identity" (the input as it is), "noisy" (the same), or a key of
            `restoralib.evaluation.classical.CLASSICAL`, such as "median3". Of one that has `for_pair` (`Informed`), the method
            for each pair is asked first.
        data: a folder of clean images, or one of pairs (`lq` and `gt` and the like); LAYOUT:PATH, such as "set14:sets/Set14",
            with a name of `restoralib.data.LAYOUTS`; "synthetic-TASK:PATH" or "synthetic-TASK-LEVEL:PATH", such as
            "synthetic-jpeg-10:photos", for `SyntheticPairs` of a folder of clean images, with `seed`; a `Benchmark`,
            `SyntheticPairs`, `Pair`s, or name -> clean image (c, h, w) in [0, 1].
        scale: the super-resolution factor; None takes the model's.
        metrics: keys of `MEASURES`; None takes what the protocol's tables print.
        protocol: a key of `restoralib.metrics.PROTOCOLS`; for super-resolution also "classic" and "rgb", which stand for
            "classic-luma" and "basicsr-y". None is the set's own; "classic-luma" for super-resolution from clean images,
            "basicsr-y" for that of pairs, and else "rgb".
        noise: standard deviation of Gaussian noise, of 255.
        noise_protocol: how the noise is drawn and kept, as in `add_table_noise`.
        seed: of the noise, anew for every image, and of synthetic pairs that are named.
        name: of the model in the result.
        output: a folder that keeps the figures of each image, so that a second run goes on where the first was stopped, and at
            the end result.json and images.csv. Images that changed are measured again.
        pictures: write input, restored image and target into `output`, for `write_report`.
        sheets: write a picture of input, restored image, target and error map into `output` for every image.
        weights: network -> file of the weights that LPIPS and DISTS compare with, where these are not in the cache.
        device: as in `restore`.
        dtype: as in `restore`.
        tile: as in `restore`; None, all at once, is what papers do.
        ensemble: as in `restore`.
        align: move the truth of each pair to where the degraded image lies, and match its colours, by `restoralib.data.align`:
            for photographs of screens.
        progress: called with (done, total, name), done = 0 before the first; its False ends the work, and what was done is kept
            in `output`.

    Returns:
        Figures of each image, their means, and what failed.

    Raises:
        ValueError: an argument does not fit the others or the data; `output` holds another model's results.
        FileNotFoundError: a checkpoint, or the weights of a measure, are missing.
        Cancelled: `progress` returned False.
    """
    if (pictures or sheets) and output is None:
        raise ValueError("pictures and sheets go into a folder; pass output")
    plan = _plan(model, data, scale, metrics, protocol, noise, noise_protocol, seed, align)
    measures = {measure: load_measure(measure, weights) for measure in plan.measures}
    options = {"device": device, "dtype": dtype, "tile": tile, "ensemble": ensemble}
    title = name or (os.fspath(model) if isinstance(model, str | os.PathLike) else _called(model))
    settings = {
        "scale": plan.scale,
        "noise": noise,
        "noise_protocol": None if noise is None else noise_protocol,
        "seed": None if noise is None else seed,
        "input": plan.told,
        "tile": list(tile) if isinstance(tile, tuple) else tile,
        "ensemble": ensemble,
        "dtype": str(dtype).removeprefix("torch."),
        "model_digest": digest_of_model(plan.model),
    }
    if align:
        settings["align"] = True
    records = None
    if output is not None:
        about = {"model": title, "data": plan.source.name, "protocol": plan.protocol.name, "settings": settings}
        records = Records.open(output, about)
    job = _Job(plan, measures, options, records, pictures, sheets)

    images, failures = [], list(plan.source.problems)
    names = plan.source.names
    for number, known in enumerate(names):
        _tell(progress, number, len(names), known)
        try:
            done, failed = job.evaluate(plan.source.pairs[number])
        except Exception as error:  # One bad image must not stop the others.
            failures.append(Failure(known, str(error) or type(error).__name__))
            continue
        images.append(done)
        failures += failed
    _tell(progress, len(names), len(names), "")
    evaluation = Evaluation(
        title,
        plan.source.name,
        plan.protocol.name,
        tuple(measure.name for measure in plan.measures),
        tuple(images),
        tuple(failures),
        settings,
        _environment(device),
        records.folder if records else None,
        plan.source.remarks,
    )
    if records:
        evaluation.write_json(records.folder / "result.json")
        evaluation.write_csv(records.folder / "images.csv")
    return evaluation


def _tell(progress: Progress | None, done: int, total: int, name: str) -> None:
    if progress is not None and progress(done, total, name) is False:
        raise Cancelled(f"stopped by progress after {done} of {total} images")


# What is decided before the first image


@dataclass(frozen=True)
class _Source:
    """A set, opened.

    Args:
        name: of the set.
        pairs: its pairs, read when they are asked for.
        names: their names.
        scale: the set's, 1 for none.
        protocol: the set's.
        problems: files that are missing.
        remarks: what else a reader of the figures has to know.
        makes: there are no degraded images, so they are made here.
    """

    name: str
    pairs: Sequence[Pair]
    names: Sequence[str]
    scale: int = 1
    protocol: str | None = None
    problems: tuple[Failure, ...] = ()
    remarks: tuple[str, ...] = ()
    makes: bool = True

    @property
    def bicubic(self) -> bool:
        """Its degraded images, where it has any, are reductions of the clean ones by MATLAB's bicubic."""
        return self.makes or self.protocol == CLASSIC


@dataclass(frozen=True)
class _Plan:
    """Model, set and rules that fit each other."""

    model: Callable[..., Any] | str
    source: _Source
    scale: int
    protocol: Protocol
    measures: tuple[Measure, ...]
    noise: float | None
    noise_protocol: NoiseProtocol
    seed: int
    align: bool

    @property
    def on_luma(self) -> bool:
        """The model works on the luma alone, by the classic protocol."""
        spec = _spec_of(self.model)
        return self.protocol.name == CLASSIC and (self.model == "bicubic" or (spec is not None and spec.color == "y"))

    @property
    def enlarges_first(self) -> bool:
        """The model is given what bicubic interpolation has enlarged."""
        return wants_enlarged(_spec_of(self.model), self.scale)

    @property
    def told(self) -> str:
        """How the degraded images come to be."""
        if self.scale > 1 and self.on_luma and self.source.bicubic:
            text = "luma of the clean images in 8 bits, reduced by MATLAB's bicubic without rounding"
        elif not self.source.makes:
            text = "the set's degraded images" + (", the truth aligned and its colours matched" if self.align else "")
        else:
            text = "the clean images" + (", reduced by MATLAB's bicubic and rounded to 8 bits" if self.scale > 1 else "")
        if self.noise is None:
            return text
        return f"{text}; Gaussian noise of sigma {self.noise:g} ({self.noise_protocol}, seed {self.seed})"


def _plan(
    model: Model,
    data: Data,
    scale: int | None,
    metrics: Iterable[str] | None,
    protocol: str | None,
    noise: float | None,
    noise_protocol: NoiseProtocol,
    seed: int,
    align: bool,
) -> _Plan:
    """Open the model and the set, and see whether they and the rules fit each other."""
    if scale is not None and (isinstance(scale, bool) or not isinstance(scale, int) or scale < 1):
        raise ValueError(f"scale should be a whole number from 1, got {scale!r}")
    add_table_noise(torch.zeros(1, 1, 1), noise or 0.0, seed=seed, kind=noise_protocol)  # It refuses what it cannot take.
    chosen = find_method(model)
    chosen = chosen if isinstance(chosen, str) else _ready(chosen)
    own = _spec_of(chosen)
    scale = scale or (own.scale if own else None)
    source = _open(data, scale, seed)
    scale = scale or source.scale
    if chosen == "bicubic" and scale == 1:
        raise ValueError("bicubic enlarges; say by how much: scale=4 (--scale 4). What restores nothing is 'identity'")
    reached = own.scale if own else 1 if chosen in ("identity", "noisy") else scale
    if reached != scale and not wants_enlarged(own, scale):
        raise ValueError(f"the model enlarges by {reached}, the evaluation is at scale {scale}; choose the model for it")
    if source.makes and scale == 1 and noise is None:
        raise ValueError(
            f"{source.name} holds clean images alone; say how to degrade them, scale=4 (--scale 4) or noise=25 (--noise 25), "
            "or give a folder of pairs, with lq and gt in it"
        )
    if noise is not None and not source.makes and scale == 1:
        raise ValueError(f"{source.name} has degraded images of its own; leave noise out")
    if align and (source.makes or scale > 1):
        raise ValueError(f"align is for pairs of one size, such as photographs of screens; {source.name} has none")
    if protocol is not None:
        rules = get_protocol(_SHORT.get(protocol, protocol) if scale > 1 else protocol)
    else:
        rules = _usual_protocol(source, scale)
    measures = get_measures(default_measures(rules) if metrics is None else metrics)
    return _Plan(chosen, source, scale, rules, tuple(measures), noise, noise_protocol, seed, align)


def _usual_protocol(source: _Source, scale: int) -> Protocol:
    """The protocol where nobody says one."""
    own = get_protocol(source.protocol) if source.protocol else None
    if scale == 1:
        return own if own and own.border == "none" else get_protocol("rgb")
    return own if own and own.border == "scale" else get_protocol(CLASSIC if source.makes else "basicsr-y")


def _open(data: Data, scale: int | None, seed: int = 0) -> _Source:
    """Open what the caller named."""
    if isinstance(data, str | os.PathLike):
        data = open_synthetic(os.fspath(data), seed=seed) or data
    if isinstance(data, SyntheticPairs):
        return _Source(data.name, data, data.names, problems=data.problems, remarks=(data.told,), makes=False)
    if isinstance(data, Mapping):
        pairs = [Pair(str(name), None, to_image(image, keep_gray=True)) for name, image in data.items()]
        return _Source("images", pairs, [pair.name for pair in pairs])
    if isinstance(data, str | os.PathLike):
        data, called = open_path(os.fspath(data), scale)
    else:
        called = data.name if isinstance(data, Benchmark) else "pairs"
    if not isinstance(data, Benchmark):
        pairs = list(data)
        if any(not isinstance(pair, Pair) for pair in pairs):
            raise TypeError("data should be a path, LAYOUT:PATH, a Benchmark, restoralib.data.Pairs, or name -> clean image")
        return _Source(called, pairs, [pair.name for pair in pairs], makes=all(pair.degraded is None for pair in pairs))
    sources = {source.path for entry in data.entries for source in entry.sources}
    others = [problem for problem in data.problems if problem.file not in sources]  # The files of pairs tell themselves.
    return _Source(
        called,
        data,
        data.names,
        data.scale,
        data.protocol,
        tuple(Failure(str(problem.file), problem.reason) for problem in others if not problem.file.is_dir()),
        tuple(f"{problem}; the means are not those of the papers' set" for problem in others if problem.file.is_dir()),
        makes=all(entry.degraded is None for entry in data.entries),
    )


def _folder_name(folder: Path) -> str:
    """What a folder of one's own is called: by its name, or the one above where that only says what lies there."""
    folder = folder.resolve()
    return folder.parent.name if folder.name.lower() in _PLACES and folder.parent.name else folder.name


def open_path(path: str, scale: int | None) -> tuple[Benchmark, str]:
    """The set of a path or LAYOUT:PATH, and what it is called: by its folder's name, where it is one's own."""
    layout, colon, rest = path.partition(":")
    # One letter is a drive of Windows.
    if colon and re.fullmatch(r"\w[\w-]+", layout) and not Path(path).exists():
        plan = get_layout(layout)
        scale = scale if plan.scaled else None
        opened = open_benchmark(layout, rest, scale=scale, keep_gray=True if plan.scaled else None)
        return opened, _folder_name(Path(rest)) if plan.source == "yours" else opened.name
    folder = Path(path)
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} is no folder; give one of clean images or of pairs, or LAYOUT:PATH with a layout of {', '.join(LAYOUTS)}"
        )
    if image_files(folder):
        return open_benchmark("folder", folder, scale=scale, keep_gray=True), _folder_name(folder)
    try:
        opened = open_benchmark("pairs", folder, scale=scale, keep_gray=True)
    except DatasetError as error:
        raise DatasetError(f"{folder} holds no images, and no pairs: {error}") from error
    missing = {problem.file for problem in opened.problems}
    if all(any(source.path in missing for source in entry.sources) for entry in opened.entries):
        kept = sorted(
            {source.path.parent for entry in opened.entries for source in entry.sources} - {f.parent for f in missing}
        )
        raise DatasetError(
            f"{folder} holds no images and no whole pair: {opened.problems[0]}; name the folder of clean images "
            f"({', '.join(map(str, kept)) or folder}), or the layout, such as set5:{folder}"
        )
    return opened, _folder_name(folder)


def find_method(model: Model) -> Callable[..., Any] | str:
    """A method of `PLAIN` as its name, a classical one of its name, else the model that `find_model` finds.

    Raises:
        TypeError, ValueError, FileNotFoundError: as `find_model`.
    """
    if isinstance(model, str) and model in PLAIN:
        return model
    if isinstance(model, str) and model in CLASSICAL:
        return CLASSICAL[model]
    try:
        return find_model(model)
    except ValueError as error:
        named = isinstance(model, str) and not Path(model).suffix  # A file that cannot be loaded is another matter.
        near = difflib.get_close_matches(str(model), [*PLAIN, *CLASSICAL]) if named else []
        if not near:
            raise
        raise ValueError(f"{error}; or did you mean {near[0]}, which is no network?") from error


def wants_enlarged(spec: NetSpec | None, scale: int) -> bool:
    """Whether a network for super-resolution keeps the size and wants what bicubic has enlarged, as SRCNN does."""
    return scale > 1 and spec is not None and spec.scale == 1 and f"sr{scale}" in spec.tasks


def _ready(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model in eval mode, a copy where the caller's is not, so that `restore` need not make one for every image."""
    if isinstance(model, nn.Module) and any(module.training for module in model.modules()):
        return copy.deepcopy(model).eval()
    return model


def _spec_of(model: Callable[..., Any] | str) -> NetSpec | None:
    spec = getattr(model, "spec", None)
    return spec if isinstance(spec, NetSpec) else None


def _called(model: Any) -> str:
    return str(getattr(model, "__name__", None) or type(model).__name__)


def _environment(device: str | torch.device) -> dict[str, str]:
    from restoralib import __version__

    place = choose_device(device)
    processor = torch.cuda.get_device_name(place) if place.type == "cuda" else platform.machine()
    return {
        "restoralib": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "device": f"{place} ({processor})",
        "threads": str(torch.get_num_threads()),
    }


# One image


@dataclass(frozen=True)
class _View:
    """One run of the model: what it was given, what it gave, and the truth; each (1, c, h, w)."""

    given: Tensor
    restored: Tensor
    target: Tensor | None
    seconds: float


@dataclass(frozen=True)
class _Job:
    """What is done with each image."""

    plan: _Plan
    measures: Mapping[Measure, Measuring]
    options: Mapping[str, Any]
    records: Records | None
    pictures: bool
    sheets: bool

    def evaluate(self, pair: Pair) -> tuple[ImageFigures, list[Failure]]:
        """The figures of one image, and the measures that failed for it.

        Raises:
            Exception: it cannot be restored, or nothing of it can be measured.
        """
        wanted = [measure.name for measure in self.measures]
        key = digest(pair.degraded, pair.clean)
        if self.records and (stored := self.records.find(pair.name, key, wanted, pictures=self.pictures, sheets=self.sheets)):
            return stored, []
        _check_pair(pair)
        if self.plan.align and pair.degraded is not None and pair.clean is not None:
            degraded, clean = aligned(pair.degraded, pair.clean)
            pair = replace(pair, degraded=degraded, clean=clean)
        views: dict[bool, _View] = {}
        figures, failed = {}, []
        for measure, function in self.measures.items():
            if measure.target and pair.clean is None:
                reason = f"{measure.title} compares with a target, and this image has none; niqe needs none"
                failed.append(Failure(pair.name, reason, measure.name))
                continue
            view = self.view(pair, views, measure.luma and self.plan.on_luma)
            try:
                _check_sizes(view)
                figures[measure.name] = function(view.restored, view.target, self.plan.protocol, self.plan.scale)
            except (ValueError, TypeError) as error:
                failed.append(Failure(pair.name, str(error), measure.name))
        if not figures:
            raise ValueError("; ".join(dict.fromkeys(failure.reason for failure in failed)))
        files = {}
        if self.records and (self.pictures or self.sheets):
            view = self.view(pair, views, False)
            images = (view.given, view.restored, view.target)
            files = write_pictures(self.records.folder, pair.name, *images, pictures=self.pictures, sheets=self.sheets)
        height, width = next(iter(views.values())).restored.shape[-2:]
        seconds = sum(view.seconds for view in views.values())
        done = ImageFigures(pair.name, figures, height, width, seconds, files)
        if self.records and not failed:
            self.records.add(done, key)
        return done, failed

    def view(self, pair: Pair, views: dict[bool, _View], luma: bool) -> _View:
        """The run on the luma or on colours, of which each is done once."""
        if luma not in views:
            given, target = (_luma_sides if luma else _colour_sides)(self.plan, pair)
            if self.plan.noise is not None:
                given = add_table_noise(given, self.plan.noise, seed=self.plan.seed, kind=self.plan.noise_protocol)
            model = self.plan.model.for_pair(pair) if isinstance(self.plan.model, Informed) else self.plan.model
            began = time.perf_counter()
            restored = _restore(self.plan, model, given, self.options, luma=luma)
            seconds = time.perf_counter() - began
            views[luma] = _View(given[None], restored[None], None if target is None else target[None], seconds)
        return views[luma]


def _check_pair(pair: Pair) -> None:
    for side, image in (("degraded", pair.degraded), ("clean", pair.clean)):
        if image is None:
            continue
        if image.ndim != 3 or image.shape[0] not in (1, 3) or not image.numel():
            raise ValueError(f"the {side} image should be (3, h, w) or (1, h, w), got {tuple(image.shape)}")
        if not image.isfinite().all():
            raise ValueError(f"the {side} image holds NaN or Inf; mend the file or leave it out")
    if pair.clean is not None:
        low, high = (float(value) for value in pair.clean.aminmax())
        if low < -1e-6 or high > 1 + 1e-6:
            raise ValueError(f"the clean image should lie in [0, 1], it spans {low:.4g} to {high:.4g}; divide it by its range")


def _clean(pair: Pair) -> Tensor:
    if pair.clean is None:
        raise ValueError("the set has neither a degraded image nor a clean one to make it of")
    return pair.clean


def _luma_sides(plan: _Plan, pair: Pair) -> tuple[Tensor, Tensor | None]:
    """Input and target of the classic protocol."""
    if pair.degraded is None or plan.source.bicubic:
        target, given = reduce_luma(cut_to_multiple(_clean(pair), plan.scale), plan.scale)
        return given, target
    given = luma_8_bits(pair.degraded[None].double())[0]
    return given, None if pair.clean is None else luma_8_bits(pair.clean[None].double())[0]


def _colour_sides(plan: _Plan, pair: Pair) -> tuple[Tensor, Tensor | None]:
    """Input and target as files hold them."""
    given, target = pair.degraded, pair.clean
    if given is None:
        target = cut_to_multiple(_clean(pair), plan.scale)
        given = reduce_colours(target, plan.scale) if plan.scale > 1 else target
    if plan.protocol.name.startswith("basicsr"):  # Its readers give grey files three equal channels.
        given, target = (side if side is None or side.shape[0] != 1 else side.expand(3, -1, -1) for side in (given, target))
        assert given is not None
    return given, target


def _restore(plan: _Plan, model: Callable[..., Any] | str, given: Tensor, options: Mapping[str, Any], *, luma: bool) -> Tensor:
    """(c, h, w) -> (c, s h, s w), by the plan's model or what it is for this pair."""
    if model == "bicubic":
        return resize(given.double(), plan.scale)
    if isinstance(model, str):
        return given
    spec = _spec_of(model)
    if plan.enlarges_first:
        given = resize(given.double(), plan.scale)
    if luma and spec is not None:
        spec = replace(spec, color="gray")  # It has the luma in hand: nothing is left to convert.
    # A picture, unlike a tensor, may leave [0, 1] as far as noise takes it.
    restored = restore(Picture(given.float()), model, spec=spec, **options)
    return restored.color


def _check_sizes(view: _View) -> None:
    if view.target is not None and view.restored.shape[-2:] != view.target.shape[-2:]:
        sizes = [f"{image.shape[-2]}x{image.shape[-1]}" for image in (view.restored, view.target)]
        raise ValueError(f"the restored image is {sizes[0]} and the target {sizes[1]}; a pair has to be of one size")
