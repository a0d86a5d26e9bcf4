"""The command line: `restoralib restore`, `video`, `evaluate`, `report`, `train`, `models`, `capabilities`, `info` and others.

It maps arguments to functions of the library and draws what they give. Whatever needs torch is imported inside the commands, so
that `--help` answers at once.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from restoralib.archs import Inferred
    from restoralib.batch import Plan, Report, Restorer
    from restoralib.evaluation import Evaluation
    from restoralib.export import Description

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
logger = logging.getLogger(__name__)
screen = Console()
messages = Console(stderr=True)

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An argument of the network that its weights do not tell: scale=3."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_version(asked: bool) -> None:
    """Print the version and end, where it was asked for."""
    if asked:
        from restoralib import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def configure(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell what is done, and show tracebacks.")] = False,
) -> None:
    """Restore images, and look at models and checkpoints."""
    # The library's log and warnings go to standard error, between the lines of the progress bar.
    handler = RichHandler(console=messages, show_time=False, show_path=False)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(message)s", handlers=[handler], force=True
    )
    warnings.showwarning = show_warning


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Log the text of a Python warning, without the line of code that gave it."""
    logging.getLogger("py.warnings").warning("%s", message)


def stop(message: object) -> typer.Exit:
    """Print an error; raise what is returned to end with exit code 1."""
    messages.print(f"[red]error:[/red] {escape(str(message))}", highlight=False, soft_wrap=True)
    return typer.Exit(1)


# What is run


def parse_tile(text: str) -> str | int | tuple[int, int] | None:
    """ "auto", "none", a side such as "256", or height x width such as "256x384"."""
    if text in ("auto", "none"):
        return None if text == "none" else text
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ValueError(f"--tile should be auto, none, a number of pixels or HEIGHTxWIDTH, got {text!r}")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def parse_settings(texts: Sequence[str] | None) -> dict[str, Any]:
    """NAME=VALUE as keyword arguments; values are JSON where they can be, else text."""
    settings = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name.isidentifier() and equals):
            raise ValueError(f"--set expects NAME=VALUE, got {text!r}")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings


def choose_model(name: str, settings: dict[str, Any], find: Callable[[str], Any] | None = None) -> Any:
    """The model of a task, a name or a checkpoint file, loaded once for all images; `find_model` finds it, or `find`."""
    from restoralib import load_model
    from restoralib.checkpoints import AmbiguousCheckpoint
    from restoralib.restoration.models import find_model

    if settings and not Path(name).is_file():
        raise ValueError(f"--set is for checkpoint files, and {name} is none")
    try:
        return load_model(name, **settings) if settings else (find or find_model)(name)
    except AmbiguousCheckpoint as error:
        said, _, call = str(error).partition("; say it: ")
        arguments = ("scale=3" if "scale" in argument else f"{argument}=…" for argument in re.findall(r"(\w+)=…", call))
        raise ValueError(f"{said}; say it: {' '.join(f'--set {argument}' for argument in arguments)}") from error


def check_options(model: Callable[..., Any], device: str, tile: str | int | tuple[int, int] | None) -> None:
    """Raise ValueError where no image could be restored, for its device or tile."""
    from restoralib.archs import NetSpec
    from restoralib.restoration.network import choose_device
    from restoralib.restoration.plan import choose_tile

    chosen, spec = choose_device(device), getattr(model, "spec", None)
    if isinstance(spec, NetSpec) and isinstance(tile, int | tuple):
        choose_tile((1, 1), tile, spec, chosen, 1)


