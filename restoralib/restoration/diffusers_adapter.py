"""Image-to-image pipelines of the package `diffusers` behind restore(): RealRestorer on Step1X-Edit, InstructPix2Pix, others.

    model = DiffusersModel.load("RealRestorer")  # a folder of `save_pretrained`, on this machine
    restored = restore("photo.jpg", model, prompt="Please remove the haze.", steps=28, seed=0)

Nothing is downloaded, and the package is only needed by `load`; a pipeline that is there already can be any callable with the
arguments of diffusers' own. A pipeline sees the whole image and knows no tiles.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from restoralib.archs.spec import NetSpec
from restoralib.ops.levels import nearest_levels
from restoralib.ops.pad import pad_to_multiple
from restoralib.ops.resize import resize
from restoralib.restoration.color import check_channels, restore_channels
from restoralib.restoration.errors import OutOfMemory, is_out_of_memory, refuse
from restoralib.restoration.plan import TileSize
from restoralib.restoration.run import Progress, seeded


@dataclass(frozen=True)
class DiffusersModel:
    """A pipeline with what it needs to restore images.

    Args:
        pipeline: called with `image` (a PIL image) and those of `prompt`, `num_inference_steps`, `generator`, `height`, `width`
            and `callback_on_step_end` that its signature has; gives an object with `images`, or a tuple that begins with them.
        prompt: what it is told where `restore` is given no prompt.
        multiple: of the sides that it takes; images are padded by reflection and cut back.
        smallest: side below which images are padded to it.
        pixels: about how many pixels it was trained on, such as 1024 * 1024: images are scaled to it, keeping their shape, and
            back. None to leave sizes alone.
        arguments: further arguments of every call, such as {"guidance_scale": 6.0}.

    Raises:
        TypeError: the pipeline cannot be called, or takes no image.
        ValueError: a size is less than one.
    """

    pipeline: Any
    prompt: str = ""
    multiple: int = 16
    smallest: int = 64
    pixels: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.pipeline) or "image" not in inspect.signature(self.pipeline).parameters:
            raise TypeError(
                f"{type(self.pipeline).__name__} is no pipeline from image to image: it cannot be called with image="
            )
        sizes = {"multiple": self.multiple, "smallest": self.smallest, "pixels": 1 if self.pixels is None else self.pixels}
        for name, value in sizes.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} should be a whole number of at least 1, got {value!r}")

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        **options: Any,
    ) -> DiffusersModel:
        """Load a pipeline from a folder that `save_pretrained` wrote, without a look at the network.

        Args:
            folder: with a `model_index.json`.
            device: where it is put.
            dtype: of its weights.
            options: arguments of `DiffusersModel`.

        Raises:
            ImportError: diffusers is not installed.
            FileNotFoundError: there is no such folder.
        """
        if not (Path(folder) / "model_index.json").is_file():
            raise FileNotFoundError(f"{folder} holds no model_index.json; bring a pipeline that save_pretrained wrote")
        try:
            diffusers: Any = importlib.import_module("diffusers")
        except ImportError as error:
            raise ImportError("DiffusersModel.load needs the package: pip install diffusers transformers accelerate") from error
        pipeline = diffusers.DiffusionPipeline.from_pretrained(str(folder), torch_dtype=dtype, local_files_only=True)
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to(device), **options)

    def __call__(self, image: Tensor) -> Tensor:
        """Restore (b, c, h, w) by the model's own prompt."""
        return self.restore([image])[0]

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what the pipeline sees of an image, before it is padded."""
        if self.pixels is None:
            return height, width
        scale = math.sqrt(self.pixels / (height * width))
        sides = (max(1, round(side * scale / self.multiple)) * self.multiple for side in (height, width))
        return next(sides), next(sides)

    def restore(
        self,
        images: Sequence[Tensor],
        *,
        prompt: str | None = None,
        steps: int | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> list[Tensor]:
        """Restore images (b, c, h, w) in [0, 1]; image k of a batch has the noise of seed + k.

        Raises:
            ValueError: there is no prompt but the pipeline takes one, or it has no such argument; the channels are others; the
                pipeline gives no image.
            FloatingPointError: the pipeline gives NaN.
            OutOfMemory: the image is too large for the memory.
        """
        names = inspect.signature(self.pipeline).parameters
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in names.values())
        takes = {name for name in names if name not in ("args", "kwargs")}
        given = dict(self.arguments)
        if unknown := [name for name in given if name not in takes and not open_ended]:
            raise ValueError(f"the pipeline takes no {', '.join(unknown)}; it takes {', '.join(sorted(takes))}")
        if "prompt" in takes:
            given["prompt"] = prompt or self.prompt or given.get("prompt")
            if not given["prompt"]:
                raise ValueError("this pipeline is told what to do: pass prompt='remove the rain', or the like")
        elif prompt is not None:
            raise ValueError(f"this pipeline takes no text; leave prompt out, got {prompt!r}")
        if steps is not None:
            if "num_inference_steps" not in takes:
                raise ValueError(f"this pipeline takes no steps; leave them out, got {steps}")
            given["num_inference_steps"] = steps
        default = names["num_inference_steps"].default if "num_inference_steps" in takes else 1
        expected = given.get("num_inference_steps", default)
        expected = expected if isinstance(expected, int) else 1
        if seed is None:
            seed = int(torch.randint(2**62, ()))  # from the caller's generator, once
        progress = progress or Progress()
        progress.begin(expected * sum(len(batch) for batch in images))
        spec = NetSpec(halo=None, global_ops=("diffusion",))
        results = []
        for batch in images:
            check_channels(spec, batch.shape[1])
            restored = []
            for number, image in enumerate(batch):

                def run(x: Tensor, seed: int = seed + number) -> Tensor:
                    return self._run(x, given, takes, seed, expected, progress)

                restored.append(restore_channels(run, spec, image[None].float().clamp(0, 1)))
            results.append(torch.cat(restored).to(batch.device))
        return results

    def _run(self, x: Tensor, given: dict[str, Any], takes: set[str], seed: int, expected: int, progress: Progress) -> Tensor:
        """Restore (1, 3, h, w), counting `expected` steps."""
        height, width = x.shape[-2:]
        size = self.working_size(height, width)
        scaled = resize(x, size=size).clamp(0, 1) if size != (height, width) else x
        padded = scaled
        for axis, side in enumerate(size):
            if side < self.smallest:
                step = (-(-self.smallest // self.multiple) * self.multiple, 1)
                padded = pad_to_multiple(padded, step if axis == 0 else step[::-1])
        padded = pad_to_multiple(padded, self.multiple)
        done = 0

        def count(pipeline: Any, step: int, time: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            nonlocal done
            if done < expected:
                done += 1
                progress.advance(1, "sample")
            return kwargs

        offers: dict[str, Any] = {
            "generator": torch.Generator().manual_seed(seed),
            "height": padded.shape[-2],
            "width": padded.shape[-1],
            "callback_on_step_end": count,
        }
        call = {**{name: value for name, value in offers.items() if name in takes}, **given}
        try:
            with torch.no_grad(), seeded(seed, torch.device("cpu")):
                result = self.pipeline(image=_to_pil(padded), **call)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"the pipeline's memory does not suffice for {padded.shape[-2]} x {padded.shape[-1]} pixels; pass "
                "DiffusersModel(…, pixels=…) to let it see a smaller image, or enable its offloading"
            ) from error
        progress.advance(expected - done, "sample")  # some pipelines take fewer steps than they are asked for
        restored = _first_image(getattr(result, "images", result)).to(x)
        if not restored.isfinite().all():
            raise FloatingPointError("the pipeline gives NaN or Inf; load it in another dtype")
        if restored.shape[-2:] == padded.shape[-2:]:
            restored = restored[..., : size[0], : size[1]]
        return resize(restored, size=(height, width)).clamp(0, 1) if restored.shape[-2:] != (height, width) else restored


def refuse_for_pipeline(**asked: Any) -> None:
    """Refuse arguments that a pipeline of diffusers has no use for.

    Raises:
        ValueError: one of them is there.
    """
    refuse(
        "not for a DiffusersModel, whose pipeline sees the whole image on its own device; prompt, steps and seed are, others "
        "go into DiffusersModel(arguments=…)",
        **asked,
    )


class Piped:
    """A pipeline with what one call of `restore` asks of it.

    Args:
        model: the pipeline.
        image: (b, c, h, w), what is to be restored.
        prompt, steps: as in `restore`.

    Raises:
        ValueError: the image is neither grey nor RGB.
    """

    spec = NetSpec(halo=None, global_ops=("diffusion",))

    def __init__(self, model: DiffusersModel, image: Tensor, *, prompt: str | None = None, steps: int | None = None) -> None:
        check_channels(self.spec, image.shape[1])
        self.model, self.prompt, self.steps = model, prompt, steps

    def restore(
        self, images: Sequence[Tensor], *, tile: TileSize, overlap: int | None, seed: int | None, progress: Progress
    ) -> list[Tensor]:
        """Restore images (b, c, h, w) as a whole; `tile` and `overlap` are there to be like the others."""
        return self.model.restore(images, prompt=self.prompt, steps=self.steps, seed=seed, progress=progress)


def _to_pil(x: Tensor) -> Any:
    from PIL import Image

    return Image.fromarray(nearest_levels(x[0]).to(torch.uint8).movedim(0, -1).cpu().numpy())


def _first_image(images: Any) -> Tensor:
    """(1, 3, h, w) in [0, 1] of what a pipeline gives: PIL images, arrays (n, h, w, c) or tensors (n, c, h, w)."""
    while isinstance(images, list | tuple):
        if not images:
            raise ValueError("the pipeline gives an empty list of images; look at its output_type and its safety checker")
        images = images[0]
    if isinstance(images, Tensor):
        tensor = images if images.ndim == 4 else images[None]
        return tensor[:1].float()
    array = np.asarray(images.convert("RGB") if hasattr(images, "convert") else images)
    array = array[0] if array.ndim == 4 else array
    tensor = torch.from_numpy(np.array(array)).movedim(-1, 0)[None]
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
