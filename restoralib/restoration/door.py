"""The call that most users need: an image in, the restored image of the same kind out."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor
from typing_extensions import Unpack

from restoralib.archs.spec import NetSpec
from restoralib.diffusion import DiffusionModel
from restoralib.diffusion.methods import Method
from restoralib.diffusion.restorer import Operator
from restoralib.images import MAX_PIXELS, Picture, check_pixels, check_target, from_picture, read_image, to_picture, write_image
from restoralib.latent.restorer import LatentRestorer
from restoralib.ops.resize import resize
from restoralib.restoration.auto import Auto
from restoralib.restoration.color import color_hidden
from restoralib.restoration.diffusers_adapter import DiffusersModel, Piped, refuse_for_pipeline
from restoralib.restoration.diffusion import Diffusion, diffusion_restorer, refuse_for_diffusion
from restoralib.restoration.exact import make_exact
from restoralib.restoration.latent import Latent, refuse_for_latent
from restoralib.restoration.models import find_model
from restoralib.restoration.network import Network, choose_device, choose_dtype, make_network
from restoralib.restoration.plan import TileSize, choose_tile
from restoralib.restoration.run import Progress, ProgressCallback, Runner
from restoralib.restoration.zero_shot import ZeroShotN2N, draw_seed

logger = logging.getLogger(__name__)

Model = str | os.PathLike[str] | Callable[..., Any] | DiffusionModel
AlphaMode = Literal["resize", "model", "drop"]
MAX_OUTPUT_PIXELS = 2**29
_FAR = 4.0  # beyond any overshoot, so the model has another range


def restore(
    image: Any,
    model: Model = "auto",
    *,
    prompt: str | None = None,
    models: Mapping[str, Model] | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    tile: TileSize = "auto",
    overlap: int | None = None,
    exact: bool = False,
    batch: int = 1,
    ensemble: bool = False,
    progress: ProgressCallback | bool | None = None,
    seed: int | None = None,
    spec: NetSpec | None = None,
    strict: bool = False,
    alpha: AlphaMode = "resize",
    max_pixels: int = MAX_PIXELS,
    max_output_pixels: int = MAX_OUTPUT_PIXELS,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: str | Method | None = None,
    operator: Operator | None = None,
    sigma: float = 0.0,
    scale: int | None = None,
) -> Any:
    """Restore an image of any size and kind; what comes back is of the same kind, its size multiplied by the model's scale.

    Large images go through the model in tiles, and only tiles go to the device. A model that looks no further than a quarter of
    a tile gives the result of the whole image; tiles of others are blended, and a mean over the image is then one over the
    tile, much as in TLC (arXiv:2112.04491). The caller's model, generators and settings stay as they are.

    A diffusion network is sampled, with one state and one noise for the whole image, so that tiles show no seams: the noise
    depends on the seed and the size alone.

    Args:
        image: a path; a PIL image; an array (h, w) or (h, w, c); a tensor (h, w), (c, h, w) or (b, c, h, w); or a
            `restoralib.images.Picture`. Arrays and tensors are RGB or grey, alpha last, uint8, uint16, bool, or floating point
            in [0, 1]. A path gives a PIL image, or an array where Pillow has no such image (16-bit and floating-point colour).
        model: a task such as "denoise" or "sr4", a name of `list_models()`, the path of a checkpoint, a module, or a callable
            from (b, c, h, w) to (b, c, s h, s w); a `DiffusionModel` or `DiffusionRestorer` for a diffusion
            of one's own; "zero_shot_denoise" for a network that learns from this image alone, without weights. To restore many
            images, load a model once and pass it.
            "auto" looks at the image: of the nine degradations it undoes those that it sees and has weights for, and names
            the others in a warning. An image in which it sees none comes back as it was.
        prompt: a wish in words: for the model, where it takes one; with "auto", in English, for what to do in place of what the
            image shows, such as "remove the noise and enlarge it, but leave the fog" (`restoralib.restoration.understand`).
        models: for "auto", task -> model for tasks without bundled weights, or in place of these: {"derain": "prenet.pth"}.
        device: "auto" is CUDA, MPS or the CPU, whichever is there first; for a callable that is no module, the image's own.
        dtype: of the computation. "auto" is float32; "bfloat16" and "float16" run by autocast, and a tile that overflows is
            computed again in float32; "float64" is for comparisons.
        tile: side, or (height, width), of what the model sees at once; "auto" goes by memory and cache, None takes all at once.
        overlap: pixels that tiles share at least.
        exact: give the result of the whole image by tiles, at more work; for models with means or Gram matrices over the image
            at very much more (`restoralib.restoration.exact`).
        batch: tiles in a call.
        ensemble: take the mean over the eight flips and turns of the image; eight times the work.
        progress: called with (done, total, stage) in tiles, in a diffusion in those of all steps, done = 0 before the first;
            its False, or an exception, ends the work. True writes to the log.
        seed: of a model that draws random numbers. In a diffusion, image k of a batch has the noise of seed + k.
        spec: scale and needs of a callable that has no `spec` of its own. Without, its scale is found on a piece of the image.
        strict: raise where half precision overflows.
        alpha: "resize" carries alpha by bicubic interpolation, "model" restores it as a grey image, "drop" leaves it out.
            Colour under fully transparent pixels never spreads.
        max_pixels: a file that declares more is refused before it is decoded.
        max_output_pixels: a result that had more is refused before any work.
        sampler, steps: of a diffusion, None for the authors' choice; see `restoralib.diffusion.DiffusionRestorer`.
        guidance, operator, sigma: how a diffusion network that knows no degraded image is told of it: a method such as "ddrm",
            what degraded the image, such as "sr4", and the standard deviation of its noise.
        scale: enlarge the image by this before a diffusion network that works at the size of the result, or tell how much
            smaller an operator makes it.

    Raises:
        ImageError: the image, or its file, cannot be used. It is a ValueError.
        ValueError: an argument does not fit the model, the machine or the others.
        TypeError: the image is of no known kind.
        FileNotFoundError, IsADirectoryError: there is no such file.
        OutOfMemory: not even small tiles fit. Larger ones that do not are halved.
        FloatingPointError: the model gives NaN or Inf, in half precision only where `strict`.
        Cancelled: `progress` returned False.
    """
    if alpha not in ("resize", "model", "drop"):
        raise ValueError(f"alpha should be 'resize', 'model' or 'drop', got {alpha!r}")
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch should be at least 1 and whole, got {batch!r}")
    if seed is not None and not isinstance(seed, int):
        raise ValueError(f"seed should be a whole number, got {seed!r}")
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise ValueError(f"progress should be True or callable with (done, total, stage), got {progress!r}")
    picture = read_image(image, max_pixels=max_pixels) if isinstance(image, str | os.PathLike) else to_picture(image)
    opacity = None if alpha == "drop" else picture.alpha
    images = [_batched(picture.color)]
    if opacity is not None:
        images = [color_hidden(images[0], _batched(opacity))] + ([_batched(opacity)] if alpha == "model" else [])
    found: Any = model if isinstance(model, DiffusionModel) else find_model(model)
    if models and not isinstance(found, Auto):
        raise ValueError(f"models are for 'auto', which chooses among them, and the model is {model!r}; leave one of them out")
    if isinstance(found, Auto):
        choose_tile((picture.color.shape[-2], picture.color.shape[-1]), tile, found.spec, choose_device(device), batch)
        choose_dtype(dtype)
        options: Options = {
            "device": device,
            "dtype": dtype,
            "tile": tile,
            "overlap": overlap,
            "exact": exact,
            "batch": batch,
            "ensemble": ensemble,
            "progress": progress,
            "seed": seed,
            "spec": spec,
            "strict": strict,
            "alpha": alpha,
            "max_output_pixels": max_output_pixels,
            "sampler": sampler,
            "steps": steps,
            "guidance": guidance,
            "operator": operator,
            "sigma": sigma,
            "scale": scale,
        }
        auto = replace(found, models={**found.models, **models}) if models else found
        return from_picture(_restore_by_tasks(picture, auto, prompt, options), image)
    if isinstance(found, ZeroShotN2N):
        found = found.fit(images[0], choose_device(device), draw_seed() if seed is None else seed)
    machine: dict[str, Any] = {"device": device, "dtype": dtype, "strict": strict}
    once = {"prompt": prompt, "spec": spec, "exact": exact, "ensemble": ensemble, "batch": batch > 1}
    asked = {"sampler": sampler, "guidance": guidance, "operator": operator, "sigma": sigma, "scale": scale}
    if isinstance(found, LatentRestorer):
        refuse_for_latent(**once, **asked)
        network: Network | Diffusion | Latent | Piped = Latent(found, images[0], steps=steps, **machine)
    elif isinstance(found, DiffusersModel):
        placing = {"device": device != "auto", "dtype": dtype != "auto", "tile": tile not in ("auto", None)}
        refuse_for_pipeline(**{**once, **asked, **placing, "prompt": None, "overlap": overlap, "strict": strict})
        network = Piped(found, images[0], prompt=prompt, steps=steps)
    elif restorer := diffusion_restorer(
        found, sampler=sampler, steps=steps, guidance=guidance, operator=operator, sigma=sigma, scale=scale
    ):
        refuse_for_diffusion(**once)
        network = Diffusion(restorer, images[0], **machine)
    else:
        network = make_network(found, spec, images[0], prompt=prompt, **machine)
    larger, (height, width) = network.spec.scale, picture.color.shape[-2:]
    check_pixels(larger * height, larger * width, max_output_pixels, "max_output_pixels")

    counter = Progress(_log_progress if progress is True else progress or None)
    if isinstance(network, Diffusion | Latent | Piped):
        with torch.no_grad():  # a guidance may differentiate
            restored = network.restore(images, tile=tile, overlap=overlap, seed=seed, progress=counter)
    else:
        runner = Runner(network, None, overlap, batch, ensemble, seed, fit=tile == "auto", progress=counter)
        with torch.inference_mode():
            known = (network.spec, network.device, batch, network.bytes_per_pixel)
            side = choose_tile((height, width), tile, *known)
            if exact and (side[0] < height or side[1] < width):
                runner.exact = make_exact(network)
                side = choose_tile((height, width), tile, *known, runner.exact.reach)
            runner.shrink = runner.exact is not None or not exact
            restored = runner.run(images, side)
    color = restored[0] if picture.color.ndim == 4 else restored[0][0]
    low, high = (float(value) for value in color.aminmax())
    if low < -_FAR or high > 1 + _FAR:
        warnings.warn(
            f"the model's result spans {low:.4g} to {high:.4g} and is cut to [0, 1]; models take and give [0, 1], wrap one "
            "that has another range",
            stacklevel=2,
        )
    if opacity is not None:
        before = opacity
        if alpha == "model":
            opacity = restored[1] if picture.color.ndim == 4 else restored[1][0]
        elif larger > 1:
            opacity = resize(opacity, larger)
        if larger == 1:
            seen = (before > 0) | (opacity > 0)
            color = torch.where(seen, color, picture.color)  # What nobody sees stays as it was.
    return from_picture(replace(picture, color=color, alpha=opacity), image)


def _restore_by_tasks(picture: Picture, auto: Auto, prompt: str | None, options: Options) -> Picture:
    """Do what `auto` chooses, one task after the other; for each image of a batch by itself."""
    color, opacity = picture.color, None if options["alpha"] == "drop" else picture.alpha
    if color.ndim == 4 and len(color) > 1:
        parts = []
        for number, image in enumerate(color):
            one = replace(picture, color=image[None], alpha=None if opacity is None else opacity[number, None])
            seed = options["seed"]
            parts.append(_restore_by_tasks(one, auto, prompt, {**options, "seed": None if seed is None else seed + number}))
        alphas = [part.alpha for part in parts if part.alpha is not None]
        return replace(picture, color=torch.cat([part.color for part in parts]), alpha=torch.cat(alphas) if alphas else None)
    progress = options["progress"]
    chosen = auto.choose(_batched(color), prompt, options["device"])
    picture = replace(picture, alpha=opacity)
    if not chosen:  # nothing to do is done at once
        counter = Progress(_log_progress if progress is True else progress or None)
        counter.begin(1)
        counter.advance(1)
    for task, model in chosen:
        asked: Options = {**options, "progress": _named(progress, task)}
        picture = restore(picture, model, **asked)
    return picture


def _named(progress: ProgressCallback | bool | None, task: str) -> ProgressCallback | bool | None:
    """The callback, told the task beside the stage."""
    if progress is None or isinstance(progress, bool):
        return progress
    return lambda done, total, stage: progress(done, total, f"{task}: {stage}")


def _batched(image: Tensor) -> Tensor:
    return image if image.ndim == 4 else image[None]


def _log_progress(done: int, total: int, stage: str) -> None:
    logger.info("%s: %d of %d tiles", stage, done, total)


class ModelOptions(TypedDict, total=False):
    """The keyword arguments of `restore` that mean the same for each of many images and for frames of films."""

    prompt: str | None
    models: Mapping[str, Model] | None
    device: str | torch.device
    dtype: str | torch.dtype
    tile: TileSize
    overlap: int | None
    exact: bool
    ensemble: bool
    spec: NetSpec | None
    strict: bool
    max_output_pixels: int
    sampler: str | None
    steps: int | None
    guidance: str | Method | None
    operator: Operator | None
    sigma: float
    scale: int | None


class ImageOptions(ModelOptions, total=False):
    """Those that images have beside, for each of many."""

    alpha: AlphaMode
    max_pixels: int


class Options(ImageOptions, total=False):
    """The keyword arguments of `restore`, for `restore_file`."""

    batch: int
    progress: ProgressCallback | bool | None
    seed: int | None


def restore_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    model: Model = "auto",
    *,
    overwrite: bool = False,
    keep_metadata: bool = True,
    quality: int = 95,
    **options: Unpack[Options],
) -> None:
    """Restore an image file into another, which is there whole or not at all.

    Args:
        source: the file to read.
        target: the file to write; its suffix tells the format.
        model: as in `restore`.
        overwrite: replace the target if it is there, the source included.
        keep_metadata: copy EXIF, XMP, colour profile and resolution.
        quality: of JPEG and WebP.
        options: further arguments of `restore`.

    Raises:
        FileExistsError: the target is there, and `overwrite` is not given.
        OSError, ValueError, RuntimeError: as `restore`, `read_image` and `write_image` raise them.
    """
    if Path(target).exists() and not overwrite:
        raise FileExistsError(f"{target} is there already; name another file, or pass overwrite=True")
    picture = read_image(source, max_pixels=options.get("max_pixels", MAX_PIXELS))
    # What cannot be written is no reason to work first.
    check_target(target, transparent=picture.alpha is not None and options.get("alpha") != "drop")
    write_image(target, restore(picture, model, **options), keep_metadata=keep_metadata, quality=quality)