def check_diffusion(model: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise ValueError where the options of a diffusion do not fit the model."""
    from restoralib.latent.restorer import LatentRestorer
    from restoralib.restoration.diffusion import diffusion_restorer
    from restoralib.restoration.latent import refuse_for_latent

    asked = {name: options[name] for name in ("sampler", "steps", "guidance", "operator", "sigma", "scale")}
    if isinstance(model, LatentRestorer):
        model.times(asked.pop("steps"))
        refuse_for_latent(**asked)
    else:
        diffusion_restorer(model, **asked)


def check_wish(model: Any, prompt: str | None, models: Sequence[str] | None) -> Any:
    """Say what a prompt asks for, and give "auto" the models that are brought; each is loaded once.

    Raises:
        ValueError: the words are not understood, or the models are for another model than auto.
    """
    from restoralib.restoration.auto import Auto
    from restoralib.restoration.models import find_model
    from restoralib.restoration.prompts import understand

    brought = {}
    for text in models or ():
        task, equals, file = text.partition("=")
        if not (task and equals and file):
            raise ValueError(f"--models expects TASK=FILE, got {text!r}")
        brought[task] = file
    if not isinstance(model, Auto):
        if brought:
            raise ValueError("--models are for auto, which chooses among them; leave --model out")
        return model
    auto = Auto(brought)  # names that are no tasks are refused before anything is loaded
    if prompt is not None:
        messages.print(f"understood: {understand(prompt)}", highlight=False, markup=False)
    return replace(auto, models={task: find_model(file) for task, file in brought.items()}, classifier=model.classifier)


def read_mask(file: Path, operator: str | None) -> Callable[..., Any]:
    """The operator of holes that are black in an image."""
    from restoralib.diffusion import inpainting
    from restoralib.images import read_image

    if operator not in (None, "inpaint"):
        raise ValueError(f"--mask is an operator of its own; leave --operator {operator} out")
    return inpainting((read_image(file).color.mean(0) >= 0.5).double())


def run_under_a_bar(plan: Plan, restorer: Restorer, **options: Any) -> Report:
    """Do what was planned under a progress bar; of several processes, the first draws one.

    Args:
        plan: what to do.
        restorer: the model.
        options: further arguments of `run_plan`.
    """
    from restoralib.batch import run_plan

    columns = (
        TextColumn("{task.fields[position]} {task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        "<",
        TimeRemainingColumn(),
    )
    quiet = not messages.is_terminal or options["part"][0] > 0
    with Progress(*columns, console=messages, disable=quiet) as bar:
        task, before = bar.add_task("", total=len(plan.jobs), position=""), 0

        def progress(done: int, total: int, stage: str) -> None:
            nonlocal before
            before = done
            bar.update(task, completed=done, description=escape(printable(stage)), position=f"{done}/{total}")

        def tiles(done: int, total: int, stage: str) -> None:
            bar.update(task, completed=before + done / total)

        return run_plan(plan, restorer, progress=progress, tiles=tiles, **options)


def printable(text: object) -> str:
    """A text with escapes for what no terminal shows: names of files need not be text."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def published_names(told: Inferred) -> list[str]:
    """The published configurations that agree with all that a checkpoint's weights tell."""
    from restoralib.archs import VARIANTS

    defaults = {name: parameter.default for name, parameter in inspect.signature(told.cls).parameters.items()}
    sure = {name: value for name, value in told.config.items() if name not in told.assumed}
    configs = {name: {**defaults, **variant.config} for name, variant in VARIANTS.items() if variant.cls is told.cls}
    return [name for name, config in configs.items() if all(listed(config[key]) == listed(sure[key]) for key in sure)]


def listed(value: Any) -> Any:
    """Lists in place of tuples, which mean the same in a configuration."""
    return [listed(item) for item in value] if isinstance(value, list | tuple) else value


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """Facts about a checkpoint: its network, what is assumed or missing, and, where nothing is missing, the network's needs."""
    from restoralib.archs import VARIANTS
    from restoralib.checkpoints import build, read_checkpoint, recognize, recorded

    state, metadata = read_checkpoint(path)
    told = recorded(metadata) or recognize(state)
    published = published_names(told)
    net = None if told.missing else build(told.cls, told.config, state)
    spec: Any = net.spec if net else None
    tasks = spec.tasks if spec else [task for name in published for task in VARIANTS[name].tasks]
    weights = net.parameters() if net else state.values()
    return {
        "file": str(path),
        "network": told.cls.__name__,
        "tasks": sorted(set(tasks)),
        "published as": published,
        "parameters": sum(value.numel() for value in weights),
        "config": told.config,
        "assumed": dict(told.assumed),
        "missing": list(told.missing),
        "needs": asdict(spec) if spec else {},
        "metadata": metadata,
    }


def print_json(value: object) -> None:
    """Indented JSON on standard output; what JSON does not know becomes text."""
    typer.echo(json.dumps(value, indent=2, default=str))


# Commands


@app.command()
def restore(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="Image files, folders or globs.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results, or a file for one image.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Task, name of a model, or checkpoint file.")] = "auto",
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help='A wish in English: "remove the noise and enlarge it".')
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models", metavar="TASK=FILE", help="Weights for a task that auto or a prompt may choose; may be repeated."
        ),
    ] = None,
    settings: Settings = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Type of the computation.")] = "auto",
    tile: Annotated[str, typer.Option(help="auto, none, or the side of a tile in pixels: 256 or 256x384.")] = "auto",
    exact: Annotated[bool, typer.Option("--exact", help="Tiles that give the untiled result, at more work.")] = False,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Mean over eight flips and turns; eight times the work.")
    ] = False,
    overlap: Annotated[int | None, typer.Option(min=0, help="Pixels that tiles share at least.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Tiles, or equal small images, in a call.", show_default="by size and memory"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of a model that draws random numbers.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Of a diffusion: posterior, ddim, sde, ode …")] = None,
    steps: Annotated[int | None, typer.Option(help="Of a diffusion.", show_default="as its authors")] = None,
    guidance: Annotated[
        str | None, typer.Option(help="Method for an unconditional diffusion: ddrm, ddnm+, dps, diffpir …")
    ] = None,
    operator: Annotated[str | None, typer.Option(help="What degraded the image, for --guidance: denoise, sr2, sr4 …")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Image of the holes to fill, black where there is one, as --operator.")
    ] = None,
    sigma: Annotated[float, typer.Option(min=0, help="Noise in the image for --guidance, of 255.")] = 0.0,
    scale: Annotated[int | None, typer.Option(min=1, help="Enlarge before a diffusion by this.")] = None,
    alpha: Annotated[
        Literal["resize", "model", "drop"],
        typer.Option(help="Carry transparency by interpolation, restore it, or leave it out."),
    ] = "resize",
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Refuse files that declare more.")] = None,
    suffix: Annotated[str, typer.Option(help="Put between a result's name and its extension, such as _x4.")] = "",
    extension: Annotated[
        Literal["png", "jpg", "webp", "tif"] | None,
        typer.Option("--format", help="Format of the results.", show_default="that of the input"),
    ] = None,
    keep_metadata: Annotated[bool, typer.Option(help="Copy EXIF, XMP and ICC profile.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Restore again what is there, and inputs in place.")] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Do only this of N parts of the images, from 1/N to N/N.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that read, and as many that write.", show_default="half of the cores"),
    ] = None,
) -> None:
    """Restore images.

    Results that are there already are skipped; each file is written whole or not at all. One image that fails does not stop the
    others; it is listed at the end, and the exit code is then 1.

    Under torchrun, several processes share the images: torchrun --nproc-per-node 2 -m restoralib restore …
    """
    from restoralib.batch import (
        Restorer,
        nested,
        parse_shard,
        plan_files,
        process_device,
        processes,
        wait_for_others,
    )
    from restoralib.batch.files import is_folder
    from restoralib.restoration import OutOfMemory

    try:
        part = nested(processes(), parse_shard(shard) if shard else (0, 1))
        several = is_folder(output)
        plan = plan_files(inputs, output, suffix=suffix, extension=extension, overwrite=overwrite, part=part)
        options: dict[str, Any] = {"device": device, "dtype": dtype, "tile": parse_tile(tile), "exact": exact}
        options |= {"ensemble": ensemble, "overlap": overlap, "alpha": alpha, "prompt": prompt}
        options |= {"sampler": sampler, "steps": steps, "guidance": guidance, "sigma": sigma / 255, "scale": scale}
        options["operator"] = read_mask(mask, operator) if mask else operator
        if device == "auto" and processes()[1] > 1:
            options["device"] = process_device()
        if max_pixels is not None:
            options["max_pixels"] = max_pixels
        given = parse_settings(settings)
        chosen = choose_model(model, given) if plan.jobs or plan.skipped else None
        if chosen:
            chosen = check_wish(chosen, prompt, models)
            check_options(chosen, device, options["tile"])
            check_diffusion(chosen, options)
        restorer = Restorer("auto" if chosen is None else chosen, batch=batch, seed=seed, **options)
        report = run_under_a_bar(plan, restorer, keep_metadata=keep_metadata, part=part, workers=workers, alone=not several)
    except (ValueError, TypeError, OSError, OutOfMemory) as error:
        raise stop(error) from error
    there = f", {report.skipped} skipped: they are there already" if report.skipped else ""
    left = f", {report.results} left out: they are results" if report.results else ""
    which = f"part {part[0] + 1} of {part[1]}: " if part[1] > 1 else ""
    messages.print(f"{which}{report.restored} restored{there}{left}, {len(report.failures)} failed", highlight=False)
    for failure in report.failures:
        messages.print(f"[red]failed:[/red] {escape(printable(failure))}", highlight=False, soft_wrap=True)
    if report.stopped:
        messages.print(f"[red]stopped:[/red] {escape(printable(report.stopped))}", highlight=False, soft_wrap=True)
    wait_for_others()
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def video(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Video file.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .mp4, .mkv, .mov, .webm …")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Task, name of a model, checkpoint file, or auto, which goes by the first frames.",
            show_default="denoise, auto with a prompt",
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help='A wish in English: "remove the noise and enlarge it".')
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", metavar="TASK=FILE", help="Weights for a task that auto or a prompt may choose."),
    ] = None,
    settings: Settings = None,
    blend: Annotated[
        float, typer.Option(min=0, help="Blend with the frame before where nothing moves, against flicker: 0.7 for most of it.")
    ] = 0.0,
    codec: Annotated[str, typer.Option(help="auto, h264, hevc, vp9, av1, ffv1, or an encoder of FFmpeg.")] = "auto",
    crf: Annotated[int | None, typer.Option(min=0, help="Quality of the encoder; smaller is better.")] = None,
    pixel_format: Annotated[str, typer.Option(help="auto keeps the source's: yuv420p, yuv420p10le …")] = "auto",
    encoder_options: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of the encoder: preset=slow; may be repeated.")
    ] = None,
    audio: Annotated[bool, typer.Option(help="Copy the sound.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Type of the computation.")] = "auto",
    tile: Annotated[str, typer.Option(help="auto, none, or the side of a tile in pixels: 256 or 256x384.")] = "auto",
    overlap: Annotated[int | None, typer.Option(min=0, help="Pixels that tiles share at least.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Frames, or tiles of them, in a call.")] = 4,
    piece: Annotated[int, typer.Option(min=1, help="Frames that are lost at most when it is stopped.")] = 128,
    seed: Annotated[int, typer.Option(help="Of a model that draws random numbers.")] = 0,
    partial_source: Annotated[bool, typer.Option("--partial", help="Take a film that is cut short for what is there.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on where a run was stopped.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the result if it is there.")] = False,
) -> None:
    """Restore a film; sound and subtitles are copied, and every frame keeps its time.

    A run that was stopped goes on when the command is repeated. A name that begins with a dash goes behind --.
    """
    from restoralib.restoration import Cancelled, OutOfMemory
    from restoralib.video import Encoding, restore_video

    try:
        options = {}
        for text in encoder_options or ():
            name, equals, value = text.partition("=")
            if not (name and equals):
                raise ValueError(f"--option expects NAME=VALUE, got {text!r}")
            options[name] = value
        if crf is not None:
            options["crf"] = str(crf)
        named = model or ("auto" if prompt else "denoise")
        chosen = check_wish(choose_model(named, parse_settings(settings)), prompt, models)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} frames"))
        times = (TimeElapsedColumn(), "<", TimeRemainingColumn())
        with Progress(*columns, *times, console=messages, disable=not messages.is_terminal) as bar:
            task = bar.add_task(escape(source.name), total=None)

            def progress(done: int, total: int, stage: str) -> None:
                bar.update(task, completed=done, total=total)

            restore_video(
                source,
                output,
                chosen,
                prompt=prompt,
                batch=batch,
                blend=blend,
                encoding=Encoding(codec, pixel_format, options),
                audio=audio,
                overwrite=overwrite,
                resume=resume,
                partial_source=partial_source,
                piece=piece,
                progress=progress,
                seed=seed,
                device=device,
                dtype=dtype,
                tile=parse_tile(tile),  # type: ignore[arg-type]
                overlap=overlap,
            )
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError, OutOfMemory, Cancelled) as error:
        raise stop(error) from error
    screen.print(f"wrote {output}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def evaluate(
    data: Annotated[
        list[str],
        typer.Option(
            "--data", "-d", metavar="DIR", help="Folder of clean images or pairs, LAYOUT:PATH, synthetic-TASK:PATH; repeatable."
        ),
    ],
    model: Annotated[
        list[str],
        typer.Option("--model", "-m", help="Task, name, checkpoint file, bicubic, identity, median3 …; may be repeated."),
    ],
    scale: Annotated[int | None, typer.Option(min=1, help="Super-resolution factor.", show_default="the model's")] = None,
    noise: Annotated[float | None, typer.Option(min=0, help="Standard deviation of Gaussian noise, of 255.")] = None,
    noise_protocol: Annotated[
        Literal["paper", "paper-bgr", "uint8"],
        typer.Option(help="Noise unclipped, the same drawn on BGR, or clipped and rounded to 8 bits."),
    ] = "paper",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise, anew for every image.")] = 0,
    protocol: Annotated[
        str | None, typer.Option(help="classic, rgb, or a name of restoralib.metrics.PROTOCOLS.", show_default="the set's")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Comma-separated: psnr_y,ssim_y,lpips.", show_default="the protocol's")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", metavar="NETWORK=FILE", help="Weights that LPIPS and DISTS compare with: alexnet=FILE."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result as JSON.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write each image's figures, for one model and set.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder that keeps each image's figures, to go on where it stopped."),
    ] = None,
    sheets: Annotated[bool, typer.Option("--sheets", help="Write input, result, target and error map of each image.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Folder for a page with tables and sliders.")] = None,
    preset: Annotated[Literal["restoravision"] | None, typer.Option(help="Lay out the tables of a report.")] = None,
    settings: Settings = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Type of the computation.")] = "auto",
    tile: Annotated[str, typer.Option(help="none, as papers do; auto, or the side of a tile.")] = "none",
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Mean over eight flips and turns.")] = False,
    align: Annotated[
        bool, typer.Option("--align", help="Move and recolour the truth first: for photographs of screens.")
    ] = False,
) -> None:
    """Measure models on sets of images by the papers' protocols.

    Clean images are degraded here, by --scale or --noise. What fails is listed, and the exit code is then 1.
    """
    from restoralib.evaluation import evaluate_restoravision, lay_out, write_evaluations, write_report
    from restoralib.evaluation.restoravision import NOTES
    from restoralib.evaluation.run import PLAIN, find_method

    try:
        if csv_file and (preset or len(model) * len(data) > 1):
            raise ValueError("--csv is for one model and one set; --output writes a CSV for each")
        if report and not output:
            output = report / "runs"
        given = parse_settings(settings)
        named = {name: name if name in PLAIN else choose_model(name, given, find_method) for name in dict.fromkeys(model)}
        names = [name for name in (part.strip() for part in metrics.split(",")) if name] if metrics else None
        options: dict[str, Any] = {"device": device, "dtype": dtype, "tile": parse_tile(tile), "ensemble": ensemble}
        options |= {"pictures": report is not None, "sheets": sheets, "weights": parse_weights(weights)}
        if preset:
            if scale or noise or metrics or protocol:
                raise ValueError(f"--preset {preset} says what is measured; leave out --scale, --noise, --metrics, --protocol")
            filled = run_evaluations(lambda bar: evaluate_restoravision(named, data, output=output, progress=bar, **options))
            screen.print(lay_out(filled), markup=False, highlight=False, soft_wrap=True)
            found = [evaluation for one in filled for evaluation in one.evaluations]
        else:
            options |= {"scale": scale, "noise": noise, "noise_protocol": noise_protocol, "seed": seed}
            options |= {"protocol": protocol, "metrics": names, "align": align}
            found = evaluate_each(named, data, output, options)
            for evaluation in found:
                print_evaluation(evaluation)
        if json_file:
            write_evaluations(json_file, found)
        if csv_file:
            found[0].write_csv(csv_file)
        if report:
            page = write_report(found, report, notes=NOTES if preset else ())
            messages.print(f"wrote {page}", highlight=False)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise stop(error) from error
    raise typer.Exit(1 if any(evaluation.failures for evaluation in found) else 0)


