"""Frames through a model, in batches and in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from restoralib.archs.spec import NetSpec
from restoralib.diffusion import DiffusionModel
from restoralib.images import from_picture, to_picture
from restoralib.latent.restorer import LatentRestorer
from restoralib.ops.resize import resize
from restoralib.restoration import DiffusersModel, restore
from restoralib.restoration.auto import Auto
from restoralib.restoration.diffusion import diffusion_restorer
from restoralib.restoration.door import Model, ModelOptions
from restoralib.restoration.models import find_model
from restoralib.restoration.network import choose_device, choose_dtype, placed
from restoralib.restoration.run import ProgressCallback
from restoralib.video.steady import Steady


class Clip:
    """The frames of one clip on their way through a model.

    Args:
        model: as in `restore`. "auto" looks at the first frames and does with all what it finds there.
        batch: frames, or tiles of them, in a call of the network.
        blend: strength of `Steady`.
        seed: frame k draws its random numbers by seed + k.
        options: of `restore`.

    Raises:
        ValueError, TypeError: as `restore` does, for the model.
    """

    def __init__(
        self, model: Model, *, batch: int = 4, blend: float = 0.0, seed: int = 0, **options: Unpack[ModelOptions]
    ) -> None:
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise ValueError(f"batch should be at least 1 and whole, got {batch!r}")
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ValueError(f"seed should be a whole number, got {seed!r}")
        self.batch = batch
        self.seed = seed
        self.steady = Steady(blend)
        self.device = choose_device(options.get("device", "auto"))
        self.options: dict[str, Any] = dict(options)
        self.prompt = self.options.pop("prompt", None)
        brought = self.options.pop("models", None) or {}
        found: Any = model if isinstance(model, DiffusionModel) else find_model(model)
        if isinstance(found, Auto):
            found = replace(found, models={**found.models, **brought})
        elif brought:
            raise ValueError(
                f"models are for 'auto', which chooses among them, and the model is {model!r}; leave one of them out"
            )
        self.found = found
        self.chain: list[Any] | None = None if isinstance(found, Auto) else [self._ready(found)]

    def restore(self, images: Tensor, index: int, progress: ProgressCallback | None = None) -> Tensor:
        """Restore the next frames.

        Args:
            images: (b, c, h, w) in [0, 1].
            index: number of the first of them in the clip.
            progress: of `restore`.

        Returns:
            (b, c, s h, s w) in [0, 1].
        """
        if self.chain is None:
            self.choose(images)
        assert self.chain is not None
        restored = images
        for model, alone in self.chain:
            parts = [one[None] for one in restored] if alone else [restored]
            restored = torch.cat(
                [
                    restore(
                        part,
                        model,
                        prompt=self.prompt,
                        batch=1 if alone else self.batch,
                        seed=self.seed + index + number,
                        progress=progress,
                        **self.options,
                    )
                    for number, part in enumerate(parts)
                ]
            )
        if self.steady.strength:
            restored = torch.stack([self.steady(*pair) for pair in zip(images, restored, strict=True)])
        return restored

    def choose(self, images: Tensor) -> None:
        """Let "auto" choose by some frames what is done with all."""
        chosen = self.found.choose(images, self.prompt, self.device)
        self.chain, self.prompt = [self._ready(find_model(model)) for _, model in chosen], None

    def _ready(self, model: Any) -> tuple[Any, bool]:
        """The model where it runs, and whether each frame goes through it by itself: one that draws noise, or learns."""
        if isinstance(model, nn.Module):
            full = torch.float64 if choose_dtype(self.options.get("dtype", "auto")) == torch.float64 else torch.float32
            model = placed(model, self.device, full)
        sampled = {name: self.options.get(name) for name in ("sampler", "steps", "guidance", "operator", "scale")}
        alone = isinstance(model, LatentRestorer | DiffusersModel) or not callable(model)
        if not alone:
            alone = diffusion_restorer(model, sigma=self.options.get("sigma", 0.0), **sampled) is not None
        spec = getattr(model, "spec", None)
        return model, alone or (isinstance(spec, NetSpec) and spec.noise > 0)


def restore_iter(
    images: Iterable[Any],
    model: Model = "denoise",
    *,
    batch: int = 4,
    blend: float = 0.0,
    seed: int = 0,
    **options: Unpack[ModelOptions],
) -> Iterator[Any]:
    """Restore frames from anywhere, one after the other; at most a batch of them is held.

    Neighbouring frames of one size share calls of the network. What comes back is of the frame's kind, as with `restore`.

    Args:
        images: frames of any kind that `restore` takes, batches and paths excepted; read as they are needed.
        model: as in `restore`; it is loaded once. "auto" looks at the first frames and does with all what it finds there.
        batch: frames, or tiles of them, in a call of the network, and frames that are read ahead.
        blend: strength of `Steady`, which takes flicker from what does not move; 0 for none.
        seed: frame k draws its random numbers by seed + k, whatever the batch.
        options: `prompt`, `models`, `device`, `dtype`, `tile`, `overlap`, `exact`, `ensemble`, `spec`, `strict`,
            `max_output_pixels`, `sampler`, `steps`, `guidance`, `operator`, `sigma` and `scale` of `restore`.

    Yields:
        The restored frames, in order.

    Raises:
        ValueError, TypeError: at once where the model or an argument cannot be, later where a frame is none.
    """
    clip = Clip(model, batch=batch, blend=blend, seed=seed, **options)
    return _frames(iter(images), clip)


def _frames(images: Iterator[Any], clip: Clip) -> Iterator[Any]:
    waiting: list[tuple[Any, Any]] = []
    index = 0
    for image in images:
        picture = to_picture(image)
        if picture.color.ndim != 3:
            raise ValueError(f"a frame should be one image, got a batch of shape {tuple(picture.color.shape)}; iterate over it")
        if waiting and (len(waiting) == clip.batch or waiting[0][1].color.shape != picture.color.shape):
            yield from _restored(waiting, clip, index)
            index += len(waiting)
            waiting = []
        waiting.append((image, picture))
    if waiting:
        yield from _restored(waiting, clip, index)


def _restored(waiting: list[tuple[Any, Any]], clip: Clip, index: int) -> Iterator[Any]:
    colors = clip.restore(torch.stack([picture.color for _, picture in waiting]), index)
    for (image, picture), color in zip(waiting, colors, strict=True):
        scale = color.shape[-1] // picture.color.shape[-1]
        alpha = picture.alpha if picture.alpha is None or scale == 1 else resize(picture.alpha, scale)
        yield from_picture(replace(picture, color=color, alpha=alpha), image)