@app.command()
def bars(
    folder: Annotated[Path, typer.Argument(help="Holds CBSD68, Set5/HR, noise, blur …, or clean photographs.")],
    task: Annotated[list[str] | None, typer.Option("--task", "-t", help="A task; may be repeated.", show_default="all")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="TASK=MODEL", help="In place of the task's bundled model; may be repeated."),
    ] = None,
    photographs: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Clean photographs for synthetic pairs; repeatable.", show_default="the folder's"),
    ] = None,
    size: Annotated[int, typer.Option(min=32, help="Longest side of synthetic pairs.")] = 256,
    count: Annotated[
        int | None, typer.Option(min=1, help="Synthetic pairs of a set.", show_default="one a photograph, 30 at least")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of synthetic pairs.")] = 0,
    without: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="A classical method to leave out, such as bm3d_told; repeatable.")
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option("--write", "-w", metavar="FILE", help="Write the table as .json, .csv or .md; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder that keeps each image's figures, to go on where it stopped."),
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Folder for a page with tables and sliders.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
) -> None:
    """Measure the input, classical methods and the bundled models on the same pairs, and tell which bars are reached.

    What is missing (folders, packages, weights) is left out and told. The exit code is 1 where an image or a method failed.
    """
    from restoralib.evaluation import lay_out_bars, measure_bars, told_bars, write_bars, write_report

    try:
        if bad := [str(file) for file in files or () if file.suffix.lower() not in (".json", ".csv", ".md")]:
            raise ValueError(f"bars are written as .json, .csv or .md, not as {', '.join(bad)}")
        brought = {}
        for text in model or ():
            name, equals, value = text.partition("=")
            if not (name and equals and value):
                raise ValueError(f"--model expects TASK=MODEL, got {text!r}")
            brought[name] = value
        if report and not output:
            output = report / "runs"
        asked: dict[str, Any] = {"tasks": task or None, "models": brought, "photographs": photographs or None, "size": size}
        asked |= {"count": count, "seed": seed, "without": without or (), "output": output, "device": device}
        asked |= {"pictures": report is not None}
        standings = run_evaluations(lambda progress: measure_bars(folder, progress=progress, **asked))
        screen.print(lay_out_bars(standings), markup=False, highlight=False, soft_wrap=True)
        for file in files or ():
            write_bars(file, standings)
        found = [evaluation for standing in standings for evaluation in standing.evaluations]
        if report and found:
            page = write_report(found, report, title="Bars", notes=told_bars(standings))
            messages.print(f"wrote {page}", highlight=False)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise stop(error) from error
    raise typer.Exit(1 if any(evaluation.failures for evaluation in found) else 0)


def parse_weights(texts: Sequence[str] | None) -> dict[str, Path]:
    """NETWORK=FILE as a mapping."""
    from restoralib.evaluation import MEASURES

    known = sorted({measure.network for measure in MEASURES.values() if measure.network})
    weights = {}
    for text in texts or ():
        network, equals, file = text.partition("=")
        if network not in known or not equals:
            raise ValueError(f"--weights expects NETWORK=FILE with {', '.join(known)}, got {text!r}")
        weights[network] = Path(file)
    return weights


def run_evaluations(work: Callable[[Callable[[int, int, str], None]], Any]) -> Any:
    """Do something with a progress bar, whose callback it is given."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), "<", TimeRemainingColumn())
    with Progress(*columns, console=messages, disable=not messages.is_terminal) as bar:
        task = bar.add_task("")

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(f"{done}/{total} {name}"))

        return work(progress)


def evaluate_each(
    models: Mapping[str, Any], data: Sequence[str], output: Path | None, options: Mapping[str, Any]
) -> list[Evaluation]:
    """Every model on every set, each in a folder of its own where there are several."""
    from restoralib.evaluation import evaluate
    from restoralib.evaluation.records import safe_name

    several = len(models) * len(data) > 1
    found = []
    for path in dict.fromkeys(data):
        for name, model in models.items():
            folder = output
            if output and several:
                folder = output / safe_name("-".join([*Path(path).parts[-2:], Path(name).stem]))
            run = partial(evaluate, model, path, name=name, output=folder, **options)
            found.append(run_evaluations(lambda progress, run=run: run(progress=progress)))  # type: ignore[misc]
    return found


def print_evaluation(evaluation: Evaluation) -> None:
    """The means, and what failed."""
    from restoralib.evaluation.report import shown

    count = len(evaluation.images)
    figures = "  ".join(f"{name} {shown(name, value)}" for name, value in evaluation.mean.items())
    line = f"{escape(evaluation.model)} on {escape(evaluation.data)} ({count}), {evaluation.protocol}: [bold]{figures}[/bold]"
    screen.print(line, highlight=False, soft_wrap=True)
    for note in evaluation.notes:
        messages.print(f"[yellow]note:[/yellow] {escape(note)}", highlight=False, soft_wrap=True)
    for failure in evaluation.failures:
        messages.print(f"[red]failed:[/red] {escape(str(failure))}", highlight=False, soft_wrap=True)


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT.json...", help="Files of `restoralib evaluate`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the page and its pictures.")],
    title: Annotated[str, typer.Option(help="Of the page.")] = "Evaluation",
    most: Annotated[int, typer.Option(min=0, help="Images of each set that get a slider.")] = 24,
) -> None:
    """Write a page that compares evaluations: tables, and sliders for images whose pictures were kept."""
    from restoralib.evaluation import write_report

    try:
        page = write_report(results, output, title=title, most=most)
    except (ValueError, OSError) as error:
        raise stop(error) from error
    screen.print(f"wrote {page}", highlight=False, soft_wrap=True)


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="A name of --list.", show_default=False)] = None,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="Folder of photographs.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File of the trained weights, RECIPE.safetensors by default.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the recipe: steps=10000, arch=nafnet_sidd_width32."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
    settings_help: Annotated[bool, typer.Option("--settings", help="Show the recipe's settings.")] = False,
) -> None:
    """Train a network by a recipe, on a folder of photographs; a run that was stopped goes on where it was.

    Under torchrun, several processes train together: torchrun --nproc-per-node 2 -m restoralib train …
    """
    from restoralib.training import RECIPES, find_recipe, recipe_arguments

    if listed or recipe is None:
        width = max(map(len, RECIPES))
        for name, line in RECIPES.items():
            screen.print(f"[bold]{name:<{width}}[/bold]  {escape(line)}", highlight=False, soft_wrap=True)
        return
    from restoralib.restoration import OutOfMemory

    try:
        run = find_recipe(recipe)
        if settings_help:
            return run(["--help"])
        if data is None:
            raise ValueError("name the folder of photographs by --data")
        told = logging.getLogger("restoralib.training")
        told.setLevel(logging.INFO)  # a line for every checkpoint
        run(recipe_arguments(data, output or Path(f"{recipe}.safetensors"), settings or ()))
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError, OutOfMemory) as error:
        raise stop(error) from error


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="Names to list, such as 'nafnet*'.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only models for this task, such as denoise or sr4.")] = None,
    commercial: Annotated[
        bool | None, typer.Option("--commercial/--non-commercial", help="By what the weights' licence allows.")
    ] = None,
    bundled: Annotated[bool, typer.Option("--bundled", help="Only models whose weights come with restoralib.")] = False,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Only models above 20 images/s of 256x256 here, measured now; takes a minute.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the models, their licences and where their weights are."""
    from restoralib.zoo import list_models, model_info
    from restoralib.zoo.measured import in_billions

    try:
        names = list_models(pattern, task=task, commercial=commercial, bundled=bundled or None)
    except ValueError as error:
        raise stop(error) from error
    if realtime:
        return list_realtime(names, as_json)
    entries = [model_info(name) for name in names]
    if as_json:
        print_json([asdict(entry) for entry in entries])
    if not entries:
        raise stop(f"no model matches {pattern!r}" + (" and the options" if task or bundled or commercial is not None else ""))
    if as_json:
        return
    # Two lines a model, since licences and addresses are too long for the columns of a terminal.
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        name, tasks = f"[bold]{entry.name:<{width}}[/bold]", ", ".join(entry.tasks) or f"({entry.role})"
        cost = "" if entry.multiply_adds is None else f"  {in_billions(entry.multiply_adds):>7} GMACs"
        numbers = f"x{entry.scale}  {entry.parameters:>11,} parameters{cost}"
        screen.print(f"{name}  {numbers}  {tasks}", highlight=False, soft_wrap=True)
        origin = f"    code {entry.code_license}, weights {entry.weights_license}: {entry.weights}"
        screen.print(escape(origin), highlight=False, soft_wrap=True, style="dim")


def list_realtime(names: Sequence[str], as_json: bool) -> None:
    """Print which of the models are fast here, with the figures, and what was not measured."""
    from restoralib import realtime
    from restoralib.zoo.measured import in_billions

    found = realtime.find_realtime(names)
    if as_json:
        print_json([asdict(speed) for speed in found.speeds])
    width = max((len(speed.model) for speed in found.speeds), default=0)
    for speed in found.speeds if not as_json else ():
        numbers = f"{speed.images_per_second:7.1f} images/s  {in_billions(speed.multiply_adds):>7} GMACs"
        screen.print(f"[bold]{speed.model:<{width}}[/bold]  {numbers}", highlight=False, soft_wrap=True)
    counts = {"slower": found.slower, "too costly to try": found.hopeless, "not reached in a minute": found.left}
    rest = ", ".join(f"{len(models)} {what}" for what, models in counts.items() if models)
    if rest:
        messages.print(f"of {len(names)} models {rest}", highlight=False, style="dim")
    if not found.speeds:
        raise stop(f"no model of these restores {realtime.RATE:.0f} images of 256x256 a second here")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A task, a name of `restoralib models --bundled`, or a checkpoint file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    kind: Annotated[
        Literal["onnx", "pt2", "safetensors"] | None,
        typer.Option("--format", help="Of the file; without it, by the file's name."),
    ] = None,
    int8: Annotated[
        str | None, typer.Option(metavar="IMAGES", help="ONNX of 8 bits, its ranges found on these images: a folder or a glob.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="safetensors in float16.")] = False,
    settings: Settings = None,
) -> None:
    """Write a model for other programs: ONNX, a program of torch.export, or safetensors.

    ONNX files and programs take any height and width, where the network allows it, and are compared with it first.
    """
    chosen = kind or output.suffix.removeprefix(".")
    if chosen not in ("onnx", "pt2", "safetensors"):
        raise stop(f"{output}: name a file in .onnx, .pt2 or .safetensors, or say --format")
    if (int8 and chosen != "onnx") or (half and chosen != "safetensors"):
        raise stop("--int8 is for ONNX and --half for safetensors")
    try:
        described = write_export(model, output, chosen, int8, half, parse_settings(settings))
    except (ValueError, TypeError, ImportError, OSError) as error:
        raise stop(error) from error
    sizes = "" if chosen == "safetensors" else f", sizes: {described.sizes}"
    what = f"{described.name} ({described.quantized}, scale {described.spec.scale}{sizes})"
    screen.print(escape(f"{output}: {what}, weights {described.licence}"), highlight=False, soft_wrap=True)


def write_export(name: str, output: Path, kind: str, int8: str | None, half: bool, settings: dict[str, Any]) -> Description:
    """Write a model's file; its name and its weights' licence are those of the zoo where it comes from there."""
    from torch import nn

    from restoralib.batch.files import find_images
    from restoralib.export import export_onnx, export_program, export_safetensors, quantize_onnx
    from restoralib.zoo import TASKS, list_models, model_info

    images = find_images([int8])[0] if int8 else []
    if int8 and not images:
        raise ValueError(f"--int8 {int8} names no images")
    net = choose_model(name, settings)
    if not isinstance(net, nn.Module):
        raise ValueError(f"{name} is no single network; export one of `restoralib models --bundled`, or a checkpoint")
    known = TASKS.get(name) or name
    if known in list_models():
        about: dict[str, Any] = {"name": known, "licence": model_info(known).weights_license}
    else:
        about = {"name": Path(name).stem}
    if kind == "pt2":
        return export_program(net, output, **about)
    if kind == "safetensors":
        return export_safetensors(net, output, half=half, **about)
    if not int8:
        return export_onnx(net, output, **about)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        export_onnx(net, whole, **about)
        return quantize_onnx(whole, images, output)


@app.command()
def capabilities(
    pattern: Annotated[str, typer.Argument(help="Names to show, such as 'nafnet*'.")] = "*",
    measure: Annotated[bool, typer.Option("--measure", help="Measure again, and store what is found; takes minutes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was measured of the networks: half precision, tiles, memory, compilation, export.

    With --measure, those of the pattern are measured again here: without it or with '*' the first configuration of every
    class and those with bundled weights.
    """
    from restoralib.zoo import list_models
    from restoralib.zoo.measured import capabilities as stored

    if measure:
        from restoralib.capabilities import representatives, write

        names = representatives() if pattern == "*" else list_models(pattern)
        write(names, tell=lambda line: messages.print(line, highlight=False))
        stored.cache_clear()
    entries = [entry for name, entry in stored().items() if fnmatchcase(name, pattern)]
    if not entries:
        raise stop(f"nothing was measured of {pattern!r}; add --measure, or see all names by `restoralib models`")
    if as_json:
        return print_json([asdict(entry) for entry in entries])
    width = max(len(entry.model) for entry in entries)
    for entry in entries:
        half = ", ".join(
            f"{name} {'fails' if psnr is None else f'{psnr:.0f} dB'}"
            for name, psnr in (("bfloat16", entry.bfloat16), ("float16", entry.float16))
        )
        reach = "" if entry.reach is None else f" within {entry.reach} px"
        near = "" if entry.tile_psnr is None else f" (128 px: {entry.tile_psnr:.0f} dB)"
        screen.print(
            f"[bold]{entry.model:<{width}}[/bold]  {half}  tiles {entry.tiles}{reach}{near}  "
            f"{entry.bytes_per_pixel / 1000:.1f} GB/megapixel",
            highlight=False,
            soft_wrap=True,
        )
        compiled = escape(f"    compile: {entry.compile}; export: {entry.export}; {entry.weights} weights")
        screen.print(compiled, highlight=False, soft_wrap=True, style="dim")


@app.command()
def info(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors, .pth, .pt or .ckpt file.")],
    as_json: AsJson = False,
) -> None:
    """Tell what network a checkpoint holds."""
    try:
        facts = describe_checkpoint(checkpoint)
    except (ValueError, TypeError, OSError) as error:
        raise stop(error) from error
    if as_json:
        return print_json(facts)
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        lines = [f"{key}: {item}" for key, item in value.items()] if isinstance(value, dict) else value
        text = "\n".join(map(str, lines)) if isinstance(lines, list) else f"{lines:,}" if isinstance(lines, int) else str(lines)
        table.add_row(f"[bold]{name}[/bold]", escape(text or "none"))
    screen.print(table)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="Image before.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Image after; a whole multiple of A's size.")],
    target: Annotated[Path | None, typer.Option("--target", "-t", help="The true image, to measure both against.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the picture goes.")] = Path("before_after.png"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the picture if it is there.")] = False,
) -> None:
    """Put two images side by side and print PSNR and SSIM, of one against the other or of both against a third.

    A smaller A is enlarged by bicubic interpolation. Figures are over RGB, all pixels.
    """
    from restoralib.comparison import enlarge_to, side_by_side
    from restoralib.images import Picture, read_image, write_image
    from restoralib.metrics import psnr, ssim

    paths = [before, after, target] if target else [before, after]
    try:
        if output.exists() and (not overwrite or output.resolve() in {path.resolve() for path in paths}):
            raise ValueError(f"{output} exists; name another --output" + ("" if overwrite else ", or --overwrite"))
        images = [read_image(path).color for path in paths]
        size = (images[1].shape[1], images[1].shape[2])
        images = [enlarge_to(image.expand(3, -1, -1), size) for image in images]
        output.parent.mkdir(parents=True, exist_ok=True)
        write_image(output, Picture(side_by_side(images)))
    except (ValueError, OSError) as error:
        raise stop(error) from error
    measured = zip(paths[:2], images[:2], strict=True) if target else [(after, images[1])]
    reference = images[2] if target else images[0]
    table = Table(f"against {target or before}", "PSNR, dB", "SSIM", box=None, header_style="bold")
    for path, image in measured:
        similarity = f"{ssim(image[None], reference[None]).item():.4f}" if min(size) >= 11 else "too small"
        table.add_row(str(path), f"{psnr(image[None], reference[None]).item():.2f}", similarity)
    screen.print(table)
    screen.print(f"wrote {output}", highlight=False)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Tell versions and devices, and check what works; the exit code is 1 where something does not."""
    from restoralib.doctor import diagnose

    findings = diagnose()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table(show_header=False, box=None)
        for finding in findings:
            mark = "[green]ok[/green]" if finding.ok else "[red]no[/red]"
            remedy = f"\n{finding.remedy}" if finding.remedy else ""
            table.add_row(finding.topic, finding.subject, mark, escape(finding.result + remedy))
        screen.print(table)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)
